# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module from its arguments to libvirt, on libvirt's test driver."""

from __future__ import annotations

import copy
import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils import domain_xml, seed, vm_host
from ansible_collections.croft.infra.plugins.module_utils import libvirt_connection as connecting
from ansible_collections.croft.infra.plugins.module_utils.identity import METADATA_URI, vm_mac, vm_uuid
from ansible_collections.croft.infra.plugins.module_utils.store import Source, Store
from ansible_collections.croft.infra.plugins.modules import virtual_machines

libvirt = pytest.importorskip("libvirt", reason="Debian package python3-libvirt")

URI, POOL, IMAGE = "test:///default", "default-pool", "base.qcow2"
MIB = 1024 * 1024
WEB1: dict[str, Any] = {"name": "web1", "vcpus": 2, "memory_mib": 128}
Outcome = dict[str, Any]
Apply = Callable[..., Outcome]


@pytest.fixture
def apply(conn: Any, run_module: Callable[..., Outcome]) -> Apply:
    """Apply VM entries; every real run is held against the check mode run just before it."""

    def run(*entries: Any, check: bool = False, predicts: bool = True, **arguments: Any) -> Outcome:
        given = {"virtual_machines": list(entries), "pool": POOL, "image": IMAGE, "uri": URI, **arguments}
        if check:
            return run_module(virtual_machines, given, check=True)
        before = snapshot(conn)
        predicted = run_module(virtual_machines, copy.deepcopy(given), check=True, diff=True)
        assert snapshot(conn) == before, "check mode changed something"
        real = run_module(virtual_machines, given, diff=True)
        if predicts:
            predicted.pop("invocation"), real.pop("invocation")
            assert predicted == real
        return real

    return run


def test_user_data_reaches_the_seed_and_no_result(apply: Apply, volumes: Any) -> None:
    told = json.dumps({"web1": {"users": [{"name": "ops", "hashed_passwd": "$6$a$secret"}]}})
    plain = apply(WEB1)
    digest = plain["diff"]["after"].rpartition("first_boot_data: ")[2].strip()
    outcome = apply(WEB1, user_data=told, predicts=False)
    assert words(outcome) == ["write_seed", "redefine"]
    assert [entry["field"] for entry in outcome["virtual_machines"][0]["needs_restart"]] == ["first_boot_data"]
    assert digest not in outcome["diff"]["after"]
    assert "secret" not in json.dumps(outcome)
    assert outcome["invocation"]["module_args"]["user_data"] == "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
    assert not apply(WEB1, user_data=told, predicts=False)["virtual_machines"][0]["actions"]


def test_another_version_of_an_image_is_for_new_disks_alone(conn: Any, apply: Apply) -> None:
    make_volume(conn, "base-2.qcow2", 64 * MIB)
    apply(WEB1, image="base", images={"base": IMAGE})
    outcome = apply(WEB1, WEB1 | {"name": "web2"}, image="base", images={"base": "base-2.qcow2"})
    assert words(outcome) == []
    (create,) = [step for step in outcome["virtual_machines"][1]["actions"] if step["action"] == "create_disk"]
    assert "base-2.qcow2" in create["detail"]


def make_volume(conn: Any, name: str, size: int) -> None:
    """A volume that somebody else made."""
    conn.storagePoolLookupByName(POOL).createXML(domain_xml.volume_xml(name, size, "qcow2"), 0)


def snapshot(conn: Any) -> dict[str, Any]:
    """All that a run could change."""
    pool = conn.storagePoolLookupByName(POOL)
    domains = {d.name(): (d.XMLDesc(0), d.XMLDesc(2), d.autostart(), d.state()) for d in conn.listAllDomains()}
    return {"domains": domains, "volumes": sorted((v.name(), v.info()) for v in pool.listAllVolumes())}


def words(outcome: Outcome, name: str = "web1") -> list[str]:
    machine = next(machine for machine in outcome["virtual_machines"] if machine["name"] == name)
    return [step["action"] for step in machine["actions"]]


