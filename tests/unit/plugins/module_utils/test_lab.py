# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils import lab

NETWORK = lab.Network("br-croft", ipaddress.IPv4Interface("10.99.0.1/24"))
IMAGE = "/cache/node-0123"


def node(state: str = "present", name: str = "kvm1", address: str = "10.99.0.11", size: int = 1) -> lab.Node:
    return lab.Node(name, address, state, (lab.Disk("disk0", size),))


def found(name: str = "kvm1", **change: Any) -> lab.Found:
    up: dict[str, Any] = {
        "exists": True,
        "record": lab.record_of(node(name=name), IMAGE),
        "supervisor": 10,
        "leader": 11,
        "mounted": True,
        "loops": {"disk0": "/dev/loop3"},
        "connected": True,
    }
    return lab.Found(name, **(up | change))


OFF: dict[str, Any] = {"supervisor": None, "leader": None, "mounted": False, "loops": {}, "connected": False}
UP = {"bridge": True, "nat": True, "forwarding": True}


@pytest.mark.parametrize(
    ("wished", "there", "expected"),
    [
        pytest.param("present", None, ["create kvm1", "start kvm1"], id="new"),
        pytest.param("present", found(), [], id="up already"),
        pytest.param("present", found(connected=False), ["connect kvm1"], id="its network was cut"),
        pytest.param("present", found(**OFF), ["start kvm1"], id="its power was cut"),
        pytest.param("present", found(**(OFF | {"mounted": True})), ["release kvm1", "start kvm1"], id="it died"),
        pytest.param(
            "present",
            found(leader=None),
            ["cut power kvm1", "release kvm1", "start kvm1"],
            id="it ended",
        ),
        pytest.param("isolated", found(), ["isolate kvm1"], id="cut the network"),
        pytest.param("isolated", found(connected=False), [], id="cut already"),
        pytest.param("isolated", found(**OFF), ["start kvm1", "isolate kvm1"], id="up, but cut off"),
        pytest.param("powered_off", found(), ["cut power kvm1", "release kvm1"], id="cut the power"),
        pytest.param("powered_off", found(**OFF), [], id="off already"),
        pytest.param("powered_off", None, ["create kvm1"], id="new, but off"),
        pytest.param(
            "powered_off", found(**(OFF | {"loops": {"disk0": "/dev/loop3"}})), ["release kvm1"], id="off, loop left"
        ),
    ],
)
def test_a_node_comes_to_its_state(wished: str, there: lab.Found | None, expected: list[str]) -> None:
    machine = lab.Machine({"kvm1": there} if there else {}, **UP)
    assert [str(step) for step in lab.steps([node(wished)], machine, IMAGE)] == expected


def test_a_new_lab_makes_its_network_first() -> None:
    steps = [str(step) for step in lab.steps([node()], lab.Machine({}), IMAGE)]
    assert steps == ["create bridge", "allow forwarding", "create nat", "create kvm1", "start kvm1"]


def test_the_last_node_takes_the_network_and_strays_with_it() -> None:
    machine = lab.Machine({"kvm1": found(), "stray": found("stray", exists=False)}, **UP)
    steps = [str(step) for step in lab.steps([node("absent")], machine, IMAGE)]
    assert steps == [
        *("cut power kvm1", "release kvm1", "remove kvm1"),
        *("cut power stray", "release stray"),
        *("remove nat", "remove bridge", "restore forwarding"),
    ]


def test_taking_away_what_is_not_there_does_nothing() -> None:
    assert lab.steps([node("absent")], lab.Machine({}, forwarding=True), IMAGE) == []


def test_one_absent_node_leaves_the_others_and_strays_alone() -> None:
    machine = lab.Machine({name: found(name) for name in ("kvm1", "kvm2", "stray")}, **UP)
    wished = [node("absent"), node(name="kvm2")]
    assert [str(step) for step in lab.steps(wished, machine, IMAGE)] == [
        "cut power kvm1",
        "release kvm1",
        "remove kvm1",
    ]


