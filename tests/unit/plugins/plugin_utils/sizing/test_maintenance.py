# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host in maintenance takes nothing new: no VM that is placed, none that restarts, none that is moved."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.limits import Ceiling
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.moves import Asked, make_moves
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.parse import read_inputs
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.repair import repair
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.search import Board
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sizing_cases import TODAY, cluster, found, host, levels, only, plan, problems_of, rules, running, vm

REASON = {"reason": "new memory"}
PLACEMENTS = ("spread", "pack")


def resting(hosts: dict[str, Any], *names: str) -> dict[str, Any]:
    """The hosts, those of these names in maintenance."""
    made = dict(hosts)
    for name in names:
        facts = {"virtual_machines": [], "pools": [], **made[name].get("croft_host_facts", {})}
        made[name] = {**made[name], "croft_host_facts": {**facts, "maintenance": REASON}}
    return made


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        (None, None),
        ({"reason": "new memory"}, "new memory"),
        ({"reason": ""}, "no reason given"),
        ({"reason": None}, "no reason given"),
        ({}, "no reason given"),
        ("yes", None),
    ],
)
def test_it_is_read_from_the_facts(about: Any, expected: str | None) -> None:
    facts = {"virtual_machines": [], "pools": [], "maintenance": about}
    hosts = {"kvm1": {**host(), "croft_host_facts": facts}, "kvm2": host()}
    inputs, problems = read_inputs(["kvm1", "kvm2"], hosts, [], storage_layout="local", today=TODAY)
    assert problems == []
    assert inputs is not None
    assert [each.maintenance for each in inputs.hosts] == [expected, None]


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_nothing_new_is_placed_there(placement: str) -> None:
    vms = [vm(f"v{i}") for i in range(8)]
    made = plan(resting(cluster(3), "kvm1"), vms, {"placement": placement})
    assert set(made["placements"].values()) <= {"kvm2", "kvm3"}
    assert made["verdict"] == "admitted"


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_without_another_host_it_is_refused_and_says_why(placement: str) -> None:
    made = plan(resting(cluster(1), "kvm1"), [vm("a")], {"placement": placement})
    assert (made["verdict"], made["placements"]) == ("refused", {"a": None})
    finding = only(made, "maintenance")
    assert finding["message"] == "a has no host: nothing new goes to kvm1 (new memory)"
    assert "playbooks/undrain.yml" in finding["fix"]
    assert finding["vm"] == "a"


def test_the_closest_host_is_one_that_takes_vms() -> None:
    # It would fit on kvm1 but for the maintenance; what is in its way on kvm2 is what can be told in numbers.
    made = plan(
        resting({"kvm1": host(), "kvm2": host(memory_mib=2000)}, "kvm1"),
        [vm("a")],
        rules(memory_overcommit={"limit": 0.5}),
    )
    finding = only(made, "memory-overcommit")
    assert finding["message"].startswith("a has no host; with it on kvm2, the closest: ")


def test_what_runs_there_stays() -> None:
    hosts = resting(running(cluster(2), [vm("a")], {"a": "kvm1"}), "kvm1")
    made = plan(hosts, [vm("a"), vm("b"), vm("c", host="kvm2")])
    assert made["placements"] == {"a": "kvm1", "b": "kvm2", "c": "kvm2"}
    assert made["verdict"] == "admitted"


def test_a_vm_of_a_group_follows_nobody_there() -> None:
    hosts = resting(running(cluster(2), [vm("a")], {"a": "kvm1"}), "kvm1")
    made = plan(hosts, [vm("a", affinity="g"), vm("b", affinity="g")])
    assert made["placements"]["a"] == "kvm1"
    assert made["placements"]["b"] is None
    assert made["verdict"] == "refused"


def test_a_new_vm_that_is_pinned_there_is_one_problem() -> None:
    hosts = resting(cluster(2), "kvm1")
    (line,) = problems_of(hosts, [vm("a", host="kvm1"), vm("b", host="kvm2"), vm("c")])
    assert line == (
        "VM a: is pinned to kvm1, which takes nothing new (new memory); end its maintenance with "
        "playbooks/undrain.yml, or take the pin out"
    )
    # One that is there already, or runs elsewhere, is not made anew.
    assert problems_of(resting(running(cluster(2), [vm("a")], {"a": "kvm1"}), "kvm1"), [vm("a", host="kvm1")]) == []
    assert problems_of(resting(running(cluster(2), [vm("a")], {"a": "kvm2"}), "kvm1"), [vm("a", host="kvm1")]) == []


