# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where VMs go: what stays, what is pinned, what is found although the first try misses it, and how waivers bend it."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.plugin_utils.sizing import placing
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.artifacts import files
from sizing_cases import TODAY, cluster, found, host, levels, only, plan, rules, vm

NO_OVERHEAD = {"qemu_overhead_mib": 0}


def waiver(rule: str, days: int = 0, **subject: str) -> dict[str, Any]:
    until = (TODAY + timedelta(days=days)).isoformat()
    return {"rule": rule, "reason": "hardware is on its way", "owner": "ops", "until": until, **subject}


def test_spread_balances() -> None:
    made = plan(cluster(3), [vm(f"v{i}") for i in range(9)])
    assert [made["hosts"][name]["used"]["virtual_machines"] for name in ("kvm1", "kvm2", "kvm3")] == [3, 3, 3]


def test_spread_looks_at_the_scarcer_resource() -> None:
    hosts = {"kvm1": host(threads=8, cores=8), "kvm2": host(threads=32)}
    made = plan(hosts, [vm("a", vcpus=3), vm("b", vcpus=3)])
    assert made["placements"] == {"a": "kvm2", "b": "kvm2"}


def test_pack_fills() -> None:
    made = plan(cluster(3), [vm(f"v{i}") for i in range(9)], {"placement": "pack"})
    assert sorted(use["used"]["virtual_machines"] for use in made["hosts"].values()) == [0, 0, 9]


def test_what_runs_stays_where_it_runs() -> None:
    hosts = {"kvm1": host(facts=[found("a"), found("b", memory_mib=512)]), "kvm2": host(facts=[])}
    made = plan(hosts, [vm("a"), vm("b"), vm("c")])
    assert made["placements"] == {"a": "kvm1", "b": "kvm1", "c": "kvm2"}
    # the wanted size counts, not the one that runs
    assert made["hosts"]["kvm1"]["used"]["memory_mib"] == 2048
    assert made["hosts"]["kvm1"]["unmanaged"] == []


@pytest.mark.parametrize("state", ["running", "stopped", "paused"])
def test_a_pin_does_not_move_what_is_somewhere_else(state: str) -> None:
    hosts = {"kvm1": host(facts=[found("a", state=state)]), "kvm2": host(facts=[])}
    made = plan(hosts, [vm("a", host="kvm2")])
    assert made["placements"] == {"a": "kvm1"}
    finding = only(made, "placement-drift", "warn")
    assert "migrate.yml" in finding["fix"]
    assert made["verdict"] == "admitted"
    assert levels(plan(hosts, [vm("a", host="kvm1")]), "placement-drift") == []


def test_a_stopped_copy_elsewhere_counts_and_is_said() -> None:
    hosts = {"kvm1": host(facts=[found("a", state="stopped")]), "kvm2": host(facts=[found("a")])}
    made = plan(hosts, [vm("a")])
    assert made["placements"] == {"a": "kvm2"}
    assert made["hosts"]["kvm1"]["unmanaged"] == ["a"]
    assert only(made, "placement-drift", "warn")["host"] == "kvm1"


def test_a_pin_is_obeyed_even_where_it_breaks_a_rule() -> None:
    made = plan(cluster(2), [vm("a", memory_mib=60000, host="kvm2")])
    assert made["placements"] == {"a": "kvm2"}
    assert made["verdict"] == "refused"


def test_one_more_vm_moves_none() -> None:
    vms = [vm(f"v{i}", memory_mib=1000 * (i + 1)) for i in range(6)]
    first = plan(cluster(3), vms)["placements"]
    running = {name: [found(v, memory_mib=1000) for v, to in first.items() if to == name] for name in cluster(3)}
    hosts = {name: host(facts=facts) for name, facts in running.items()}
    second = plan(hosts, [*vms, vm("new", memory_mib=20000)])["placements"]
    assert {name: second[name] for name in first} == first


