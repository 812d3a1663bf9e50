# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What if: the plan read back, changed, and filled until a rule refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.croft.infra.plugins.filter.headroom import headroom
from ansible_collections.croft.infra.plugins.filter.what_if import what_if
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.plan import build_plan, to_dict
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.whatif import inputs_of
from hypothesis import given, settings
from hypothesis import strategies as st
from sizing_cases import TODAY, cluster, found, host, plan, rules, vm

SHAPE = {"vcpus": 1, "memory_mib": 1024, "disk_gib": 10}


def back(made: dict[str, Any]) -> dict[str, Any]:
    """The plan as a filter gets it, from JSON, and made again from what it says."""
    return to_dict(build_plan(inputs_of(json.loads(json.dumps(made)))))


@pytest.mark.parametrize("layout", ["local", "centralized", "distributed"])
def test_a_plan_read_back_gives_the_same_plan(layout: str) -> None:
    hosts = cluster(2, reserved={"cpus": 2, "memory_mib": 4096}, facts=[found("x", 3, 2000, 5.5, managed=False)])
    vms = [vm(f"v{i}", 13, 20000, anti_affinity="g" if i < 3 else None) for i in range(4)] + [
        vm("db", workload="database")
    ]
    waiver = {"rule": "vm-share", "vm": "v1", "reason": "r", "owner": "o", "until": TODAY}
    expired = {**waiver, "vm": "v2", "until": "2020-01-01"}
    classes = {"small": {"hosts": ["kvm2"], "rules": {"vm-share": {"limit": 0.3}, "consolidation": {"min": 1}}}}
    policy = {"rules": {"cpu-overcommit": {"limit": 1.1}}, "classes": classes, "waivers": [waiver, expired]}
    made = plan(hosts, vms, policy, storage_layout=layout)
    again = back(made)
    for key in ("verdict", "placements", "hosts", "failover", "rules", "classes"):
        assert again[key] == made[key], key
    kept = [finding for finding in made["findings"] if finding["rule"] not in ("waiver", "placement-drift")]
    assert [finding for finding in again["findings"] if finding["rule"] not in ("waiver", "placement-drift")] == kept


@pytest.mark.parametrize(
    ("hosts", "there", "policy", "shape", "count", "rule"),
    [
        (cluster(2), [], None, SHAPE, 20, "consolidation"),
        (cluster(2), [vm("a")], None, SHAPE, 19, "consolidation"),
        (cluster(2), [], None, {**SHAPE, "vcpus": 12}, 10, "cpu-overcommit"),
        (cluster(2), [], None, {**SHAPE, "vcpus": 13}, 0, "vm-share"),
        (cluster(2), [], None, {**SHAPE, "memory_mib": 13000}, 10, "memory-overcommit"),
        (cluster(2), [], None, {**SHAPE, "disk_gib": 400}, 4, "storage-capacity"),
        (cluster(2), [], None, {**SHAPE, "anti_affinity": "g"}, 2, "affinity"),
        (cluster(2), [], None, {**SHAPE, "workload": "database"}, 0, "io-workload"),
        (cluster(2), [], None, {**SHAPE, "ha": True}, 0, "failover"),
        (
            cluster(2, facts=[found("x", 40, managed=False)]),
            [],
            rules(cpu_overcommit={}),
            {**SHAPE, "vcpus": 8},
            6,
            "cpu-o",
        ),
    ],
)
def test_headroom(  # noqa: PLR0913, PLR0917
    hosts: Any, there: Any, policy: Any, shape: Any, count: int, rule: str
) -> None:
    room = headroom(plan(hosts, there, policy), shape)
    assert (room["count"], room["exact"]) == (count, True)
    assert room["blocked"].startswith(rule)
    assert sum(room["hosts"].values()) == count
    # One more is refused, as many are not: asked in one go.
    made = plan(hosts, there, policy)
    assert what_if(made, virtual_machines=[{**shape, "count": count + 1}])["verdict"] == "refused"
    if count:
        assert what_if(made, virtual_machines=[{**shape, "count": count}])["verdict"] == "admitted"


def test_headroom_keeps_room_for_a_death() -> None:
    made = plan(cluster(3), [], storage_layout="centralized")
    room = headroom(made, {**SHAPE, "ha": True})
    # 10 VMs a host at most: 20 are all that two hosts hold.
    assert (room["count"], room["blocked"].split(":")[0]) == (20, "failover")


def test_a_refused_plan_has_no_room() -> None:
    room = headroom(plan(cluster(1), [vm("db", workload="database")]), SHAPE)
    assert room["count"] == 0
    assert room["blocked"].startswith("the plan is refused: io-workload")


