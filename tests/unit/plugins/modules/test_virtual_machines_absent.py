# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs leave libvirt's test driver, as they leave a host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils import vm_departure
from ansible_collections.croft.infra.plugins.modules import virtual_machines, virtual_machines_absent

libvirt = pytest.importorskip("libvirt", reason="Debian package python3-libvirt")

URI, POOL, IMAGE = "test:///default", "default-pool", "base.qcow2"
Outcome = dict[str, Any]


@pytest.fixture
def leave(conn: Any, volumes: Any, run_module: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have web1 and app1 made, and then let VMs leave; each real run is held against check mode before it."""
    monkeypatch.setattr(vm_departure, "read", lambda volume, size: volumes.data.get(volume.path(), b"")[:size])
    # The driver knows less flags than QEMU's.
    monkeypatch.setattr(libvirt.virDomain, "undefineFlags", lambda domain, _flags: domain.undefine())
    entries = [{"name": name, "vcpus": 1, "memory_mib": 64} for name in ("web1", "app1")]
    run_module(virtual_machines, {"virtual_machines": entries, "pool": POOL, "image": IMAGE, "uri": URI})

    def run(*entries: Any, **arguments: Any) -> Outcome:
        given = {"virtual_machines_absent": list(entries), "pool": POOL, "uri": URI, **arguments}
        before = there(conn)
        predicted = run_module(virtual_machines_absent, dict(given), check=True)
        assert there(conn) == before, "check mode changed something"
        real = run_module(virtual_machines_absent, given)
        predicted.pop("invocation"), real.pop("invocation")
        assert predicted == real
        return real

    return run


def there(conn: Any) -> tuple[list[str], list[str]]:
    names = sorted(domain.name() for domain in conn.listAllDomains())
    return names, sorted(conn.storagePoolLookupByName(POOL).listVolumes())


def words(outcome: Outcome) -> list[str]:
    return [step["action"] for step in outcome["virtual_machines"][0]["actions"]]


APP1 = ["app1-seed.iso", "app1.qcow2", "base.qcow2"]


def test_a_vm_leaves_and_its_disks_stay_until_that_is_said(conn: Any, leave: Any) -> None:
    assert words(leave("web1")) == ["stop", "undefine"]
    assert there(conn) == (["app1"], [*APP1, "web1-seed.iso", "web1.qcow2"])
    assert not leave("web1")["changed"]
    both = {"without_domain": True}
    assert words(leave({"name": "web1", "disks": True}, **both)) == ["delete_disk", "delete_disk"]
    assert there(conn) == (["app1"], APP1)
    assert not leave({"name": "web1", "disks": True}, **both)["changed"]


def test_its_disks_go_along(conn: Any, leave: Any) -> None:
    assert words(leave({"name": "web1", "disks": True})) == ["stop", "delete_disk", "delete_disk", "undefine"]
    assert there(conn) == (["app1"], APP1)


def test_one_that_a_cluster_ran_leaves_as_whole(conn: Any, leave: Any) -> None:
    conn.lookupByName("web1").undefine()
    assert not conn.lookupByName("web1").isPersistent()
    assert words(leave({"name": "web1", "disks": True})) == ["stop", "delete_disk", "delete_disk", "undefine"]
    assert there(conn) == (["app1"], APP1)


def test_disks_of_another_are_not_taken_for_its_own(conn: Any, leave: Any) -> None:
    leave("web1")
    other = {"name": "web1", "disks": True, "uuid": "00000000-0000-0000-0000-000000000001"}
    assert not leave(other, without_domain=True)["changed"]
    # Those of a VM that is there are in use.
    assert not leave({"name": "app1", "disks": True}, without_domain=True)["changed"]


def test_what_is_not_ours_and_what_is_wished_is_refused(conn: Any, leave: Any) -> None:
    conn.defineXML("<domain type='test'><name>theirs</name><memory>1024</memory><os><type>hvm</type></os></domain>")
    before = there(conn)
    assert "was not made by croft" in leave("theirs", "web1")["msg"]
    assert "take it out of one" in leave("web1", virtual_machines=["web1"])["msg"]
    assert there(conn) == before


def test_a_guest_that_does_not_shut_down_is_not_killed(
    conn: Any, leave: Any, run_module: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libvirt.virDomain, "shutdown", lambda _domain: 0)
    given = {"virtual_machines_absent": ["web1"], "pool": POOL, "uri": URI, "stop_timeout": 1}
    assert "still running 1 s after" in run_module(virtual_machines_absent, given)["msg"]
    assert conn.lookupByName("web1").isActive()
