# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers: what they reserve against what nodes have, how replicas spread, and what is no VM's work."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.artifacts import files, render_junit, to_sarif
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.plan import make_plan
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.terminal import render_terminal
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.whatif import what_if
from hypothesis import given, settings
from hypothesis import strategies as st
from sizing_cases import TODAY, cluster, levels, only, plan, problems_of, rules, vm

SCHEMA = json.loads(
    (Path(__file__).parents[5] / "plugins/plugin_utils/sizing/schema/plan.schema.json").read_text(encoding="utf-8")
)
# Nothing kept for the node itself: the numbers are those that stand here.
BARE = {"rules": {"container-capacity": {"node_memory_mib": 0}}}


def node(cpus: int = 4, memory_mib: int = 4096, **more: Any) -> dict[str, Any]:
    return {"container_node": {"cpus": cpus, "memory_mib": memory_mib, **more}}


def nodes(count: int, **more: Any) -> dict[str, Any]:
    return {f"n{i + 1}": node(**more) for i in range(count)}


def container(
    name: str = "web", cpus: Any = 1, memory_mib: int = 512, replicas: int = 1, **more: Any
) -> dict[str, Any]:
    return {"name": name, "cpus": cpus, "memory_mib": memory_mib, "replicas": replicas, **more}


def made(on: dict[str, Any], wanted: Any, policy: Any = BARE, **more: Any) -> dict[str, Any]:
    return plan({}, [], policy, containers=wanted, nodes=on, **more)


def placed(result: dict[str, Any], name: str = "web") -> dict[str, int]:
    (one,) = [one for one in result["containers"]["containers"] if one["name"] == name]
    return dict(one["placements"])


# --- what fits ---


def test_replicas_go_to_different_machines_and_need_no_hypervisor() -> None:
    result = made(nodes(3), [container(replicas=3)])
    assert result["verdict"] == "admitted"
    assert placed(result) == {"n1": 1, "n2": 1, "n3": 1}
    assert result["containers"]["nodes"]["n1"]["reserved"] == {"cpus": 1, "memory_mib": 512, "replicas": 1}
    assert result["findings"] == []


@pytest.mark.parametrize(
    ("wanted", "verdict"),
    [
        pytest.param(container(cpus=4, memory_mib=4096), "admitted", id="exactly all"),
        pytest.param(container(cpus="4.001", memory_mib=1), "refused", id="a thousandth of a CPU more"),
        pytest.param(container(cpus="0.001", memory_mib=4097), "refused", id="a MiB more"),
        pytest.param(container(replicas=0), "admitted", id="none of it"),
    ],
)
def test_reservations_fit_to_the_last_unit(wanted: dict[str, Any], verdict: str) -> None:
    assert made(nodes(1), [wanted])["verdict"] == verdict


def test_what_does_not_fit_is_told_with_the_smallest_change() -> None:
    result = made(nodes(3), [container(memory_mib=3000, cpus=1, replicas=5)])
    finding = only(result, "container-capacity")
    assert finding["container"] == "web"
    assert finding["message"] == (
        "2 of 5 replicas of web have no node: each reserves 1 CPUs and 3000 MiB, and n1, the closest, has 3 CPUs and "
        "1096 MiB left"
    )
    assert finding["fix"] == (
        "lower replicas to 3, lower its memory_mib from 3000 to at most 1096 (then one more fits n1), or add a node "
        "with 2 CPUs and 6000 MiB for containers"
    )
    assert finding["value"] == pytest.approx(6000 / 4096)
    assert sum(placed(result).values()) == 3
    # The change that it names passes.
    assert made(nodes(3), [container(memory_mib=3000, replicas=3)])["verdict"] == "admitted"


def test_a_search_backwards_finds_what_the_first_order_misses() -> None:
    # big must leave the pinned node to small, though it is listed for both.
    on = {"n1": node(cpus=2), "n2": node(cpus=4)}
    wanted = [container("big", cpus=2), container("wide", cpus=3), container("small", cpus=1)]
    result = made(on, wanted)
    assert result["verdict"] == "admitted"
    assert result["containers"]["search"] == "complete"


def test_something_is_kept_for_the_node_itself() -> None:
    result = made({"n1": {**node(), "host_reserved": {"cpus": 1, "memory_mib": 1024}}}, [container()], None)
    assert result["containers"]["nodes"]["n1"]["capacity"] == {"cpus": 3, "memory_mib": 4096 - 1024 - 256}