def test_without_a_host_its_vms_go_elsewhere() -> None:
    made = plan(cluster(3), [vm(f"v{i}", host=f"kvm{1 + i % 3}") for i in range(9)])
    less = what_if(made, without=["kvm3"])
    assert less["verdict"] == "admitted"
    assert set(less["hosts"]) == {"kvm1", "kvm2"}
    stayed = {name: to for name, to in made["placements"].items() if to != "kvm3"}
    assert {name: less["placements"][name] for name in stayed} == stayed
    full = plan(cluster(2), [vm(f"v{i:02}") for i in range(20)])
    assert what_if(full, without="kvm1")["verdict"] == "refused"


def test_with_a_host_more() -> None:
    full = plan(cluster(2), [vm(f"v{i:02}") for i in range(20)], {"classes": {"c": {"hosts": ["kvm1"], "rules": {}}}})
    assert headroom(full, SHAPE)["count"] == 0
    more = what_if(full, hosts={"kvm9": "kvm1"})
    assert more["classes"]["c"]["hosts"] == ["kvm1", "kvm9"]
    assert headroom(more, SHAPE)["hosts"] == {"kvm9": 10}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"without": ["kvm7"]}, "without: is 'kvm7', not a host of this plan; did you mean 'kvm1'?"),
        ({"without": 5}, "without: is 5, must be a host or a list of hosts"),
        ({"without": ["kvm1"]}, "without: takes every host away"),
        ({"hosts": {"kvm1": "kvm1"}}, "hosts.kvm1: is a host already"),
        ({"hosts": {"kvm2": "x"}}, "hosts.kvm2: is like 'x', not a host of this plan"),
        ({"hosts": ["kvm2"]}, "hosts: is a list, must be a mapping"),
        ({"virtual_machines": {"vcpus": 1}}, "virtual_machines: is a mapping, must be a list of shapes"),
        ({"virtual_machines": [5]}, "shape: is 5, must be a mapping"),
        ({"virtual_machines": [{**SHAPE, "count": 0}]}, "virtual_machines[0].count: is 0, must be a whole number"),
        ({"virtual_machines": [{"vcpus": 1}]}, "memory_mib: is missing"),
    ],
)
def test_bad_questions(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(AnsibleFilterError) as raised:
        what_if(plan(cluster(1), []), **arguments)
    assert said in str(raised.value)


def test_what_is_no_plan_or_no_shape() -> None:
    with pytest.raises(AnsibleFilterError, match=r"croft\.infra\.headroom: takes a plan"):
        headroom({}, SHAPE)
    with pytest.raises(AnsibleFilterError, match="is missing, must be a whole number of vCPUs"):
        headroom(plan(cluster(1), []), {"memory_mib": 1, "disk_gib": 1})


@settings(max_examples=30)
@given(st.integers(1, 3), st.integers(1, 12), st.sampled_from([1000, 7000, 20000]), st.sampled_from([0, 1, 5]))
def test_headroom_is_what_a_plan_admits(size: int, vcpus: int, memory: int, others: int) -> None:
    made = plan({f"h{i}": host() for i in range(size)}, [vm(f"o{i}") for i in range(others)])
    shape = {**SHAPE, "vcpus": vcpus, "memory_mib": memory}
    room = headroom(made, shape)
    for count in {0, room["count"] // 2, room["count"]} - {0}:
        assert what_if(made, virtual_machines=[{**shape, "count": count}])["verdict"] == "admitted"
    assert what_if(made, virtual_machines=[{**shape, "count": room["count"] + 1}])["verdict"] == "refused"


@pytest.mark.parametrize(
    ("policy", "more", "shape", "count"),
    [
        # Two hosts of 65536 MiB take 9 of 7065 MiB each; the pool 12 of 20 GiB.
        ({}, {}, {"memory_mib": 7000}, 18),
        ({}, {"disk_gib": 240}, {"memory_mib": 7000, "disk_gib": 20}, 12),
        ({}, {}, {"memory_mib": 7000, "ha": True}, 9),
        ({}, {}, {"memory_mib": 7000, "host": "kvm1"}, 9),
        ({}, {}, {"memory_mib": 7000, "host": "kvm1", "ha": True}, 9),
        ({}, {}, {"anti_affinity": "web"}, 2),
        ({}, {}, {"affinity": "pair", "memory_mib": 7000}, 9),
        ({}, {}, {"workload": "database"}, 0),
        ({"rules": {"failover": {"host_failures_tolerated": 2}}}, {}, {"ha": True}, 0),
    ],
)
def test_headroom_is_the_bound_or_below_it(
    policy: dict[str, Any], more: dict[str, Any], shape: dict[str, Any], count: int
) -> None:
    made = plan(cluster(2, **more), [], policy, storage_layout="centralized")
    room = headroom(made, {**SHAPE, **shape})
    assert (room["count"], room["exact"]) == (count, True)
    assert sum(room["hosts"].values()) == count