def test_nothing_restarts_there() -> None:
    vms = [vm("h", ha=True)]
    hosts = running(cluster(3), vms, {"h": "kvm1"})
    made = plan(resting(hosts, "kvm2"), vms, storage_layout="centralized")
    assert made["verdict"] == "admitted"
    (restart,) = made["failover"][0]["virtual_machines"]
    assert (made["failover"][0]["host"], restart["to"]) == ("kvm1", "kvm3")


def test_what_is_survived_again_after_maintenance_is_told_and_refuses_nothing() -> None:
    vms = [vm("a", ha=True, anti_affinity="web"), vm("b", ha=True, anti_affinity="web")]
    hosts = running(cluster(3), vms, {"a": "kvm1", "b": "kvm2"})
    made = plan(resting(hosts, "kvm3"), vms, storage_layout="centralized")
    assert made["verdict"] == "admitted"
    assert levels(made, "failover") == ["warn", "warn"]
    first = next(one for one in made["findings"] if one["rule"] == "failover")
    assert first["message"].endswith("web is there already), as long as kvm3 is in maintenance")
    assert first["fix"].startswith("end it soon with playbooks/undrain.yml, or add a host")
    # The table tells what would really become of it.
    assert {restart["to"] for death in made["failover"] for restart in death["virtual_machines"]} == {None}


def test_what_no_end_of_maintenance_helps_is_refused() -> None:
    vms = [vm(name, ha=True, anti_affinity="web") for name in ("a", "b", "c")]
    hosts = running(cluster(3), vms, {"a": "kvm1", "b": "kvm2", "c": "kvm3"})
    made = plan(resting(hosts, "kvm3"), vms, storage_layout="centralized")
    assert made["verdict"] == "refused"
    assert levels(made, "failover") == ["deny", "deny", "deny"]


def test_something_new_beside_what_is_lost_to_maintenance_alone_is_admitted() -> None:
    vms = [vm("a", ha=True, anti_affinity="web"), vm("b", ha=True, anti_affinity="web"), vm("new")]
    hosts = running(cluster(3), vms[:2], {"a": "kvm1", "b": "kvm2"})
    made = plan(resting(hosts, "kvm3"), vms, storage_layout="centralized")
    assert (made["verdict"], levels(made, "failover")) == ("admitted", ["warn", "warn"])


