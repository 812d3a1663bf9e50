# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.croft.infra.plugins.module_utils.devices import Nic, Shape
from ansible_collections.croft.infra.plugins.module_utils.domain import (
    GIB,
    Actual,
    Domain,
    Host,
    Image,
    Wish,
    actions,
    diff,
    host_problems,
    needs_restart,
    problems,
    remarks,
    root_volume,
    state_after,
    stored_as,
)
from ansible_collections.croft.infra.plugins.module_utils.identity import vm_mac, vm_uuid
from ansible_collections.croft.infra.plugins.module_utils.seed import FirstBoot

WISH = Wish(
    name="web1",
    uuid=vm_uuid("web1"),
    mac=vm_mac("web1"),
    vcpus=2,
    memory_mib=1024,
    image="base.qcow2",
    network="lan",
    first_boot=FirstBoot("web1", vm_uuid("web1"), vm_mac("web1")),
    disk_bytes=10 * GIB,
)
OFF = replace(WISH, state="stopped")
FIELDS = WISH.fields()
STOPPED = Domain(WISH.uuid, True, "stopped", True, FIELDS, disk_path="/p/web1.qcow2", disk_bytes=10 * GIB)
RUNNING = replace(STOPPED, state="running", live=FIELDS)
IN_CLUSTER = replace(WISH, ha=True)
HANDED = replace(RUNNING, autostart=False, persistent=False, handed_over=True)
HOST = Host(
    pool_type="dir",
    images={"base.qcow2": Image("/p/base.qcow2", "qcow2", 2 * GIB)},
    networks={"lan": True, "idle": False},
    iso_tool="/usr/bin/xorrisofs",
)
OTHER_BOOT = replace(WISH.first_boot, address="10.0.0.5/24")
NEW = ["write_seed", "create_disk", "define", "set_autostart", "start"]

ACTIONS = [
    ("a new VM", WISH, Actual(), NEW),
    ("a new VM that stays off", OFF, Actual(), NEW[:-1]),
    ("a new VM that does not start with the host", replace(WISH, autostart=False), Actual(), [*NEW[:3], "start"]),
    ("only the seed is there", WISH, Actual(seed="building"), NEW),
    ("an empty seed is there", WISH, Actual(seed="empty"), NEW),
    ("seed without disk", WISH, Actual(seed="ready"), NEW),
    ("a disk cut off", WISH, Actual(None, 10 * GIB, "building"), ["write_seed", "recreate_disk", *NEW[2:]]),
    ("a disk, no domain", WISH, Actual(None, 10 * GIB, "ready"), ["write_seed", *NEW[2:]]),
    ("a small disk, no domain", WISH, Actual(None, GIB, "ready"), ["write_seed", "grow_disk", *NEW[2:]]),
    ("as wished, running", WISH, Actual(RUNNING), []),
    ("as wished, stopped", OFF, Actual(STOPPED), []),
    ("start", WISH, Actual(STOPPED), ["start"]),
    ("stop", OFF, Actual(RUNNING), ["stop"]),
    ("more vCPUs, running", replace(WISH, vcpus=4), Actual(RUNNING), ["redefine"]),
    ("more vCPUs, off", replace(OFF, vcpus=4), Actual(STOPPED), ["redefine"]),
    ("more vCPUs and start", replace(WISH, vcpus=4), Actual(STOPPED), ["redefine", "start"]),
    ("defined as wished, still runs as before", WISH, Actual(replace(RUNNING, live=replace(FIELDS, vcpus=1))), []),
    ("a larger disk", replace(WISH, disk_bytes=20 * GIB), Actual(RUNNING), ["grow_disk"]),
    ("a disk of any size", replace(WISH, disk_bytes=None), Actual(RUNNING), []),
    ("autostart off", replace(WISH, autostart=False), Actual(RUNNING), ["set_autostart"]),
    ("another network", replace(WISH, network="dmz"), Actual(RUNNING), ["redefine"]),
    ("another accelerator", replace(WISH, accelerator="tcg"), Actual(RUNNING), ["redefine"]),
    ("another address", replace(WISH, first_boot=OTHER_BOOT), Actual(RUNNING), ["write_seed", "redefine"]),
    ("has a watchdog still", WISH, Actual(replace(RUNNING, config=replace(RUNNING.config, watchdog=True))), []),
    (
        "wishes a watchdog",
        replace(WISH, watchdog=True),
        Actual(RUNNING),
        ["redefine"],
    ),
    ("its seed was detached", replace(WISH, first_boot=OTHER_BOOT), Actual(replace(RUNNING, seed="detached")), []),
    ("its seed is gone", WISH, Actual(replace(RUNNING, seed="missing")), ["write_seed"]),
    ("transient after a migration", WISH, Actual(replace(RUNNING, persistent=False)), ["redefine"]),
    ("a new VM of a cluster", IN_CLUSTER, Actual(), NEW[:3]),
    ("run by a cluster", IN_CLUSTER, Actual(HANDED), []),
    ("stopped by a cluster", IN_CLUSTER, Actual(replace(HANDED, state="stopped", live=None)), []),
    ("run by a cluster, wanted off", replace(IN_CLUSTER, state="stopped"), Actual(HANDED), []),
    ("more vCPUs in a cluster", replace(IN_CLUSTER, vcpus=4), Actual(HANDED), ["redefine"]),
    ("into a cluster", IN_CLUSTER, Actual(RUNNING), ["hand_over"]),
    ("into a cluster, changed", replace(IN_CLUSTER, vcpus=4), Actual(RUNNING), ["redefine", "hand_over"]),
    (
        "out of a cluster",
        WISH,
        Actual(replace(RUNNING, persistent=False, autostart=False)),
        ["redefine", "set_autostart"],
    ),
    ("paused", WISH, Actual(replace(RUNNING, state="paused")), []),
    ("paused, wanted off", OFF, Actual(replace(RUNNING, state="paused")), []),
    (
        "all at once",
        replace(OFF, vcpus=4, disk_bytes=20 * GIB, autostart=False, first_boot=OTHER_BOOT),
        Actual(RUNNING),
        ["stop", "write_seed", "grow_disk", "redefine", "set_autostart"],
    ),
]


