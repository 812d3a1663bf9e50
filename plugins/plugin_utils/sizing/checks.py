# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every rule measured on every host and VM of a placement, and a finding with the smallest fix where one is broken.

This is written from the rules' words, with fractions, and apart from the integer ceilings by which VMs are placed: the
one holds the other to account (tests compare them).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from math import ceil, floor

from ansible_collections.croft.infra.plugins.plugin_utils.sizing import text
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.limits import (
    Demand,
    Demands,
    cpu_capacity,
    demand,
    left_mib,
    lost_hosts,
    memory_capacity_mib,
    pool_mib,
    qemu_overhead_mib,
    storing_hosts,
)
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.model import (
    Check,
    Death,
    Finding,
    Host,
    HostUse,
    Inputs,
    RunningVm,
    VirtualMachine,
    Waiver,
)
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.placing import (
    Placed,
    Shortfall,
    deaths,
    refused_workload,
    shortfalls,
)
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.policy import REMARKS
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.search import flavour


@dataclass(frozen=True, slots=True)
class Measure:
    """A check with its words; the words are only made for a broken one.

    ``passing``: broken only as long as hosts are in maintenance, so that it is told and refuses nothing.
    """

    check: Check
    message: str = ""
    fix: str = ""
    passing: bool = False


@dataclass(frozen=True)
class Load:
    """A host with the VMs on it; ``focus``: those that a finding should speak of first (they ask to be let in)."""

    host: Host
    vms: tuple[VirtualMachine, ...]
    foreign: tuple[RunningVm, ...]
    focus: tuple[str, ...] = ()

    @cached_property
    def count(self) -> int:
        return len(self.vms) + len(self.foreign)

    @cached_property
    def vcpus(self) -> int:
        return sum(vm.vcpus for vm in self.vms) + sum(vm.vcpus for vm in self.foreign)

    @cached_property
    def memory_mib(self) -> int:
        return sum(vm.memory_mib for vm in self.vms) + sum(vm.memory_mib for vm in self.foreign)

    @cached_property
    def disk_mib(self) -> int:
        return sum(vm.disk_mib for vm in self.vms) + sum(vm.disk_mib for vm in self.foreign)

    def largest(self, attribute: str) -> VirtualMachine | None:
        """The VM whose change is worth proposing: among those in focus, or among all of ours."""
        chosen = [vm for vm in self.vms if vm.name in self.focus] if self.focus else list(self.vms)
        return min(chosen, key=lambda vm: (-int(getattr(vm, attribute)), vm.name), default=None)


def check_all(inputs: Inputs, placed: Placed) -> tuple[list[Check], list[Finding], list[HostUse]]:
    """All checks in the rules' order, what they found, and what each host carries."""
    loads = _loads(inputs, placed)
    measures: list[Measure] = []
    for load in loads:
        measures += _vm_share(load, inputs)
    measures += _io_workload(inputs, placed.where)
    for rule in (_consolidation, _cpu, _memory):
        for load in loads:
            measures += rule(load, inputs)
    measures += _failover(inputs, placed)
    measures += _host_sets(inputs, placed)
    measures += _storage(loads, inputs)
    measures += _affinity(loads, inputs)
    measures = [measure for measure in measures if _level(measure.check, inputs) != "off"]

    findings = [finding_of(measure, inputs) for measure in measures if measure.check.broken]
    findings += _homeless(inputs, placed, loads)
    findings += _remarks(inputs, placed, loads)
    return [measure.check for measure in measures], findings, [_use(load, inputs) for load in loads]


def settled(inputs: Inputs, findings: Sequence[Finding]) -> list[Finding]:
    """All findings of a plan worst first, with what is to say of the waivers that they need or do not need."""
    found = [*findings, *_waivers(inputs, findings)]
    order = {rule: i for i, rule in enumerate((*inputs.policy.rules, *REMARKS))}
    levels = {"deny": 0, "warn": 1, "waived": 2, "info": 3}
    found.sort(
        key=lambda f: (
            levels[f.level],
            -_severity(f),
            order[f.rule],
            f.host or "",
            f.vm or "",
            f.resource or "",
            f.message,
        )
    )
    return found


def _loads(inputs: Inputs, placed: Placed) -> list[Load]:
    ours: dict[str, list[VirtualMachine]] = {host.name: [] for host in inputs.hosts}
    foreign: dict[str, list[RunningVm]] = {host.name: [] for host in inputs.hosts}
    for vm in inputs.virtual_machines:
        host = placed.where[vm.name]
        if host is not None:
            ours[host].append(vm)
    for other in placed.foreign:
        foreign[other.host].append(other)
    return [Load(host, tuple(ours[host.name]), tuple(foreign[host.name])) for host in inputs.hosts]