def test_what_no_order_of_sizes_finds_is_found() -> None:
    hosts = cluster(2, memory_mib=8000)
    vms = [vm(f"v{i}", memory_mib=m) for i, m in enumerate((4000, 3000, 3000, 2000, 2000, 2000))]
    made = plan(hosts, vms, rules(memory_overcommit={}, host_overhead=NO_OVERHEAD))
    assert made["verdict"] == "admitted"


LOPSIDED = [vm("v0", memory_mib=3000), vm("v1", memory_mib=3000, ha=True), vm("v2", memory_mib=4000, ha=True)]
SURVIVAL = rules(failover={}, memory_overcommit={}, host_overhead=NO_OVERHEAD)


def test_a_placement_that_survives_is_preferred_to_one_that_balances() -> None:
    hosts = cluster(3, memory_mib=6000)
    balanced = plan(hosts, LOPSIDED, SURVIVAL)["placements"]
    assert sorted(balanced.values()) == ["kvm1", "kvm2", "kvm3"]
    made = plan(hosts, LOPSIDED, SURVIVAL, storage_layout="centralized")
    assert made["verdict"] == "admitted"
    assert made["placements"]["v0"] == made["placements"]["v1"]
    pinned = [{**entry, "host": balanced[entry["name"]]} for entry in LOPSIDED]
    assert plan(hosts, pinned, SURVIVAL, storage_layout="centralized")["verdict"] == "refused"


@pytest.mark.parametrize("options", [{"host_failures_tolerated": 0}, {"level": "warn"}])
def test_survival_does_not_bend_the_balance_when_it_does_not_refuse(options: dict[str, Any]) -> None:
    policy = rules(failover=options, memory_overcommit={}, host_overhead=NO_OVERHEAD)
    made = plan(cluster(3, memory_mib=6000), LOPSIDED, policy, storage_layout="centralized")
    assert sorted(made["placements"].values()) == ["kvm1", "kvm2", "kvm3"]


def test_a_death_that_is_waived_bends_nothing_and_the_others_are_kept() -> None:
    hosts = cluster(3, memory_mib=6000)
    policy = {**SURVIVAL, "waivers": [waiver("failover", host=name) for name in hosts]}
    made = plan(hosts, LOPSIDED, policy, storage_layout="centralized")
    assert sorted(made["placements"].values()) == ["kvm1", "kvm2", "kvm3"]
    assert made["verdict"] == "admitted"
    # One waiver makes its host unlike the others: what cannot survive has to be there.
    vms = [vm("v0", memory_mib=3500, ha=True), vm("v1", memory_mib=4000), vm("v2", memory_mib=4000)]
    for name in hosts:
        policy = {**SURVIVAL, "waivers": [waiver("failover", host=name)]}
        made = plan(hosts, vms, policy, storage_layout="centralized")
        assert made["verdict"] == "admitted"
        assert made["placements"]["v0"] == name


CPU, MEMORY = {"vcpus": 30, "disk_gib": 1}, {"memory_mib": 40000, "disk_gib": 1}


