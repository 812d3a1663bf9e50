# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every host dies once: who restarts where, who does not, and whether that is proved."""

from __future__ import annotations

import random
from itertools import combinations, product
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.plugin_utils.sizing import failover, placing
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.limits import ceilings
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.parse import read_inputs
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.search import Board
from sizing_cases import TODAY, cluster, host, levels, only, plan, rules, vm

SHARED: dict[str, Any] = {"storage_layout": "centralized"}


def forty_forty_five_five(ha: bool = True) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Three hosts of 100 GB, each with VMs of 40, 40, 5 and 5 %."""
    hosts = cluster(3, memory_mib=102400, disk_gib=10000)
    vms = [
        vm(f"v{i}{j}", memory_mib=size, host=f"kvm{i}", ha=ha)
        for i in (1, 2, 3)
        for j, size in enumerate((40960, 40960, 5120, 5120))
    ]
    return hosts, vms


def test_forty_percent_alone_is_no_n_plus_one() -> None:
    hosts, vms = forty_forty_five_five()
    made = plan(hosts, vms, **SHARED)
    assert {f["rule"] for f in made["findings"] if f["level"] == "deny"} == {"failover"}
    assert [death["survives"] for death in made["failover"]] == [False] * 3
    assert all(death["exact"] for death in made["failover"])
    finding = next(f for f in made["findings"] if f["host"] == "kvm1" and f["rule"] == "failover")
    assert (finding["value"], finding["limit"], finding["margin"]) == (2, 0, -2)
    assert "v10, v11" in finding["message"]
    assert "memory-overcommit" in finding["message"]
    assert plan(*forty_forty_five_five(ha=False), **SHARED)["verdict"] == "admitted"


@pytest.mark.parametrize(("options", "level"), [({"level": "warn"}, "warn"), ({"level": "off"}, None)])
def test_the_level_is_policy(options: dict[str, Any], level: str | None) -> None:
    hosts, vms = forty_forty_five_five()
    made = plan(hosts, vms, {"rules": {"failover": options}}, **SHARED)
    assert made["verdict"] == "admitted"
    assert set(levels(made, "failover")) == ({level} if level else set())
    assert not made["failover"][0]["survives"]


def test_no_failure_tolerated_asks_nothing() -> None:
    hosts, vms = forty_forty_five_five()
    made = plan(hosts, vms, {"rules": {"failover": {"host_failures_tolerated": 0}}}, **SHARED)
    assert made["verdict"] == "admitted"


@pytest.mark.parametrize(("memory", "survives"), [(32703, True), (32704, False)])
def test_the_room_is_exact_to_the_mib(memory: int, survives: bool) -> None:
    # 65536 = 2 * (32703 + 65); the share is not asked here.
    made = plan(
        cluster(2),
        [vm("a", memory_mib=memory, host="kvm1", ha=True), vm("b", memory_mib=32703, host="kvm2", ha=True)],
        rules(failover={}, memory_overcommit={}),
        **SHARED,
    )
    assert made["failover"][0]["survives"] is survives
    assert made["verdict"] == ("admitted" if survives else "refused")


def test_the_table_names_each_vm_of_the_dead_host() -> None:
    vms = [vm("a", host="kvm1", ha=True), vm("b", host="kvm1"), vm("c", host="kvm2", ha=True)]
    made = plan(cluster(2), vms, **SHARED)
    assert made["failover"][0] == {
        "host": "kvm1",
        "survives": True,
        "exact": True,
        "virtual_machines": [
            {"name": "a", "ha": True, "to": "kvm2", "reason": None},
            {"name": "b", "ha": False, "to": None, "reason": placing.NO_HA},
        ],
    }


def test_local_disks_die_with_their_host() -> None:
    made = plan(cluster(3), [vm("a", host="kvm1", ha=True)])
    finding = only(made, "failover")
    assert placing.LOCAL_DISK in finding["message"]
    assert finding["fix"] == "use storage_layout centralized or distributed, or set ha: false on a"


def test_one_host_alone_survives_nothing() -> None:
    made = plan(cluster(1), [vm("a", ha=True)], **SHARED)
    assert "there is no other host" in only(made, "failover")["message"]


def test_anti_affinity_holds_for_restarts_too() -> None:
    vms = [vm(f"w{i}", anti_affinity="w", ha=True) for i in range(3)]
    assert plan(cluster(4), vms, **SHARED)["verdict"] == "admitted"
    made = plan(cluster(3), vms, **SHARED)
    assert made["verdict"] == "refused"
    assert "anti-affinity group w" in made["findings"][0]["message"]


def test_the_named_fix_passes() -> None:
    hosts, vms = forty_forty_five_five()
    fix = plan(hosts, vms, **SHARED)["findings"][0]["fix"]
    assert fix.startswith("add a host with at least 3 threads and 102400 MiB beside its reserve")
    hosts["kvm4"] = host(memory_mib=102400, threads=3, cores=3, disk_gib=10000)
    assert plan(hosts, vms, **SHARED)["verdict"] == "admitted"


def test_a_placement_that_survives_is_looked_for() -> None:
    hosts = cluster(3, memory_mib=10300)
    vms = [vm(f"v{i}", memory_mib=m, ha=True) for i, m in enumerate((4000, 4000, 4000, 2000, 2000, 2000))]
    made = plan(hosts, vms, **SHARED)
    assert made["verdict"] == "admitted"
    pack = plan(hosts, vms, {"placement": "pack"}, **SHARED)
    assert pack["verdict"] == "admitted"


def _sixteen_in_two_eights() -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    """4+2+2 and 3+3+2 fill two hosts of 8 to the last MiB; biggest first puts 4+3 together and leaves one out."""
    vms = [vm(f"v{i}", memory_mib=m, ha=True, host="kvm1") for i, m in enumerate((4000, 3000, 3000, 2000, 2000, 2000))]
    policy = rules(failover={}, memory_overcommit={}, host_overhead={"qemu_overhead_mib": 0})
    return cluster(3, memory_mib=8000), vms, policy


def test_what_no_greedy_order_finds_is_found() -> None:
    hosts, vms, policy = _sixteen_in_two_eights()
    death = plan(hosts, vms, policy, **SHARED)["failover"][0]
    assert death["survives"]
    assert death["exact"]


def test_a_search_that_stops_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts, vms, policy = _sixteen_in_two_eights()
    monkeypatch.setattr(placing, "EFFORT", 3)
    made = plan(hosts, vms, policy, **SHARED)
    assert not made["failover"][0]["survives"]
    assert not made["failover"][0]["exact"]
    assert made["verdict"] == "refused"
    assert "not proved: the search met its bound of" in only(made, "failover")["message"]


def test_what_cannot_be_is_proved() -> None:
    hosts, vms, policy = _sixteen_in_two_eights()
    # The sums fit (16000 of 16000) and each one alone does, but a host of 8 takes one 5 only.
    for entry, memory in zip(vms, (5000, 5000, 5000, 400, 300, 300), strict=True):
        entry["memory_mib"] = memory
    made = plan(hosts, vms, policy, **SHARED)["failover"][0]
    assert not made["survives"]
    assert made["exact"]


def test_a_waived_vm_may_stay_down_and_takes_no_room() -> None:
    hosts = cluster(2, memory_mib=10000)
    vms = [vm("a", memory_mib=4000, host="kvm1", ha=True), vm("b", memory_mib=4000, host="kvm1", ha=True)]
    vms += [vm("c", memory_mib=4000, host="kvm2")]
    waiver = {"rule": "failover", "vm": "a", "reason": "test system", "owner": "ops", "until": TODAY}
    options = rules(failover={}, memory_overcommit={})
    assert plan(hosts, vms, options, **SHARED)["verdict"] == "refused"
    made = plan(hosts, vms, {**options, "waivers": [waiver]}, **SHARED)
    assert made["verdict"] == "admitted"
    assert levels(made, "failover") == ["waived"]
    assert [r["to"] for r in made["failover"][0]["virtual_machines"]] == [None, "kvm2"]


TWO = {"host_failures_tolerated": 2}


def _sets(hosts: dict[str, Any], vms: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return plan(hosts, vms, rules(failover=TWO, memory_overcommit={}, host_overhead={"qemu_overhead_mib": 0}), **more)


def _one_each(count: int, memory: int) -> list[dict[str, Any]]:
    return [vm(f"v{i}", memory_mib=memory, host=f"kvm{i + 1}", ha=True) for i in range(count)]


def test_slots_prove_all_sets_at_once() -> None:
    # Each host has one VM and two more slots: two deaths need 2 of 2 * 2.
    made = _sets(cluster(4, memory_mib=6000), _one_each(4, 2000), **SHARED)
    assert made["verdict"] == "admitted"
    assert made["failover_sets"] == {
        "hosts_that_die": 2,
        "sets": 6,
        "examined": 0,
        "proof": "slots",
        "survived": True,
        "broken": 0,
        "lost": [],
    }


def test_every_set_is_examined_when_slots_do_not_suffice() -> None:
    # 3000 are left beside each large one: no slot of 3100, and still room for the small ones.
    vms = [vm(f"v{i}", memory_mib=m, host=f"kvm{i + 1}", ha=True) for i, m in enumerate((3100, 3100, 1000, 1000))]
    made = _sets(cluster(4, memory_mib=6100), vms, **SHARED)
    assert (made["failover_sets"]["proof"], made["failover_sets"]["examined"]) == ("all", 6)
    assert made["verdict"] == "admitted"


def test_a_pair_that_must_not_die_is_named() -> None:
    # One death is survived by all; the deaths of two of the three leave 6000 for 9000.
    made = _sets(cluster(3, memory_mib=6000), _one_each(3, 3000), **SHARED)
    assert all(death["survives"] for death in made["failover"])
    assert made["verdict"] == "refused"
    assert made["failover_sets"]["broken"] == 3
    messages = [f["message"] for f in made["findings"] if f["rule"] == "failover"]
    assert "when kvm1 and kvm2 die, 1 HA VM finds no host (limit 0): v1" in messages[0]
    policy = {"failover": {"host_failures_tolerated": 1}, "memory_overcommit": {}}
    assert plan(cluster(3, memory_mib=7000), _one_each(3, 3000), rules(**policy), **SHARED)["verdict"] == "admitted"


def test_sets_that_were_not_examined_are_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failover, "SETS", 5)
    vms = [vm(f"v{i}", memory_mib=m, host=f"kvm{i + 1}", ha=True) for i, m in enumerate((3100, 3100, 1000, 1000))]
    made = _sets(cluster(4, memory_mib=6100), vms, **SHARED)
    assert (made["failover_sets"]["proof"], made["failover_sets"]["survived"]) == ("bound", False)
    assert made["verdict"] == "refused"
    assert "not proved: 1 of 6 sets of 2 hosts were not examined" in only(made, "failover")["message"]


def test_a_set_with_a_waived_host_is_not_asked() -> None:
    waiver = {"rule": "failover", "host": "kvm1", "reason": "spare", "owner": "ops", "until": TODAY}
    policy = rules(failover=TWO, memory_overcommit={}, host_overhead={"qemu_overhead_mib": 0})
    made = plan(cluster(3, memory_mib=6000), _one_each(3, 3000), {**policy, "waivers": [waiver]}, **SHARED)
    assert [lost["hosts"] for lost in made["failover_sets"]["lost"]] == [["kvm2", "kvm3"]]


def test_more_deaths_than_hosts_are_all_of_them() -> None:
    made = _sets(cluster(1), [vm("a", host="kvm1", ha=True)], **SHARED)
    assert made["failover_sets"]["broken"] == 1
    assert _sets(cluster(2), [vm("a", host="kvm1", ha=True)])["failover_sets"]["survived"] is False


def test_a_waived_host_leaves_smaller_sets_to_ask() -> None:
    # Three may die, but only two of the three hosts are asked: no set of three, one set of two, and it is lost.
    waiver = {"rule": "failover", "host": "kvm1", "reason": "spare", "owner": "ops", "until": TODAY}
    policy = rules(
        failover={"host_failures_tolerated": 3}, memory_overcommit={}, host_overhead={"qemu_overhead_mib": 0}
    )
    made = plan(cluster(3, memory_mib=6000), _one_each(3, 3000), {**policy, "waivers": [waiver]}, **SHARED)
    assert (made["failover_sets"]["hosts_that_die"], made["failover_sets"]["sets"]) == (2, 1)
    assert made["verdict"] == "refused"
    every = [{**waiver, "host": f"kvm{i}"} for i in (1, 2, 3)]
    made = plan(cluster(3, memory_mib=6000), _one_each(3, 3000), {**policy, "waivers": every}, **SHARED)
    assert "failover_sets" not in made
    assert made["verdict"] == "admitted"


@pytest.mark.parametrize("count", [4, 5])
@pytest.mark.parametrize("size", [2, 3])
def test_sets_agree_with_trying_every_way(count: int, size: int) -> None:
    # Each way to restart each set's VMs is tried; the limits are near what the sets need.
    for seed in range(12):
        chance = random.Random(seed)
        vms = [
            vm(
                f"v{i}",
                memory_mib=chance.choice((1000, 1500, 2000)),
                host=f"kvm{i % count + 1}",
                ha=chance.random() < 0.8,
            )
            for i in range(count + 2)
        ]
        memory = chance.choice((3500, 4000, 4500, 5500))
        policy = rules(
            failover={"host_failures_tolerated": size}, memory_overcommit={}, host_overhead={"qemu_overhead_mib": 0}
        )
        made = plan(cluster(count, memory_mib=memory), vms, policy, **SHARED)
        lost = 0
        for dead in combinations([f"kvm{i + 1}" for i in range(count)], size):
            alive = {f"kvm{i + 1}": memory for i in range(count) if f"kvm{i + 1}" not in dead}
            for entry in vms:
                if entry["host"] in alive:
                    alive[entry["host"]] -= entry["memory_mib"]
            moved = [entry["memory_mib"] for entry in vms if entry["host"] in dead and entry["ha"]]
            lost += not any(
                all(
                    left >= sum(m for m, to in zip(moved, way, strict=True) if to == name)
                    for name, left in alive.items()
                )
                for way in product(alive, repeat=len(moved))
            )
        sets = made["failover_sets"]
        assert (sets["broken"], sets["survived"]) == (lost, lost == 0), (seed, sets)


@pytest.mark.parametrize(("rule", "survives"), [(None, False), ("vm-share", False), ("affinity", True)])
def test_a_pair_restarts_together_unless_a_waiver_parts_it(rule: str | None, survives: bool) -> None:
    # 4000 are left on each of the others: for one of the pair, not for both.
    vms = [vm(name, memory_mib=3000, host="kvm1", affinity="pair", ha=True) for name in ("a", "b")]
    vms += [vm(f"v{i}", memory_mib=4000, host=f"kvm{i}") for i in (2, 3)]
    waivers = [{"rule": rule, "vm": "a", "reason": "x", "owner": "ops", "until": TODAY}] if rule else []
    policy = rules(failover={}, affinity={}, memory_overcommit={}, host_overhead={"qemu_overhead_mib": 0})
    made = plan(cluster(3, memory_mib=8000), vms, {**policy, "waivers": waivers}, **SHARED)
    assert made["failover"][0]["survives"] is survives


def test_what_was_proved_of_one_placement_is_not_said_of_another() -> None:
    hosts = cluster(2)
    inputs, problems = read_inputs(list(hosts), hosts, [vm("a", ha=True)], storage_layout="centralized", today=TODAY)
    assert inputs is not None, problems
    deaths = failover.Failover(inputs, Board(ceilings(inputs, "deny")), 1000)
    assert deaths.survives({"a": "kvm1"})
    for where in ("kvm1", "kvm2"):
        assert [death.host for death in deaths.deaths({"a": where}) if death.restarts] == [where]


@pytest.mark.parametrize(
    ("count", "excused", "room"), [(20, [], True), (21, [], False), (21, ["kvm1", "kvm2", "kvm3"], True)]
)
def test_the_sums_prove_that_nothing_survives_and_no_more_than_that(count: int, excused: list[str], room: bool) -> None:
    # Three hosts of ten VMs: without one of them 20 fit.
    hosts = cluster(3)
    waiver = {"rule": "failover", "reason": "x", "owner": "ops", "until": TODAY}
    inputs, problems = read_inputs(
        list(hosts),
        hosts,
        [vm(f"v{i:02}", ha=True) for i in range(count)],
        policy={"waivers": [{**waiver, "host": name} for name in excused]},
        storage_layout="centralized",
        today=TODAY,
    )
    assert inputs is not None, problems
    deaths = failover.Failover(inputs, Board(ceilings(inputs, "deny")), 1000)
    assert deaths.room_to_restart(inputs.virtual_machines) is room


def test_so_many_sets_are_named_and_the_others_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failover, "NAMED_SETS", 2)
    sets = _sets(cluster(3, memory_mib=6000), _one_each(3, 3000), **SHARED)["failover_sets"]
    assert (sets["broken"], len(sets["lost"])) == (3, 2)


def test_slots_that_suffice_to_the_last_are_enough() -> None:
    # Each host has one VM and one more slot: with two dead, the two that live have two slots for two VMs.
    made = _sets(cluster(4, memory_mib=4000), _one_each(4, 2000), **SHARED)
    assert (made["failover_sets"]["proof"], made["verdict"]) == ("slots", "admitted")


def test_slots_leave_out_the_hosts_that_an_anti_affinity_group_closes() -> None:
    # Three hosts that die may need three places of three; a group of two keeps one host more from one of them.
    vms = [{**entry, "anti_affinity": "db"} if i < 2 else entry for i, entry in enumerate(_one_each(5, 1000))]
    roomy = rules(failover=TWO, memory_overcommit={}, affinity={}, host_overhead={"qemu_overhead_mib": 0})
    made = plan(cluster(5, memory_mib=4000), vms, roomy, **SHARED)
    assert (made["failover_sets"]["proof"], made["verdict"]) == ("slots", "admitted")
    # With one slot a host they may not suffice (5 are fewer than 2 restarts, 2 lost slots, 1 closed and 1 more).
    made = plan(cluster(4, memory_mib=2000), vms[:4], roomy, **SHARED)
    assert (made["failover_sets"]["proof"], made["verdict"]) == ("all", "admitted")


def test_of_two_that_cannot_both_restart_the_one_with_more_memory_does() -> None:
    policy = rules(failover={}, consolidation={"min": 1, "max": 2})
    vms = [
        vm("broad", vcpus=8, memory_mib=1024, host="kvm1", ha=True),
        vm("large", vcpus=1, memory_mib=8192, host="kvm1", ha=True),
        vm("there", host="kvm2"),
    ]
    made = plan(cluster(2), vms, policy, **SHARED)
    restarts = {r["name"]: r["to"] for r in made["failover"][0]["virtual_machines"]}
    assert restarts == {"broad": None, "large": "kvm2"}


@pytest.mark.parametrize(("there", "named"), [(1, []), (2, ["consolidation"])])
def test_as_many_vms_as_a_host_may_carry_are_not_too_many(there: int, named: list[str]) -> None:
    hosts = cluster(1)
    policy = rules(consolidation={"min": 1, "max": 2})
    inputs, problems = read_inputs(list(hosts), hosts, [vm("a")], policy=policy, today=TODAY)
    assert inputs is not None, problems
    board = Board(ceilings(inputs, "deny"))
    item = failover.demand(inputs.virtual_machines, inputs)
    for _ in range(there):
        board.put(item, 0)
    assert [gap.rule for gap in failover.shortfalls(board, item, 0, inputs)] == named