def _use(load: Load, inputs: Inputs) -> HostUse:
    return HostUse(
        host=load.host,
        names=tuple(vm.name for vm in load.vms),
        unmanaged=tuple(vm.name for vm in load.foreign),
        vcpus=load.vcpus,
        memory_mib=load.memory_mib,
        overhead_mib=load.count * qemu_overhead_mib(inputs.policy),
        disk_mib=load.disk_mib,
        cpu_capacity=cpu_capacity(load.host, inputs.policy),
        memory_capacity_mib=memory_capacity_mib(load.host, inputs.policy),
    )


def _severity(finding: Finding) -> Fraction:
    """By how much of its limit a rule is broken; what has no number comes first."""
    if finding.value is None or finding.limit is None:
        return Fraction(10**9) if finding.level == "deny" else Fraction(0)
    return abs(finding.value - finding.limit) / max(finding.limit, Fraction(1, 1000))


# --- levels and waivers -----------------------------------------------------------------------------------------------


def _level(check: Check, inputs: Inputs) -> str:
    rules = inputs.policy.on(check.host)
    if check.rule == "consolidation" and check.resource == "min":
        return str(rules["consolidation"]["min_level"])
    return str(rules[check.rule].get("level", "deny"))


def waiver_for(
    inputs: Inputs, rule: str, host: str | None, vm: str | None, container: str | None = None
) -> Waiver | None:
    """The waiver in force that covers this subject, the one that holds longest when there are several."""
    found = [w for w in inputs.policy.waivers if w.in_force(inputs.today) and w.covers(rule, host, vm, container)]
    return max(found, key=lambda waiver: waiver.until, default=None)


def finding_of(measure: Measure, inputs: Inputs, level: str | None = None) -> Finding:
    check = measure.check
    waiver = waiver_for(inputs, check.rule, check.host, check.vm, check.container) if level is None else None
    return Finding(
        rule=check.rule,
        level="waived" if waiver else (level or ("warn" if measure.passing else _level(check, inputs))),
        message=measure.message,
        fix=measure.fix,
        host=check.host,
        vm=check.vm,
        resource=check.resource,
        value=check.value,
        limit=check.limit,
        margin=None if check.value is None else _margin(check),
        unit=check.unit,
        waiver=waiver,
        container=check.container,
    )


def _margin(check: Check) -> Fraction:
    """How far inside its limit the value is: negative when the rule is broken, also for a minimum."""
    assert check.value is not None
    distance = check.limit - check.value
    return -distance if check.resource == "min" else distance


# --- the rules --------------------------------------------------------------------------------------------------------


def _vm_share(load: Load, inputs: Inputs) -> Iterator[Measure]:
    limit: Fraction = inputs.policy.on(load.host.name)["vm-share"]["limit"]
    host = load.host
    # VMs of one size on one host have one share.
    shares: dict[tuple[int, int], tuple[Fraction, bool]] = {}
    for vm in load.vms:
        for resource, key, have, whole, unit in (
            ("cpu", "vcpus", vm.vcpus, host.threads, "threads"),
            ("memory", "memory_mib", vm.memory_mib, host.memory_mib, "MiB"),
        ):
            share = shares.get((have, whole))
            if share is None:
                value = Fraction(have, whole)
                share = shares[have, whole] = (value, value > limit)
            value, broken = share
            check = Check("vm-share", host.name, vm.name, resource, value, limit, "ratio", broken)
            if not broken:
                yield Measure(check)
                continue
            most, least = floor(limit * whole), ceil(have / limit)
            shown, shown_limit = text.pair(value, limit)
            lower = f"lower {key} of {vm.name} from {have} to at most {most}, or " if most >= 1 else ""
            name = "CPU" if resource == "cpu" else "memory"
            yield Measure(
                check,
                f"{vm.name} takes {shown} of the {name} of {host.name} ({have} of {whole} {unit}), limit {shown_limit}",
                f"{lower}use a host with at least {least} {unit}",
            )


def _io_workload(inputs: Inputs, where: Mapping[str, str | None]) -> Iterator[Measure]:
    workloads = inputs.policy.rules["io-workload"]["workloads"]
    none, one = Fraction(0), Fraction(1)
    for vm in inputs.virtual_machines:
        broken = vm.workload in workloads
        value = one if broken else none
        check = Check("io-workload", where[vm.name], vm.name, "disk-io", value, none, "I/O workloads", broken)
        if not broken:
            yield Measure(check)
            continue
        what = vm.workload.replace("_", " ")
        article = "an" if what[0] in "aeiou" else "a"
        yield Measure(
            check,
            f"{vm.name} is {article} {what}, which lives on disk I/O and does not go into a VM (1 such VM, limit 0)",
            f"take {vm.name} out of virtual_machines and {text.advice(vm.workload)}",
        )


