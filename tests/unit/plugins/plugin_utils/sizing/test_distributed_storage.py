# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What disks of several hosts hold when each piece is on several of them, and when hosts are lost."""

from __future__ import annotations

import re
from copy import deepcopy
from fractions import Fraction
from itertools import combinations
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.plugin_utils.sizing import limits
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.limits import usable
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.parse import read_inputs
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.whatif import headroom, what_if
from hypothesis import given
from hypothesis import strategies as st
from sizing_cases import TODAY, breaks_pool, cluster, found, host, levels, only, plan, problems_of, rules, vm

CAPACITIES = st.lists(st.integers(0, 12), max_size=7)
REPLICAS = st.integers(1, 5)


def hosts_of(*disks: float, **changes: Any) -> dict[str, Any]:
    return {f"kvm{i + 1}": host(disk_gib=disk, **changes) for i, disk in enumerate(disks)}


def made_of(disks: Any, promised: int, **options: Any) -> dict[str, Any]:
    """A plan of the rule alone, with all of a host in use before it is full, for one VM of this many GiB."""
    policy = rules(storage_capacity={"near_full": 1, **options})
    return plan(
        hosts_of(*disks), [vm("a", disk_gib=promised)] if promised else [], policy, storage_layout="distributed"
    )


# --- what fits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capacities", "replicas", "fits"),
    [
        ([100, 100, 100], 3, Fraction(100)),
        ([100, 100, 100, 100], 3, Fraction(400, 3)),
        # As many hosts as copies: each has everything, so the smallest is what fits.
        ([100, 50, 70], 3, Fraction(50)),
        # Of the large host only as much is of use as the others hold together.
        ([1000, 10, 20], 2, Fraction(30)),
        ([1000, 900, 10, 20], 3, Fraction(30)),
        ([60, 50, 40], 2, Fraction(75)),
        ([7, 7, 7], 2, Fraction(21, 2)),
        ([5, 0, 9], 1, Fraction(14)),
        ([100, 100], 3, Fraction(0)),
        ([100, 100, 0], 3, Fraction(0)),
        ([], 1, Fraction(0)),
        ([5], 10**12, Fraction(0)),
    ],
)
def test_usable(capacities: list[int], replicas: int, fits: Fraction) -> None:
    assert usable(capacities, replicas) == fits
    assert usable(iter(reversed(capacities)), replicas) == fits


@given(CAPACITIES, REPLICAS)
def test_usable_is_the_largest_that_meets_the_condition(capacities: list[int], replicas: int) -> None:
    fits = usable(capacities, replicas)
    assert sum(min(each, fits) for each in capacities) >= replicas * fits
    more = fits + Fraction(1, 10**6)
    assert sum(min(each, more) for each in capacities) < replicas * more


@given(CAPACITIES, REPLICAS)
def test_usable_is_what_piece_after_piece_finds_room(capacities: list[int], replicas: int) -> None:
    # Each piece on the hosts that have most room: no other way stores more.
    free, pieces = sorted(capacities, reverse=True), 0
    while len(free) >= replicas and free[replicas - 1] > 0:
        free = sorted([each - 1 for each in free[:replicas]] + free[replicas:], reverse=True)
        pieces += 1
    assert int(usable(capacities, replicas)) == pieces


@given(CAPACITIES, REPLICAS, st.integers(0, 12))
def test_more_disk_never_holds_less(capacities: list[int], replicas: int, more: int) -> None:
    fits = usable(capacities, replicas)
    assert usable([*capacities, more], replicas) >= fits
    for i in range(len(capacities)):
        assert usable([each + more * (i == j) for j, each in enumerate(capacities)], replicas) >= fits


