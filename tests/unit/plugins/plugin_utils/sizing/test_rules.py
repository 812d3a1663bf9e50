# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each rule below, at and above its limit, with the numbers it says and the fix that it names."""

from __future__ import annotations

from typing import Any

import pytest
from sizing_cases import TODAY, cluster, found, host, levels, only, plan, rules, vm

NO_OVERHEAD = {"host_overhead": {"qemu_overhead_mib": 0}}


@pytest.mark.parametrize(
    ("threads", "vcpus", "passes"),
    [(10, 3, True), (10, 4, True), (10, 5, False), (32, 12, True), (32, 13, False), (5, 2, True), (2, 1, False)],
)
def test_vm_share_of_cpu(threads: int, vcpus: int, passes: bool) -> None:
    made = plan({"kvm1": host(threads=threads, cores=2)}, [vm("a", vcpus=vcpus)], rules(vm_share={}))
    assert made["verdict"] == ("admitted" if passes else "refused")


@pytest.mark.parametrize(
    ("limit", "memory", "passes"),
    [
        (None, 3999, True),
        (None, 4000, True),
        (None, 4001, False),
        # 0.1 + 0.2 and friends: read as the decimal that was written
        (0.3, 3000, True),
        (0.3, 3001, False),
        ("0.7", 7000, True),
        ("0.7", 7001, False),
        (1, 10000, True),
    ],
)
def test_vm_share_of_memory(limit: Any, memory: int, passes: bool) -> None:
    policy = rules(vm_share={} if limit is None else {"limit": limit})
    made = plan({"kvm1": host(memory_mib=10000)}, [vm("a", memory_mib=memory, host="kvm1")], policy)
    assert made["verdict"] == ("admitted" if passes else "refused")


def test_vm_share_says_its_numbers_and_the_smallest_fix() -> None:
    made = plan({"kvm1": host(memory_mib=16384)}, [vm("big1", memory_mib=8192, host="kvm1")], rules(vm_share={}))
    finding = only(made, "vm-share")
    assert finding["message"] == "big1 takes 0.50 of the memory of kvm1 (8192 of 16384 MiB), limit 0.40"
    assert finding["fix"] == "lower memory_mib of big1 from 8192 to at most 6553, or use a host with at least 20480 MiB"
    assert (finding["value"], finding["limit"], finding["unit"]) == (0.5, 0.4, "ratio")
    assert finding["margin"] == pytest.approx(-0.1)
    assert (finding["host"], finding["vm"], finding["resource"]) == ("kvm1", "big1", "memory")


def test_vm_share_shows_as_many_digits_as_it_takes() -> None:
    made = plan({"kvm1": host(memory_mib=100000)}, [vm("a", memory_mib=40001, host="kvm1")], rules(vm_share={}))
    assert "takes 0.40001 of" in only(made, "vm-share")["message"]


def test_vm_share_is_of_the_whole_host_reserve_or_not() -> None:
    hosts = {"kvm1": host(memory_mib=10000, threads=10, cores=5, reserved={"cpus": 5, "memory_mib": 5000})}
    assert plan(hosts, [vm("a", vcpus=4, memory_mib=4000)], rules(vm_share={}))["verdict"] == "admitted"


@pytest.mark.parametrize(
    ("workload", "passes"),
    [("general", True), ("cache", True), ("database", False), ("message_queue", False), ("search_engine", False)],
)
def test_io_workload(workload: str, passes: bool) -> None:
    made = plan(cluster(1), [vm("db1", workload=workload)], rules(io_workload={}))
    assert made["verdict"] == ("admitted" if passes else "refused")
    assert made["placements"]["db1"] == ("kvm1" if passes else None)
    if not passes:
        finding = only(made, "io-workload")
        assert "bare metal with local disks" in finding["fix"]
        assert (finding["value"], finding["limit"], finding["margin"]) == (1, 0, -1)


def test_io_workload_list_is_policy() -> None:
    made = plan(
        cluster(1),
        [vm("a", workload="cache"), vm("b", workload="database")],
        rules(io_workload={"workloads": ["cache"]}),
    )
    assert only(made, "io-workload")["vm"] == "a"


@pytest.mark.parametrize(("count", "level"), [(3, ["warn"]), (4, []), (10, []), (11, ["deny"])])
def test_consolidation(count: int, level: list[str]) -> None:
    vms = [vm(f"v{i}", host="kvm1") for i in range(count)]
    assert levels(plan(cluster(1), vms, rules(consolidation={})), "consolidation") == level