def _consolidation(load: Load, inputs: Inputs) -> Iterator[Measure]:
    rule = inputs.policy.on(load.host.name)["consolidation"]
    count, name = load.count, load.host.name
    value, most, least = Fraction(count), Fraction(rule["max"]), Fraction(rule["min"])
    others = f" ({len(load.foreign)} of them not in the inventory)" if load.foreign else ""
    too_many = Check("consolidation", name, None, "max", value, most, "VMs", value > most)
    too_few = Check("consolidation", name, None, "min", value, least, "VMs", value < least)
    if not (too_many.broken or too_few.broken):
        yield from (Measure(too_many), Measure(too_few))
        return
    yield Measure(
        too_many,
        f"{name} holds {text.counted(count, 'VM')}{others}, limit {rule['max']}",
        f"take {text.counted(count - rule['max'], 'VM')} off {name}, or add a host",
    )
    yield Measure(
        too_few,
        f"{name} holds {text.counted(count, 'VM')}{others}, at least {rule['min']} make the host worth its power",
        f"put {text.counted(rule['min'] - count, 'more VM')} on {name}, or do without the host",
    )


def _cpu(load: Load, inputs: Inputs) -> Iterator[Measure]:
    rule = inputs.policy.on(load.host.name)["cpu-overcommit"]
    host, limit = load.host, rule["limit"]
    capacity = cpu_capacity(host, inputs.policy)
    value = load.vcpus / capacity
    check = Check("cpu-overcommit", host.name, None, "cpu", value, limit, "ratio", value > limit)
    if not check.broken:
        yield Measure(check)
        return
    excess = load.vcpus - floor(limit * capacity)
    shown, shown_limit = text.pair(value, limit)
    # The capacity in threads that would do, and the same in cores when cores are what is counted.
    per_thread = capacity / (host.threads - host.reserved_cpus)
    threads = ceil(load.vcpus / limit / per_thread) + host.reserved_cpus
    unit = rule["cpu_unit"]
    left = text.decimal(capacity, 0) if capacity.denominator == 1 else text.decimal(capacity, 1)
    kept = text.counted(host.reserved_cpus, "thread")
    yield Measure(
        check,
        f"{host.name} promises {load.vcpus} vCPUs on {left} {unit}s ({kept} kept for the host): "
        f"{shown} per {unit}, limit {shown_limit}",
        f"{_shrink(load, 'vcpus', excess, 'vCPUs')}, or use a host with at least {threads} threads",
    )


def _memory(load: Load, inputs: Inputs) -> Iterator[Measure]:
    limit: Fraction = inputs.policy.rules["memory-overcommit"]["limit"]
    host = load.host
    overhead = load.count * qemu_overhead_mib(inputs.policy)
    left = memory_capacity_mib(host, inputs.policy) - overhead
    broken = load.memory_mib > limit * left
    # Overhead that takes all there is leaves nothing to divide by.
    value = Fraction(load.memory_mib, left) if left > 0 else (Fraction(0) if load.memory_mib == 0 else None)
    check = Check("memory-overcommit", host.name, None, "memory", value, limit, "ratio", broken)
    if not broken:
        yield Measure(check)
        return
    excess = load.memory_mib - floor(limit * left)
    shown, shown_limit = (
        text.pair(value, limit) if value is not None else ("no ratio, nothing is left", text.pair(limit, limit)[1])
    )
    least = ceil(load.memory_mib / limit) + overhead + host.memory_mib - memory_capacity_mib(host, inputs.policy)
    yield Measure(
        check,
        f"{host.name} promises {load.memory_mib} MiB of {left} MiB that are left of {host.memory_mib} after reserve "
        f"and {overhead} MiB QEMU overhead: {shown}, limit {shown_limit}",
        f"{_shrink(load, 'memory_mib', excess, 'MiB')}, or use a host with at least {least} MiB",
    )


@dataclass(frozen=True, slots=True)
class _Pool:
    """What disks are promised from: ``size`` in MiB, of one host (``host``) or what all share, of this ``resource``."""

    host: str | None
    resource: str
    load: Load
    size: int
    message: str