def test_a_new_vm_is_made_and_started(conn: Any, apply: Apply, volumes: Any) -> None:
    outcome = apply(WEB1 | {"disk_gib": 1})
    assert outcome["changed"]
    assert words(outcome) == ["write_seed", "create_disk", "define", "set_autostart", "start"]
    about = domain_xml.describe(conn.lookupByName("web1").XMLDesc(2))
    assert (about.uuid, about.macs) == (vm_uuid("web1"), (vm_mac("web1"),))
    assert about.managed
    assert about.disks == (("vda", "/default-pool/web1.qcow2", False), ("vdb", "/default-pool/web1-seed.iso", True))
    assert conn.lookupByName("web1").isActive()
    assert conn.lookupByName("web1").autostart()
    root = conn.storageVolLookupByPath("/default-pool/web1.qcow2")
    assert root.info()[1] == 1024 * MIB
    assert "/default-pool/base.qcow2" in root.XMLDesc(0)
    assert seed.read_mark(volumes.data["/default-pool/web1-seed.iso"], vm_uuid("web1")) == "ready"


def test_a_second_run_changes_nothing(apply: Apply) -> None:
    entries = [WEB1, {"name": "off1", "vcpus": 1, "memory_mib": 64, "state": "stopped", "autostart": False}]
    apply(*entries)
    outcome = apply(*entries)
    assert not outcome["changed"]
    assert [machine["state"] for machine in outcome["virtual_machines"]] == ["running", "stopped"]
    assert words(outcome) == words(outcome, "off1") == []
    assert outcome["diff"] == {"before": "", "after": ""}


def test_the_name_in_the_xml_is_on_a_line_of_its_own(conn: Any, apply: Apply) -> None:
    apply(WEB1)
    assert "  <name>web1</name>" in conn.lookupByName("web1").XMLDesc(2).splitlines()


def test_changes_of_a_running_vm_wait_for_its_restart(conn: Any, apply: Apply) -> None:
    apply(WEB1)
    changed = WEB1 | {"vcpus": 4, "memory_mib": 256, "mac": "52:54:00:00:00:01"}
    first, second = apply(changed), apply(changed)
    assert words(first) == ["write_seed", "redefine"]
    assert first["changed"]
    assert not second["changed"]
    for outcome in (first, second):
        machine = outcome["virtual_machines"][0]
        waiting = {entry["field"]: (entry["running"], entry["wanted"]) for entry in machine["needs_restart"]}
        assert waiting.pop("first_boot_data")  # the address of its network card stands in it
        assert waiting == {"vcpus": (2, 4), "memory_mib": (128, 256), "mac": (vm_mac("web1"), "52:54:00:00:00:01")}
        assert "vcpus (has 2)" in outcome["warnings"][0]
    domain = conn.lookupByName("web1")
    assert domain_xml.describe(domain.XMLDesc(2)).fields.vcpus == 4
    assert domain_xml.describe(domain.XMLDesc(0)).fields.vcpus == 2
    domain.destroy()
    domain.create()
    assert apply(changed)["virtual_machines"][0]["needs_restart"] == []


def test_changes_of_a_stopped_vm_are_in_force_when_it_starts(apply: Apply) -> None:
    stopped = WEB1 | {"state": "stopped"}
    apply(stopped)
    outcome = apply(stopped | {"vcpus": 4, "state": "running"})
    assert words(outcome) == ["redefine", "start"]
    assert outcome["virtual_machines"][0]["needs_restart"] == []
    assert not apply(stopped | {"vcpus": 4, "state": "running"})["changed"]


def test_a_guest_takes_vcpus_while_it_runs(conn: Any, apply: Apply) -> None:
    apply(WEB1 | {"max_vcpus": 4})
    outcome = apply(WEB1 | {"max_vcpus": 4, "vcpus": 3}, predicts=False)
    assert words(outcome) == ["redefine", "set_vcpus"]
    assert outcome["virtual_machines"][0]["needs_restart"] == []
    assert domain_xml.describe(conn.lookupByName("web1").XMLDesc(0)).fields.vcpus == 3
    assert not apply(WEB1 | {"max_vcpus": 4, "vcpus": 3})["changed"]