@pytest.mark.parametrize(("wish", "actual", "expected"), [row[1:] for row in ACTIONS], ids=[row[0] for row in ACTIONS])
def test_actions(wish: Wish, actual: Actual, expected: list[str]) -> None:
    assert [step.action for step in actions(wish, actual)] == expected


def test_an_action_says_what_changes() -> None:
    steps = actions(replace(WISH, vcpus=4, memory_mib=2048, disk_bytes=20 * GIB), Actual(RUNNING))
    assert [step.detail for step in steps] == ["10 GiB -> 20 GiB", "vcpus 2 -> 4, memory_mib 1024 -> 2048"]


RESTARTS = [
    (WISH, Actual(), []),
    (WISH, Actual(RUNNING), []),
    (replace(WISH, vcpus=4), Actual(RUNNING), [("vcpus", 2, 4)]),
    (replace(OFF, vcpus=4), Actual(RUNNING), []),
    (replace(WISH, vcpus=4), Actual(STOPPED), []),
    (WISH, Actual(replace(RUNNING, live=replace(FIELDS, network="dmz"))), [("network", "dmz", "lan")]),
    (WISH, Actual(replace(RUNNING, state="paused", live=replace(FIELDS, vcpus=1))), [("vcpus", 1, 2)]),
]


@pytest.mark.parametrize(("wish", "actual", "expected"), RESTARTS)
def test_needs_restart(wish: Wish, actual: Actual, expected: list[tuple[str, object, object]]) -> None:
    assert needs_restart(wish, actual) == [{"field": f, "running": r, "wanted": w} for f, r, w in expected]


@pytest.mark.parametrize(
    ("state", "expected"),
    [("running", "running"), ("stopped", "running"), ("paused", "paused"), ("crashed", "crashed")],
)
def test_state_after(state: str, expected: str) -> None:
    assert state_after(WISH, Actual(replace(RUNNING, state=state))) == expected


