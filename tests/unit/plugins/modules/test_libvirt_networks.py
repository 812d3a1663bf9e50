# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.modules import libvirt_networks

RunModule = Callable[..., dict[str, Any]]
ALL = ["inside: define", "inside: start", "inside: start with the host"]


def given(**change: Any) -> dict[str, Any]:
    return {"networks": [{"name": "inside", "address": "192.168.100.1/24", **change}], "uri": "test:///default"}


@pytest.fixture
def kept(conn: Any, put_under: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The driver's connection under the module, which keeps networks as long as it is open."""
    put_under(libvirt_networks)
    # The driver knows one definition of a network, that of the one that runs.
    monkeypatch.setattr(libvirt_networks.bindings(), "VIR_NETWORK_XML_INACTIVE", 0)
    yield conn
    for network in conn.listAllNetworks():
        if network.name() == "inside":
            if network.isActive():
                network.destroy()
            network.undefine()


def names(conn: Any) -> list[str]:
    return [network.name() for network in conn.listAllNetworks()]


def test_a_network_is_made_and_then_left_alone(kept: Any, run_module: RunModule) -> None:
    assert run_module(libvirt_networks, given(), check=True)["actions"] == ALL
    assert "inside" not in names(kept)
    assert run_module(libvirt_networks, given())["actions"] == ALL
    assert kept.networkLookupByName("inside").isActive()
    again = run_module(libvirt_networks, given())
    assert (again["changed"], again["actions"], again["needs_restart"]) == (False, [], {})


def test_a_changed_network_is_made_anew_and_stays_the_same_one(kept: Any, run_module: RunModule) -> None:
    run_module(libvirt_networks, given())
    uuid = kept.networkLookupByName("inside").UUIDString()
    wanted = given(address="192.168.101.1/24")
    said = ["inside: stop", "inside: define anew, address: 192.168.101.1/24 (was 192.168.100.1/24)", "inside: start"]
    assert run_module(libvirt_networks, wanted, check=True)["actions"] == said
    assert run_module(libvirt_networks, wanted)["actions"] == said
    network = kept.networkLookupByName("inside")
    assert network.UUIDString() == uuid
    assert "192.168.101.1" in network.XMLDesc(0)
    assert not run_module(libvirt_networks, wanted)["changed"]


def test_one_that_vms_use_goes_on_and_is_told_each_time(
    kept: Any, run_module: RunModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_module(libvirt_networks, given())
    monkeypatch.setattr(libvirt_networks.pure, "users", lambda _domains, _network: ["web1"])
    wanted = given(address="192.168.101.1/24")
    first = run_module(libvirt_networks, wanted)
    assert first["actions"] == ["inside: define anew, address: 192.168.101.1/24 (was 192.168.100.1/24)"]
    assert first["needs_restart"] == {"inside": ["web1"]}
    network = kept.networkLookupByName("inside")
    assert "192.168.100.1" in network.XMLDesc(0)
    assert run_module(libvirt_networks, wanted)["needs_restart"] == {"inside": ["web1"]}


def test_one_that_was_stopped_is_started(kept: Any, run_module: RunModule) -> None:
    run_module(libvirt_networks, given())
    kept.networkLookupByName("inside").destroy()
    assert run_module(libvirt_networks, given())["actions"] == ["inside: start"]


def test_what_is_wrong_is_refused_before_anything_is_made(kept: Any, run_module: RunModule) -> None:
    wanted = given()
    wanted["networks"].append({"name": "other", "mode": "bridge"})
    said = run_module(libvirt_networks, wanted)
    assert said["msg"].startswith("network other: has mode bridge and names no bridge")
    assert "inside" not in names(kept)
