# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Few hosts: how few, under which rules, with what survives, and what stays where it is."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.plugin_utils.sizing import packing
from sizing_cases import breaks, cluster, found, host, levels, plan, rules, vm

PACK = {"placement": "pack"}
FREE = {"placement": "pack", "rules": {"consolidation": {"min": 0, "max": 1000}}}


def used(made: dict[str, Any]) -> int:
    return sum(bool(use["virtual_machines"]) for use in made["hosts"].values())


def skewed(seed: int) -> tuple[list[dict[str, Any]], int]:
    """VMs that want CPU, memory or both, for hosts of 64 vCPUs and 65536 MiB; and how many hosts their sums need."""
    chance = random.Random(seed)
    shapes = []
    for _ in range(chance.choice((5, 12, 30))):
        kind = chance.randrange(3)
        cpu = (chance.randint(6, 12), chance.randint(1, 3), chance.randint(1, 12))[kind]
        memory = (chance.randint(600, 6000), chance.randint(6000, 26000), chance.randint(600, 20000))[kind]
        shapes.append((cpu, memory))
    sizes = [chance.choice(shapes) for _ in range(chance.randint(30, 120))]
    vms = [vm(f"v{i:03}", vcpus=cpu, memory_mib=memory, disk_gib=1) for i, (cpu, memory) in enumerate(sizes)]
    least = max(-(-sum(cpu for cpu, _ in sizes) // 64), -(-sum(memory + 65 for _, memory in sizes) // 65536))
    return vms, least


@pytest.mark.parametrize("seed", range(16))
def test_at_most_one_host_more_than_the_sums_need(seed: int) -> None:
    vms, least = skewed(seed)
    hosts = cluster(least + 6)
    made = plan(hosts, vms, FREE)
    assert made["verdict"] == "admitted"
    told = made["packing"]
    assert told["least_hosts"] == least
    assert least <= used(made) == told["hosts_used"] <= least + 1
    assert told["proved_fewest"] == (used(made) == least)


@pytest.mark.parametrize("placement", ["spread", "pack"])
def test_what_fits_is_never_called_impossible(placement: str) -> None:
    # No order of sizes finds these on as few hosts as they fit; in some of them only emptying hosts again does.
    for seed in range(12):
        vms, least = skewed(seed)
        fits = used(plan(cluster(least + 6), vms, FREE))
        made = plan(cluster(fits), vms, {**FREE, "placement": placement})
        assert made["summary"]["placed"] == len(vms), seed


def test_to_begin_anew_counts_where_there_is_next_to_nothing_to_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    class Hopeless:
        """A packer of one VM that fits nowhere, which it sees at once."""

        steps, tops, items, sizes = 0, [(), ()], [SimpleNamespace(only=None)], [(1,)]
        board = SimpleNamespace(part=lambda _hosts: None)

        def __init__(self, *_arguments: Any) -> None:
            begun.append(self)

        def weights(self) -> list[float]:
            return [1.0]

        def pack(self, _width: int) -> list[int | None]:
            return [None]

    monkeypatch.setattr(packing, "_Packer", Hopeless)
    assert packing._mended(Hopeless(), [None], [0, 1], 20_000) == [None]  # type: ignore[arg-type]
    assert len(begun) <= 101


def test_a_host_on_which_something_runs_is_filled_first() -> None:
    hosts = {"kvm1": host(facts=[]), "kvm2": host(facts=[found("x", managed=False)]), "kvm3": host(facts=[])}
    made = plan(hosts, [vm(f"v{i}") for i in range(5)], PACK)
    assert set(made["placements"].values()) == {"kvm2"}
    assert made["packing"] == {"hosts_used": 1, "least_hosts": 1, "proved_fewest": True}


def test_pins_groups_and_what_may_not_be_together_are_kept() -> None:
    vms = [vm(f"w{i}", anti_affinity="web", memory_mib=3000) for i in range(3)]
    vms += [vm(f"p{i}", affinity="pair", memory_mib=9000) for i in range(2)]
    vms += [vm("pinned", host="kvm4", affinity="home"), vm("mate", affinity="home"), *(vm(f"v{i}") for i in range(9))]
    made = plan(cluster(5), vms, PACK)
    assert made["verdict"] == "admitted"
    at = made["placements"]
    assert len({at[f"w{i}"] for i in range(3)}) == 3
    assert at["p0"] == at["p1"]
    assert at["pinned"] == at["mate"] == "kvm4"
    assert used(made) == 3
    # A bound of the sums does not see that three may not be together.
    assert made["packing"] == {"hosts_used": 3, "least_hosts": 3, "proved_fewest": True}


def test_a_group_that_is_split_over_hosts_that_only_warn_may_share_one_at_last() -> None:
    vms = [vm(f"w{i}", anti_affinity="web") for i in range(3)]
    made = plan(cluster(2), vms, {**rules(affinity={"level": "warn"}), **PACK})
    assert made["verdict"] == "admitted"
    assert levels(made, "affinity") == ["warn"]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [({"consolidation": {"level": "warn", "min": 0, "max": 3}}, 3), ({"cpu_overcommit": {"limit": 0.25}}, 2)],
)
def test_a_rule_that_only_warns_is_kept_where_there_are_hosts(rule: dict[str, Any], expected: int) -> None:
    ((key, options),) = rule.items()
    made = plan(cluster(3), [vm(f"v{i}") for i in range(9)], {**rules(**{key: {"level": "warn", **options}}), **PACK})
    assert used(made) == expected
    assert levels(made, key.replace("_", "-")) == []
    # Without the hosts for it the rule is broken, and every VM has its place.
    more = plan(cluster(1), [vm(f"v{i}") for i in range(9)], {**rules(**{key: {"level": "warn", **options}}), **PACK})
    assert more["summary"]["placed"] == 9
    assert levels(more, key.replace("_", "-")) == ["warn"]


@pytest.mark.parametrize("hosts", [3, 4, 6, 10])
@pytest.mark.parametrize("seed", range(4))
def test_a_packed_cluster_survives_each_death(hosts: int, seed: int) -> None:
    # As many VMs as hosts less one hold with little to spare.
    chance = random.Random(seed)
    vms: list[dict[str, Any]] = []
    left = int(0.93 * (hosts - 1) * 65536)
    while left > 0 and len(vms) < 9 * (hosts - 1):
        memory = min(chance.choice((2000, 4000, 8000, 16000)), max(left, 1000))
        left -= memory + 65
        vms.append(vm(f"v{len(vms):03}", memory_mib=memory, vcpus=chance.randint(1, 4), ha=True))
    made = plan(cluster(hosts, disk_gib=10_000), vms, PACK, storage_layout="centralized")
    assert made["verdict"] == "admitted", made["findings"][:2]
    assert all(death["survives"] for death in made["failover"])
    assert breaks(cluster(hosts, disk_gib=10_000), vms, made["placements"], "centralized", failover=False) == []


def test_a_spare_host_is_left_empty_rather_than_room_on_each() -> None:
    vms = [vm(f"v{i:02}", memory_mib=6000, ha=True) for i in range(20)]
    made = plan(cluster(4), vms, PACK, storage_layout="centralized")
    assert made["verdict"] == "admitted"
    assert sorted(use["used"]["virtual_machines"] for use in made["hosts"].values()) == [0, 0, 10, 10]


def test_no_packing_is_told_of_when_a_vm_has_no_place() -> None:
    assert "packing" not in plan(cluster(1), [vm("a", memory_mib=60000)], PACK)
    assert "packing" not in plan(cluster(1), [vm("a")])


def test_that_it_cannot_survive_is_proved_by_the_sums() -> None:
    # 27 VMs of three hosts that take ten each: two hosts take twenty.
    vms = [vm(f"v{i:02}", ha=True) for i in range(27)]
    for placement in ("spread", "pack"):
        made = plan(cluster(3), vms, {"placement": placement}, storage_layout="centralized")
        assert made["verdict"] == "refused"
        assert made["summary"] == {**made["summary"], "placed": 27, "search": "complete"}
        assert set(levels(made, "failover")) == {"deny"}


def mixed(seed: int) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
    """Hosts of several sizes with VMs of others on them; VMs with pins, groups and HA; rarely more than fits."""
    chance = random.Random(seed)
    layout = chance.choice(("local", "centralized"))
    hosts = {
        f"kvm{i}": host(
            threads=chance.choice((16, 32, 64)),
            memory_mib=chance.choice((32768, 65536, 98304)),
            disk_gib=100_000,
            numa_nodes=chance.choice((1, 2, 4)),
            facts=[found(f"x{i}{j}", managed=False, memory_mib=4000) for j in range(chance.choice((0, 0, 2)))],
        )
        for i in range(chance.randint(3, 8))
    }
    vms = []
    for i in range(chance.randint(5, 6 * len(hosts))):
        entry = vm(f"v{i:02}", chance.randint(1, 6), chance.choice((1000, 3000, 6000, 12000)), 1)
        entry["ha"] = layout == "centralized" and chance.random() < 0.7
        if chance.random() < 0.1:
            entry["host"] = chance.choice(sorted(hosts))
        elif chance.random() < 0.2:
            entry["anti_affinity"] = chance.choice(("web", "app"))
        elif chance.random() < 0.1:
            entry["affinity"] = "pair"
        vms.append(entry)
    return hosts, vms, layout


@pytest.mark.parametrize("placement", ["spread", "pack"])
def test_what_is_admitted_breaks_nothing_and_what_is_refused_does(placement: str) -> None:
    verdicts = []
    for seed in range(40):
        hosts, vms, layout = mixed(seed)
        made = plan(hosts, vms, {"placement": placement}, storage_layout=layout)
        # Every way to restart is too many to try for this size: where each VM restarts is checked instead.
        broken = breaks(hosts, vms, made["placements"], layout, failover=False)
        broken += [f"death of {death['host']}" for death in made["failover"] if not death["survives"]]
        assert (made["verdict"] == "refused") == bool(broken), (seed, broken)
        verdicts.append(made["verdict"])
        for death in made["failover"]:
            after = {name: to for name, to in made["placements"].items() if to != death["host"]}
            after |= {one["name"]: one["to"] for one in death["virtual_machines"] if one["to"]}
            alive = {name: own for name, own in hosts.items() if name != death["host"]}
            left = [entry for entry in vms if after.get(entry["name"]) is not None]
            if not broken:
                assert breaks(alive, left, after, layout, failover=False) == [], (seed, death["host"])
    assert verdicts.count("admitted") >= 12
