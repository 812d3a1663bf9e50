# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Seeded clusters that are hard to pack, and the fewest hosts that they need as CP-SAT finds it."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from datetime import date
from typing import Any

from ansible_collections.croft.infra.plugins.plugin_utils.sizing.plan import make_plan

OVERHEAD_MIB = 65


@dataclass(frozen=True)
class Case:
    """Hosts that are alike, and VMs of few or many shapes: some want CPU, some memory, some both.

    ``sizes``: (vcpus, memory_mib) of each VM; ``vms_per_host``: the consolidation maximum.
    """

    seed: int
    threads: int
    memory_mib: int
    vms_per_host: int
    sizes: tuple[tuple[int, int], ...]

    @property
    def room(self) -> tuple[int, int, int]:
        """vCPUs, memory and VMs that a host takes under the default limits (2.0 vCPUs a thread, no memory twice)."""
        return (2 * self.threads, self.memory_mib, self.vms_per_host)

    @property
    def wanted(self) -> Counter[tuple[int, int, int]]:
        """How many VMs there are of each (vcpus, memory with QEMU's overhead, 1)."""
        return Counter((vcpus, memory + OVERHEAD_MIB, 1) for vcpus, memory in self.sizes)

    @property
    def least(self) -> int:
        """The L1 bound: the sums need as many hosts."""
        return max(-(-sum(size[d] * count for size, count in self.wanted.items()) // self.room[d]) for d in range(3))


def case(seed: int, vms: int | None = None, shapes: int | None = None) -> Case:
    """The cluster of this seed, of 40 to 200 VMs unless said otherwise."""
    chance = random.Random(seed)
    count = chance.randint(40, 200) if vms is None else vms
    kinds = chance.choice((8, 20, 40, count)) if shapes is None else shapes
    threads, memory = chance.choice((32, 48, 64)), chance.choice((65536, 98304, 131072))
    most = chance.choice((6, 10, 1000))
    # A VM may have 40 % of the threads, which is 20 % of the vCPUs that a host takes; and 40 % of its memory.
    shares = []
    # In every fourth case a host takes two or three of the largest, and what is left of it fits little.
    large = seed % 4 == 3
    for _ in range(kinds):
        mood = chance.random()
        if large and mood < 0.5:
            shares.append((chance.uniform(0.0, 0.2), chance.uniform(0.26, 0.4)))
            continue
        if mood < 0.35:
            shares.append((chance.uniform(0.1, 0.2), chance.uniform(0.01, 0.1)))
        elif mood < 0.7:
            shares.append((chance.uniform(0.0, 0.05), chance.uniform(0.1, 0.4)))
        else:
            shares.append((chance.uniform(0.0, 0.2), chance.uniform(0.01, 0.3)))
    sizes = [(max(1, int(2 * threads * cpu)), max(512, int(memory * part))) for cpu, part in shares]
    return Case(seed, threads, memory, most, tuple(chance.choice(sizes) for _ in range(count)))


def planned(one: Case, hosts: int, placement: str) -> dict[str, Any]:
    """The plan for this many hosts: every default rule that can refuse, on shared storage without HA."""
    variables = {
        f"node{n:04}": {
            "croft_capacity": {
                "sockets": 2,
                "cores": one.threads // 2,
                "threads": one.threads,
                "memory_mib": one.memory_mib,
                "disk_gib": len(one.sizes) * 20,
            },
            "host_reserved": {"cpus": 0, "memory_mib": 0, "osds": 0},
        }
        for n in range(hosts)
    }
    vms = [
        {"name": f"vm{n:05}", "vcpus": vcpus, "memory_mib": memory, "disk_gib": 10}
        for n, (vcpus, memory) in enumerate(one.sizes)
    ]
    policy = {"placement": placement, "rules": {"consolidation": {"min": 1, "max": one.vms_per_host}}}
    plan, problems = make_plan(
        list(variables), variables, vms, policy=policy, storage_layout="centralized", today=date(2026, 1, 1)
    )
    assert not problems, problems[:3]
    return plan


def hosts_used(plan: dict[str, Any]) -> int:
    return sum(bool(host["virtual_machines"]) for host in plan["hosts"].values())


def fewest(one: Case, most: int, seconds: float) -> tuple[int, int]:
    """What CP-SAT finds in this time: the hosts of its best packing, and its proven lower bound.

    Whole numbers of each shape on each host; hosts that are alike are filled in order. ``most``: a number of hosts that
    is known to do.
    """
    from ortools.sat.python import cp_model  # noqa: PLC0415

    model = cp_model.CpModel()
    used = [model.new_bool_var("") for _ in range(most)]
    on: dict[tuple[int, int, int], list[Any]] = {
        size: [model.new_int_var(0, count, "") for _ in used] for size, count in one.wanted.items()
    }
    for size, count in one.wanted.items():
        model.add(sum(on[size]) == count)
    for host, taken in enumerate(used):
        for d, room in enumerate(one.room):
            model.add(sum(size[d] * on[size][host] for size in on) <= room * taken)
        if host:
            model.add_implication(taken, used[host - 1])
    model.minimize(sum(used))
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 1
    status = solver.solve(model)
    found = int(solver.objective_value) if status in (cp_model.OPTIMAL, cp_model.FEASIBLE) else most + 1
    return found, max(one.least, round(solver.best_objective_bound))
