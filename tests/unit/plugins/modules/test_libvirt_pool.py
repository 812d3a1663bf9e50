# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.modules import libvirt_pool

RunModule = Callable[..., dict[str, Any]]
ALL = ["define", "start", "start with the host"]


def given(*hosts: str) -> dict[str, Any]:
    """A pool with its mons; libvirt's test driver takes the type dir only, and keeps the source all the same."""
    lines = "".join(f"<host name='{host}' port='3300'/>" for host in hosts)
    return {
        "name": "vms",
        "xml": f"<pool type='rbd'><name>vms</name><source>{lines}<name>vms</name></source></pool>",
        "uri": "test:///default",
    }


@pytest.fixture
def kept(conn: Any, put_under: Callable[[Any], None]) -> Iterator[Any]:
    """The driver's connection under the module, which keeps pools as long as it is open."""
    put_under(libvirt_pool)
    yield conn
    for pool in conn.listAllStoragePools():
        if pool.name() == "vms":
            if pool.isActive():
                pool.destroy()
            pool.undefine()


def test_a_pool_is_made_and_then_left_alone(kept: Any, run_module: RunModule) -> None:
    assert run_module(libvirt_pool, given("10.0.0.1"), check=True)["actions"] == ALL
    assert "vms" not in [pool.name() for pool in kept.listAllStoragePools()]
    assert run_module(libvirt_pool, given("10.0.0.1"))["actions"] == ALL
    again = run_module(libvirt_pool, given("10.0.0.1"))
    assert (again["changed"], again["actions"]) == (False, [])


def test_other_mons_reach_the_definition_that_is_there(kept: Any, run_module: RunModule) -> None:
    run_module(libvirt_pool, given("10.0.0.1", "10.0.0.2"))
    wanted = given("10.0.0.1", "10.0.0.3")
    said = ["stop", "define anew, hosts: 10.0.0.1:3300, 10.0.0.3:3300 (was 10.0.0.1:3300, 10.0.0.2:3300)", "start"]
    assert run_module(libvirt_pool, wanted, check=True)["actions"] == said
    assert run_module(libvirt_pool, wanted)["actions"] == said
    pool = kept.storagePoolLookupByName("vms")
    assert pool.isActive()
    assert "10.0.0.3" in pool.XMLDesc(0)
    assert "10.0.0.2" not in pool.XMLDesc(0)
    assert not run_module(libvirt_pool, wanted)["changed"]


def test_a_pool_that_was_stopped_is_started(kept: Any, run_module: RunModule) -> None:
    run_module(libvirt_pool, given("10.0.0.1"))
    kept.storagePoolLookupByName("vms").destroy()
    assert run_module(libvirt_pool, given("10.0.0.1"))["actions"] == ["start"]
