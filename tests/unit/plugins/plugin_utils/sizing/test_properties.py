# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold for any cluster, judged by the rules' second writing in sizing_cases."""

from __future__ import annotations

import json
from copy import deepcopy
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sizing_cases import breaks, cluster, found, host, plan, vm

# Memory in few big steps and small hosts: most cases are near a limit, and exact fits happen.
SLOW = settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
LAYOUTS = st.sampled_from(["local", "centralized", "distributed"])


@st.composite
def hosts_of(draw: st.DrawFn, most: int = 3) -> dict[str, Any]:
    hosts = {}
    for i in range(draw(st.integers(1, most))):
        facts = [
            found(
                f"x{i}{j}", vcpus=draw(st.integers(1, 3)), memory_mib=draw(st.sampled_from([500, 1000])), managed=False
            )
            for j in range(draw(st.integers(0, 2)))
        ]
        hosts[f"kvm{i}"] = host(
            sockets=1,
            cores=2,
            threads=draw(st.sampled_from([4, 5, 8, 10])),
            memory_mib=draw(st.sampled_from([4000, 5000, 8130, 10000])),
            disk_gib=draw(st.sampled_from([30, 100, 1000])),
            reserved={"cpus": draw(st.integers(0, 2)), "memory_mib": draw(st.sampled_from([0, 500])), "osds": 0},
            facts=facts,
        )
        own = hosts[f"kvm{i}"]
        if own["croft_capacity"]["memory_mib"] > 8000:
            own["host_reserved"]["osds"] = draw(st.integers(0, 1))
    return hosts


@st.composite
def vms_of(draw: st.DrawFn, hosts: dict[str, Any], most: int = 5) -> list[dict[str, Any]]:
    vms = []
    for i in range(draw(st.integers(0, most))):
        entry = vm(
            f"v{i}",
            vcpus=draw(st.integers(1, 4)),
            memory_mib=draw(st.sampled_from([400, 1000, 1600, 2000, 3252, 4000])),
            disk_gib=draw(st.sampled_from([5, 10, 20])),
            ha=draw(st.booleans()),
        )
        if draw(st.integers(0, 3)) == 0:
            entry["host"] = draw(st.sampled_from(sorted(hosts)))
        if draw(st.integers(0, 3)) == 0:
            entry["anti_affinity"] = "web"
        if draw(st.integers(0, 5)) == 0:
            entry["affinity"] = "pair"
        if draw(st.integers(0, 15)) == 0:
            entry["workload"] = "database"
        vms.append(entry)
    return vms


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    storage = {"replicas": draw(st.integers(1, 3)), "host_failures": draw(st.integers(0, 2))}
    return {"placement": draw(st.sampled_from(["spread", "pack"])), "rules": {"storage-capacity": storage}}


def broken_by(case: Any, where: dict[str, str | None]) -> list[str]:
    hosts, vms, layout, policy = case
    return breaks(hosts, vms, where, layout, storage=policy["rules"]["storage-capacity"])


CASES = hosts_of().flatmap(lambda hosts: st.tuples(st.just(hosts), vms_of(hosts), LAYOUTS, policies()))


@SLOW
@given(CASES)
def test_admitted_means_that_the_naive_checker_finds_nothing_and_refused_that_it_does(case: Any) -> None:
    hosts, vms, layout, policy = case
    made = plan(hosts, vms, policy, storage_layout=layout)
    broken = broken_by(case, made["placements"])
    assert (made["verdict"] == "refused") == bool(broken), (broken, made["findings"])


@SLOW
@given(CASES)
def test_refused_means_that_no_placement_passes(case: Any) -> None:
    hosts, vms, layout, policy = case
    made = plan(hosts, vms, policy, storage_layout=layout)
    if made["verdict"] == "admitted" or len(vms) > 4:
        return
    assert made["summary"]["search"] == "complete"
    choices = [[entry["host"]] if entry.get("host") else sorted(hosts) for entry in vms]
    for targets in product(*choices):
        where: dict[str, str | None] = dict(zip((entry["name"] for entry in vms), targets, strict=True))
        assert broken_by(case, where), where