@pytest.mark.parametrize(
    ("policy", "here", "there", "expected"),
    [
        # 0.25 * 32 threads are 8 vCPUs, v takes 2
        ({"cpu_overcommit": {"level": "warn", "limit": 0.25}}, {"vcpus": 6}, MEMORY, "kvm1"),
        ({"cpu_overcommit": {"level": "warn", "limit": 0.25}}, {"vcpus": 7}, MEMORY, "kvm2"),
        # half of 65536 - 2 * 65 MiB, v takes 3000
        ({"memory_overcommit": {"level": "warn", "limit": 0.5}}, {"memory_mib": 29703}, CPU, "kvm1"),
        ({"memory_overcommit": {"level": "warn", "limit": 0.5}}, {"memory_mib": 29704}, CPU, "kvm2"),
        ({"storage_capacity": {"level": "warn"}}, {"disk_gib": 990}, MEMORY, "kvm1"),
        ({"storage_capacity": {"level": "warn"}}, {"disk_gib": 991}, MEMORY, "kvm2"),
        ({"consolidation": {"level": "warn", "min": 0, "max": 2}}, {}, None, "kvm1"),
        ({"consolidation": {"level": "warn", "min": 0, "max": 1}}, {}, None, "kvm2"),
        ({"affinity": {"level": "warn"}}, {"anti_affinity": "other"}, MEMORY, "kvm1"),
        ({"affinity": {"level": "warn"}}, {"anti_affinity": "g"}, MEMORY, "kvm2"),
    ],
)
def test_a_rule_that_only_warns_outweighs_the_balance(
    policy: dict[str, Any], here: dict[str, Any], there: dict[str, Any] | None, expected: str
) -> None:
    # kvm1 is the less loaded one; only the rule can send v to kvm2.
    hosts = {"kvm1": host(), "kvm2": host() if there else host(threads=8, cores=4, memory_mib=16384)}
    vms = [vm("x", host="kvm1", **{"vcpus": 1, **here}), vm("v", vcpus=2, memory_mib=3000, anti_affinity="g")]
    vms += [vm("y", host="kvm2", **there)] if there else []
    assert plan(hosts, vms, rules(**policy))["placements"]["v"] == expected


@pytest.mark.parametrize(
    ("size", "expected"), [({"vcpus": 2}, "kvm1"), ({"vcpus": 3}, "kvm2"), ({"memory_mib": 6001}, "kvm2")]
)
def test_a_share_that_only_warns_outweighs_the_balance(size: dict[str, int], expected: str) -> None:
    hosts = {"kvm1": host(threads=5, cores=5, memory_mib=15000), "kvm2": host()}
    vms = [vm("y", host="kvm2", vcpus=31, memory_mib=60000), vm("v", **{"memory_mib": 6000, **size})]
    assert plan(hosts, vms, rules(vm_share={"level": "warn"}))["placements"]["v"] == expected


def test_a_search_that_stops_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "EFFORT", 4)
    vms = [vm(f"v{i}", memory_mib=m) for i, m in enumerate((4000, 4000, 3000, 3000, 2000, 1000, 1000))]
    made = plan(cluster(2, memory_mib=8000), vms, rules(memory_overcommit={}, host_overhead=NO_OVERHEAD))
    assert made["verdict"] == "refused"
    assert made["summary"]["search"] == "stopped"
    assert "the search met its bound" in made["findings"][0]["message"]


def test_more_vms_than_the_search_takes_still_gives_a_plan() -> None:
    vms = [vm(f"v{i:03}") for i in range(500)]
    made = plan(cluster(40), vms)
    assert made["summary"]["placed"] == 400
    # Ten VMs for each of 40 hosts: the sums alone prove that 100 have no place.
    assert made["summary"]["search"] == "complete"
    assert made["summary"]["findings"]["deny"] == 100


def test_what_neither_the_sums_nor_the_search_decide_is_said_to_be_open() -> None:
    # One VM of 6000 for each host of 10000: the sums fit (401 * 6000 < 300 * 10000), the VMs do not.
    vms = [vm(f"v{i:03}", memory_mib=6000 + i % 2) for i in range(401)]
    made = plan(cluster(300, memory_mib=10000), vms, rules(memory_overcommit={}))
    assert made["summary"]["placed"] == 300
    assert made["summary"]["search"] == "stopped"
    alike = [vm(f"v{i:03}", memory_mib=6000) for i in range(401)]
    made = plan(cluster(300, memory_mib=10000), alike, rules(memory_overcommit={}))
    assert (made["summary"]["placed"], made["summary"]["search"]) == (300, "complete")


def test_a_refused_database_takes_no_room_unless_it_is_there() -> None:
    made = plan(cluster(1), [vm("db1", workload="database")])
    assert made["hosts"]["kvm1"]["used"]["virtual_machines"] == 0
    made = plan(cluster(1, facts=[found("db1")]), [vm("db1", workload="database")])
    assert made["placements"] == {"db1": "kvm1"}
    assert made["verdict"] == "refused"


