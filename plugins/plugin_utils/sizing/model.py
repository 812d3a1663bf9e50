# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan is made from and what it says: plain immutable records, no behaviour beyond their own arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from typing import Any

SCHEMA_VERSION = "1.2"

LAYOUTS = ("local", "centralized", "distributed")
WORKLOADS = (
    "general",
    "web",
    "app",
    "cache",
    "batch",
    "ci",
    "desktop",
    "monitoring",
    "network",
    "database",
    "message_queue",
    "search_engine",
)
STATES = ("running", "stopped")

# Findings: deny refuses the plan; waived would have, but a waiver in force holds; info only tells.
LEVELS = ("deny", "warn", "waived", "info")


@dataclass(frozen=True, slots=True)
class RunningVm:
    """A VM as a host reports it (memory and disk in MiB; ``managed``: defined by croft)."""

    name: str
    host: str
    vcpus: int
    memory_mib: int
    disk_mib: int
    state: str
    managed: bool


@dataclass(frozen=True, slots=True)
class Host:
    """A hypervisor: whole capacity, and what is kept for itself. ``source``: declared, read, or both."""

    name: str
    sockets: int
    cores: int
    threads: int
    memory_mib: int
    disk_mib: int
    numa_nodes: int
    reserved_cpus: int
    reserved_memory_mib: int
    osds: int
    reserve_declared: bool
    source: str
    # Why the host takes nothing new at the moment; None when it does.
    maintenance: str | None = None

    @property
    def node_threads(self) -> int:
        """Threads of one NUMA node; the nodes of a host are taken as equal."""
        return self.threads // self.numa_nodes

    @property
    def node_memory_mib(self) -> int:
        return self.memory_mib // self.numa_nodes


@dataclass(frozen=True, slots=True)
class VirtualMachine:
    """A wanted VM with every field filled; ``uuid`` and ``mac`` are derived from the name unless given."""

    name: str
    vcpus: int
    memory_mib: int
    disk_gib: int
    workload: str
    host: str | None
    anti_affinity: str | None
    affinity: str | None
    ha: bool
    autostart: bool
    state: str
    image: str | None
    network: str | None
    address: str | None
    gateway: str | None
    nameservers: tuple[str, ...]
    uuid: str
    mac: str
    health: tuple[str, ...] = ()
    # What its host does with the entry beyond what the rules read (module_utils/devices.py), as it was given.
    shape: Mapping[str, Any] = field(default_factory=dict, hash=False)
    extra_gib: int = 0

    @property
    def disk_mib(self) -> int:
        return (self.disk_gib + self.extra_gib) * 1024

    def as_dict(self) -> dict[str, Any]:
        entry = {name: getattr(self, name) for name in RULED_FIELDS}
        entry |= {name: list(entry[name]) for name in ("nameservers", "health")}
        return entry | dict(self.shape)


RULED_FIELDS = tuple(name for name in VirtualMachine.__slots__ if name not in ("shape", "extra_gib"))


@dataclass(frozen=True, slots=True)
class Waiver:
    """An exception to one rule for one VM, host or container, that ends; in force through the whole day ``until``."""

    rule: str
    reason: str
    owner: str
    until: date
    vm: str | None = None
    host: str | None = None
    container: str | None = None

    @property
    def subject(self) -> str:
        return self.vm or self.container or self.host or ""

    def in_force(self, today: date) -> bool:
        return today <= self.until

    def covers(self, rule: str, host: str | None, vm: str | None, container: str | None = None) -> bool:
        if self.container is not None:
            return self.rule == rule and self.container == container
        return self.rule == rule and (self.vm == vm if self.vm is not None else self.host == host)