def test_a_restart_is_made_only_where_it_is_allowed(conn: Any, apply: Apply) -> None:
    apply(WEB1)
    first = conn.lookupByName("web1").ID()
    assert words(apply(WEB1 | {"vcpus": 4})) == ["redefine"]
    assert conn.lookupByName("web1").ID() == first
    outcome = apply(WEB1 | {"vcpus": 4}, allow_restart=["web1"])
    assert words(outcome) == ["restart"]
    assert domain_xml.describe(conn.lookupByName("web1").XMLDesc(0)).fields.vcpus == 4
    assert not apply(WEB1 | {"vcpus": 4}, allow_restart=["web1"])["changed"]


def test_disks_and_cards_of_a_stopped_vm(conn: Any, apply: Apply) -> None:
    off = WEB1 | {"state": "stopped"}
    more = off | {"disks": [{"name": "data", "size_gib": 1}], "networks": [{}, {"name": "second"}]}
    apply(off)
    outcome = apply(more)
    assert words(outcome) == ["create_volume", "redefine"]
    assert conn.storageVolLookupByPath("/default-pool/web1.data.qcow2").info()[1] == 1024 * MIB
    about = domain_xml.describe(conn.lookupByName("web1").XMLDesc(2))
    assert about.disk_path("vdc") == "/default-pool/web1.data.qcow2"
    assert about.macs == (vm_mac("web1"), vm_mac("web1/second"))
    assert not apply(more)["changed"]
    assert words(apply(off)) == ["redefine"]
    assert domain_xml.describe(conn.lookupByName("web1").XMLDesc(2)).macs == (vm_mac("web1"),)
    # The volume is kept, and the disk gets it again.
    assert words(apply(more)) == ["redefine"]


def test_what_people_added_to_a_domain_stays(conn: Any, apply: Apply) -> None:
    apply(WEB1)
    xml = conn.lookupByName("web1").XMLDesc(2)
    xml = xml.replace("<metadata", "<title>front</title><metadata").replace(
        "</devices>", "<watchdog model='i6300esb'/></devices>"
    )
    conn.defineXML(xml)
    assert not apply(WEB1)["changed"]
    apply(WEB1 | {"memory_mib": 256})
    after = conn.lookupByName("web1").XMLDesc(2)
    assert "<title>front</title>" in after
    assert "i6300esb" in after


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_a_disk_grows(conn: Any, apply: Apply, state: str) -> None:
    entry = WEB1 | {"disk_gib": 1, "state": state}
    apply(entry)
    assert words(apply(entry | {"disk_gib": 2})) == ["grow_disk"]
    assert conn.storageVolLookupByPath("/default-pool/web1.qcow2").info()[1] == 2048 * MIB
    assert not apply(entry | {"disk_gib": 2})["changed"]


@pytest.mark.parametrize("check", [True, False])
def test_a_disk_does_not_shrink(apply: Apply, check: bool) -> None:
    apply(WEB1 | {"disk_gib": 2})
    outcome = apply(WEB1 | {"disk_gib": 1}, check=check)
    assert outcome["failed"]
    assert outcome["problems"] == ["web1: disk_gib is 1 GiB, its disk has 2 GiB; a disk is never made smaller"]


def test_a_guest_is_asked_to_stop(conn: Any, apply: Apply) -> None:
    apply(WEB1)
    outcome = apply(WEB1 | {"state": "stopped", "vcpus": 1})
    assert words(outcome) == ["stop", "redefine"]
    assert outcome["virtual_machines"][0]["needs_restart"] == []
    assert not conn.lookupByName("web1").isActive()