@pytest.mark.parametrize(
    ("own", "capacity"),
    [
        ({"croft_capacity": {"threads": 8, "memory_mib": 2048}}, {"cpus": 8, "memory_mib": 2048}),
        (
            {"croft_node_facts": {"ansible_facts": {"ansible_processor_vcpus": 2, "ansible_memtotal_mb": 1000}}},
            {"cpus": 2, "memory_mib": 1000},
        ),
    ],
)
def test_capacity_is_declared_or_read(own: dict[str, Any], capacity: dict[str, int]) -> None:
    assert made({"n1": own}, [container(memory_mib=100)])["containers"]["nodes"]["n1"]["capacity"] == capacity


AWAY = {"croft_node_facts": {"unreachable": True, "msg": "Connection timed out"}}


def test_a_node_that_did_not_answer_is_counted_with_the_least_of_the_others() -> None:
    result = made({"n1": node(4, 2048), "n2": node(2, 4096), "n0": AWAY}, [container(replicas=3, per_machine=1)])
    assert result["verdict"] == "admitted"
    assert placed(result) == {"n0": 1, "n1": 1, "n2": 1}
    assert result["containers"]["nodes"]["n0"]["capacity"] == {"cpus": 2, "memory_mib": 2048}
    (finding,) = result["findings"]
    assert (finding["level"], finding["message"]) == (
        "warn",
        "node n0 did not answer, and is counted with the least that another has: 2 CPUs, 2048 MiB",
    )
    assert "node n0 did not answer" in render_terminal(result)


def test_nothing_is_assumed_where_it_is_declared_or_nobody_answered() -> None:
    declared = made({"n0": {**AWAY, **node()}}, [container()])
    assert (placed(declared), declared["findings"]) == ({"n0": 1}, [])
    (problem,) = problems_of({}, [], containers=[container()], nodes={"n0": AWAY})
    assert problem.startswith("node n0: has no capacity, neither declared nor read")


@pytest.mark.parametrize(
    ("nodes_of_it", "text"),
    [
        (["n0"], "2 replicas of web have no place: none of its nodes (n0) takes any, being drained"),
        (None, "2 replicas of web have no place: no node takes any, being drained"),
    ],
)
def test_without_a_node_that_takes_it_a_container_is_refused(nodes_of_it: list[str] | None, text: str) -> None:
    drained = {**node(), "docker_swarm_availability": "drain"}
    on = {"n0": drained, "n1": node()} if nodes_of_it else {"n0": drained}
    for workload in ("web", "database"):
        result = made(on, [container(nodes=nodes_of_it, replicas=2, workload=workload)])
        assert result["verdict"] == "refused"
        assert [one["message"] for one in result["findings"] if one["level"] == "deny"] == [text]


def test_a_drained_node_takes_none() -> None:
    on = {**nodes(1), "n0": {**node(), "docker_swarm_availability": "drain"}}
    assert placed(made(on, [container()])) == {"n1": 1}


# --- machines ---


def test_two_vms_of_one_host_are_one_machine() -> None:
    vms = [vm("a", 2, 2048, host="kvm1"), vm("b", 2, 2048, host="kvm1"), vm("c", 2, 2048, host="kvm2")]
    policy = {"rules": {**BARE["rules"], "consolidation": {"level": "off"}}}
    on = {name: {} for name in ("a", "b", "c")}
    result = plan(cluster(2), vms, policy, containers=[container(replicas=2)], nodes=on)
    assert result["verdict"] == "admitted"
    assert placed(result) in ({"a": 1, "c": 1}, {"b": 1, "c": 1})
    assert result["containers"]["nodes"]["a"]["machine"] == "kvm1"
    assert result["containers"]["nodes"]["a"]["capacity"] == {"cpus": 2, "memory_mib": 2048}


def test_replicas_that_would_all_die_with_one_machine_are_refused() -> None:
    on = {"a": node(machine="rack1"), "b": node(machine="rack1")}
    finding = only(made(on, [container(replicas=2)]), "container-spread")
    assert finding["message"] == "all of 2 replicas of web die with rack1, limit 1"
    assert finding["fix"] == "let it run on nodes of 2 machines (now 1: rack1), or lower replicas to 1"


def test_more_replicas_than_machines_is_as_even_as_it_goes_and_noted() -> None:
    result = made(nodes(3), [container(replicas=4, cpus="0.5")])
    assert sorted(placed(result).values()) == [1, 1, 2]
    assert only(result, "container-spread", "info")["message"] == (
        "4 replicas of web are on 3 machines: up to 2 die with one, the others go on"
    )
    finding = only(made(nodes(3), [container(replicas=4, cpus="0.5", per_machine=1)]), "container-spread")
    assert finding["fix"] == "let it run on nodes of 4 machines (now 3: n1, n2, n3), or lower replicas to 3"