def _storage(loads: Sequence[Load], inputs: Inputs) -> Iterator[Measure]:
    for pool in _pools(loads, inputs):
        limit: Fraction = inputs.policy.on(pool.host)["storage-capacity"]["limit"]
        promised = pool.load.disk_mib
        broken = promised > limit * pool.size
        value = Fraction(promised, pool.size) if pool.size else (Fraction(0) if promised == 0 else None)
        check = Check("storage-capacity", pool.host, None, pool.resource, value, limit, "ratio", broken)
        if not broken:
            yield Measure(check)
            continue
        excess = ceil(Fraction(promised - floor(limit * pool.size), 1024))
        shown, shown_limit = (
            text.pair(value, limit) if value is not None else ("no ratio, there is no pool", text.pair(limit, limit)[1])
        )
        yield Measure(
            check,
            f"{pool.message}, {text.gib(promised)} GiB are promised: {shown}, limit {shown_limit}",
            f"{_shrink(pool.load, 'disk_gib', excess, 'GiB')}, or {_larger(pool, limit, inputs)}",
        )


def _pools(loads: Sequence[Load], inputs: Inputs) -> Iterator[_Pool]:
    if inputs.storage_layout == "local":
        for load in loads:
            size = load.host.disk_mib
            yield _Pool(load.host.name, "disk", load, size, f"the pool of {load.host.name} has {text.gib(size)} GiB")
        return
    # One pool for all: it is measured with all VMs together.
    everything = Load(
        loads[0].host,
        tuple(vm for load in loads for vm in load.vms),
        tuple(vm for load in loads for vm in load.foreign),
    )
    size = pool_mib(inputs)
    few = ""
    if inputs.storage_layout == "distributed":
        storing, replicas = storing_hosts(inputs), inputs.policy.rules["storage-capacity"]["replicas"]
        few = f" ({text.counted(len(storing), 'host')} with disks for {replicas} replicas)"
    message = f"the {inputs.storage_layout} pool has {text.gib(size)} GiB{'' if size else few}"
    yield _Pool(None, "disk", everything, size, message)
    lost = [host.name for host in lost_hosts(inputs)]
    if lost:
        left = left_mib(inputs)
        die = f"{' and '.join(lost)} {'dies' if len(lost) == 1 else 'die'}"
        message = f"when {die}, the {inputs.storage_layout} pool has {text.gib(left)} GiB"
        yield _Pool(None, "disk-after-loss", everything, left, message)


def _larger(pool: _Pool, limit: Fraction, inputs: Inputs) -> str:
    """The least size that would do, or the raw capacity that Ceph would need more, and where."""
    promised = pool.load.disk_mib
    if inputs.storage_layout != "distributed":
        return f"give it at least {ceil(Fraction(promised, 1024) / limit)} GiB"
    rule = inputs.policy.rules["storage-capacity"]
    missing = rule["replicas"] - len(inputs.hosts)
    if missing > 0:
        return f"add {text.counted(missing, 'host')} with OSDs: {rule['replicas']} replicas are on as many hosts"

    def raised(level_gib: int) -> tuple[Host, ...]:
        return tuple(replace(host, disk_mib=max(host.disk_mib, level_gib * 1024)) for host in inputs.hosts)

    def fits(level_gib: int) -> bool:
        return promised <= limit * left_mib(replace(inputs, hosts=raised(level_gib)))

    # Enough are hosts that hold all of it each (and a MiB for rounding down). To fill up the smallest costs least.
    enough = ceil((promised / limit + 1) / rule["near_full"] / 1024)
    level = bisect_left(range(enough), True, key=fits)
    added = sum(host.disk_mib for host in raised(level)) - sum(host.disk_mib for host in inputs.hosts)
    return f"add {ceil(added / 1024)} GiB of raw capacity, until each host has at least {level} GiB"


def _shrink(load: Load, key: str, excess: int, unit: str) -> str:
    """The one VM whose change would do, or how much must go in all."""
    vm = load.largest(key)
    where = f"off {load.host.name}" if unit != "GiB" else "away"
    if vm is not None and int(getattr(vm, key)) > excess:
        have = int(getattr(vm, key))
        return f"lower {key} of {vm.name} from {have} to at most {have - excess}"
    return f"take {excess} {unit} {where}"