@pytest.mark.parametrize(
    ("options", "count", "level"),
    [
        ({"level": "warn"}, 11, ["warn"]),
        ({"level": "off"}, 11, []),
        ({"level": False}, 11, []),
        ({"level": "off"}, 1, []),
        ({"min_level": "off"}, 1, []),
        ({"min_level": "deny"}, 1, ["deny"]),
        ({"min": 2, "max": 12}, 12, []),
        ({"min": 2, "max": 12}, 13, ["deny"]),
        ({"min": 2}, 1, ["warn"]),
        ({"min": 0}, 0, []),
    ],
)
def test_consolidation_options(options: dict[str, Any], count: int, level: list[str]) -> None:
    vms = [vm(f"v{i:02}", host="kvm1") for i in range(count)]
    assert levels(plan(cluster(1), vms, rules(consolidation=options)), "consolidation") == level


def test_the_eleventh_vm_has_no_host_and_is_told_so() -> None:
    made = plan(cluster(1), [vm(f"v{i:02}") for i in range(11)], rules(consolidation={}))
    finding = only(made, "consolidation")
    assert finding["vm"] == "v10"
    assert (finding["value"], finding["limit"], finding["margin"]) == (11, 10, -1)
    assert finding["fix"] == "take 1 VM off kvm1, or add a host"
    assert made["summary"]["search"] == "complete"


@pytest.mark.parametrize(
    ("options", "reserved", "vcpus", "passes"),
    [
        ({}, 0, 64, True),
        ({}, 0, 65, False),
        ({}, 1, 62, True),
        ({}, 1, 63, False),
        ({"cpu_unit": "core"}, 0, 32, True),
        ({"cpu_unit": "core"}, 0, 33, False),
        # 2 of 32 threads are 1 of 16 cores
        ({"cpu_unit": "core"}, 2, 30, True),
        ({"cpu_unit": "core"}, 2, 31, False),
        ({"limit": 2.1}, 0, 67, True),
        ({"limit": 2.1}, 0, 68, False),
        ({"limit": 0.5}, 0, 16, True),
        ({"limit": 0.5}, 0, 17, False),
    ],
)
def test_cpu_overcommit(options: dict[str, Any], reserved: int, vcpus: int, passes: bool) -> None:
    hosts = cluster(1, reserved={"cpus": reserved, "memory_mib": 0})
    half = vcpus // 2
    vms = [vm("a", vcpus=half, host="kvm1"), vm("b", vcpus=vcpus - half, host="kvm1")]
    made = plan(hosts, vms, rules(cpu_overcommit=options))
    assert made["verdict"] == ("admitted" if passes else "refused")


def test_cpu_overcommit_of_2_1_says_what_would_pass() -> None:
    hosts = {"kvm1": host(threads=20, cores=10)}
    made = plan(hosts, [vm("a", vcpus=40, host="kvm1"), vm("b", vcpus=2, host="kvm1")], rules(cpu_overcommit={}))
    finding = only(made, "cpu-overcommit")
    assert (finding["value"], finding["limit"]) == (2.1, 2)
    assert "42 vCPUs on 20 threads" in finding["message"]
    assert finding["fix"] == "lower vcpus of a from 40 to at most 38, or use a host with at least 21 threads"


def test_cpu_overcommit_when_no_single_vm_is_enough() -> None:
    made = plan(
        {"kvm1": host(threads=1, cores=1, sockets=1)},
        [vm(f"v{i}", host="kvm1") for i in range(5)],
        rules(cpu_overcommit={}),
    )
    assert only(made, "cpu-overcommit")["fix"].startswith("take 3 vCPUs off kvm1, or")


@pytest.mark.parametrize(
    ("limit", "reserved", "overhead", "memory", "passes"),
    [
        (1, 0, 0, 10000, True),
        (1, 0, 0, 10001, False),
        (1, 1000, 0, 9000, True),
        (1, 1000, 0, 9001, False),
        (1, 1000, 65, 8870, True),
        (1, 1000, 65, 8871, False),
        # the overhead is subtracted before the ratio: 1.5 * (10000 - 2 * 100)
        (1.5, 0, 100, 14700, True),
        (1.5, 0, 100, 14701, False),
        (0.9, 0, 0, 9000, True),
        (0.9, 0, 0, 9001, False),
    ],
)
def test_memory_overcommit(limit: float, reserved: int, overhead: int, memory: int, passes: bool) -> None:
    hosts = {"kvm1": host(memory_mib=10000, reserved={"cpus": 0, "memory_mib": reserved})}
    options = {"memory_overcommit": {"limit": limit}, "host_overhead": {"qemu_overhead_mib": overhead}}
    for pin in ({"host": "kvm1"}, {}):
        vms = [vm("a", memory_mib=4000, **pin), vm("b", memory_mib=memory - 4000, **pin)]
        assert plan(hosts, vms, rules(**options))["verdict"] == ("admitted" if passes else "refused")