def test_room_only_beside_another_replica_is_refused() -> None:
    on = {"n1": node(), "n2": node(memory_mib=256)}
    finding = only(made(on, [container(replicas=2)]), "container-spread")
    assert "find room only beside another one, on n1: limit 1 on one machine" in finding["message"]


def test_a_host_with_vms_has_what_they_leave() -> None:
    vms = [vm(f"v{i}", 4, 4096, host="kvm1") for i in range(4)]
    result = plan(cluster(1), vms, BARE, containers=[container()], nodes={"kvm1": {}})
    # 32 threads less 16 vCPUs at 2 to a thread; memory less the VMs and 65 MiB for each.
    assert result["containers"]["nodes"]["kvm1"]["capacity"] == {"cpus": 24, "memory_mib": 65536 - 4 * (4096 + 65)}


# --- workloads ---


@pytest.mark.parametrize("workload", ["database", "message_queue", "search_engine"])
def test_what_lives_on_disks_goes_to_fast_disks_of_a_machine(workload: str) -> None:
    on = {"n1": node(cpus=64), "n2": node(local_disk="hdd"), "n3": node(local_disk="nvme")}
    assert placed(made(on, [container(workload=workload)])) == {"n3": 1}


def test_a_database_is_refused_in_vms() -> None:
    vms = [vm("a", 2, 2048), vm("b", 2, 2048)]
    policy = {"rules": {**BARE["rules"], "consolidation": {"level": "off"}}}
    on: dict[str, Any] = {"a": {"container_node": {"local_disk": "ssd"}}, "n1": node()}
    result = plan(cluster(1), vms, policy, containers=[container("db", workload="database")], nodes=on)
    finding = only(result, "container-workload")
    assert finding["message"] == (
        "db is a database, which lives on disk I/O, and none of its nodes has fast disks of its own: a (a VM), n1 "
        "(local_disk not told)"
    )
    assert "container_node: {local_disk: ssd}" in finding["fix"]


WAIVER = {"reason": "a test", "owner": "ops", "until": "2026-12-31"}


@pytest.mark.parametrize(
    ("waiver", "wanted"),
    [
        ({"rule": "container-workload", "container": "web"}, container(workload="database")),
        ({"rule": "container-spread", "container": "web"}, container(replicas=2)),
        ({"rule": "container-capacity", "host": "n1"}, container(cpus=5)),
    ],
)
def test_a_waiver_lets_it_be(waiver: dict[str, str], wanted: dict[str, Any]) -> None:
    policy = {**BARE, "waivers": [{**waiver, **WAIVER}]}
    result = made(nodes(1), [wanted], policy)
    assert result["verdict"] == "admitted"
    assert levels(result, waiver["rule"]) == ["waived"]
    assert sum(placed(result).values()) == wanted["replicas"]
    # Who asks for VMs alone can read the same policy.
    assert plan(cluster(1), [], policy)["waivers"]


@pytest.mark.parametrize("level", ["warn", "off"])
def test_a_rule_that_does_not_deny_lets_it_be(level: str) -> None:
    names = ("container-capacity", "container-spread", "container-workload")
    policy = {"rules": {name: {"level": level} for name in names}}
    result = made(nodes(1), [container(cpus=5, replicas=2, workload="database")], policy)
    assert result["verdict"] == "admitted"
    assert {f["rule"] for f in result["findings"] if f["level"] == "warn"} == (set(names) if level == "warn" else set())


# --- what is written wrongly ---


@pytest.mark.parametrize(
    ("on", "wanted", "says"),
    [
        (nodes(1), "web", "containers: is 'web', must be a list"),
        (nodes(1), ["web"], "containers[0]: is 'web', must be a mapping"),
        (nodes(1), [{"name": "web"}], "containers[web].cpus: is missing, must be a number of CPUs > 0; give what each"),
        (nodes(1), [container(cpus="0.0001")], "must be a whole number of thousandths"),
        (nodes(1), [container(memory_mib=0)], "containers[web].memory_mib: is 0"),
        (nodes(1), [container(replicas=-1)], "containers[web].replicas: is -1"),
        (nodes(1), [container(workload="databse")], "did you mean 'database'?"),
        (nodes(1), [container(cpu=1)], "containers[web].cpu: is not known; did you mean 'cpus'?"),
        (nodes(1), [container(nodes=["n2"])], "containers[web].nodes[0]: is 'n2', not a node for containers"),
        (nodes(1), [container(nodes=[])], "containers[web].nodes: is a list, must be a list of nodes"),
        (nodes(1), [container(), container()], "containers[web]: is named 2 times"),
        (nodes(1), [container(name="a b")], "containers[a b].name: is 'a b'"),
        ({}, [container()], "containers: are wanted and there is no node"),
        ({"n1": {}}, [container()], "node n1: has no capacity, neither declared nor read"),
        ({"n1": node(local_disk="floppy")}, [container()], "must be one of hdd, ssd, nvme"),
        ({"n1": node(disk="ssd")}, [container()], "container_node.disk: is not known"),
        ({"n1": {"container_node": 4}}, [container()], "node n1: container_node: is 4, must be a mapping"),
    ],
)
def test_mistakes_are_told_one_line_each(on: dict[str, Any], wanted: Any, says: str) -> None:
    problems = problems_of({}, [], containers=wanted, nodes=on)
    assert any(says in line for line in problems), problems