def _failover(inputs: Inputs, placed: Placed) -> Iterator[Measure]:
    if not inputs.policy.rules["failover"]["host_failures_tolerated"] or not any(
        vm.ha for vm in inputs.virtual_machines
    ):
        return
    by_name = {vm.name: vm for vm in inputs.virtual_machines}
    resting = [host.name for host in inputs.hosts if host.maintenance is not None]
    excused_now: set[str] = set()
    if resting and not all(death.survives for death in placed.deaths):
        excused_now = _lost_to_maintenance_alone(inputs, placed)
    for death in placed.deaths:
        stranded = [r for r in death.restarts if r.ha and r.to is None]
        excused = [r for r in stranded if waiver_for(inputs, "failover", None, r.name)]
        counted = [r for r in stranded if r not in excused]
        check = Check(
            "failover",
            death.host,
            None,
            "hosts",
            Fraction(len(counted)),
            Fraction(0),
            "VMs without a host",
            bool(counted),
        )
        if not stranded:
            yield Measure(check)
            continue
        total = sum(r.ha for r in death.restarts)
        bound = "" if death.exact else f"; not proved: the search met its bound of {death.steps} steps"
        reason = counted[0].reason if counted else ""
        # A VM that is new is not let in on the word that maintenance ends.
        passing = death.host in excused_now and all(r.name in placed.running for r in counted)
        until = f", as long as {text.listed(resting)} {'is' if len(resting) == 1 else 'are'} in maintenance"
        fix = "end it soon with playbooks/undrain.yml, or " if passing else ""
        yield Measure(
            check,
            f"when {death.host} dies, {len(counted)} of its {text.counted(total, 'HA VM')} find no host (limit 0): "
            f"{text.listed([r.name for r in counted])} ({reason}){bound}{until if passing else ''}",
            fix + _failover_fix(inputs, [by_name[r.name] for r in counted]) if counted else "",
            passing,
        )
        for restart in excused:
            yield Measure(
                Check(
                    "failover", death.host, restart.name, "hosts", Fraction(1), Fraction(0), "VMs without a host", True
                ),
                f"when {death.host} dies, {restart.name} finds no host ({restart.reason})",
                _failover_fix(inputs, [by_name[restart.name]]),
            )


def _lost_to_maintenance_alone(inputs: Inputs, placed: Placed) -> set[str]:
    """The hosts whose death would be survived if those in maintenance took what restarts, and nothing new is to blame.

    Maintenance ends, and a run of site.yml meanwhile is not to be refused for what was so before and will be again. It
    is another matter when a new VM takes the room in which one that is there would restart.
    """
    board = placed.board.under(placed.board.ceilings)
    board.closed = set()
    survived_then = {death.host for death in deaths(inputs, board, placed.where) if death.survives}
    board.closed = placed.board.closed
    index = {host.name: i for i, host in enumerate(inputs.hosts)}
    demands = Demands(inputs)
    for vm in inputs.virtual_machines:
        host = placed.where[vm.name]
        if host is not None and vm.name not in placed.running:
            board.take(demands.of(vm), index[host])
    before = deaths(inputs, board, {**dict.fromkeys(placed.where), **placed.running})
    return {
        now.host
        for now, then in zip(placed.deaths, before, strict=True)
        if now.host in survived_then and _stranded(now) <= _stranded(then)
    }


def _stranded(death: Death) -> int:
    """How many HA VMs find no host."""
    return sum(restart.ha and restart.to is None for restart in death.restarts)


def _host_sets(inputs: Inputs, placed: Placed) -> Iterator[Measure]:
    """The deaths of several hosts at once: one measure for each set that is named, one for all that are not."""
    sets = placed.host_sets
    if sets is None:
        return
    by_name = {vm.name: vm for vm in inputs.virtual_machines}
    none = Fraction(0)
    for lost in sets.lost:
        count = Fraction(len(lost.stranded))
        open_end = "" if lost.exact else "; not proved: the search met its bound"
        yield Measure(
            Check("failover", None, None, f"hosts {'+'.join(lost.hosts)}", count, none, "VMs without a host", True),
            f"when {' and '.join(lost.hosts)} die, {text.counted(len(lost.stranded), 'HA VM')} "
            f"{'finds' if len(lost.stranded) == 1 else 'find'} no host (limit 0): "
            f"{text.listed(lost.stranded)}{open_end}",
            _failover_fix(inputs, [by_name[name] for name in lost.stranded]),
        )
    rest = sets.broken - len(sets.lost)
    unseen = sets.total - sets.examined if sets.proof == "bound" else 0
    unsure = [f"{rest} more sets of {sets.size} hosts are not survived"] if rest else []
    if unseen:
        unsure.append(
            f"not proved: {unseen} of {sets.total} sets of {sets.size} hosts were not examined, "
            f"only the {sets.examined} that lose most memory"
        )
    yield Measure(
        Check("failover", None, None, "host-sets", Fraction(rest + unseen), none, "sets of hosts", bool(unsure)),
        "; ".join(unsure),
        "add hosts or free room, until each host has slots for its share; or lower host_failures_tolerated",
    )