def test_remarks() -> None:
    assert remarks(WISH, Actual(RUNNING)) == []
    (text,) = remarks(replace(WISH, vcpus=4), Actual(RUNNING))
    how = "stop and start it, or name it in virtual_machines_allow_restart, to bring these into force"
    assert text == f"web1: {how}: vcpus (has 2)"
    (text,) = remarks(WISH, Actual(replace(RUNNING, state="paused")))
    assert text.startswith("web1: is paused, wanted running; it is left so")


LOGICAL = replace(HOST, pool_type="logical")
PROBLEMS = [
    (WISH, Actual(), HOST, []),
    (WISH, Actual(RUNNING), HOST, []),
    (WISH, Actual(replace(RUNNING, managed=False)), HOST, ["a domain of that name is there and was not made by croft"]),
    (WISH, Actual(replace(RUNNING, uuid="other")), HOST, ["the domain has the UUID other, wanted"]),
    (WISH, Actual(replace(RUNNING, disk_bytes=None)), HOST, ["its disk /p/web1.qcow2 is not there"]),
    (WISH, Actual(replace(RUNNING, disk_bytes=11 * GIB)), HOST, ["disk_gib is 10 GiB, its disk has 11 GiB"]),
    (WISH, Actual(replace(RUNNING, seed="lost")), HOST, ["the volume of its disk vdb (first-boot data) is gone"]),
    (WISH, Actual(None, GIB, "absent"), HOST, ["the volume web1.qcow2 is there and not of this VM"]),
    (WISH, Actual(None, GIB, "empty"), HOST, ["the volume web1.qcow2 is there and not of this VM"]),
    (WISH, Actual(None, None, "foreign"), HOST, ["the volume web1-seed.iso is there and not of this VM"]),
    (WISH, Actual(None, GIB, "foreign"), HOST, ["the volume web1-seed.iso is", "the volume web1.qcow2 is there"]),
    (WISH, Actual(None, 11 * GIB, "ready"), HOST, ["disk_gib is 10 GiB, its disk has 11 GiB"]),
    (WISH, Actual(None, 11 * GIB, "building"), HOST, []),
    (replace(WISH, disk_bytes=GIB), Actual(), HOST, ["disk_gib is 1 GiB, the image base.qcow2 needs at least 2 GiB"]),
    (replace(WISH, disk_bytes=2 * GIB), Actual(), HOST, []),
    (WISH, Actual(), LOGICAL, ["a logical pool cannot hold linked clones"]),
    (replace(WISH, clone="full"), Actual(), LOGICAL, []),
    (replace(WISH, image="web1.qcow2"), Actual(), HOST, ["its disk would have the name of the image"]),
    (WISH, Actual(), replace(HOST, macs={WISH.mac: "db1"}), ["the MAC address " + WISH.mac + " already belongs to"]),
    (WISH, Actual(RUNNING), replace(HOST, macs={WISH.mac: "web1"}), []),
    (WISH, Actual(), replace(HOST, uuids={WISH.uuid: "db1"}), ["the UUID " + WISH.uuid + " already belongs to"]),
]


@pytest.mark.parametrize(("wish", "actual", "host", "expected"), PROBLEMS)
def test_problems(wish: Wish, actual: Actual, host: Host, expected: list[str]) -> None:
    found = problems([wish], {"web1": actual}, host)
    assert len(found) == len(expected)
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(f"web1: {start}")


