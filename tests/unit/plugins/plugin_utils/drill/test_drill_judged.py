# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drills: what may begin, one time line of what several hosts saw, and what is made of it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.plugin_utils.drill import timeline as lines
from ansible_collections.croft.infra.plugins.plugin_utils.drill.asking import prepare
from ansible_collections.croft.infra.plugins.plugin_utils.drill.model import HAPPENINGS, KINDS
from ansible_collections.croft.infra.plugins.plugin_utils.drill.page import render
from ansible_collections.croft.infra.plugins.plugin_utils.drill.probe import Prober, answers, note, waiting
from ansible_collections.croft.infra.plugins.plugin_utils.drill.verdict import gather, judge
from jsonschema import Draft202012Validator
from sizing_cases import cluster, plan, vm

DATA = Path(__file__).parent / "data"
SCHEMA = Path(lines.__file__).parent / "schema/drill.schema.json"
FEW = {"rules": {"consolidation": {"min": 1, "max": 10}}}
LAB = [{"name": f"kvm{n}", "address": f"10.99.0.1{n}"} for n in (1, 2, 3)]


def status(state: str = "ok", version: int = 3) -> str:
    """What crm_mon printed, of Pacemaker 2.1.5 and 3.0.0."""
    return (DATA / f"crm_mon-{state}-pacemaker{version}.xml").read_text()


def made() -> dict[str, Any]:
    wished = [
        vm("vm1", ha=True, host="kvm1", address="10.99.0.101/24"),
        vm("vm2", ha=True, host="kvm2", address="10.99.0.102/24"),
        vm("vm3", ha=True, host="kvm2"),
        vm("plain", host="kvm2"),
        vm("off", ha=True, host="kvm3", state="stopped"),
    ]
    return plan(cluster(3), wished, FEW, storage_layout="centralized")


def ask(*, said: str | None = None, allowed: Any = True, **request: Any) -> dict[str, Any]:
    hosts = dict.fromkeys(("kvm1", "kvm2", "kvm3"), allowed)
    wanted = {"kind": "host_kill", "host": "kvm2", "power": "lab", "lab_nodes": LAB, **request}
    return prepare(wanted, hosts, made(), status() if said is None else said)


# --- may it begin -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [2, 3])
def test_a_healthy_cluster_and_a_marked_host(version: int) -> None:
    found = ask(said=status(version=version))
    assert found["problems"] == []
    assert found["victim"] == "kvm2"
    assert [(one["name"], one["from"], one["restarts"], one["address"]) for one in found["follow"]] == [
        ("vm1", "kvm1", False, "10.99.0.101"),
        ("vm2", "kvm2", True, "10.99.0.102"),
        ("vm3", "kvm2", True, None),
    ]
    assert {one["name"]: one["planned"] for one in found["follow"] if one["restarts"]}.keys() == {"vm2", "vm3"}
    assert [node.get("state") for node in found["lab_nodes"]] == [None, "powered_off", None]


@pytest.mark.parametrize("allowed", [False, None, "no"])
def test_a_host_that_is_not_marked_is_left_alone(allowed: Any) -> None:
    assert ask(allowed=allowed)["problems"] == [
        "kvm2: is not marked for drills; set drill_allowed: true for it where that is wanted, and only there"
    ]