@SLOW
@given(CASES, st.data())
def test_more_capacity_never_turns_admitted_into_refused(case: Any, data: st.DataObject) -> None:
    hosts, vms, layout, policy = case
    if plan(hosts, vms, policy, storage_layout=layout)["verdict"] != "admitted":
        return
    more = deepcopy(hosts)
    name = data.draw(st.sampled_from(sorted(hosts)))
    key = data.draw(st.sampled_from(["threads", "memory_mib", "disk_gib", "host"]))
    if key == "host":
        # On shared storage the pool is what the host that sees least of it sees: a new host sees the same.
        disk = min(own["croft_capacity"]["disk_gib"] for own in hosts.values())
        more["kvm9"] = host(disk_gib=disk, threads=data.draw(st.sampled_from([4, 32])), cores=4)
    else:
        more[name]["croft_capacity"][key] += data.draw(st.integers(1, 5000))
    assert plan(more, vms, policy, storage_layout=layout)["verdict"] == "admitted"


@SLOW
@given(CASES, st.randoms(use_true_random=False))
def test_the_order_of_the_input_changes_nothing(case: Any, random: Any) -> None:
    hosts, vms, layout, policy = case
    mixed_vms = random.sample(vms, len(vms))
    mixed_hosts = {name: hosts[name] for name in random.sample(sorted(hosts), len(hosts))}
    for own in mixed_hosts.values():
        own["croft_host_facts"]["virtual_machines"].reverse()
    first = json.dumps(plan(hosts, vms, policy, storage_layout=layout))
    assert json.dumps(plan(mixed_hosts, mixed_vms, policy, storage_layout=layout)) == first


@SLOW
@given(CASES)
def test_the_numbers_add_up(case: Any) -> None:
    hosts, vms, layout, policy = case
    made = plan(hosts, vms, policy, storage_layout=layout)
    for finding in made["findings"]:
        if finding["margin"] is not None:
            distance = finding["limit"] - finding["value"]
            assert abs(finding["margin"] - (-distance if finding["resource"] == "min" else distance)) < 1e-9
            assert finding["margin"] < 0
    sizes = {entry["name"]: entry for entry in vms}
    for name, use in made["hosts"].items():
        other = hosts[name]["croft_host_facts"]["virtual_machines"]
        mine = [sizes[each] for each in use["virtual_machines"]]
        assert use["used"]["vcpus"] == sum(entry["vcpus"] for entry in [*mine, *other])
        assert use["used"]["memory_mib"] == sum(entry["memory_mib"] for entry in [*mine, *other])
        assert use["used"]["virtual_machines"] == len(mine) + len(other)
        assert use["reserved"]["qemu_overhead_mib"] == 65 * (len(mine) + len(other))
        assert [each for each, to in made["placements"].items() if to == name] == use["virtual_machines"]
    counts = made["summary"]["findings"]
    assert sum(counts.values()) == len(made["findings"])
    assert made["summary"]["placed"] == sum(to is not None for to in made["placements"].values())


@SLOW
@given(CASES)
def test_what_was_placed_stays_when_it_runs(case: Any) -> None:
    hosts, vms, layout, policy = case
    made = plan(hosts, vms, policy, storage_layout=layout)
    running = deepcopy(hosts)
    for entry in vms:
        to = made["placements"][entry["name"]]
        if to is not None:
            facts = running[to]["croft_host_facts"]["virtual_machines"]
            facts.append(found(entry["name"], entry["vcpus"], entry["memory_mib"], entry["disk_gib"]))
    again = plan(running, vms, policy, storage_layout=layout)
    kept = {name: to for name, to in made["placements"].items() if to is not None}
    assert {name: again["placements"][name] for name in kept} == kept
    if made["verdict"] == "admitted":
        assert again["placements"] == made["placements"]
        assert again["verdict"] == "admitted"


@pytest.mark.parametrize("count", [17, 18, 19, 20])
def test_a_homogenous_cluster_is_filled_to_what_the_rules_allow(count: int) -> None:
    # 65536 MiB hold 9 of 7000 + 65 MiB, not 10
    made = plan(cluster(2), [vm(f"v{i:02}", memory_mib=7000) for i in range(count)])
    assert (made["verdict"] == "admitted") == (count <= 18)
    assert made["summary"]["placed"] == min(count, 18)
