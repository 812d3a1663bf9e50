# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fix that a finding names is the smallest: it passes, and one step less does not."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sizing_cases import cluster, host, only, plan, rules, vm

LOWER = re.compile(r"lower (\w+) of (\w+) from (\d+) to at most (\d+)")
BIGGER = re.compile(r"at least (\d+) (threads|MiB|GiB)")
TAKE = re.compile(r"take (\d+) (vCPUs|MiB|GiB) ")
KEYS = {"threads": "threads", "MiB": "memory_mib", "GiB": "disk_gib"}
SIZES = {"vCPUs": "vcpus", "MiB": "memory_mib", "GiB": "disk_gib"}


def _subjects(made: dict[str, Any], finding: dict[str, Any]) -> bool:
    """Whether the plan still has this finding, of the same rule on the same subject."""
    same = ("rule", "host", "vm", "resource", "level")
    return any(all(f[key] == finding[key] for key in same) for f in made["findings"])


@st.composite
def crowded(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    """One host, VMs pinned to it, and limits that they often break."""
    own = host(
        sockets=1,
        cores=1,
        threads=draw(st.integers(2, 9)),
        memory_mib=draw(st.integers(300, 1500)),
        disk_gib=draw(st.sampled_from([3, 5.5, 10, 30])),
        reserved={"cpus": draw(st.integers(0, 1)), "memory_mib": draw(st.integers(0, 99))},
    )
    sizes = st.tuples(st.integers(1, 9), st.integers(1, 700), st.integers(1, 12))
    vms = [vm(f"v{i}", *draw(sizes), host="kvm1") for i in range(draw(st.integers(1, 4)))]
    limits = st.sampled_from([0.3, 0.4, 0.7, 1, 1.1, 1.5, 2])
    policy = rules(
        vm_share={"limit": draw(limits)},
        cpu_overcommit={"limit": draw(limits)},
        memory_overcommit={"limit": draw(limits)},
        storage_capacity={"limit": draw(limits)},
    )
    return own, vms, policy


@settings(max_examples=150)
@given(crowded())
def test_the_fix_is_the_smallest_change_that_passes(case: Any) -> None:
    own, vms, policy = case
    for finding in plan({"kvm1": own}, vms, policy)["findings"]:
        if finding["level"] != "deny":
            continue
        lower = LOWER.search(finding["fix"])
        if lower:
            key, name, have, most = lower[1], lower[2], int(lower[3]), int(lower[4])
            assert 1 <= most < have
            for size, stays in ((most, False), (most + 1, True)):
                changed = [{**entry, key: size} if entry["name"] == name else entry for entry in vms]
                assert _subjects(plan({"kvm1": own}, changed, policy), finding) is stays, finding
        bigger = BIGGER.search(finding["fix"])
        assert bigger, finding
        for size, stays in ((int(bigger[1]), False), (int(bigger[1]) - 1, True)):
            changed_host = deepcopy(own)
            changed_host["croft_capacity"][KEYS[bigger[2]]] = size
            assert _subjects(plan({"kvm1": changed_host}, vms, policy), finding) is stays, finding
        take = TAKE.search(finding["fix"])
        assert bool(take or lower) or finding["rule"] == "vm-share"
        if take:
            key = SIZES[take[2]]
            # No VM alone could give that much and stay.
            assert all(entry[key] <= int(take[1]) for entry in vms)


@pytest.mark.parametrize(("cores", "still"), [(18, True), (19, False)])
def test_the_fix_counted_in_cores(cores: int, still: bool) -> None:
    policy = rules(cpu_overcommit={"cpu_unit": "core"})
    vms = [vm("a", vcpus=36, host="kvm1")]
    finding = only(plan(cluster(1, reserved={"cpus": 2, "memory_mib": 0}), vms, policy), "cpu-overcommit")
    # 36 vCPUs need 18 cores beside the reserve of 2 threads, which is one core: 19 cores of 2 threads
    assert finding["fix"].endswith("use a host with at least 38 threads")
    hosts = cluster(1, cores=cores, threads=2 * cores, reserved={"cpus": 2, "memory_mib": 0})
    assert (plan(hosts, vms, policy)["verdict"] == "refused") is still


def test_the_fix_of_a_shared_pool() -> None:
    vms = [vm("a", disk_gib=70, host="kvm1"), vm("b", disk_gib=51, host="kvm2")]
    policy = rules(storage_capacity={})
    made = plan(cluster(2, disk_gib=100), vms, policy, storage_layout="centralized")
    fix = only(made, "storage-capacity")["fix"]
    assert fix == "lower disk_gib of a from 70 to at most 49, or give it at least 121 GiB"


@pytest.mark.parametrize(("threads", "memory", "passes"), [(8, 10065, True), (7, 10065, False), (8, 10064, False)])
def test_the_fix_of_a_death_by_capacity(threads: int, memory: int, passes: bool) -> None:
    policy = rules(failover={}, vm_share={"limit": 1}, cpu_overcommit={}, memory_overcommit={})
    vms = [vm("a", vcpus=15, memory_mib=10000, host="kvm1", ha=True)]
    hosts = {"kvm1": host(), "kvm2": host(memory_mib=1000)}
    finding = only(plan(hosts, vms, policy, storage_layout="centralized"), "failover")
    # One VM may take all of a host, so its 15 vCPUs need 15 threads; without that rule 2 vCPUs share a thread.
    assert finding["fix"].startswith("add a host with at least 15 threads and 10065 MiB")
    loose = {"rules": {**policy["rules"], "vm-share": {"level": "off"}}}
    finding = only(plan(hosts, vms, loose, storage_layout="centralized"), "failover")
    assert finding["fix"].startswith("add a host with at least 8 threads and 10065 MiB")
    more = {**hosts, "kvm3": host(threads=threads, cores=2, memory_mib=memory)}
    assert (plan(more, vms, loose, storage_layout="centralized")["verdict"] == "admitted") is passes


@pytest.mark.parametrize(("memory", "passes"), [(2503, True), (2502, False)])
def test_the_fix_of_a_death_by_share(memory: int, passes: bool) -> None:
    policy = rules(failover={}, vm_share={}, memory_overcommit={})
    vms = [vm("a", memory_mib=1001, host="kvm1", ha=True)]
    hosts = {"kvm1": host(), "kvm2": host(memory_mib=1000)}
    finding = only(plan(hosts, vms, policy, storage_layout="centralized"), "failover")
    assert finding["fix"].startswith("add a host with at least 3 threads and 2503 MiB")
    more = {**hosts, "kvm3": host(memory_mib=memory)}
    assert (plan(more, vms, policy, storage_layout="centralized")["verdict"] == "admitted") is passes


def test_what_has_no_number_comes_before_what_has() -> None:
    vms = [vm(f"v{i}", memory_mib=1, vcpus=40, host="kvm1") for i in range(2)]
    made = plan({"kvm1": host(memory_mib=100)}, vms, rules(memory_overcommit={}, cpu_overcommit={}))
    assert [f["rule"] for f in made["findings"] if f["level"] == "deny"] == ["memory-overcommit", "cpu-overcommit"]


def test_groups_are_told_by_their_names() -> None:
    policy = rules(affinity={}, memory_overcommit={})
    torn = [
        vm("a0", affinity="p", host="kvm2"),
        vm("a1", affinity="p", host="kvm1"),
        vm("a2", affinity="p", host="kvm2"),
    ]
    finding = only(plan(cluster(2), torn, policy), "affinity")
    assert finding["fix"] == "move a1 to kvm2, or take the group off"
    assert finding["vm"] == "a1"
    big = [vm(f"a{i}", affinity="p", memory_mib=40000) for i in range(2)] + [vm("b", affinity="q")]
    made = plan(cluster(2), big, policy)
    assert all("affinity group p (a0, a1) needs 2 hosts or more" in f["message"] for f in made["findings"] if f["vm"])
    web = [vm(f"w{i}", anti_affinity="w") for i in range(3)] + [vm("x", anti_affinity="x"), vm("y")]
    assert "the group has 3 VMs and there are 2 hosts" in only(plan(cluster(2), web, policy), "affinity")["fix"]


def test_each_io_workload_reads_as_english() -> None:
    made = plan(cluster(1), [vm("a", workload="app")], rules(io_workload={"workloads": ["app"]}))
    assert only(made, "io-workload")["message"].startswith("a is an app, which")