def test_memory_overcommit_fix_is_exact_to_the_mib() -> None:
    hosts = {"kvm1": host(memory_mib=10000)}
    vms = [vm("a", memory_mib=6000, host="kvm1"), vm("b", memory_mib=5000, host="kvm1")]
    finding = only(plan(hosts, vms, rules(memory_overcommit={})), "memory-overcommit")
    assert finding["fix"] == "lower memory_mib of a from 6000 to at most 4870, or use a host with at least 11130 MiB"
    vms[0]["memory_mib"] = 4870
    assert plan(hosts, vms, rules(memory_overcommit={}))["verdict"] == "admitted"
    vms[0]["memory_mib"] = 6000
    assert plan({"kvm1": host(memory_mib=11130)}, vms, rules(memory_overcommit={}))["verdict"] == "admitted"
    assert plan({"kvm1": host(memory_mib=11129)}, vms, rules(memory_overcommit={}))["verdict"] == "refused"


def test_memory_overcommit_when_the_overhead_takes_all() -> None:
    made = plan(
        {"kvm1": host(memory_mib=100)},
        [vm(f"v{i}", memory_mib=1, host="kvm1") for i in range(2)],
        rules(memory_overcommit={}),
    )
    finding = only(made, "memory-overcommit")
    assert finding["value"] is None
    assert finding["margin"] is None
    assert made["hosts"]["kvm1"]["ratios"]["memory"] is None


def test_osd_memory_counts_in_the_distributed_layout_only() -> None:
    hosts = {"kvm1": host(memory_mib=10000, reserved={"cpus": 0, "memory_mib": 0, "osds": 2})}
    policy = rules(memory_overcommit={}, host_overhead={"qemu_overhead_mib": 0, "osd_memory_mib": 1000})
    assert plan(hosts, [vm("a", memory_mib=8000)], policy, storage_layout="distributed")["verdict"] == "admitted"
    assert plan(hosts, [vm("a", memory_mib=8001)], policy, storage_layout="distributed")["verdict"] == "refused"
    assert plan(hosts, [vm("a", memory_mib=10000)], policy, storage_layout="centralized")["verdict"] == "admitted"


@pytest.mark.parametrize(
    ("layout", "options", "disk", "passes"),
    [
        ("local", {}, 100, True),
        ("local", {}, 101, False),
        ("local", {"limit": 1.5}, 150, True),
        ("local", {"limit": 1.5}, 151, False),
        ("centralized", {}, 100, True),
        ("centralized", {}, 101, False),
        # Two hosts of 100 GiB hold everything once each, near-full at 0.85; three copies find no third host.
        ("distributed", {"replicas": 2}, 85, True),
        ("distributed", {"replicas": 2}, 86, False),
        ("distributed", {}, 1, False),
        ("distributed", {"replicas": 2, "near_full": 0.9}, 90, True),
        ("distributed", {"replicas": 2, "near_full": 0.9}, 91, False),
    ],
)
def test_storage_capacity(layout: str, options: dict[str, Any], disk: int, passes: bool) -> None:
    made = plan(
        cluster(2, disk_gib=100),
        [vm("a", disk_gib=disk, host="kvm1")],
        rules(storage_capacity=options),
        storage_layout=layout,
    )
    assert made["verdict"] == ("admitted" if passes else "refused")
    if not passes:
        assert only(made, "storage-capacity")["host"] == ("kvm1" if layout == "local" else None)


def test_storage_capacity_of_all_hosts_together_when_shared() -> None:
    vms = [vm("a", disk_gib=60, host="kvm1"), vm("b", disk_gib=60, host="kvm2")]
    policy = rules(storage_capacity={})
    assert plan(cluster(2, disk_gib=100), vms, policy)["verdict"] == "admitted"
    assert plan(cluster(2, disk_gib=100), vms, policy, storage_layout="centralized")["verdict"] == "refused"


def test_a_host_without_a_pool_takes_no_vm() -> None:
    finding = only(plan(cluster(1, disk_gib=0), [vm("a", host="kvm1")], rules(storage_capacity={})), "storage-capacity")
    assert finding["value"] is None
    assert finding["fix"].endswith("give it at least 10 GiB")