def _failover_fix(inputs: Inputs, stranded: Sequence[VirtualMachine]) -> str:
    names = text.listed([vm.name for vm in stranded])
    if inputs.storage_layout == "local":
        return f"use storage_layout centralized or distributed, or set ha: false on {names}"
    rules = inputs.policy.rules
    denies = {rule for rule in rules if inputs.policy.level(rule) == "deny"}
    threads, mib = 1, 1
    if "cpu-overcommit" in denies:
        cores = rules["cpu-overcommit"]["cpu_unit"] == "core"
        per_thread = min(Fraction(host.cores, host.threads) for host in inputs.hosts) if cores else Fraction(1)
        threads = ceil(sum(vm.vcpus for vm in stranded) / rules["cpu-overcommit"]["limit"] / per_thread)
    if "memory-overcommit" in denies:
        memory = ceil(sum(vm.memory_mib for vm in stranded) / rules["memory-overcommit"]["limit"])
        mib = memory + len(stranded) * qemu_overhead_mib(inputs.policy)
    if "vm-share" in denies:
        share: Fraction = rules["vm-share"]["limit"]
        threads = max(threads, *(ceil(vm.vcpus / share) for vm in stranded))
        mib = max(mib, *(ceil(vm.memory_mib / share) for vm in stranded))
    return (
        f"add a host with at least {threads} threads and {mib} MiB beside its reserve, free that much on the others, "
        f"or set ha: false on {names}"
    )


def _affinity(loads: Sequence[Load], inputs: Inputs) -> Iterator[Measure]:
    together: dict[str, dict[str, list[str]]] = {}
    for load in loads:
        groups: dict[str, list[VirtualMachine]] = {}
        for vm in load.vms:
            if vm.anti_affinity:
                groups.setdefault(vm.anti_affinity, []).append(vm)
            if vm.affinity:
                together.setdefault(vm.affinity, {}).setdefault(load.host.name, []).append(vm.name)
        for group, members in sorted(groups.items()):
            yield _apart(group, [vm.name for vm in members], load.host.name, loads, inputs)
    for group, hosts in sorted(together.items()):
        names = sorted((len(vms), host) for host, vms in hosts.items())
        home = names[-1][1]
        strays = sorted(name for host, vms in hosts.items() if host != home for name in vms)
        # The subject of a waiver is the VM that strays; when all of them have one the first one stands for them.
        free = [name for name in strays if waiver_for(inputs, "affinity", None, name) is None]
        first = (free or strays or [hosts[home][0]])[0]
        check = Check("affinity", None, first, "together", Fraction(len(hosts)), Fraction(1), "hosts", len(hosts) > 1)
        yield Measure(
            check,
            f"affinity group {group} is on {len(hosts)} hosts ({text.listed(sorted(hosts))}), limit 1",
            f"move {text.listed(strays)} to {home}, or take the group off",
        )


def _apart(group: str, names: list[str], host: str, loads: Sequence[Load], inputs: Inputs) -> Measure:
    free = [name for name in names if waiver_for(inputs, "affinity", None, name) is None]
    # With at most one member that has no waiver the rest are excused; the finding then names one of the excused.
    vm = free[-1] if len(free) > 1 else next((name for name in names if name not in free), names[0])
    check = Check("affinity", host, vm, "apart", Fraction(len(names)), Fraction(1), "VMs of the group", len(names) > 1)
    if not check.broken:
        return Measure(check)
    without = [load.host.name for load in loads if all(other.anti_affinity != group for other in load.vms)]
    move = f"move {vm} to a host without the group ({text.listed(without)})" if without else "add a host"
    return Measure(
        check,
        f"{host} has {len(names)} VMs of anti-affinity group {group} ({text.listed(names)}), limit 1",
        f"{move}, or take the group off {vm}",
    )


# --- VMs that have no place -------------------------------------------------------------------------------------------


def _homeless(inputs: Inputs, placed: Placed, loads: Sequence[Load]) -> list[Finding]:
    """One finding for each VM that could be placed nowhere: the rule that binds on the host that comes closest."""
    findings = []
    nearest: dict[tuple[object, ...], tuple[int, list[Shortfall]]] = {}
    for vm in inputs.virtual_machines:
        if placed.where[vm.name] is None and not refused_workload(vm, inputs):
            item = demand([vm], inputs)
            key = (*flavour(item), item.apart)
            if key not in nearest:
                nearest[key] = _nearest(item, inputs, placed, len(loads))
            findings.append(_no_place(vm, inputs, placed, loads, nearest[key]))
    return findings