@pytest.mark.parametrize("version", [2, 3])
def test_a_cluster_that_is_not_whole(version: int) -> None:
    assert ask(said=status("dead", version))["problems"] == [
        "kvm2: is not online; a drill needs a healthy cluster",
        "kvm2: is unclean; a drill needs a healthy cluster",
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('with_quorum="true"', 'with_quorum="false"'), "the cluster has no quorum"),
        (('stonith-enabled="true"', 'stonith-enabled="false"'), "the cluster does not fence (stonith-enabled)"),
        (('maintenance-mode="false"', 'maintenance-mode="true"'), "the cluster is in maintenance mode"),
        (('standby="false"', 'standby="true"'), "kvm1: is in standby"),
        (('managed="true"', 'managed="false"'), "fence-kvm1: is not managed"),
        (('failed="false"', 'failed="true"'), "fence-kvm1: has failed"),
        (('role="Started"', 'role="Stopped"'), "fence-kvm1: is stopped and not started"),
        (
            (
                "</node_history>",
                '</node_history><fence_history status="0"><fence_event action="reboot" target="kvm3" '
                'status="pending"/></fence_history>',
            ),
            "kvm3: is being fenced (reboot)",
        ),
    ],
)
def test_each_thing_that_is_wrong_with_the_cluster(change: tuple[str, str], says: str) -> None:
    problems = ask(said=status().replace(*change, 1))["problems"]
    assert [line for line in problems if line.startswith(says)], problems


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (
            {"kind": "fire"},
            "drill_kind: is 'fire', must be one of host_kill, host_isolate, vm_kill, vm_hang, storage_st",
        ),
        ({"host": "kvm9"}, "drill_host: is 'kvm9', no host of the inventory; did you mean"),
        ({"host": ""}, "drill_host: is empty, no host of the inventory; known are: kvm1, kvm2, kvm3"),
        ({"host": "kvm3"}, "kvm3: runs no VM with ha: true, so that nothing would be seen; choose another host"),
        ({"lab_nodes": []}, "kvm2: is no node of the lab; with drill_power: fencing the cluster fences it"),
        (
            {"kind": "host_isolate", "power": "fencing"},
            "drill_kind: host_isolate is for nodes of the lab; elsewhere pull",
        ),
        (
            {"kind": "vm_kill", "vm": "plain"},
            "drill_vm: is 'plain', no VM with ha: true; known are: off, vm1, vm2, vm3",
        ),
        ({"kind": "storage_stop"}, "drill_storage_unit: is not set; name the unit to stop, such as ceph-osd@0"),
        ({"said": "crm_mon: Error"}, "the cluster does not say how it is (crm_mon); is Pacemaker running there?"),
    ],
)
def test_each_thing_that_is_wrong_with_what_is_asked_for(request_: dict[str, Any], says: str) -> None:
    problems = ask(**request_)["problems"]
    assert [line for line in problems if line.startswith(says)], problems


def test_all_is_told_at_once() -> None:
    found = ask(said=status("dead"), allowed=False, lab_nodes=[])
    assert len(found["problems"]) == 4
    assert found["follow"] == []


def test_a_vm_that_would_not_come_back() -> None:
    wished = [vm(f"vm{n}", 12, 26000, ha=True, host=f"kvm{n}") for n in (1, 2, 3)]
    wished += [vm(f"more{n}", 12, 26000, host=f"kvm{n}") for n in (1, 2, 3)]
    tight = plan(
        cluster(3), wished, {"rules": {**FEW["rules"], "failover": {"level": "warn"}}}, storage_layout="centralized"
    )
    wanted = {"kind": "host_kill", "host": "kvm1", "power": "lab", "lab_nodes": LAB}
    (problem,) = prepare(wanted, {"kvm1": True}, tight, status())["problems"]
    assert problem.startswith("kvm1: vm1 would not come back: memory-overcommit on kvm2: needs")


def test_a_vm_is_followed_where_it_runs() -> None:
    found = ask(kind="vm_kill", vm="vm1", host="")
    assert (found["problems"], found["victim"]) == ([], "kvm1")
    assert {one["name"]: (one["restarts"], one["planned"]) for one in found["follow"]} == {
        "vm1": (True, None),
        "vm2": (False, None),
        "vm3": (False, None),
    }


# --- one time line ----------------------------------------------------------------------------------------------------

# As the daemons write it: Pacemaker 2.1, 3.0, and corosync 3.1.
SAID = {
    "A processor failed, forming new configuration: token timed out (3650ms), waiting 4380ms for consensus.": "noticed",
    "Node kvm2 state is now lost": "lost",
    "Requesting fencing (reboot) of node kvm2": "fencing",
    "Requesting fencing (reboot) targeting node kvm2": "fencing",
    "Requesting peer fencing (off) targeting kvm2": "fencing",
    "Operation 'reboot' targeting kvm2 by kvm1 for pacemaker-controld.26190@kvm1: OK (complete)": "fenced",
    "Operation 'reboot' targeting kvm2 on kvm1 for pacemaker-controld.26190@kvm1.a127b270: OK": "fenced",
    "Operation 'reboot' targeting kvm2 by kvm1 for pacemaker-controld.1@kvm3: Error (Timed out)": "fence_failed",
    "Peer kvm2 was terminated (reboot) by kvm1 on behalf of pacemaker-controld.26190: OK": "fenced",
    "Peer kvm2 was not terminated (reboot) by <anyone> on behalf of pacemaker-controld.1: No such dev": "fence_failed",
    "Initiating start operation vm2_start_0 locally on kvm2": "starting",
    "Initiating start operation vm2_start_0 on kvm2": "starting",
    "Result of monitor operation for vm2 on kvm2: not running": "failed",
    "Result of monitor operation for vm2 on kvm2: Timed out after 30s (Resource agent did not end)": "failed",
    "Result of start operation for vm2 on kvm2: error (Failed to start)": "start_failed",
    "Result of start operation for vm2 on kvm2: ok": None,
    "Result of monitor operation for vm2 on kvm2: OK": None,
    "Result of probe operation for vm2 on kvm2: not running": None,
    "Node kvm2 state is now member": None,
}