def test_anti_affinity_keeps_apart() -> None:
    vms = [vm(f"web{i}", anti_affinity="web") for i in range(3)]
    made = plan(cluster(3), vms, rules(affinity={}))
    assert sorted(made["placements"].values()) == ["kvm1", "kvm2", "kvm3"]
    finding = only(plan(cluster(2), vms, rules(affinity={})), "affinity")
    assert finding["vm"] == "web2"
    assert "add a host" in finding["fix"]
    assert (finding["value"], finding["limit"]) == (2, 1)


def test_anti_affinity_of_pins_is_a_finding() -> None:
    vms = [vm(f"web{i}", anti_affinity="web", host="kvm1") for i in range(2)]
    finding = only(plan(cluster(2), vms, rules(affinity={})), "affinity")
    assert finding["host"] == "kvm1"
    assert finding["fix"].startswith("move web1 to a host without the group (kvm2)")
    assert levels(plan(cluster(2), vms, rules(affinity={"level": "warn"})), "affinity") == ["warn"]


def test_affinity_keeps_together() -> None:
    vms = [vm(f"a{i}", affinity="pair", memory_mib=20000) for i in range(2)] + [vm("big", memory_mib=30000)]
    made = plan(cluster(2), vms, rules(affinity={}, memory_overcommit={}))
    assert made["placements"]["a0"] == made["placements"]["a1"]
    assert made["verdict"] == "admitted"


def test_affinity_goes_where_a_member_is() -> None:
    vms = [vm("a0", affinity="pair", host="kvm2"), vm("a1", affinity="pair")]
    assert plan(cluster(3), vms, rules(affinity={}))["placements"] == {"a0": "kvm2", "a1": "kvm2"}


def test_affinity_that_pins_tear_is_a_finding() -> None:
    vms = [vm("a0", affinity="pair", host="kvm2"), vm("a1", affinity="pair", host="kvm1")]
    finding = only(plan(cluster(3), vms, rules(affinity={})), "affinity")
    assert (finding["value"], finding["limit"]) == (2, 1)


def test_an_affinity_group_too_big_for_any_host() -> None:
    vms = [vm(f"a{i}", affinity="pair", memory_mib=40000) for i in range(2)]
    made = plan(cluster(3), vms, rules(affinity={}, memory_overcommit={}))
    assert made["verdict"] == "refused"
    assert {f["vm"] for f in made["findings"] if f["level"] == "deny"} == {"a0", "a1"}


def test_unmanaged_and_forgotten_vms_count() -> None:
    facts = [found("theirs", vcpus=30, managed=False), found("forgotten", vcpus=30)]
    made = plan(cluster(1, facts=facts), [vm("a", vcpus=4)], rules(cpu_overcommit={}))
    assert made["verdict"] == "admitted"
    assert made["hosts"]["kvm1"]["unmanaged"] == ["forgotten", "theirs"]
    assert made["hosts"]["kvm1"]["used"]["vcpus"] == 64
    assert levels(made, "unmanaged") == ["info"]
    assert plan(cluster(1, facts=facts), [vm("a", vcpus=5)], rules(cpu_overcommit={}))["verdict"] == "refused"


def test_unmanaged_vms_count_for_consolidation_and_storage() -> None:
    facts = [found(f"x{i}", disk_gib=9.5, managed=False) for i in range(10)]
    made = plan(cluster(1, facts=facts, disk_gib=105), [vm("a", disk_gib=10)], rules(storage_capacity={}))
    assert made["verdict"] == "admitted"
    assert only(plan(cluster(1, facts=facts), [vm("a")], rules(consolidation={})), "consolidation")["value"] == 11
    assert plan(cluster(1, facts=facts, disk_gib=104), [vm("a")], rules(storage_capacity={}))["verdict"] == "refused"


def test_a_host_with_nothing_reserved_is_warned_about() -> None:
    hosts = cluster(1)
    del hosts["kvm1"]["host_reserved"]
    assert levels(plan(hosts, [vm("a")]), "host-overhead") == ["warn"]
    assert levels(plan(cluster(1), [vm("a")]), "host-overhead") == []


def test_a_vm_in_two_rules_ways_is_told_both_fixes() -> None:
    made = plan(cluster(1), [vm("a", vcpus=20, memory_mib=40000)], rules(vm_share={}))
    finding = only(made, "vm-share")
    assert "lower memory_mib of a from 40000 to at most 26214" in finding["fix"]
    assert "lower vcpus of a from 20 to at most 12" in finding["fix"]