@given(CAPACITIES.filter(bool), REPLICAS, st.integers(0, 4))
def test_the_largest_hosts_are_those_whose_loss_leaves_least(disks: list[int], replicas: int, failures: int) -> None:
    hosts = hosts_of(*disks)
    policy = rules(storage_capacity={"replicas": replicas, "host_failures": failures})
    inputs, _ = read_inputs(list(hosts), hosts, [], policy=policy, storage_layout="distributed", today=TODAY)
    assert inputs is not None
    sizes = {entry.name: entry.disk_mib for entry in inputs.hosts}
    lost = [entry.name for entry in limits.lost_hosts(inputs)]
    storing = sum(disk > 0 for disk in disks)
    assert len(lost) == min(failures, max(storing - replicas, 0))
    left = [
        limits.near_full_mib((sizes[name] for name in sizes if name not in dead), inputs.policy)
        for dead in combinations(sizes, len(lost))
    ]
    assert limits.left_mib(inputs) == min(left)
    assert limits.left_mib(inputs) <= limits.pool_mib(inputs)


# --- a host is lost ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("disks", "options", "most"),
    [
        ((100, 100, 100), {}, 100),
        ((100, 100, 100, 100), {}, 100),
        ((100, 100, 100, 100), {"host_failures": 0}, 133),
        ((100, 100, 100, 100, 100), {}, 133),
        ((100, 100, 100, 100, 100), {"host_failures": 2}, 100),
        # No more than Ceph can copy anew after: the third death of five leaves two hosts for three copies.
        ((100, 100, 100, 100, 100), {"host_failures": 3}, 100),
        # The largest is gone.
        ((400, 100, 100, 100), {}, 100),
        ((400, 300, 100, 150), {"replicas": 2}, 250),
        ((100, 80), {"replicas": 2}, 80),
        ((100, 80, 60), {"replicas": 2}, 60),
        ((100, 80, 60), {"replicas": 1}, 140),
        ((100,), {"replicas": 1}, 100),
        # A host without a disk is no host to copy to, and nothing is lost with it.
        ((100, 100, 0, 100), {}, 100),
        ((90, 100, 0, 80, 70), {}, 70),
        ((100, 100, 100, 100), {"near_full": 0.85}, 85),
        ((100, 100, 100, 100), {"limit": 1.5}, 150),
    ],
)
def test_what_is_promised_must_fit_after_the_worst_loss(disks: Any, options: dict[str, Any], most: int) -> None:
    assert made_of(disks, most, **options)["verdict"] == "admitted"
    assert made_of(disks, most + 1, **options)["verdict"] == "refused"


def test_a_plan_that_does_not_fit_says_what_is_left_after_whose_death() -> None:
    finding = only(made_of((100, 400, 100, 100), 120), "storage-capacity")
    assert (
        finding["message"] == "when kvm2 dies, the distributed pool has 100 GiB, 120 GiB are promised: 1.20, limit 1.00"
    )
    assert finding["fix"] == (
        "lower disk_gib of a from 120 to at most 100, or "
        "add 60 GiB of raw capacity, until each host has at least 120 GiB"
    )
    numbers = {key: finding[key] for key in ("host", "vm", "resource", "value", "limit", "unit")}
    assert numbers == {
        **{"host": None, "vm": None, "resource": "disk-after-loss", "unit": "ratio"},
        **{"value": 1.2, "limit": 1},
    }
    assert finding["margin"] == pytest.approx(-0.2)
    both = made_of((100, 100, 100, 100, 100), 170, host_failures=2)["findings"]
    assert [finding["message"] for finding in both] == [
        "when kvm1 and kvm2 die, the distributed pool has 100 GiB, 170 GiB are promised: 1.70, limit 1.00",
        "the distributed pool has 166.7 GiB, 170 GiB are promised: 1.02, limit 1.00",
    ]
    # Both are told the capacity after which none of them is left.
    assert all(finding["fix"].endswith("until each host has at least 170 GiB") for finding in both)


def test_too_few_hosts_hold_nothing() -> None:
    finding = only(made_of((100, 100), 10), "storage-capacity")
    assert finding["message"].startswith(
        "the distributed pool has 0 GiB (2 hosts with disks for 3 replicas), 10 GiB are promised: no ratio"
    )
    assert finding["fix"] == "take 10 GiB away, or add 1 host with OSDs: 3 replicas are on as many hosts"
    finding = only(made_of((100, 0, 0), 10), "storage-capacity")
    assert "(1 host with disks for 3 replicas)" in finding["message"]
    assert finding["fix"] == "take 10 GiB away, or add 20 GiB of raw capacity, until each host has at least 10 GiB"
    assert made_of((100, 100), 0)["findings"] == []
    centralized = plan(cluster(2, disk_gib=0), [vm("a")], rules(storage_capacity={}), storage_layout="centralized")
    assert only(centralized, "storage-capacity")["message"].startswith("the centralized pool has 0 GiB, 10 GiB are")