@pytest.mark.parametrize("text", SAID)
def test_what_the_daemons_write(text: str) -> None:
    found = [(what, match) for what, pattern in lines.SAID if (match := pattern.search(text))]
    assert [what for what, _ in found] == ([SAID[text]] if SAID[text] else [])
    for _, match in found:
        assert set(match.groupdict().values()) <= {"kvm2", "vm2"}


def sample(at: float, clock: float, qemu: Any = (), journal: Any = (), *, late: float = 0.3) -> dict[str, Any]:
    """One that was taken ``at`` on the controller's clock, on a host whose clock is ``clock`` ahead."""
    started = [{"name": name, "pid": pid, "started": when + clock} for name, pid, when in qemu]
    said = [{"at": when + clock, "who": "x", "text": text} for when, text in journal]
    return {"before": at - late, "after": at + 0.3, "now": at + clock, "qemu": started, "journal": said}


def test_clocks_are_compared_as_closely_as_the_samples_allow() -> None:
    samples = [sample(10, 5000, late=3), sample(20, 5000, late=0.2), sample(30, 5000, late=9)]
    difference, error = lines.clock_difference(samples)
    assert abs(difference - 5000) <= error
    assert error == pytest.approx(0.25)


def test_the_moment_on_the_hosts_own_clock_is_the_exact_one() -> None:
    watched = {"kvm1": {"samples": [sample(110, 5000)], "guests": {}, "ended": 111.0}}
    for at, began in ((5104.0, 104.0), (5090.0, 100.0), (5150.0, 115.0)):
        found = gather(watched, 100.0, 15.0, ("kvm1", at))
        assert (found["began"], found["inexact"]) == (pytest.approx(began), pytest.approx(0.3))
    # A host that saw nothing leaves it as it was.
    assert gather(watched, 100.0, 15.0, ("kvm2", 5104.0))["inexact"] == 15.0


def test_what_two_hosts_say_is_told_once_and_what_comes_again_twice() -> None:
    failed = "Result of monitor operation for vm2 on kvm2: not running"
    one = sample(140, 0, (), [(110.0, failed), (130.0, failed)])
    two = sample(140, 0, (), [(110.2, failed)])
    events, _ = lines.timeline(100.0, {"kvm1": [one], "kvm3": [two]}, {})
    assert [(event.what, round(event.at, 1)) for event in events] == [("failed", 10.0), ("failed", 30.0)]


HOST_DEATH = [
    (103.4, "A processor failed, forming new configuration: token timed out (3650ms), waiting 4380ms for consensus."),
    (107.7, "Node kvm2 state is now lost"),
    (107.8, "Requesting fencing (reboot) of node kvm2"),
    (115.0, "Operation 'reboot' targeting kvm2 by kvm1 for pacemaker-controld.1@kvm1: OK (complete)"),
    (115.1, "Initiating start operation vm2_start_0 on kvm3"),
    (115.2, "Initiating start operation vm3_start_0 locally on kvm1"),
]


def seen(**changes: Any) -> dict[str, dict[str, Any]]:
    """What two hosts watched of kvm2's death at 100: their clocks are 5000 and 70 ahead."""
    vm2, vm3 = changes.get("vm2", ("vm2", 22, 117.0)), changes.get("vm3", ("vm3", 33, 118.0))
    said = changes.get("journal", HOST_DEATH)
    one = [sample(101, 5000, [("vm1", 11, 20.0)]), sample(140, 5000, [("vm1", 11, 20.0), vm3], said)]
    three = [sample(102, 70), sample(141, 70, [vm2] if vm2 else [], [(107.9, "Node kvm2 state is now lost")])]
    guests = {
        "vm1": [[101.0, True]],
        "vm2": [[101.0, False], [135.5, True]],
        "vm3": [[101.0, False], [137.0, True]],
        **changes.get("guests", {}),
    }
    return {
        "kvm1": {"samples": one, "guests": guests, "ended": 141.0},
        "kvm3": {"samples": three, "guests": {"vm2": [[102.0, False]]}, "ended": 142.0},
    }


FOLLOW = [
    {"name": "vm1", "from": "kvm1", "planned": None, "restarts": False, "address": "10.0.0.1"},
    {"name": "vm2", "from": "kvm2", "planned": "kvm3", "restarts": True, "address": "10.0.0.2"},
    {"name": "vm3", "from": "kvm2", "planned": "kvm3", "restarts": True, "address": "10.0.0.3"},
]