def test_a_guest_that_does_not_stop_is_not_killed(conn: Any, apply: Apply, monkeypatch: pytest.MonkeyPatch) -> None:
    apply(WEB1)
    monkeypatch.setattr(libvirt.virDomain, "shutdown", lambda _domain: 0)
    monkeypatch.setattr(vm_host.time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(vm_host.VmHost.__init__, "__defaults__", (lambda _seconds: None,))
    outcome = apply(WEB1 | {"state": "stopped"}, predicts=False, stop_timeout=3)
    assert outcome["msg"].startswith(
        "web1: stop (running -> stopped, by asking the guest) failed: still running 3 s after"
    )
    assert conn.lookupByName("web1").isActive()


def test_all_problems_in_one_failure_and_nothing_is_changed(conn: Any, apply: Apply) -> None:
    conn.defineXML(foreign_domain("theirs"))
    make_volume(conn, "taken.qcow2", MIB)
    before = snapshot(conn)
    entries = [
        WEB1,
        {"name": "theirs", "vcpus": 1, "memory_mib": 64},
        {"name": "taken", "vcpus": 1, "memory_mib": 64},
        {"name": "twin", "vcpus": 1, "memory_mib": 64, "mac": "52:54:00:aa:aa:aa"},
        {"name": "base", "vcpus": 1, "memory_mib": 64, "image": "none.qcow2", "network": "nowhere"},
    ]
    outcome = apply(*entries, predicts=False)
    assert outcome["failed"]
    assert not outcome.get("changed")
    assert snapshot(conn) == before
    assert [problem.partition(";")[0] for problem in outcome["problems"]] == [
        "theirs: a domain of that name is there and was not made by croft",
        "taken: the volume taken.qcow2 is there and not of this VM",
        "twin: the MAC address 52:54:00:aa:aa:aa already belongs to the domain theirs",
        "base: the volume base.qcow2 is there and not of this VM",
        "the image none.qcow2 is not in the storage pool default-pool",
        "the network nowhere is not defined",
    ]


def foreign_domain(name: str) -> str:
    return (
        f"<domain type='test'><name>{name}</name><memory unit='MiB'>64</memory><os><type arch='i686'>hvm</type></os>"
        "<devices><interface type='network'><mac address='52:54:00:aa:aa:aa'/><source network='default'/></interface>"
        "</devices></domain>"
    )


def test_a_vm_without_a_domain_gets_the_disk_that_an_earlier_run_made(conn: Any, apply: Apply) -> None:
    apply(WEB1 | {"disk_gib": 1})
    conn.lookupByName("web1").destroy()
    conn.lookupByName("web1").undefine()
    assert words(apply(WEB1 | {"disk_gib": 1})) == ["write_seed", "define", "set_autostart", "start"]
    assert not apply(WEB1 | {"disk_gib": 1})["changed"]


def test_a_half_made_disk_is_made_again(conn: Any, apply: Apply, volumes: Any) -> None:
    make_volume(conn, "web1-seed.iso", MIB)
    make_volume(conn, "web1.qcow2", 3 * MIB)
    volumes.data["/default-pool/web1-seed.iso"] = seed.mark(vm_uuid("web1"), ready=False)
    assert words(apply(WEB1)) == ["write_seed", "recreate_disk", "define", "set_autostart", "start"]
    assert conn.storageVolLookupByPath("/default-pool/web1.qcow2").info()[1] == 64 * MIB


def test_an_empty_seed_does_not_make_a_disk_ours(conn: Any, apply: Apply) -> None:
    make_volume(conn, "web1-seed.iso", MIB)
    make_volume(conn, "web1.qcow2", 3 * MIB)
    outcome = apply(WEB1, predicts=False)
    assert "web1.qcow2 is there and not of this VM" in outcome["msg"]
    assert conn.storageVolLookupByPath("/default-pool/web1.qcow2").info()[1] == 3 * MIB


def test_volumes_of_a_vm_that_cannot_be_defined_are_removed(
    conn: Any, apply: Apply, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = libvirt.virConnect.defineXML

    def define(self: Any, xml: str) -> Any:
        if "<name>web2</name>" in xml:
            raise libvirt.libvirtError("no more domains here")
        return real(self, xml)

    entries = [WEB1, WEB1 | {"name": "web2"}, WEB1 | {"name": "web3"}]
    monkeypatch.setattr(libvirt.virConnect, "defineXML", define)
    outcome = apply(*entries, predicts=False)
    assert outcome["failed"]
    assert outcome["changed"]
    assert outcome["msg"] == (
        "web2: define (2 vCPU, 128 MiB, network default, kvm) failed: no more domains here. Done for web2 "
        "before: nothing. Complete: web1. Correct the cause and run again, it goes on from here."
    )
    names = {volume.name() for volume in conn.storagePoolLookupByName(POOL).listAllVolumes()}
    assert names == {"base.qcow2", "web1.qcow2", "web1-seed.iso"}
    monkeypatch.setattr(libvirt.virConnect, "defineXML", real)
    again = apply(*entries)
    assert words(again) == []
    assert (
        words(again, "web2")
        == words(again, "web3")
        == ["write_seed", "create_disk", "define", "set_autostart", "start"]
    )


def test_a_vm_that_does_not_start_stays_defined_and_is_started_by_the_next_run(
    conn: Any, apply: Apply, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = libvirt.virDomain.create

    def create(_self: Any) -> int:
        raise libvirt.libvirtError("no memory")

    monkeypatch.setattr(libvirt.virDomain, "create", create)
    outcome = apply(WEB1, predicts=False)
    assert "web1: start (stopped -> running) failed: no memory" in outcome["msg"]
    assert "before: write_seed, create_disk, define, set_autostart." in outcome["msg"]
    monkeypatch.setattr(libvirt.virDomain, "create", real)
    assert words(apply(WEB1)) == ["start"]


def test_a_lost_disk_is_told_and_not_made_anew(conn: Any, apply: Apply) -> None:
    apply(WEB1)
    conn.storageVolLookupByPath("/default-pool/web1.qcow2").delete(0)
    outcome = apply(WEB1, predicts=False)
    assert "its disk /default-pool/web1.qcow2 is not there; bring it back" in outcome["msg"]


def test_a_lost_seed_is_made_anew(conn: Any, apply: Apply) -> None:
    apply(WEB1)
    conn.storageVolLookupByPath("/default-pool/web1-seed.iso").delete(0)
    assert words(apply(WEB1)) == ["write_seed"]
    assert not apply(WEB1)["changed"]


def test_a_paused_vm_is_left_alone(conn: Any, apply: Apply) -> None:
    apply(WEB1)
    conn.lookupByName("web1").suspend()
    outcome = apply(WEB1)
    assert not outcome["changed"]
    assert outcome["virtual_machines"][0]["state"] == "paused"
    assert outcome["warnings"][0].startswith("web1: is paused, wanted running; it is left so")


def test_a_full_copy_has_no_backing_image(conn: Any, apply: Apply) -> None:
    outcome = apply(WEB1 | {"disk_gib": 1}, clone="full")
    assert outcome["virtual_machines"][0]["actions"][1]["detail"] == "full copy of base.qcow2, 1 GiB"
    root = conn.storageVolLookupByPath("/default-pool/web1.qcow2")
    assert "backingStore" not in root.XMLDesc(0)
    assert root.info()[1] == 1024 * MIB


def test_the_diff_shows_before_and_after(apply: Apply) -> None:
    apply(WEB1)
    diff = apply(WEB1 | {"vcpus": 1})["diff"]
    assert "web1:\n  state: running\n  autostart: true\n" in diff["before"]
    assert "  vcpus: 2\n" in diff["before"]
    assert "  vcpus: 1\n" in diff["after"]


def test_a_hundred_vms_take_one_call_and_one_connection(
    conn: Any, apply: Apply, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    real = libvirt.open
    monkeypatch.setattr(libvirt, "open", lambda uri: opened.append(uri) or real(uri))
    entries = [{"name": f"vm{number}", "vcpus": 1, "memory_mib": 16} for number in range(100)]
    outcome = apply(*entries)
    assert opened == [URI, URI]  # one for check mode, one for the real run
    assert len(conn.listAllDomains()) == 100
    assert sum(len(machine["actions"]) for machine in outcome["virtual_machines"]) == 500
    assert not apply(*entries)["changed"]


def test_bad_entries_are_all_told(apply: Apply) -> None:
    outcome = apply({"name": "Web_1", "vcpus": 0, "memory_mib": "much"}, {"name": "x", "vcpu": 1}, "y", predicts=False)
    assert outcome["msg"].startswith("7 problems, nothing was changed:\n- Web_1: name is 'Web_1'")


def test_check_mode_predicts_on_a_host_without_libvirt(
    run_module: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_name: str = "libvirt") -> Any:
        raise connecting.LibvirtMissingError("libvirt is not installed")

    monkeypatch.setattr(connecting, "bindings", missing)
    given = {"virtual_machines": [WEB1], "pool": POOL, "image": IMAGE, "uri": URI}
    outcome = run_module(virtual_machines, given, check=True)
    assert words(outcome) == ["write_seed", "create_disk", "define", "set_autostart", "start"]
    assert outcome["warnings"] == ["taken as made by an earlier step: libvirt is not installed"]
    outcome = run_module(virtual_machines, given)
    assert outcome["msg"] == "libvirt is not installed; nothing was changed"


def test_check_mode_takes_pool_image_and_network_as_made_by_an_earlier_step(apply: Apply) -> None:
    outcome = apply(WEB1, check=True, pool="none", network="nowhere", image="none.qcow2")
    assert outcome["changed"]
    text = "taken as made by an earlier step: the storage pool none is not defined; the network nowhere is not defined"
    assert outcome["warnings"] == [text]


def test_the_mark_is_found_by_libvirt(conn: Any, apply: Apply) -> None:
    apply(WEB1)
    kind = libvirt.VIR_DOMAIN_METADATA_ELEMENT
    assert 'cpu_model="host-model"' in conn.lookupByName("web1").metadata(kind, METADATA_URI)


# --- disks on a server that QEMU itself speaks to ---------------------------------------------------------------------


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> Source:
    """The driver's pool is the server's directory, and its connection the server's libvirt."""
    source = Source("nfs", "10.0.0.9", "/srv/vms", 64055)
    monkeypatch.setattr(virtual_machines, "host_stores", lambda pool, _nfs, uri: (Store(pool, uri, source), []))
    return source


def test_a_vm_on_a_server(conn: Any, apply: Apply, volumes: Any, direct: Source) -> None:
    outcome = apply(WEB1 | {"disk_gib": 1})
    assert words(outcome) == ["write_seed", "create_disk", "define", "set_autostart", "start"]
    xml = conn.lookupByName("web1").XMLDesc(2)
    disks = ET.fromstring(xml).findall("devices/disk")
    assert [disk.get("type") for disk in disks] == ["network", "network"]
    assert domain_xml.describe(xml).disks == (
        ("vda", "nfs://10.0.0.9/srv/vms/web1.qcow2", False),
        ("vdb", "nfs://10.0.0.9/srv/vms/web1-seed.iso", True),
    )
    # The chain has paths of the server; the seed is no clone.
    (base,) = disks[0].findall("backingStore/source")
    assert base.get("name") == "/srv/vms/base.qcow2"
    assert [store.get("type") for store in disks[1].findall("backingStore")] in ([], [None])
    # In the clone's header the image is beside it: the server knows it by another path than QEMU.
    root = conn.storageVolLookupByPath("/default-pool/web1.qcow2").XMLDesc(0)
    assert domain_xml.backing_path(root) == "base.qcow2"
    assert seed.read_mark(volumes.data["/default-pool/web1-seed.iso"], vm_uuid("web1")) == "ready"
    for name in ("web1.qcow2", "web1-seed.iso"):
        made = conn.storagePoolLookupByName(POOL).storageVolLookupByName(name).XMLDesc(0)
        assert ET.fromstring(made).findtext("target/permissions/owner") == str(direct.owner)


def test_a_vm_on_a_server_is_found_again(conn: Any, apply: Apply, direct: Source) -> None:
    apply(WEB1 | {"disk_gib": 1})
    assert not apply(WEB1 | {"disk_gib": 1})["changed"]
    conn.storageVolLookupByPath("/default-pool/web1-seed.iso").delete()
    assert words(apply(WEB1 | {"disk_gib": 1})) == ["write_seed"]
    conn.storageVolLookupByPath("/default-pool/web1.qcow2").delete()
    outcome = apply(WEB1 | {"disk_gib": 1}, predicts=False)
    assert outcome["failed"]
    assert "nfs://10.0.0.9/srv/vms/web1.qcow2" in outcome["msg"]


def test_a_stopped_vm_on_a_server_has_its_disk_grown_there(conn: Any, apply: Apply, direct: Source) -> None:
    entry = WEB1 | {"disk_gib": 1, "state": "stopped"}
    apply(entry)
    assert words(apply(entry | {"disk_gib": 2})) == ["grow_disk"]
    assert conn.storageVolLookupByPath("/default-pool/web1.qcow2").info()[1] == 2048 * MIB


def test_a_full_copy_on_a_server_has_no_chain(conn: Any, apply: Apply, direct: Source) -> None:
    apply(WEB1, clone="full")
    (disk, _seed) = ET.fromstring(conn.lookupByName("web1").XMLDesc(2)).findall("devices/disk")
    assert disk.find("backingStore/source") is None