def test_a_node_of_another_image_is_made_anew_only_by_name() -> None:
    machine = lab.Machine({"kvm1": found()}, **UP)
    lines = lab.stale([node()], machine, "/cache/node-4567", [])
    assert len(lines) == 1
    assert "kvm1" in lines[0]
    assert "another image" in lines[0]
    assert lab.stale([node()], machine, "/cache/node-4567", ["kvm1"]) == []
    steps = [str(step) for step in lab.steps([node()], machine, "/cache/node-4567", ["kvm1"])]
    assert steps == ["cut power kvm1", "release kvm1", "remove kvm1", "create kvm1", "start kvm1"]


def test_a_changed_disk_is_told_by_name() -> None:
    assert "another disks" in lab.stale([node(size=2)], lab.Machine({"kvm1": found()}, **UP), IMAGE, [])[0]


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"name": "KVM1", "address": "10.99.0.11"}, "the name must match"),
        ({"name": "a-name-too-long", "address": "10.99.0.11"}, "12 characters"),
        ({"name": "kvm1", "address": "10.98.0.11"}, "not one of the lab's network 10.99.0.0/24"),
        ({"name": "kvm1", "address": "ten"}, "not one of the lab's network"),
        ({"name": "kvm1", "address": "10.99.0.1"}, "taken by the machine"),
        (
            {"name": "kvm1", "address": "10.99.0.11", "disks": [{"name": "d", "size_gib": 0}]},
            "give a whole number >= 1",
        ),
    ],
)
def test_a_bad_node_is_told(entry: dict[str, Any], says: str) -> None:
    _nodes, problems = lab.parse_nodes([entry], NETWORK)
    assert len(problems) == 1
    assert says in problems[0]


def test_all_bad_nodes_are_told_at_once() -> None:
    entries = [{"name": "kvm1", "address": "10.99.0.11"}] * 2 + [{"name": "X", "address": "1.2.3.4"}]
    _nodes, problems = lab.parse_nodes(entries, NETWORK)
    assert len(problems) == 4  # the name twice, its address twice, a bad name, a bad address


def test_good_nodes_have_no_problems() -> None:
    nodes, problems = lab.parse_nodes(
        [{"name": "kvm1", "address": "10.99.0.11", "disks": [{"name": "disk0", "size_gib": 1}]}], NETWORK
    )
    assert (nodes, problems) == ([node()], [])


def test_the_supervisor_is_known_by_its_command_line() -> None:
    argv = lab.nspawn_command("kvm1", "/lab/nodes/kvm1/root", "br-croft", ["/dev/fuse"])
    assert lab.supervisor_of(argv) == "kvm1"
    assert lab.supervisor_root(argv) == "/lab/nodes/kvm1/root"
    assert lab.supervisor_of(["vi", "--machine=kvm1"]) is None
    assert "--bind=/dev/fuse" in argv


def test_a_node_outlives_its_starter_with_and_without_systemd() -> None:
    argv = ["systemd-nspawn", "--boot"]
    assert lab.start_command("kvm1", argv, systemd=False, log="/log") == argv
    with_systemd = lab.start_command("kvm1", argv, systemd=True, log="/log")
    assert with_systemd[0] == "systemd-run"
    assert with_systemd[-2:] == argv
    assert "--property=Delegate=yes" in with_systemd


def test_a_node_knows_its_address_its_peers_and_its_disks() -> None:
    peers = [node(), node(name="kvm2", address="10.99.0.12")]
    files = lab.node_files(peers[0], peers, NETWORK, {"disk0": "/dev/loop7"})
    assert files["etc/hostname"] == "kvm1\n"
    assert "10.99.0.12 kvm2" in files["etc/hosts"]
    assert "Address=10.99.0.11/24\nGateway=10.99.0.1" in files["etc/systemd/network/10-host0.network"]
    assert files["etc/croft-lab/disks"] == "disk0 /dev/loop7\n"