UEFI = replace(WISH, shape=Shape(firmware="uefi", tpm=True))
SLOW = replace(WISH, shape=Shape(nics=(Nic("lan", WISH.mac, "network", WISH.network or "", outbound=100),)))
HUGE = replace(WISH, shape=Shape(hugepages=True))
HUGE_RUNNING = replace(RUNNING, live=replace(RUNNING.live or RUNNING.config, hugepages=True))
PINNED = replace(WISH, shape=Shape(numa_node=2))
TAGGED = replace(WISH, shape=Shape(nics=(Nic("lan", WISH.mac, "network", WISH.network or "", vlan=10),)))
ENDS = (
    Nic("lan", WISH.mac, "network", WISH.network or ""),
    Nic("second", "52:54:00:00:00:02", "bridge", "br0", vlan=20),
    Nic("third", "52:54:00:00:00:03", "macvtap", "eth1"),
)
BRIDGED = replace(WISH, shape=Shape(nics=ENDS))
LINKED = replace(HOST, bridges={WISH.network or "": "br-vms"}, libvirt=11_003_000)
HOST_PROBLEMS = [
    (WISH, Actual(), HOST, [], []),
    (WISH, Actual(), Host(missing="no libvirt"), [], ["no libvirt"]),
    (WISH, Actual(RUNNING), replace(HOST, iso_tool=None), [], []),
    (WISH, Actual(), replace(HOST, iso_tool=None), [], ["xorrisofs is not installed (Debian package xorriso)"]),
    (WISH, Actual(), replace(HOST, pool_type=None), [], ["the storage pool p is not defined"]),
    (WISH, Actual(), replace(HOST, pool_active=False), [], ["the storage pool p is not active"]),
    (WISH, Actual(), replace(HOST, pool_type="zfs"), ["the storage pool p is of type zfs; known are"], []),
    (replace(WISH, image="x"), Actual(), HOST, [], ["the image x is not in the storage pool p"]),
    (replace(WISH, image="x"), Actual(RUNNING), HOST, [], []),
    (replace(WISH, network="x"), Actual(), HOST, [], ["the network x is not defined"]),
    (replace(WISH, network="idle"), Actual(), HOST, [], ["the network idle is not active"]),
    (WISH, Actual(RUNNING), replace(HOST, networks={}), [], []),
    (WISH, Actual(), replace(HOST, cpu_models=frozenset({"EPYC"})), [], []),
    (replace(WISH, cpu_model="EPYC"), Actual(), replace(HOST, cpu_models=frozenset({"EPYC"})), [], []),
    (
        replace(WISH, cpu_model="X"),
        Actual(),
        replace(HOST, cpu_models=frozenset({"EPYC"})),
        ["the CPU model X is not"],
        [],
    ),
    (replace(WISH, cpu_model="X"), Actual(), HOST, [], []),
    (UEFI, Actual(), HOST, [], []),
    (UEFI, Actual(), replace(HOST, firmware=frozenset({"bios", "uefi"})), [], []),
    (
        UEFI,
        Actual(),
        replace(HOST, firmware=frozenset({"bios", "uefi-secure"}), tpm=False),
        [],
        ["libvirt has no firmware for uefi (Debian package ovmf)", "libvirt emulates no TPM (Debian package swtpm-"],
    ),
    (SLOW, Actual(), HOST, [], []),
    (SLOW, Actual(), replace(HOST, rates=True), [], []),
    (SLOW, Actual(), replace(HOST, rates=False), ["web1: bandwidth needs a kernel with sch_htb"], []),
    (TAGGED, Actual(), HOST, [], []),
    (
        TAGGED,
        Actual(),
        replace(LINKED, links={"br-vms": "bridge"}),
        ["web1: VLAN 10 on the bridge br-vms, which does not filter VLANs; have it do so with kvm_host_bridge_vlans"],
        [],
    ),
    (TAGGED, Actual(), replace(LINKED, links={"br-vms": "vlan_bridge"}), [], []),
    # Open vSwitch, say.
    (TAGGED, Actual(), replace(LINKED, links={"br-vms": "device"}, libvirt=9_000_000), [], []),
    (
        TAGGED,
        Actual(),
        replace(LINKED, links={"br-vms": "vlan_bridge"}, libvirt=10_999_999),
        ["web1: VLAN 10 on the bridge br-vms needs libvirt 11 (Debian 13)"],
        [],
    ),
    (TAGGED, Actual(RUNNING), replace(LINKED, links={"br-vms": "bridge"}), ["web1: VLAN 10 on the bridge br-vms"], []),
    (BRIDGED, Actual(), replace(LINKED, links={"br0": "vlan_bridge", "eth1": "device"}), [], []),
    (
        BRIDGED,
        Actual(),
        replace(LINKED, links={"br1": "bridge"}),
        [],
        ["the bridge br0 is not on this host", "the network device eth1 is not on this host"],
    ),
    (
        BRIDGED,
        Actual(),
        replace(LINKED, links={"br0": "bridge", "eth1": "device"}),
        ["web1: VLAN 20 on the bridge br0, which does not filter VLANs"],
        [],
    ),
    (HUGE, Actual(), HOST, [], []),
    (HUGE, Actual(), replace(HOST, free_hugepages_mib=WISH.memory_mib), [], []),
    (
        HUGE,
        Actual(),
        replace(HOST, free_hugepages_mib=WISH.memory_mib - 1),
        [f"web1: hugepages needs {WISH.memory_mib} MiB of free huge pages, this host has {WISH.memory_mib - 1}; set"],
        [],
    ),
    (replace(HUGE, state="stopped"), Actual(), replace(HOST, free_hugepages_mib=0), [], []),
    # It waits for a restart, and then takes all of them; one that runs on them takes none.
    (HUGE, Actual(RUNNING), replace(HOST, free_hugepages_mib=0), [], []),
    (
        replace(HUGE, allow_restart=True),
        Actual(RUNNING),
        replace(HOST, free_hugepages_mib=0),
        [f"web1: hugepages needs {WISH.memory_mib} MiB"],
        [],
    ),
    (replace(HUGE, allow_restart=True), Actual(HUGE_RUNNING), replace(HOST, free_hugepages_mib=0), [], []),
    (PINNED, Actual(), HOST, [], []),
    (PINNED, Actual(), replace(HOST, numa_nodes=frozenset({0, 2})), [], []),
    (
        PINNED,
        Actual(),
        replace(HOST, numa_nodes=frozenset({1, 0})),
        ["web1: numa_node is 2, which this host does not have (it has 0, 1); name"],
        [],
    ),
    (
        PINNED,
        Actual(),
        replace(HOST, numa_nodes=frozenset()),
        ["web1: numa_node is 2, which this host does not have (its kernel knows none); name"],
        [],
    ),
]


