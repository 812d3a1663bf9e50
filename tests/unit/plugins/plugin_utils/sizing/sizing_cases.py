# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small clusters for the tests, and the rules written a second time, naively, to hold the library to account."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from itertools import combinations, product
from typing import Any

from ansible_collections.croft.infra.plugins.plugin_utils.sizing.plan import make_plan

TODAY = date(2026, 6, 1)
Where = dict[str, str]
IO = ("database", "message_queue", "search_engine")


def host(**changes: Any) -> dict[str, Any]:
    """Variables of a host: 2 sockets, 16 cores, 32 threads, 64 GiB, 1000 GiB, nothing reserved."""
    capacity = {"sockets": 2, "cores": 16, "threads": 32, "memory_mib": 65536, "disk_gib": 1000}
    reserved = changes.pop("reserved", {"cpus": 0, "memory_mib": 0})
    facts = changes.pop("facts", None)
    own: dict[str, Any] = {"croft_capacity": {**capacity, **changes}, "host_reserved": reserved}
    if facts is not None:
        own["croft_host_facts"] = {"virtual_machines": facts, "pools": [], "changed": False}
    return own


def cluster(count: int, **changes: Any) -> dict[str, dict[str, Any]]:
    return {f"kvm{i + 1}": host(**changes) for i in range(count)}


def vm(name: str, vcpus: int = 1, memory_mib: int = 1024, disk_gib: int = 10, **more: Any) -> dict[str, Any]:
    return {"name": name, "vcpus": vcpus, "memory_mib": memory_mib, "disk_gib": disk_gib, **more}


def found(name: str, vcpus: int = 1, memory_mib: int = 1024, disk_gib: float = 10.0, **more: Any) -> dict[str, Any]:
    """A VM as host_capacity reports it."""
    entry = {"name": name, "uuid": "x", "vcpus": vcpus, "memory_mib": memory_mib, "disk_gib": disk_gib}
    return {**entry, "state": "running", "autostart": True, "managed": True, **more}


def running(hosts: dict[str, Any], vms: list[dict[str, Any]], where: Where, **more: Any) -> dict[str, Any]:
    """The hosts with these VMs running on them."""
    made = {}
    for name, own in hosts.items():
        there = own.get("croft_host_facts", {})
        mine = [
            found(entry["name"], entry["vcpus"], entry["memory_mib"], entry["disk_gib"], **more.get(entry["name"], {}))
            for entry in vms
            if where[entry["name"]] == name
        ]
        everything = [*there.get("virtual_machines", []), *mine]
        made[name] = {**own, "croft_host_facts": {**there, "virtual_machines": everything}}
    return made


def rules(**options: Any) -> dict[str, Any]:
    """A policy in which only the named rules (written with _) speak; the rest is off."""
    named = {key.replace("_", "-"): value for key, value in options.items()}
    off = {
        rule: {"level": "off"}
        for rule in (
            "vm-share",
            "io-workload",
            "consolidation",
            "cpu-overcommit",
            "memory-overcommit",
            "failover",
            "storage-capacity",
            "affinity",
        )
        if rule not in named
    }
    return {"rules": {**off, **named}}


def plan(hosts: dict[str, Any], vms: Any, policy: Any = None, **more: Any) -> dict[str, Any]:
    made, problems = make_plan(list(hosts), hosts, vms, policy=policy, **{"today": TODAY, **more})
    assert problems == []
    return made


def problems_of(hosts: dict[str, Any], vms: Any, policy: Any = None, **more: Any) -> list[str]:
    made, problems = make_plan(list(hosts), hosts, vms, policy=policy, **{"today": TODAY, **more})
    assert made["verdict"] == ("refused" if problems else made["verdict"])
    return problems


def levels(made: dict[str, Any], rule: str) -> list[str]:
    return [finding["level"] for finding in made["findings"] if finding["rule"] == rule]


def only(made: dict[str, Any], rule: str, level: str = "deny") -> dict[str, Any]:
    """The one finding of this rule and level."""
    matching = [f for f in made["findings"] if f["rule"] == rule and f["level"] == level]
    assert len(matching) == 1, [f["message"] for f in made["findings"]]
    return matching[0]


# --- the rules written a second time, for the default policy ---