def test_who_is_gone_has_no_name() -> None:
    peers = [node(name="kvm2", address="10.99.0.12", state="absent"), node()]
    assert lab.hosts_file(peers) == "127.0.0.1 localhost\n::1 localhost\n10.99.0.11 kvm1\n"


def test_the_way_out_covers_the_labs_network_only() -> None:
    rules = lab.nft_rules(NETWORK)
    assert "table inet br_croft" in rules
    assert "ip saddr 10.99.0.0/24 ip daddr != 10.99.0.0/24 masquerade" in rules


@pytest.mark.parametrize(
    ("wished", "state", "there", "expected"),
    [
        ("10.99.0.21", "present", found(bmc="10.99.0.21"), []),
        ("10.99.0.21", "present", found(), ["start bmc kvm1"]),
        ("10.99.0.22", "present", found(bmc="10.99.0.21"), ["stop bmc kvm1", "start bmc kvm1"]),
        (None, "present", found(bmc="10.99.0.21"), ["stop bmc kvm1"]),
        # It is what could switch the node on again.
        ("10.99.0.21", "powered_off", found(bmc="10.99.0.21", **OFF), []),
        ("10.99.0.21", "isolated", found(bmc="10.99.0.21", connected=False), []),
        (
            "10.99.0.21",
            "absent",
            found(bmc="10.99.0.21"),
            ["stop bmc kvm1", "cut power kvm1", "release kvm1", "remove kvm1"],
        ),
    ],
)
def test_a_nodes_bmc_comes_and_goes_with_it(
    wished: str | None, state: str, there: lab.Found, expected: list[str]
) -> None:
    # Beside another node, so that the network stays.
    nodes = [replace(node(state), bmc=wished), node(name="kvm2", address="10.99.0.12")]
    machine = lab.Machine({"kvm1": there, "kvm2": found("kvm2")}, **UP)
    assert [str(step) for step in lab.steps(nodes, machine, IMAGE)] == expected


def test_a_bmc_that_was_left_by_a_lab_that_crashed_goes() -> None:
    machine = lab.Machine({"stray": lab.Found("stray", bmc="unknown")}, **UP)
    assert "stop bmc stray" in [str(step) for step in lab.steps([node("absent")], machine, IMAGE)]


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("10.98.0.21", "the BMC's address 10.98.0.21 is not one of"),
        ("10.99.0.11", "is taken by kvm1"),
        ("x", "not one of"),
    ],
)
def test_a_bad_address_of_a_bmc_is_told(address: str, says: str) -> None:
    entry = {"name": "kvm1", "address": "10.99.0.11", "bmc": {"address": address}}
    _nodes, problems = lab.parse_nodes([entry], NETWORK)
    assert len(problems) == 1
    assert says in problems[0]


def test_a_bmc_is_known_by_its_command_line() -> None:
    assert lab.bmc_of(lab.bmc_command("kvm1", "/lab/bmc"), "/lab/bmc") == "kvm1"
    assert lab.bmc_of(lab.bmc_command("kvm1", "/other/bmc"), "/lab/bmc") is None
    for argv in ([], ["ipmi_sim"], ["ipmi_sim", "-c"], ["cat", "-c", "/lab/bmc/kvm1.conf"]):
        assert lab.bmc_of(argv, "/lab/bmc") is None


def test_a_bmc_lets_in_who_has_the_password_and_switches_by_the_program() -> None:
    files = lab.bmc_files("kvm1", "10.99.0.21", "secret", "/lab/bmc/power")
    assert set(files) == {"kvm1.conf", "kvm1.emu"}
    assert "addr 10.99.0.21 623" in files["kvm1.conf"]
    assert 'chassis_control "/lab/bmc/power kvm1"' in files["kvm1.conf"]
    assert '"admin" "secret"' in files["kvm1.conf"]
