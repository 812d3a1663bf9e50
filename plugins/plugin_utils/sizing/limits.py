# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules as whole numbers: what a host may carry at most, and what a VM takes of it.

Every ratio limit p/q becomes a ceiling on a sum of integers, so that admission is additions and comparisons of integers
and a limit is met exactly: 40 % and 2.0 pass, one MiB or one vCPU more does not.

    cpu       sum(vcpus)                 <= floor(limit * cpu_capacity)
    memory    sum(q*memory + p*overhead) <= p * (memory - reserved)      i.e. sum(memory) <= p/q * (what is left)
    disk      sum(disk)                  <= floor(limit * pool)      pool: of the host, or shared and then of all VMs
    vm-share  vcpus <= floor(limit * threads), memory <= floor(limit * memory)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import floor

from ansible_collections.croft.infra.plugins.plugin_utils.sizing.model import Host, Inputs, Policy, VirtualMachine

# Above any real sum: a rule that is off, only warns, or is waived for this host.
UNLIMITED = 1 << 80


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What one host may carry: totals, and the largest single VM. Memory in scaled units, see the module's formula.

    ``apart``: anti-affinity groups count here.
    """

    vcpus: int
    memory: int
    disk_mib: int
    vms: int
    vm_vcpus: int
    vm_memory_mib: int
    apart: bool


@dataclass(frozen=True, slots=True)
class Demand:
    """What is placed in one piece: one VM, or the VMs of an affinity group that no rule may part.

    ``apart``: anti-affinity groups; ``only``: the host index that it must go to; ``torn``: two of its own are in one.
    """

    names: tuple[str, ...]
    vcpus: int
    memory: int
    disk_mib: int
    vms: int
    vm_vcpus: int
    vm_memory_mib: int
    apart: frozenset[str]
    only: int | None = None
    torn: bool = False


def cpu_capacity(host: Host, policy: Policy) -> Fraction:
    """CPUs left for VMs, in the unit of cpu-overcommit; a reserve is in threads and counts for its share of a core."""
    left = Fraction(host.threads - host.reserved_cpus)
    if policy.on(host.name)["cpu-overcommit"]["cpu_unit"] == "core":
        return left * host.cores / host.threads
    return left


def memory_capacity_mib(host: Host, policy: Policy) -> int:
    """Memory left for VMs and their QEMU overhead: whole memory less the reserve and the OSDs' target."""
    return host.memory_mib - host.reserved_memory_mib - host.osds * int(policy.rules["host-overhead"]["osd_memory_mib"])


def qemu_overhead_mib(policy: Policy) -> int:
    return int(policy.rules["host-overhead"]["qemu_overhead_mib"])


def memory_weight(memory_mib: int, policy: Policy) -> int:
    limit: Fraction = policy.rules["memory-overcommit"]["limit"]
    return limit.denominator * memory_mib + limit.numerator * qemu_overhead_mib(policy)


def usable(capacities: Iterable[int], replicas: int) -> Fraction:
    """How much data fits on hosts of these capacities when each piece has ``replicas`` copies, no two on one host.

    It is the largest x with sum(min(c, x)) >= replicas * x. No host can have more than one copy of everything; and what
    keeps to that can be arranged: fill ``replicas`` rows of length x, host by host, each going on in the next row where
    one is full. A host's part is at most x, so it is in no column twice (the wrap-around rule of R. McNaughton,
    Scheduling with Deadlines and Loss Functions, Management Science 6, 1959).

    In closed form: the sum is at most m * x and the capacities of all but the m largest, so x is at most those over
    (replicas - m), for each m < replicas. With m the number of hosts above x that is met, so the least bound is x.
    Fewer hosts with a capacity than replicas hold nothing.
    """
    largest_first = sorted(capacities, reverse=True)
    # Beyond the last host nothing is left to divide, which gives 0.
    bounds = range(min(replicas, len(largest_first) + 1))
    return min(Fraction(sum(largest_first[full:]), replicas - full) for full in bounds)


def near_full_mib(capacities: Iterable[int], policy: Policy) -> int:
    """What Ceph stores on these hosts before it is near full (its own defaults: size 3, near-full ratio 0.85)."""
    rule = policy.rules["storage-capacity"]
    ratio: Fraction = rule["near_full"]
    return floor(ratio * usable(capacities, int(rule["replicas"])))


def pool_mib(inputs: Inputs) -> int:
    """The one pool that all hosts share: the NFS file system as the host that sees least of it sees it, or what can be
    stored on all hosts' OSDs."""
    disks = [host.disk_mib for host in inputs.hosts]
    if inputs.storage_layout == "distributed":
        return near_full_mib(disks, inputs.policy)
    return min(disks, default=0)


def storing_hosts(inputs: Inputs) -> list[Host]:
    """The hosts that have a disk at all, largest first."""
    return sorted((host for host in inputs.hosts if host.disk_mib), key=lambda host: (-host.disk_mib, host.name))