def breaks(  # noqa: PLR0913
    hosts: dict[str, Any],
    vms: list[dict[str, Any]],
    where: dict[str, str | None],
    layout: str,
    *,
    overhead: int = 65,
    failover: bool = True,
    storage: dict[str, Any] | None = None,
) -> list[str]:
    """Which deny rules this placement breaks, from the raw variables, without anything of the library.

    ``storage``: options of storage-capacity that are not the default.
    """
    by_name = {entry["name"]: entry for entry in vms}
    broken = [f"io {entry['name']}" for entry in vms if entry.get("workload") in IO]
    broken += [f"nowhere {name}" for name, to in where.items() if to is None]
    for name, own in hosts.items():
        broken += _breaks_host(name, own, [by_name[v] for v, to in where.items() if to == name], layout, overhead)
    everything = [
        *vms,
        *(f for own in hosts.values() for f in own.get("croft_host_facts", {}).get("virtual_machines", [])),
    ]
    if layout == "centralized":
        pool = min(own["croft_capacity"]["disk_gib"] for own in hosts.values())
        if sum(entry["disk_gib"] for entry in everything) > pool:
            broken.append("pool")
    if layout == "distributed":
        disks = [own["croft_capacity"]["disk_gib"] for own in hosts.values()]
        broken += breaks_pool(disks, sum(entry["disk_gib"] for entry in everything), **(storage or {}))
    groups: dict[str, set[str | None]] = {}
    for entry in vms:
        if entry.get("affinity"):
            groups.setdefault(entry["affinity"], set()).add(where[entry["name"]])
    broken += [f"together {group}" for group, on in groups.items() if len(on) > 1]
    if failover:
        broken += [
            f"death {name}" for name in hosts if not survivable(hosts, vms, where, layout, name, overhead=overhead)
        ]
    return broken


def breaks_pool(
    disks: list[int], promised: int, *, replicas: int = 3, near_full: float = 0.85, host_failures: int = 1
) -> list[str]:
    """Which sets of hosts that die leave too little to hold all copies, each on a host of its own; () is that of none.

    A set that leaves fewer hosts than copies is not asked.
    """
    stored = promised / Fraction(str(near_full))
    broken = []
    for count in range(host_failures + 1):
        for dead in combinations(range(len(disks)), count):
            left = [disk for i, disk in enumerate(disks) if i not in dead]
            if dead and sum(disk > 0 for disk in left) < replicas:
                continue
            if sum(min(Fraction(disk), stored) for disk in left) < replicas * stored:
                broken.append(f"pool without {dead}")
    return broken


def _breaks_host(name: str, own: dict[str, Any], mine: list[dict[str, Any]], layout: str, overhead: int) -> list[str]:
    capacity, reserved = own["croft_capacity"], own["host_reserved"]
    others = own.get("croft_host_facts", {}).get("virtual_machines", [])
    here = [*mine, *others]
    threads = capacity["threads"] - reserved["cpus"]
    osds = reserved.get("osds", 1) if layout == "distributed" else 0
    memory = capacity["memory_mib"] - reserved["memory_mib"] - 4096 * osds - overhead * len(here)
    broken = []
    for entry in mine:
        if Fraction(entry["vcpus"], capacity["threads"]) > Fraction("0.4"):
            broken.append(f"share cpu {entry['name']}")
        if Fraction(entry["memory_mib"], capacity["memory_mib"]) > Fraction("0.4"):
            broken.append(f"share memory {entry['name']}")
    if len(here) > 10:
        broken.append(f"count {name}")
    if Fraction(sum(entry["vcpus"] for entry in here), threads) > 2:
        broken.append(f"cpu {name}")
    if sum(entry["memory_mib"] for entry in here) > memory:
        broken.append(f"memory {name}")
    if layout == "local" and sum(entry["disk_gib"] for entry in here) > capacity["disk_gib"]:
        broken.append(f"disk {name}")
    groups = [entry["anti_affinity"] for entry in mine if entry.get("anti_affinity")]
    if len(groups) != len(set(groups)):
        broken.append(f"apart {name}")
    return broken


def survivable(  # noqa: PLR0913
    hosts: dict[str, Any],
    vms: list[dict[str, Any]],
    where: dict[str, str | None],
    layout: str,
    dead: str,
    *,
    overhead: int = 65,
) -> bool:
    """Whether some way to restart the dead host's HA VMs breaks no deny rule: every way is tried."""
    moved = [entry["name"] for entry in vms if entry.get("ha") and where[entry["name"]] == dead]
    if not moved:
        return True
    rest = [name for name in hosts if name != dead]
    if layout == "local" or not rest:
        return False
    left = {name: own for name, own in hosts.items() if name != dead}
    alive = {name: to for name, to in where.items() if to not in (dead, None)}
    for targets in product(rest, repeat=len(moved)):
        new = {**alive, **dict(zip(moved, targets, strict=True))}
        touched = {name: left[name] for name in set(targets)}
        groups: dict[str, set[str | None]] = {}
        for entry in vms:
            if entry["name"] in moved and entry.get("affinity"):
                groups.setdefault(entry["affinity"], set()).add(new[entry["name"]])
        if any(len(on) > 1 for on in groups.values()):
            continue
        # What was broken before on a host nobody moves to is no matter of this death.
        if not _host_breaks(touched, vms, new, layout, overhead):
            return True
    return False


def _host_breaks(
    hosts: dict[str, Any], vms: list[dict[str, Any]], where: dict[str, Any], layout: str, overhead: int
) -> list[str]:
    by_name = {entry["name"]: entry for entry in vms}
    broken = []
    for name, own in hosts.items():
        broken += _breaks_host(name, own, [by_name[v] for v, to in where.items() if to == name], layout, overhead)
    return broken