def test_the_closest_host_is_named_for_a_vm_without_a_place() -> None:
    hosts = {"kvm1": host(memory_mib=4096), "kvm2": host(memory_mib=8192), "kvm3": host(memory_mib=2048)}
    finding = only(plan(hosts, [vm("a", memory_mib=9000)], rules(memory_overcommit={})), "memory-overcommit")
    assert finding["host"] == "kvm2"
    assert finding["fix"] == "lower memory_mib of a from 9000 to at most 8127, or use a host with at least 9065 MiB"


def test_warn_refuses_nothing_and_off_says_nothing() -> None:
    vms = [vm("a", vcpus=20, host="kvm1")]
    assert plan(cluster(1), vms, rules(vm_share={"level": "warn"}))["verdict"] == "admitted"
    assert levels(plan(cluster(1), vms, rules(vm_share={"level": "warn"})), "vm-share") == ["warn"]
    assert levels(plan(cluster(1), vms, rules(vm_share={"level": "off"})), "vm-share") == []


def test_a_rule_that_only_warns_is_kept_where_there_is_a_choice() -> None:
    hosts = {"kvm1": host(threads=8, cores=4), "kvm2": host(threads=32)}
    made = plan(hosts, [vm("a", vcpus=4), vm("x", vcpus=30, host="kvm2")], rules(vm_share={"level": "warn"}))
    assert made["placements"]["a"] == "kvm2"


def test_overhead_that_takes_all_memory_leaves_no_ratio() -> None:
    # Two VMs' overhead is all of 130 MiB; 131 leave one.
    vms = [vm(f"v{i}", memory_mib=1, host="kvm1") for i in range(2)]
    nothing = only(plan(cluster(1, memory_mib=130), vms, rules(memory_overcommit={})), "memory-overcommit")
    assert (nothing["value"], nothing["limit"], nothing["margin"]) == (None, 1, None)
    assert "no ratio, nothing is left" in nothing["message"]
    one = only(plan(cluster(1, memory_mib=131), vms, rules(memory_overcommit={})), "memory-overcommit")
    assert (one["value"], one["margin"]) == (2, -1)


def test_a_share_of_one_thread_is_still_a_size_to_propose() -> None:
    # 40 % of 3 threads is one vCPU, of 2 none.
    for threads, lower in ((3, True), (2, False)):
        made = plan(
            cluster(1, sockets=1, cores=1, threads=threads), [vm("a", vcpus=2, host="kvm1")], rules(vm_share={})
        )
        assert ("lower vcpus of a from 2 to at most 1" in only(made, "vm-share")["fix"]) == lower


def test_a_waiver_of_another_rule_lets_no_group_together() -> None:
    waiver = {"rule": "vm-share", "vm": "a", "reason": "large", "owner": "ops", "until": TODAY}
    vms = [vm("a", anti_affinity="web"), vm("b", anti_affinity="web")]
    made = plan(cluster(1), vms, {"waivers": [waiver]})
    assert sorted(made["placements"].values(), key=str) == [None, "kvm1"]
    assert plan(cluster(1), vms, {"waivers": [{**waiver, "rule": "affinity"}]})["verdict"] == "admitted"


def test_a_waiver_for_one_of_a_group_does_not_excuse_another() -> None:
    vms = [vm("a", affinity="g", host="kvm1"), vm("b", affinity="g", host="kvm2"), vm("c", affinity="g", host="kvm3")]
    waiver = {"rule": "affinity", "reason": "license", "owner": "ops", "until": TODAY}
    for excused, level, named in ((["a"], "deny", "b"), (["b"], "deny", "a"), (["a", "b"], "waived", "a")):
        policy = {**rules(affinity={}), "waivers": [{**waiver, "vm": name} for name in excused]}
        made = plan(cluster(3), vms, policy)
        finding = only(made, "affinity", level)
        assert (finding["vm"], finding["value"], finding["limit"]) == (named, 3, 1)
        assert "move a, b to kvm3" in finding["fix"]


def test_a_numa_node_that_is_filled_to_the_last_is_large_enough() -> None:
    hosts = {"kvm1": host(numa_nodes=4), "kvm2": host(numa_nodes=2)}
    made = plan(hosts, [vm("v", vcpus=16, memory_mib=32768, host="kvm1")])
    for finding in (f for f in made["findings"] if f["rule"] == "numa"):
        assert finding["fix"].endswith("give it a host with larger nodes (kvm2)")
    assert levels(made, "numa") == ["info", "info"]