def lost_hosts(inputs: Inputs) -> tuple[Host, ...]:
    """The hosts whose deaths leave least to copy their data to, of all sets that are to be borne: the largest.

    What fits grows with each capacity, so no other set of as many hosts leaves less. They are ``host_failures`` of the
    rule, and no more than leave a host for each replica: with fewer hosts there is nowhere to copy to.
    """
    if inputs.storage_layout != "distributed":
        return ()
    rule = inputs.policy.rules["storage-capacity"]
    storing = storing_hosts(inputs)
    spare = max(len(storing) - rule["replicas"], 0)
    return tuple(storing[: min(rule["host_failures"], spare)])


def left_mib(inputs: Inputs) -> int:
    """What can be stored on the hosts that are left when the largest are lost; the whole pool when none is."""
    lost = lost_hosts(inputs)
    if not lost:
        return pool_mib(inputs)
    return near_full_mib((host.disk_mib for host in inputs.hosts if host not in lost), inputs.policy)


def shared_ceiling_mib(inputs: Inputs) -> int:
    """The disks that a shared pool may promise, also with hosts lost: what is left is never more than the whole."""
    limit: Fraction = inputs.policy.rules["storage-capacity"]["limit"]
    return floor(limit * left_mib(inputs))


def in_force(inputs: Inputs, rule: str, host: str | None, vm: str | None) -> bool:
    return any(w.in_force(inputs.today) and w.covers(rule, host, vm) for w in inputs.policy.waivers)


def closed(inputs: Inputs) -> set[int]:
    """The hosts, by index, that take nothing new: those in maintenance. What runs there may stay."""
    return {i for i, host in enumerate(inputs.hosts) if host.maintenance is not None}


def ceilings(inputs: Inputs, level: str) -> list[Ceiling]:
    """One ceiling a host, made of the rules that have this level and no waiver for that host."""
    policy = inputs.policy

    def holds(rule: str, host: Host) -> bool:
        return policy.on(host.name)[rule]["level"] == level and not in_force(inputs, rule, host.name, None)

    made = []
    for host in inputs.hosts:
        rules = policy.on(host.name)
        share = rules["vm-share"]["limit"] if holds("vm-share", host) else None
        made.append(
            Ceiling(
                vcpus=floor(rules["cpu-overcommit"]["limit"] * cpu_capacity(host, policy))
                if holds("cpu-overcommit", host)
                else UNLIMITED,
                memory=rules["memory-overcommit"]["limit"].numerator * memory_capacity_mib(host, policy)
                if holds("memory-overcommit", host)
                else UNLIMITED,
                disk_mib=floor(rules["storage-capacity"]["limit"] * host.disk_mib)
                if inputs.storage_layout == "local" and holds("storage-capacity", host)
                else UNLIMITED,
                vms=rules["consolidation"]["max"] if holds("consolidation", host) else UNLIMITED,
                vm_vcpus=UNLIMITED if share is None else floor(share * host.threads),
                vm_memory_mib=UNLIMITED if share is None else floor(share * host.memory_mib),
                apart=holds("affinity", host),
            )
        )
    return made


def demand(vms: Iterable[VirtualMachine], inputs: Inputs, only: int | None = None) -> Demand:
    """What these VMs take together; one with a waiver in force has no share, or no group, to keep."""
    members = tuple(vms)
    shares = [vm for vm in members if not in_force(inputs, "vm-share", None, vm.name)]
    groups = [
        vm.anti_affinity
        for vm in members
        if vm.anti_affinity is not None and not in_force(inputs, "affinity", None, vm.name)
    ]
    return Demand(
        names=tuple(vm.name for vm in members),
        vcpus=sum(vm.vcpus for vm in members),
        memory=sum(memory_weight(vm.memory_mib, inputs.policy) for vm in members),
        disk_mib=sum(vm.disk_mib for vm in members),
        vms=len(members),
        vm_vcpus=max((vm.vcpus for vm in shares), default=0),
        vm_memory_mib=max((vm.memory_mib for vm in shares), default=0),
        apart=frozenset(groups),
        only=only,
        torn=len(groups) != len(set(groups)),
    )


class Demands:
    """The demand of each VM on its own, made once: a plan of many VMs asks for it again and again."""

    def __init__(self, inputs: Inputs) -> None:
        self._limit: Fraction = inputs.policy.rules["memory-overcommit"]["limit"]
        self._overhead = self._limit.numerator * qemu_overhead_mib(inputs.policy)
        in_date = [w for w in inputs.policy.waivers if w.in_force(inputs.today)]
        self._no_share = {w.vm for w in in_date if w.rule == "vm-share"}
        self._no_group = {w.vm for w in in_date if w.rule == "affinity"}
        self._known: dict[str, Demand] = {}

    def of(self, vm: VirtualMachine) -> Demand:
        """What ``demand([vm], inputs)`` gives."""
        found = self._known.get(vm.name)
        if found is None:
            share = vm.name not in self._no_share
            group = vm.anti_affinity is not None and vm.name not in self._no_group
            found = self._known[vm.name] = Demand(
                (vm.name,),
                vm.vcpus,
                self._limit.denominator * vm.memory_mib + self._overhead,
                vm.disk_mib,
                1,
                vm.vcpus if share else 0,
                vm.memory_mib if share else 0,
                frozenset((vm.anti_affinity,)) if group and vm.anti_affinity else frozenset(),
            )
        return found