@pytest.mark.parametrize(("days", "holds"), [(1, True), (0, True), (-1, False)])
def test_a_waiver_holds_through_its_last_day(days: int, holds: bool) -> None:
    policy = {"waivers": [waiver("vm-share", days, vm="big1")]}
    made = plan(cluster(2), [vm("big1", memory_mib=40000)], policy)
    assert made["verdict"] == ("admitted" if holds else "refused")
    assert levels(made, "vm-share") == (["waived"] if holds else ["deny"])
    assert levels(made, "waiver") == ([] if holds else ["warn"])
    assert made["waivers"][0]["state"] == ("in force" if holds else "expired")
    if holds:
        assert made["findings"][-1]["waiver"]["owner"] == "ops"
        assert made["waivers"][0]["findings"] == 1


def test_a_waiver_covers_its_vm_only() -> None:
    policy = {"waivers": [waiver("vm-share", vm="big1")]}
    made = plan(cluster(2), [vm("big1", memory_mib=30000), vm("big2", memory_mib=30000)], policy)
    assert only(made, "vm-share")["vm"] == "big2"


@pytest.mark.parametrize(
    ("rule", "vms"),
    [
        ("vm-share", [vm("a", memory_mib=30000)]),
        ("consolidation", [vm(f"v{i}") for i in range(11)]),
        ("cpu-overcommit", [vm(f"v{i}", vcpus=12) for i in range(6)]),
        ("memory-overcommit", [vm(f"v{i}", memory_mib=20000) for i in range(4)]),
        ("storage-capacity", [vm("a", disk_gib=1001)]),
        ("affinity", [vm("a", anti_affinity="g"), vm("b", anti_affinity="g")]),
    ],
)
def test_a_waiver_for_a_host_lets_vms_onto_it(rule: str, vms: list[dict[str, Any]]) -> None:
    refused = plan(cluster(1), vms)
    assert [f["rule"] for f in refused["findings"] if f["level"] == "deny"] == [rule]
    made = plan(cluster(1), vms, {"waivers": [waiver(rule, host="kvm1")]})
    assert made["verdict"] == "admitted"
    assert None not in made["placements"].values()
    assert levels(made, rule).count("waived") == 1


def test_waivers_for_vms_of_io_workload_and_affinity() -> None:
    vms = [vm("db1", workload="database", anti_affinity="g"), vm("b", anti_affinity="g")]
    policy = {"waivers": [waiver("io-workload", vm="db1"), waiver("affinity", vm="db1")]}
    made = plan(cluster(1), vms, policy)
    assert made["verdict"] == "admitted"
    assert levels(made, "affinity") == ["waived"]
    assert levels(made, "io-workload") == ["waived"]


def test_a_waiver_that_is_not_needed_is_said() -> None:
    made = plan(cluster(1), [vm("a")], {"waivers": [waiver("vm-share", vm="a")]})
    assert levels(made, "waiver") == ["info"]


def test_no_vm_at_all_is_a_plan() -> None:
    made = plan(cluster(2), [])
    assert made["verdict"] == "admitted"
    assert made["placements"] == {}


NODES = {"kvm1": host(numa_nodes=4), "kvm2": host(numa_nodes=2)}


@pytest.mark.parametrize("placement", ["spread", "pack"])
@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ({"vcpus": 8}, "kvm1"),
        ({"vcpus": 9}, "kvm2"),
        ({"memory_mib": 16384}, "kvm1"),
        ({"memory_mib": 16385}, "kvm2"),
    ],
)
def test_a_vm_goes_where_it_fits_one_numa_node(placement: str, size: dict[str, int], expected: str) -> None:
    # A quarter of kvm1 is 8 threads and 16384 MiB; the load alone would send v to kvm1.
    vms = [vm("y", host="kvm2", memory_mib=20000), vm("v", **size)]
    if placement == "pack":
        vms = [vm("y", host="kvm1", memory_mib=1000), vm("v", **size)]
    made = plan(NODES, vms, {"placement": placement})
    assert made["placements"]["v"] == expected
    assert levels(made, "numa") == []