@dataclass(frozen=True, slots=True)
class HostClass:
    """Hosts that are measured by limits of their own; ``rules`` is complete, ``changed`` names what differs."""

    name: str
    hosts: tuple[str, ...]
    rules: Mapping[str, Mapping[str, Any]]
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules' levels and limits, complete: ``rules[id]`` has the options of ``policy.DEFAULTS``, ratios exact.

    ``by_host`` has the class of each host that has one.
    """

    rules: Mapping[str, Mapping[str, Any]]
    waivers: tuple[Waiver, ...] = ()
    placement: str = "spread"
    classes: tuple[HostClass, ...] = ()
    by_host: Mapping[str, HostClass] = field(default_factory=dict)

    def on(self, host: str | None) -> Mapping[str, Mapping[str, Any]]:
        """The rules as they hold on this host: those of its class, or of all hosts."""
        its = self.by_host.get(host) if host is not None else None
        return self.rules if its is None else its.rules

    def level(self, rule: str) -> str:
        return str(self.rules[rule].get("level", "deny"))


@dataclass(frozen=True, slots=True)
class Container:
    """A wanted service: what each replica has reserved, and where it may run. CPUs in thousandths.

    ``nodes``: empty for any; ``per_machine``: the most replicas on one machine, None for an even spread.
    """

    name: str
    millicpus: int
    memory_mib: int
    replicas: int
    workload: str
    nodes: tuple[str, ...] = ()
    per_machine: int | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """Where containers run. ``kind``: vm (of this plan), host (of this plan, beside its VMs), machine (any other).

    Capacity is what containers may reserve, None until the VMs are placed; ``machine`` is what dies in one piece.
    ``away``: it was asked for its capacity and did not answer; what it has is assumed from those that did.
    """

    name: str
    kind: str
    millicpus: int | None
    memory_mib: int | None
    machine: str | None
    local_disk: str | None
    away: bool = False


@dataclass(frozen=True, slots=True)
class ContainerPlan:
    """Where each replica goes: container -> node -> count. ``search``: complete, or stopped at its bound."""

    nodes: tuple[Node, ...]
    placements: Mapping[str, Mapping[str, int]]
    search: str


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that a plan depends on, validated. The same inputs give the same plan, byte for byte."""

    hosts: tuple[Host, ...]
    virtual_machines: tuple[VirtualMachine, ...]
    present: tuple[RunningVm, ...]
    policy: Policy
    storage_layout: str
    today: date
    containers: tuple[Container, ...] = ()
    nodes: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """One rule measured on one subject, broken or not. ``value`` None: no finite number (nothing left to divide by)."""

    rule: str
    host: str | None
    vm: str | None
    resource: str
    value: Fraction | None
    limit: Fraction
    unit: str
    broken: bool
    container: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """A broken rule (or a remark), with its numbers and the smallest change that would pass."""

    rule: str
    level: str
    message: str
    fix: str = ""
    host: str | None = None
    vm: str | None = None
    resource: str | None = None
    value: Fraction | None = None
    limit: Fraction | None = None
    margin: Fraction | None = None
    unit: str | None = None
    waiver: Waiver | None = None
    container: str | None = None


@dataclass(frozen=True, slots=True)
class Restart:
    """What becomes of one VM when its host dies. ``to`` None: it does not run again, ``reason`` says why."""

    name: str
    ha: bool
    to: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Death:
    """One host's death on paper. ``exact`` False: the search met its bound before it could prove either way."""

    host: str
    survives: bool
    exact: bool
    steps: int
    restarts: tuple[Restart, ...]


@dataclass(frozen=True, slots=True)
class LostSet:
    """Hosts that must not die together: the HA VMs that then find no host. ``exact`` False: that is not proved."""

    hosts: tuple[str, ...]
    stranded: tuple[str, ...]
    exact: bool


@dataclass(frozen=True, slots=True)
class HostSets:
    """The deaths of ``size`` hosts at once: of ``total`` sets, ``examined`` one by one, ``broken`` are not survived.

    ``proof``: ``slots`` (a bound that holds for all sets), ``all`` (each was examined) or ``bound`` (the rest is open).
    ``lost`` names the first of the broken ones.
    """

    size: int
    total: int
    examined: int
    proof: str
    lost: tuple[LostSet, ...]
    broken: int

    @property
    def survived(self) -> bool:
        return self.broken == 0 and self.proof != "bound"


@dataclass(frozen=True, slots=True)
class HostUse:
    """A host with all that it carries: ours (names, sorted) and what was found there besides."""

    host: Host
    names: tuple[str, ...]
    unmanaged: tuple[str, ...]
    vcpus: int
    memory_mib: int
    overhead_mib: int
    disk_mib: int
    cpu_capacity: Fraction
    memory_capacity_mib: int

    @property
    def count(self) -> int:
        return len(self.names) + len(self.unmanaged)


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole answer; ``plan.to_dict`` gives it the shape of plan.json."""

    inputs: Inputs
    placements: Mapping[str, str | None]
    uses: tuple[HostUse, ...]
    findings: tuple[Finding, ...]
    checks: tuple[Check, ...]
    deaths: tuple[Death, ...]
    search: str
    waivers: tuple[tuple[Waiver, str, int], ...] = field(default=())
    host_sets: HostSets | None = None
    least_hosts: int | None = None
    containers: ContainerPlan | None = None

    @property
    def admitted(self) -> bool:
        return not any(finding.level == "deny" for finding in self.findings)