def _nearest(item: Demand, inputs: Inputs, placed: Placed, size: int) -> tuple[int, list[Shortfall]]:
    """The host that comes closest to taking the item, and what is in the way there; one in maintenance comes last."""
    gaps = [shortfalls(placed.board, item, i, inputs) for i in range(size)]

    def distance(host: int) -> tuple[bool, int, float, int]:
        worst = max((gap.excess for gap in gaps[host]), default=0.0)
        return (host in placed.board.closed, len(gaps[host]), worst, host)

    # A host without a gap: the VM alone would fit, but not with the VMs that its affinity group binds to it.
    best = min(range(size), key=distance)
    return best, gaps[best]


def _no_place(
    vm: VirtualMachine, inputs: Inputs, placed: Placed, loads: Sequence[Load], nearest: tuple[int, list[Shortfall]]
) -> Finding:
    best, gaps = nearest
    stopped = placed.search == "stopped"
    note = " (the search met its bound: pin VMs by hand to look further)" if stopped else ""
    if not gaps:
        mates = [v.name for v in inputs.virtual_machines if v.affinity and v.affinity == vm.affinity]
        return Finding(
            rule="affinity",
            level="deny",
            message=f"{vm.name} has no host: affinity group {vm.affinity} ({text.listed(mates)}) "
            f"needs 2 hosts or more, limit 1{note}",
            fix=f"take {vm.name} out of the group, make the group smaller, or add a host",
            host=loads[best].host.name,
            vm=vm.name,
            value=Fraction(2),
            limit=Fraction(1),
            margin=Fraction(-1),
            unit="hosts",
            resource="together",
        )
    if any(gap.rule == "maintenance" for gap in gaps):
        resting = [f"{load.host.name} ({load.host.maintenance})" for load in loads]
        return Finding(
            rule="maintenance",
            level="deny",
            message=f"{vm.name} has no host: nothing new goes to {text.listed(resting)}{note}",
            fix="end the maintenance of a host with playbooks/undrain.yml, or add a host",
            vm=vm.name,
        )
    worst = max(gaps, key=lambda gap: gap.excess)
    load = replace(loads[best], vms=(*loads[best].vms, vm), focus=(vm.name,))
    broken = {
        gap.rule: [m for m in _measures_of(gap.rule, load, inputs) if _keeps_out(m.check, vm.name)] for gap in gaps
    }
    binding = broken[worst.rule][0]
    # What would let it in: every rule in its way at once, the binding one first.
    fixes = dict.fromkeys(m.fix for rule in (worst.rule, *broken) for m in broken[rule])
    finding = finding_of(replace(binding, check=replace(binding.check, vm=vm.name)), inputs, "deny")
    closest = f"{vm.name} has no host; with it on {load.host.name}, the closest: "
    return replace(finding, message=f"{closest}{binding.message}{note}", fix="; and ".join(fixes))


def _keeps_out(check: Check, vm: str) -> bool:
    return check.broken and check.resource != "min" and check.vm in (None, vm)


def _measures_of(rule: str, load: Load, inputs: Inputs) -> Iterator[Measure]:
    if rule == "affinity":
        yield from _group_here(load, inputs)
        return
    functions = {
        "vm-share": _vm_share,
        "consolidation": _consolidation,
        "cpu-overcommit": _cpu,
        "memory-overcommit": _memory,
    }
    if rule == "storage-capacity":
        yield from _storage([load], inputs)
    else:
        yield from functions[rule](load, inputs)


def _group_here(load: Load, inputs: Inputs) -> Iterator[Measure]:
    vm = next(vm for vm in load.vms if vm.name in load.focus)
    names = [other.name for other in load.vms if other.anti_affinity == vm.anti_affinity]
    size = sum(other.anti_affinity == vm.anti_affinity for other in inputs.virtual_machines)
    check = Check(
        "affinity", load.host.name, vm.name, "apart", Fraction(len(names)), Fraction(1), "VMs of the group", True
    )
    yield Measure(
        check,
        f"{load.host.name} has {len(names)} VMs of anti-affinity group {vm.anti_affinity} "
        f"({text.listed(names)}), limit 1",
        f"the group has {size} VMs and there are {text.counted(len(inputs.hosts), 'host')}: "
        f"add a host, or take {vm.name} out of the group",
    )


# --- remarks ----------------------------------------------------------------------------------------------------------