@pytest.mark.parametrize(("threads", "expected"), [(12, "admitted"), (8, "refused")])
def test_something_new_in_the_room_where_another_would_restart_is_refused(threads: int, expected: str) -> None:
    # kvm2 takes what of kvm1 restarts, or what is new; kvm3, in maintenance, would take it later.
    vms = [vm("a", vcpus=5, ha=True), vm("new", vcpus=5, host="kvm2")]
    policy = rules(cpu_overcommit={"limit": 1.0}, failover={})
    shape = {"threads": threads, "cores": threads // 2}
    hosts = {name: host(**shape) for name in ("kvm1", "kvm2", "kvm3")}
    hosts = running(hosts, vms[:1], {"a": "kvm1"})
    assert plan(hosts, vms, policy, storage_layout="centralized")["verdict"] == "admitted"
    made = plan(resting(hosts, "kvm3"), vms, policy, storage_layout="centralized")
    assert made["verdict"] == expected


def test_a_part_of_the_board_is_closed_where_the_whole_is() -> None:
    top = Ceiling(10, 10, 10, 10, 10, 10, apart=True)
    board = Board([top] * 3)
    board.closed = {1}
    assert board.part([2, 1]).closed == {1}
    assert board.part([1, 0]).closed == {0}
    assert board.under([top] * 3).closed == {1}


def test_a_host_in_maintenance_may_die_too() -> None:
    vms = [vm("h", ha=True)]
    made = plan(resting(running(cluster(2), vms, {"h": "kvm1"}), "kvm1"), vms, storage_layout="centralized")
    assert made["verdict"] == "admitted"


def test_a_wish_for_two_deaths_counts_the_host_out() -> None:
    vms = [vm("h", ha=True)]
    policy = {"rules": {"failover": {"host_failures_tolerated": 2}}}
    hosts = running(cluster(3), vms, {"h": "kvm1"})
    assert plan(hosts, vms, policy, storage_layout="centralized")["verdict"] == "admitted"
    assert plan(resting(hosts, "kvm3"), vms, policy, storage_layout="centralized")["verdict"] == "refused"


def test_nothing_is_moved_there() -> None:
    hosts = resting(running(cluster(3), [vm("a"), vm("b", memory_mib=9000)], {"a": "kvm1", "b": "kvm3"}), "kvm2")
    given_vms = [vm("a"), vm("b", memory_mib=9000)]

    def ask(**more: Any) -> dict[str, Any]:
        return make_moves(list(hosts), hosts, given_vms, today_is=TODAY, storage_layout="centralized", **more)

    assert [step["to"] for wave in ask(asked=[Asked("a")])["waves"] for step in wave] == ["kvm3"]
    assert ask(asked=[Asked("a", "kvm2")])["problems"] == [
        "a: kvm2 is kept out by maintenance: takes nothing new (new memory)"
    ]
    assert [step["to"] for wave in ask(drained="kvm1")["waves"] for step in wave] == ["kvm3"]
    hosts = resting(hosts, "kvm3")
    (line,) = ask(drained="kvm1")["problems"]
    assert "is kept out by maintenance: takes nothing new (new memory)" in line
    # A host is marked before it is empty: what is left is moved by the next run.
    hosts = resting(running(cluster(2), given_vms, {"a": "kvm1", "b": "kvm2"}), "kvm1")
    assert [step["to"] for wave in ask(drained="kvm1")["waves"] for step in wave] == ["kvm2"]


def test_no_repair_goes_there() -> None:
    vms = [vm(f"v{i:02}") for i in range(11)]
    where = dict.fromkeys((entry["name"] for entry in vms), "kvm1")

    def mend(*names: str) -> Any:
        live = resting(running(cluster(3), vms, where), *names)
        inputs, _problems = read_inputs(list(live), live, vms, storage_layout="centralized", today=TODAY)
        assert inputs is not None
        return repair(inputs)

    assert [step.target for step in mend("kvm2").steps] == ["kvm3"]
    assert [step.target for step in mend("kvm3").steps] == ["kvm2"]
    made = mend("kvm2", "kvm3")
    assert (made.verdict, made.proved, made.steps) == ("none", True, ())


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]], Any, str]:
    count = draw(st.integers(2, 4))
    hosts = {}
    vms = [
        vm(
            f"v{i}",
            draw(st.integers(1, 3)),
            draw(st.sampled_from([500, 1000, 1600])),
            ha=draw(st.booleans()),
            **({"anti_affinity": "web"} if draw(st.integers(0, 3)) == 0 else {}),
        )
        for i in range(draw(st.integers(1, 6)))
    ]
    for i in range(count):
        facts = [found(f"x{i}", 1, 500, managed=False)] if draw(st.booleans()) else []
        hosts[f"kvm{i}"] = host(
            threads=8, cores=4, memory_mib=draw(st.sampled_from([4000, 6000])), disk_gib=200, facts=facts
        )
    there = {entry["name"]: draw(st.sampled_from(sorted(hosts))) for entry in vms if draw(st.booleans())}
    live = running(hosts, [entry for entry in vms if entry["name"] in there], there)
    return resting(live, *draw(st.sets(st.sampled_from(sorted(hosts))))), vms, there, draw(st.sampled_from(PLACEMENTS))


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(cases(), st.sampled_from(["local", "centralized"]))
def test_whatever_is_asked_nothing_new_comes_to_a_host_in_maintenance(case: Any, layout: str) -> None:
    hosts, vms, there, placement = case
    made = plan(hosts, vms, {"placement": placement}, storage_layout=layout)
    closed = {name for name, own in hosts.items() if own["croft_host_facts"].get("maintenance")}
    assert {name: made["placements"][name] for name in there} == there
    assert not {to for name, to in made["placements"].items() if name not in there} & closed
    assert not {restart["to"] for death in made["failover"] for restart in death["virtual_machines"]} & closed


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(cases())
def test_a_host_that_takes_nothing_is_as_good_as_none_for_what_is_new(case: Any) -> None:
    # Without VMs of its own a host in maintenance changes a plan no more than one that is not there.
    hosts, vms, there, placement = case
    closed = {name for name, own in hosts.items() if own["croft_host_facts"].get("maintenance")}
    if closed & set(there.values()) or closed == set(hosts):
        return
    rest = {name: own for name, own in hosts.items() if name not in closed}
    policy = {"placement": placement, **rules(memory_overcommit={}, cpu_overcommit={}, failover={}, affinity={})}
    # On shared storage all see one pool.
    with_it = plan(hosts, vms, policy, storage_layout="centralized")
    without = plan(rest, vms, policy, storage_layout="centralized")
    assert with_it["summary"]["placed"] == without["summary"]["placed"]
    if with_it["verdict"] != without["verdict"]:
        # But what is there does not survive without it either, and is not refused for what is new.
        assert (with_it["verdict"], without["verdict"]) == ("admitted", "refused")
        assert set(levels(with_it, "failover")) == {"warn"}
        assert {found["rule"] for found in without["findings"] if found["level"] == "deny"} == {"failover"}
        alone = [entry for entry in vms if entry["name"] in there]
        assert plan(rest, alone, policy, storage_layout="centralized")["verdict"] == "refused"