def test_its_level_is_that_of_the_rule_for_all_hosts() -> None:
    disks, promised = (100, 100, 100, 100), 120
    assert levels(made_of(disks, promised, level="warn"), "storage-capacity") == ["warn"]
    assert made_of(disks, promised, level="off")["findings"] == []
    policy = rules(storage_capacity={"near_full": 1})
    policy["classes"] = {"all": {"hosts": ["kvm1"], "rules": {"storage-capacity": {"level": "off", "limit": 9}}}}
    policy["waivers"] = [
        {"rule": "storage-capacity", "host": "kvm1", "reason": "x", "owner": "me", "until": "2026-12-31"}
    ]
    made = plan(hosts_of(*disks), [vm("a", disk_gib=promised)], policy, storage_layout="distributed")
    assert levels(made, "storage-capacity") == ["deny"]
    assert next(rule for rule in made["rules"] if rule["id"] == "storage-capacity")["checked"] == 2


@pytest.mark.parametrize("layout", ["local", "centralized"])
def test_the_other_layouts_have_no_copies(layout: str) -> None:
    made = plan(hosts_of(100, 100, 100), [vm("a", disk_gib=100)], rules(storage_capacity={}), storage_layout=layout)
    assert (made["verdict"], made["findings"]) == ("admitted", [])


@pytest.mark.parametrize(
    ("disks", "options", "note"),
    [
        (
            (9, 9, 9),
            {},
            "3 hosts hold 3 replicas: when one dies its data stays on 2 until it is back; "
            "1 more host would let Ceph copy anew",
        ),
        (
            (9, 0, 9),
            {"replicas": 2, "host_failures": 2},
            "2 hosts hold 2 replicas: when one dies its data stays on 1 until it is back; "
            "2 more hosts would let Ceph copy anew",
        ),
        (
            (9, 9, 9, 9),
            {"host_failures": 2},
            "4 hosts hold 3 replicas: when 2 die their data stays on 2 until one is back; "
            "1 more host would let Ceph copy anew",
        ),
        (
            (9,),
            {"replicas": 1},
            "1 host holds 1 replica: when one dies its data is gone until it is back; "
            "1 more host would let Ceph copy anew",
        ),
        ((9, 9, 9), {"host_failures": 0}, None),
        ((9, 9, 9), {"level": "off"}, None),
        ((9, 9, 9, 9), {}, None),
        ((9, 9), {}, None),
    ],
)
def test_where_there_is_no_host_to_copy_to_it_is_said(disks: Any, options: dict[str, Any], note: str | None) -> None:
    made = made_of(disks, 0, **options)
    assert made["verdict"] == "admitted"
    assert [(f["rule"], f["level"], f["message"], f["fix"]) for f in made["findings"]] == (
        [("storage-capacity", "info", note, "")] if note else []
    )


def test_a_host_more_can_refuse_what_was_admitted() -> None:
    # Three hosts have nowhere to copy to. With a fourth Ceph copies anew, and fills it when it is too small for that.
    assert made_of((100, 100, 100), 50)["verdict"] == "admitted"
    assert made_of((100, 100, 100, 49), 50)["verdict"] == "refused"
    assert made_of((100, 100, 100, 50), 50)["verdict"] == "admitted"


STORAGE = st.fixed_dictionaries({"replicas": st.integers(1, 3), "host_failures": st.integers(0, 2)})
DISKS = st.lists(st.integers(0, 40), min_size=1, max_size=6)


@given(DISKS, st.integers(1, 60), STORAGE)
def test_admitted_is_what_the_second_writing_admits(disks: list[int], promised: int, storage: dict[str, int]) -> None:
    made = made_of(disks, promised, near_full=0.85, **storage)
    assert (made["verdict"] == "refused") == bool(breaks_pool(disks, promised, **storage)), made["findings"]