def test_a_vm_that_is_larger_than_every_node_it_can_have_is_noted() -> None:
    made = plan(
        NODES, [vm("v", vcpus=9, memory_mib=16385, host="kvm1"), vm("w", vcpus=8, memory_mib=16384, host="kvm1")]
    )
    cpu, memory = sorted((f for f in made["findings"] if f["rule"] == "numa"), key=lambda f: f["resource"])
    assert (cpu["vm"], cpu["level"], cpu["value"], cpu["limit"], cpu["margin"]) == ("v", "info", 9, 8, -1)
    assert cpu["message"] == "v is larger than one of the 4 NUMA nodes of kvm1: 9 of 8 threads"
    assert cpu["fix"] == "lower vcpus to at most 8, or give it a host with larger nodes (kvm2)"
    assert (memory["value"], memory["limit"]) == (16385, 16384)
    assert made["verdict"] == "admitted"
    alone = plan({"kvm1": NODES["kvm1"]}, [vm("v", vcpus=9)])
    assert only(alone, "numa", "info")["fix"].endswith("(there is none)")


@pytest.mark.parametrize("placement", ["spread", "pack"])
@pytest.mark.parametrize("layout", ["local", "centralized"])
def test_one_more_vm_of_any_size_moves_none(placement: str, layout: str) -> None:
    policy = {"placement": placement}
    for seed in range(8):
        chance = random.Random(seed)
        vms = [
            vm(f"v{i:02}", chance.randint(1, 6), 1000 * chance.randint(1, 12), ha=layout != "local") for i in range(20)
        ]
        hosts = cluster(6, disk_gib=100_000)
        first = plan(hosts, vms, policy, storage_layout=layout)
        at = first["placements"]
        assert first["verdict"] == "admitted"
        running = {
            name: host(
                disk_gib=100_000,
                facts=[found(v["name"], v["vcpus"], v["memory_mib"]) for v in vms if at[v["name"]] == name],
            )
            for name in hosts
        }
        more = vm("new", chance.randint(1, 10), 1000 * chance.randint(1, 20), ha=layout != "local")
        chance.shuffle(vms)
        second = plan(running, [more, *vms], policy, storage_layout=layout)
        assert {name: second["placements"][name] for name in at} == at
        assert second["placements"]["new"] is not None


@pytest.mark.parametrize("placement", ["spread", "pack"])
def test_any_order_of_the_input_gives_the_same_bytes(placement: str) -> None:
    chance = random.Random(5)
    groups = [None, None, "web", "db"]
    vms = [
        vm(f"v{i:03}", chance.randint(1, 6), 1000 * chance.randint(1, 12), ha=True, anti_affinity=chance.choice(groups))
        for i in range(60)
    ]
    hosts = cluster(14, disk_gib=100_000)
    policy = {"placement": placement, "rules": {"affinity": {"level": "warn"}}}
    made = {
        files(
            plan(
                dict(chance.sample(list(hosts.items()), 14)),
                chance.sample(vms, 60),
                policy,
                storage_layout="centralized",
            )
        )["plan.json"]
        for _ in range(4)
    }
    assert len(made) == 1


@pytest.mark.parametrize("placement", ["spread", "pack"])
def test_what_follows_its_group_takes_the_room_of_others(placement: str) -> None:
    # mate must go to kvm1 beside home; what it takes there is gone for the rest.
    vms = [vm("home", host="kvm1", affinity="g"), vm("mate", affinity="g", memory_mib=25000)]
    vms += [vm(f"v{i}", memory_mib=20000) for i in range(7)]
    made = plan(cluster(3), vms, {"placement": placement})
    assert made["verdict"] == "admitted"
    assert made["placements"]["mate"] == "kvm1"
    assert [made["hosts"]["kvm1"]["virtual_machines"][:2]] == [["home", "mate"]]