@pytest.mark.parametrize(("wish", "actual", "host", "found", "lacking"), HOST_PROBLEMS)
def test_host_problems(wish: Wish, actual: Actual, host: Host, found: list[str], lacking: list[str]) -> None:
    for lines, starts in zip(host_problems([wish], {"web1": actual}, host, "p"), (found, lacking), strict=True):
        assert [line[: len(start)] for line, start in zip(lines, starts, strict=True)] == starts


def test_the_diff_has_only_vms_with_something_to_do() -> None:
    other = replace(WISH, name="web2")
    found = diff([WISH, other], {"web1": Actual(RUNNING), "web2": Actual()})
    assert found["before"] == ""
    assert found["after"].splitlines()[:4] == ["web2:", "  state: running", "  autostart: true", "  disk_gib: 10"]
    assert "web1" not in found["after"]


@pytest.mark.parametrize(("pool", "expected"), [("dir", "a.qcow2"), ("netfs", "a.qcow2"), ("logical", "a.raw")])
def test_root_volume(pool: str, expected: str) -> None:
    assert root_volume("a", pool) == expected


@pytest.mark.parametrize(
    ("volume", "fmt", "pool", "expected"),
    [
        ("a.qcow2", "qcow2", "dir", ("a.qcow2", "qcow2")),
        ("a.qcow2", "qcow2", "rbd", ("a.raw", "raw")),
        ("a.qcow2", "qcow2", "logical", ("a.raw", None)),
        ("a.raw", "raw", "rbd", ("a.raw", "raw")),
        ("a.raw", "raw", "netfs", ("a.qcow2", "qcow2")),
        ("a.b.raw", "raw", "dir", ("a.b.qcow2", "qcow2")),
        ("a-seed.iso", "raw", "dir", ("a-seed.iso", "raw")),
        ("a-seed.iso", "raw", "rbd", ("a-seed.iso", "raw")),
        ("a-seed.iso", "raw", "logical", ("a-seed.iso", None)),
    ],
)
def test_what_a_volume_is_in_another_pool(volume: str, fmt: str, pool: str, expected: tuple[str, str | None]) -> None:
    assert stored_as(volume, fmt, pool) == expected