@given(DISKS, st.integers(1, 60), STORAGE, st.integers(0, 40))
def test_a_host_more_never_refuses_where_each_loss_was_asked_for_already(
    disks: list[int], promised: int, storage: dict[str, int], more: int
) -> None:
    asked = sum(disk > 0 for disk in disks) - storage["host_failures"] >= storage["replicas"]
    # Else a host that is not smaller than all others is as good.
    if asked or more >= min((disk for disk in disks if disk), default=0):
        before = made_of(disks, promised, **storage)["verdict"]
        assert (before, made_of([*disks, more], promised, **storage)["verdict"]) != ("admitted", "refused")


@given(DISKS, st.integers(1, 60), STORAGE, st.sampled_from([1, 1.5, 0.3]), st.sampled_from([1, 0.85]))
def test_the_raw_capacity_that_a_fix_asks_for_is_enough_and_no_more(
    disks: list[int], promised: int, storage: dict[str, int], limit: float, near_full: float
) -> None:
    options = {**storage, "limit": limit, "near_full": near_full}
    refusals = [f for f in made_of(disks, promised, **options)["findings"] if f["level"] == "deny"]
    for finding in refusals:
        asked = re.search(r"add (\d+) GiB of raw capacity, until each host has at least (\d+) GiB$", finding["fix"])
        if asked is None:
            assert len(disks) < storage["replicas"]
            continue
        added, level = int(asked[1]), int(asked[2])
        raised = [max(disk, level) for disk in disks]
        assert added == sum(raised) - sum(disks)
        assert made_of(raised, promised, **options)["verdict"] == "admitted"
        less = [max(disk, level - 1) for disk in disks]
        assert made_of(less, promised, **options)["verdict"] == "refused"


# --- questions to a plan ----------------------------------------------------------------------------------------------


def test_headroom_stops_at_what_is_left_after_a_loss() -> None:
    made = made_of((100, 100, 100, 100), 10)
    answer = headroom(made, {"vcpus": 1, "memory_mib": 1, "disk_gib": 9})
    assert (answer["count"], answer["exact"]) == (10, True)
    assert "storage-capacity: when kvm1 dies, the distributed pool has 100 GiB, 109 GiB" in answer["blocked"]


def test_what_if_a_host_is_taken_away_or_added() -> None:
    made = made_of((100, 100, 100, 100), 100)
    assert what_if(made, without=["kvm4"])["verdict"] == "admitted"
    assert what_if(made, without=["kvm3", "kvm4"])["verdict"] == "refused"
    tight = made_of((100, 100, 100, 100), 120)
    assert what_if(tight, hosts={"kvm9": "kvm1"})["verdict"] == "admitted"


def test_an_older_plan_is_read_with_the_defaults_of_what_it_does_not_say() -> None:
    made = made_of((100, 100, 100, 100), 100, host_failures=0)
    older = deepcopy(made)
    for rule in older["rules"]:
        rule["options"].pop("host_failures", None)
    more = [{"vcpus": 1, "memory_mib": 1, "disk_gib": 1}]
    assert what_if(made, virtual_machines=more)["verdict"] == "admitted"
    assert what_if(older, virtual_machines=more)["verdict"] == "refused"


# --- its OSDs ---------------------------------------------------------------------------------------------------------