def report(target: int = 60, kind: str = "host_kill", follow: Any = None, **changes: Any) -> dict[str, Any]:
    asked = {"kind": kind, "host": "kvm2", "vm": "", "target": target, "follow": FOLLOW if follow is None else follow}
    said = judge(asked, gather(seen(**changes), 100.0, 0.5))
    errors = [error.message for error in Draft202012Validator(json.loads(SCHEMA.read_text())).iter_errors(said)]
    assert errors == []
    return said


def test_a_vm_may_come_back_on_the_host_that_was_broken() -> None:
    # Of which nobody watches the processes.
    again = (124.0, "Initiating start operation vm2_start_0 on kvm2")
    said = report(vm2=None, journal=[*HOST_DEATH[:4], again, HOST_DEATH[5]])
    two = said["virtual_machines"][1]
    assert (said["verdict"], two["to"], two["started"], two["up"]) == ("passed", "kvm2", None, 35.5)
    assert two["reason"] == "on another host than the plan's, kvm3, and legal by the cluster's configuration"


def test_a_fence_device_that_starts_elsewhere_is_no_vm() -> None:
    moved = (107.8, "Initiating start operation fence-kvm1_start_0 on kvm3")
    assert report(journal=[*HOST_DEATH, moved])["lines"] == []


def test_a_host_dies_and_all_come_back() -> None:
    said = report()
    assert (said["verdict"], said["lines"]) == ("passed", [])
    assert {what: round(at, 1) for what, at in said["milestones"].items()} == {
        "noticed": 3.4,
        "lost": 7.7,
        "fencing": 7.8,
        "fenced": 15.0,
    }
    one, two, three = said["virtual_machines"]
    assert (one["to"], one["started"], one["silent_seconds"]) == ("kvm1", None, 0)
    assert (two["to"], two["starting"], two["started"], two["up"]) == ("kvm3", 15.1, 17.0, 35.5)
    assert (two["verdict"], two["reason"]) == ("passed", "")
    # Another host than the plan's is told, and no failure.
    assert (three["to"], three["verdict"]) == ("kvm1", "passed")
    assert three["reason"] == "on another host than the plan's, kvm3, and legal by the cluster's configuration"
    assert [event["what"] for event in said["events"]] == [
        "noticed",
        "lost",
        "fencing",
        "fenced",
        "starting",
        "starting",
        "started",
        "started",
        "up",
        "up",
    ]
    assert said["inexact_seconds"] == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"vm2": None}, "vm2: does not run again"),
        ({"guests": {"vm2": [[101.0, False]]}}, "vm2: QEMU runs on kvm3, and the guest does not answer"),
        ({"target": 36}, "vm3: was back after 37.0 s, the target is 36 s"),
        (
            {"guests": {"vm1": [[101.0, True], [103.0, False]]}, "target": 38},
            "vm1: was silent for 39.0 s, the target is 38 s",
        ),
        ({"journal": HOST_DEATH[:3]}, "kvm2: nothing says that it was fenced"),
        (
            {"journal": [*HOST_DEATH[:4], (110.0, "Initiating start operation vm2_start_0 on kvm3")]},
            "vm2: was started before kvm2 was fenced",
        ),
        ({"vm2": ("vm1", 44, 117.0)}, "vm1: was started anew on kvm3, 17.0 s after"),
        ({"vm2": ("vm1", 44, 117.0)}, "vm1: runs on kvm1 and kvm3"),
    ],
)
def test_each_way_to_fail(changes: dict[str, Any], expected: str) -> None:
    said = report(**changes)
    assert said["verdict"] == "failed"
    assert expected in said["lines"]


HANGS = [{"name": "vm2", "from": "kvm2", "planned": None, "restarts": True, "address": "10.0.0.2"}]


@pytest.mark.parametrize(
    ("changes", "verdict", "up", "reason"),
    [
        ([[101.0, False], [120.0, True]], "passed", 20.0, ""),
        ([[101.0, True], [103.0, False], [125.0, True]], "passed", 25.0, ""),
        ([[101.0, False], [190.0, True]], "failed", 90.0, "was back after 90.0 s, the target is 60 s"),
        ([[101.0, False]], "failed", None, "QEMU runs on kvm2, and the guest does not answer"),
        ([[103.0, True]], "failed", None, "its guest answered all the while, or nobody can ask it: it did not hang"),
    ],
)
def test_a_guest_that_hung_comes_back_in_the_qemu_that_it_has(
    changes: list[list[Any]], verdict: str, up: float | None, reason: str
) -> None:
    said = report(kind="vm_hang", follow=HANGS, vm2=None, guests={"vm2": changes})
    (vm,) = said["virtual_machines"]
    assert (said["verdict"], vm["to"], vm["started"], vm["up"]) == (verdict, "kvm2", None, up)
    assert vm["reason"] == reason