def test_a_waiver_of_an_unknown_container_is_a_mistake() -> None:
    policy = {"waivers": [{"rule": "container-spread", "container": "wbe", **WAIVER}]}
    assert problems_of({}, [], policy, containers=[container()], nodes=nodes(1)) == [
        "sizing_policy.waivers[0].container: is 'wbe', not one of containers; did you mean 'web'?"
    ]


# --- what is written out ---


def test_outputs_speak_of_containers() -> None:
    wanted = {
        "web": {"cpus": "0.25", "memory_mib": 64, "replicas": 4},
        "db": {"cpus": 1, "memory_mib": 9, "workload": "database"},
    }
    result = made(nodes(2), wanted)
    assert [
        e.message for e in jsonschema.Draft202012Validator(SCHEMA).iter_errors(json.loads(json.dumps(result)))
    ] == []
    assert "db is a database" in files(result)["report.html"]
    assert "n1 x2, n2 x2" in render_terminal(result)
    assert 'name="db (disk-io)"' in render_junit(result)
    (sarif,) = [r for r in to_sarif(result)["runs"][0]["results"] if r["ruleId"] == "container-workload"]
    assert sarif["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] == "container/db"


def test_a_plan_without_containers_says_nothing_of_them() -> None:
    result = plan(cluster(2), [vm("a")])
    assert "containers" not in result
    assert {rule["id"]: rule["checked"] for rule in result["rules"]}["container-spread"] == 0


def test_what_if_asks_of_vms_alone() -> None:
    vms = [vm("a", 2, 2048)]
    policy = {**BARE, "waivers": [{"rule": "container-spread", "container": "web", **WAIVER}]}
    whole, problems = make_plan(
        ["kvm1", "kvm2"],
        cluster(2),
        vms,
        policy=policy,
        today=TODAY,
        containers=[container(replicas=2)],
        nodes={"a": {}},
    )
    assert problems == []
    assert "containers" not in what_if(whole, without=["kvm2"])


# --- held against every way of placing ---


SMALL = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=3)
ROOMS = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=3)


@settings(max_examples=60)
@given(SMALL, ROOMS)
def test_a_refusal_means_that_no_way_of_placing_passes(
    wanted: list[tuple[int, int, int]], rooms: list[tuple[int, int]]
) -> None:
    on = {f"n{i}": node(cpus, memory) for i, (cpus, memory) in enumerate(rooms)}
    policy = {"rules": {**BARE["rules"], **rules(container_capacity={}, container_spread={})["rules"]}}
    policy["rules"]["container-capacity"] = {"node_memory_mib": 0}
    entries = [container(f"c{i}", cpus, memory, replicas) for i, (cpus, memory, replicas) in enumerate(wanted)]
    result = made(on, entries, policy)
    assert (result["verdict"] == "admitted") == any(
        _holds(wanted, rooms, ways) for ways in product(*(_ways(replicas, len(rooms)) for _, _, replicas in wanted))
    )


def _ways(replicas: int, machines: int) -> list[tuple[int, ...]]:
    """Replicas on each machine, at most as many on one as an even spread has; all on one of one machine is refused."""
    most = 1 if machines == 1 else -(-replicas // machines)
    return [way for way in product(range(most + 1), repeat=machines) if sum(way) == replicas]


def _holds(wanted: list[tuple[int, int, int]], rooms: list[tuple[int, int]], ways: tuple[tuple[int, ...], ...]) -> bool:
    return all(
        sum(one[kind] * way[i] for one, way in zip(wanted, ways, strict=True)) <= room[kind]
        for i, room in enumerate(rooms)
        for kind in (0, 1)
    )