def _osds(devices: Any, **reserved: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    own = host(reserved={"cpus": 0, "memory_mib": 0, **reserved})
    return {"kvm1": own if devices is None else {**own, "ceph_osd_devices": devices}}, {"storage_layout": "distributed"}


@pytest.mark.parametrize(
    ("devices", "reserved", "osds"),
    [
        (None, {}, 1),
        (None, {"osds": 3}, 3),
        (None, {"osds": 0}, 0),
        (["/dev/sdb", "/dev/sdc"], {}, 2),
        (["/dev/sdb", "/dev/sdc"], {"osds": 2}, 2),
        ([], {}, 0),
        ([], {"osds": 0}, 0),
    ],
)
def test_one_osd_for_each_disk_of_ceph(devices: Any, reserved: dict[str, int], osds: int) -> None:
    hosts, layout = _osds(devices, **reserved)
    kept = plan(hosts, [], **layout)["hosts"]["kvm1"]["reserved"]
    assert (kept["osds"], kept["osd_memory_mib"]) == (osds, 4096 * osds)
    assert plan(hosts, [])["hosts"]["kvm1"]["reserved"]["osds"] == 0


def test_osds_without_a_reserve_are_counted_too() -> None:
    hosts = {"kvm1": {"croft_capacity": host()["croft_capacity"], "ceph_osd_devices": ["/dev/sdb", "/dev/sdc"]}}
    assert plan(hosts, [], storage_layout="distributed")["hosts"]["kvm1"]["reserved"]["osds"] == 2


@pytest.mark.parametrize(
    ("devices", "osds", "line"),
    [
        (
            ["/dev/sdb", "/dev/sdc"],
            1,
            "hosts[kvm1].host_reserved.osds: is 1, but ceph_osd_devices names 2 disks; "
            "leave osds out, or correct one of them",
        ),
        (
            ["/dev/sdb"],
            2,
            "hosts[kvm1].host_reserved.osds: is 2, but ceph_osd_devices names 1 disk; "
            "leave osds out, or correct one of them",
        ),
        ("/dev/sdb", 1, "hosts[kvm1].ceph_osd_devices: is '/dev/sdb', must be a list of disks"),
        ({"a": 1}, 1, "hosts[kvm1].ceph_osd_devices: is a mapping, must be a list of disks"),
        (["/dev/sdb"], "x", "hosts[kvm1].host_reserved.osds: is 'x', must be a whole number of Ceph OSDs >= 0"),
    ],
)
def test_disks_and_osds_that_do_not_agree(devices: Any, osds: Any, line: str) -> None:
    hosts, layout = _osds(devices, osds=osds)
    assert problems_of(hosts, [], **layout) == [line]
    # In another layout nobody asks for Ceph's disks.
    assert problems_of(hosts, []) == ([line] if osds == "x" else [])


def test_what_is_promised_counts_also_what_is_in_no_list() -> None:
    hosts = hosts_of(100, 100, 100, 100)
    hosts["kvm1"] = host(disk_gib=100, facts=[found("x", disk_gib=60, managed=False)])
    made = plan(hosts, [vm("a", disk_gib=41)], rules(storage_capacity={"near_full": 1}), storage_layout="distributed")
    assert "101 GiB are promised" in only(made, "storage-capacity")["message"]


@pytest.mark.parametrize(("value", "good"), [(0, True), (3, True), ("2", True), (-1, False), (1.5, False)])
def test_host_failures_is_a_whole_number(value: Any, good: bool) -> None:
    lines = problems_of(cluster(1), [], rules(storage_capacity={"host_failures": value}))
    where = "sizing_policy.rules.storage-capacity.host_failures"
    assert lines == ([] if good else [f"{where}: is {value}, must be a whole number of hosts >= 0"])


@pytest.mark.parametrize(
    ("layout", "devices", "declared", "disk"),
    [
        ("distributed", ["/dev/sdb"], None, 500),
        ("distributed", [], None, 0),
        ("distributed", [], 70, 70),
        ("distributed", None, None, 500),
        ("local", [], None, 500),
    ],
)
def test_a_host_that_gives_no_disk_to_ceph_adds_nothing(
    layout: str, devices: Any, declared: int | None, disk: int
) -> None:
    read = {"sockets": 1, "cores": 8, "threads": 16, "memory_mib": 65536, "disk_gib": 500}
    own = {"croft_host_facts": {"capacity": read}, "croft_capacity": {"disk_gib": declared}, "host_reserved": {}}
    hosts = {"kvm1": {**own, **({} if devices is None else {"ceph_osd_devices": devices})}}
    assert plan(hosts, [], storage_layout=layout)["hosts"]["kvm1"]["capacity"]["disk_gib"] == disk
    facts_missing = {"kvm1": {**host(), "ceph_osd_devices": []}}
    assert plan(facts_missing, [], storage_layout=layout)["hosts"]["kvm1"]["capacity"]["disk_gib"] == 1000