def _remarks(inputs: Inputs, placed: Placed, loads: Sequence[Load]) -> list[Finding]:
    findings = _no_host_to_copy_to(inputs)
    for vm in inputs.virtual_machines:
        here = placed.running.get(vm.name)
        if here is not None and vm.host is not None and vm.host != here:
            findings.append(
                Finding(
                    rule="placement-drift",
                    level="warn",
                    message=f"{vm.name} is pinned to {vm.host} and runs on {here}; it stays there",
                    fix=f"move it with playbooks/migrate.yml, or set host: {here}",
                    host=here,
                    vm=vm.name,
                )
            )
    for copy in placed.duplicates:
        findings.append(
            Finding(
                rule="placement-drift",
                level="warn",
                message=f"{copy.name} is defined on {copy.host} too ({copy.state}); that copy counts",
                fix=f"undefine it on {copy.host} when it is not needed",
                host=copy.host,
                vm=copy.name,
            )
        )
    for load in loads:
        findings += _over_a_node(load, loads)
        if not load.host.reserve_declared:
            findings.append(
                Finding(
                    rule="host-overhead",
                    level="warn",
                    message=f"nothing is reserved for {load.host.name} itself",
                    fix="set host_reserved for it, for example {cpus: 1, memory_mib: 1024}",
                    host=load.host.name,
                )
            )
        if load.foreign:
            vcpus = sum(vm.vcpus for vm in load.foreign)
            memory = sum(vm.memory_mib for vm in load.foreign)
            names = text.listed([vm.name for vm in load.foreign])
            findings.append(
                Finding(
                    rule="unmanaged",
                    level="info",
                    message=f"{load.host.name} has {text.counted(len(load.foreign), 'VM')} that the inventory "
                    f"does not name ({names}): {vcpus} vCPUs and {memory} MiB count",
                    host=load.host.name,
                    value=Fraction(len(load.foreign)),
                    unit="VMs",
                )
            )
    return findings


def _no_host_to_copy_to(inputs: Inputs) -> list[Finding]:
    """A note when so many hosts may die that those left are fewer than the replicas: no room is asked for then."""
    rule = inputs.policy.rules["storage-capacity"]
    hosts, replicas = len(storing_hosts(inputs)), int(rule["replicas"])
    more = replicas + int(rule["host_failures"]) - hosts
    dying = hosts - replicas + 1
    if inputs.storage_layout != "distributed" or rule["level"] == "off" or dying < 1 or more < 1:
        return []
    die, back = ("one dies its", "it is back") if dying == 1 else (f"{dying} die their", "one is back")
    holds = f"{text.counted(hosts, 'host')} {'holds' if hosts == 1 else 'hold'} {text.counted(replicas, 'replica')}"
    stays = f"stays on {replicas - 1}" if replicas > 1 else "is gone"
    let = f"{text.counted(more, 'more host')} would let Ceph copy anew"
    return [Finding("storage-capacity", "info", f"{holds}: when {die} data {stays} until {back}; {let}")]


def _over_a_node(load: Load, loads: Sequence[Load]) -> list[Finding]:
    """A note for each VM that is larger than a NUMA node of its host: its vCPUs reach memory of another node."""
    host = load.host
    if host.numa_nodes == 1:
        return []
    findings = []
    for vm in load.vms:
        for resource, key, have, node, unit in (
            ("cpu", "vcpus", vm.vcpus, host.node_threads, "threads"),
            ("memory", "memory_mib", vm.memory_mib, host.node_memory_mib, "MiB"),
        ):
            if have <= node:
                continue
            others = [
                other.host.name
                for other in loads
                if vm.vcpus <= other.host.node_threads and vm.memory_mib <= other.host.node_memory_mib
            ]
            lower = f"lower {key} to at most {node}, " if node else ""
            findings.append(
                Finding(
                    rule="numa",
                    level="info",
                    message=f"{vm.name} is larger than one of the {host.numa_nodes} NUMA nodes of {host.name}: "
                    f"{have} of {node} {unit}",
                    fix=f"{lower}or give it a host with larger nodes ({text.listed(others) or 'there is none'})",
                    host=host.name,
                    vm=vm.name,
                    resource=resource,
                    value=Fraction(have),
                    limit=Fraction(node),
                    margin=Fraction(node - have),
                    unit=unit,
                )
            )
    return findings


def _waivers(inputs: Inputs, findings: Sequence[Finding]) -> list[Finding]:
    used = {finding.waiver for finding in findings}
    remarks = []
    for waiver in inputs.policy.waivers:
        of = f"{waiver.rule} for {waiver.subject}"
        if not waiver.in_force(inputs.today):
            level, message, fix = (
                "warn",
                f"the waiver of {of} by {waiver.owner} ended on {waiver.until} and counts no more",
                "take it away, or have its owner renew it",
            )
        elif waiver not in used:
            level, message, fix = "info", f"the waiver of {of} by {waiver.owner} is not needed", "take it away"
        else:
            continue
        remarks.append(
            Finding("waiver", level, message, fix, host=waiver.host, vm=waiver.vm, container=waiver.container)
        )
    return remarks