def test_storage_that_stops_may_hold_up_everybody_for_a_while() -> None:
    follow = [{**one, "restarts": False, "planned": None} for one in FOLLOW[:1]]
    held = {"guests": {"vm1": [[101.0, True], [105.0, False], [125.0, True]]}, "vm2": None}
    said = report(kind="storage_stop", follow=follow, target=30, **held)
    assert (said["verdict"], said["virtual_machines"][0]["silent_seconds"]) == ("passed", 20.0)
    assert report(kind="storage_stop", follow=follow, target=10, **held)["lines"] == [
        "vm1: was silent for 20.0 s, the target is 10 s"
    ]


def test_a_guest_that_was_back_before_it_was_first_asked() -> None:
    two = report(guests={"vm2": [[131.0, True]]})["virtual_machines"][1]
    assert (two["up"], two["silent_seconds"], two["verdict"]) == (31.0, 31.0, "passed")


def test_a_guest_that_nobody_can_ask_is_no_failure() -> None:
    assert report(guests={"vm1": [[101.0, False]]})["verdict"] == "passed"


# --- the page ---------------------------------------------------------------------------------------------------------


class Tags(HTMLParser):
    """Which tags are open at the end: none of a page that is well made."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("changes", [{}, {"vm2": None}, {"journal": []}, {"follow": []}])
def test_the_page_stands_alone(changes: dict[str, Any]) -> None:
    said = report(**changes)
    text = render(said)
    tags = Tags()
    tags.feed(text)
    assert (tags.open, tags.loads) == ([], [])
    assert f'<span class="{said["verdict"]}">' in text


def test_the_page_escapes_what_it_is_told() -> None:
    said = report()
    said["events"][0]["text"] = "<script>"
    assert "<script>" not in render(said)


def test_words_and_schema_know_the_same() -> None:
    schema = json.loads(SCHEMA.read_text())
    assert schema["properties"]["kind"]["enum"] == list(KINDS)
    assert set(schema["properties"]["events"]["items"]["properties"]["what"]["enum"]) == set(HAPPENINGS)
    assert {what for what, _ in lines.SAID} | {"started", "down", "up"} == set(HAPPENINGS)


# --- guests -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def test_a_port_counts_only_when_somebody_is_behind_it(server: socket.socket) -> None:
    port = server.getsockname()[1]
    # The kernel takes the connection, and nobody greets: a guest whose userland is gone.
    assert not answers("127.0.0.1", port, 0.2)

    def greet() -> None:
        for _ in range(2):
            opened, _ = server.accept()
            with opened:
                opened.sendall(b"SSH-2.0-x\r\n")

    thread = threading.Thread(target=greet, daemon=True)
    thread.start()
    assert answers("127.0.0.1", port, 2)
    server.close()
    assert not answers("127.0.0.1", port, 0.2)


def test_changes_are_noted_with_their_moment() -> None:
    said = [True, False, False, True, True]

    def next_one(address: str, port: int) -> bool:
        assert (address, port) == ("10.0.0.1", 22)
        return said.pop(0) if len(said) > 1 else said[0]

    prober = Prober({"vm1": "10.0.0.1"}, 22, next_one, every=0.01)
    before = time.monotonic()
    prober.start()
    while len(prober.changes["vm1"]) < 3 and time.monotonic() < before + 5:
        time.sleep(0.01)
    prober.stop()
    assert [up for _, up in prober.changes["vm1"]] == [True, False, True]
    assert all(at >= before for at, _ in prober.changes["vm1"])


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({}, ["vm2", "vm3"]),
        ({"vm2": [[1, True]], "vm3": [[1, False]]}, ["vm3"]),
        ({"vm2": [[1, True], [2, False]], "vm3": [[1, False], [3, True]]}, ["vm2"]),
        ({"vm2": [[1, True], [2, False], [9, True]], "vm3": [[1, False], [3, True]]}, []),
    ],
)
def test_who_is_still_waited_for(changes: dict[str, Any], left: list[str]) -> None:
    assert waiting(FOLLOW, changes) == left


def test_what_does_not_change_is_noted_once() -> None:
    changes: list[list[Any]] = []
    for at, up in ((1.0, False), (2.0, False), (3.0, True), (4.0, True)):
        note(changes, at, up)
    assert changes == [[1.0, False], [3.0, True]]
