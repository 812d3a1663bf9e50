# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Live migrations that somebody asked for, legal under the rules: named VMs to a host, or everything off a host.

What is asked is judged before anything moves. The migrations of one wave may run at once and end in any order: on its
way a VM counts on both hosts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from ansible_collections.croft.infra.plugins.plugin_utils.sizing import text
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.limits import (
    Demand,
    ceilings,
    closed,
    demand,
    in_force,
)
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.model import Inputs, RunningVm, VirtualMachine
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.parse import read_inputs
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.placing import (
    EFFORT,
    current_hosts,
    deaths,
    failover_counts,
    foreign_demand,
    shortfalls,
)
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.repair import Step, today
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.search import Board, complete

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Asked:
    """A VM to move; without ``target`` to where its pin wants it, else to the host with the most room."""

    vm: str
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Moves:
    """What to move, in waves; none with ``problems``, one line each. ``remarks``: what stays as it is."""

    waves: tuple[tuple[Step, ...], ...] = ()
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


class _Board:
    """The cluster as it runs, with every VM's place."""

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs
        self.index = {host.name: i for i, host in enumerate(inputs.hosts)}
        self.running = current_hosts(inputs)
        self.vms = {vm.name: vm for vm in inputs.virtual_machines}
        self.items = {vm.name: demand([vm], inputs) for vm in inputs.virtual_machines}
        self.at = {name: self.index[there.host] for name, there in self.running.items()}
        self.board = Board(ceilings(inputs, "deny"))
        self.board.closed = closed(inputs)
        kept = {id(vm) for vm in self.running.values()}
        self.foreign = [vm for vm in inputs.present if id(vm) not in kept]
        for other in self.foreign:
            self.board.put(foreign_demand(other, inputs), self.index[other.host])
        for name, host in self.at.items():
            self.board.put(self.items[name], host)

    def room(self, _board: Board, item: Demand, host: int) -> tuple[object, ...]:
        """How full the host would be, of the resource it has least of: the emptiest first."""
        own, board = self.inputs.hosts[host], self.board
        q = self.inputs.policy.rules["memory-overcommit"]["limit"].denominator
        full = max(
            (board.vcpus[host] + item.vcpus) / own.threads, (board.memory[host] + item.memory) / (q * own.memory_mib)
        )
        return (full, host)

    def move(self, name: str, target: int) -> None:
        self.board.take(self.items[name], self.at[name])
        self.board.put(self.items[name], target)
        self.at[name] = target

    def survived(self, at: Mapping[str, int] | None = None) -> frozenset[str]:
        """The hosts whose death is survived with what the board holds, of those for which that counts.

        ``at``: where the VMs die, if elsewhere than they are now.
        """
        if not failover_counts(self.inputs):
            return frozenset()
        places = self.at if at is None else at
        where: dict[str, str | None] = {name: self.inputs.hosts[host].name for name, host in places.items()}
        return frozenset(
            death.host
            for death in deaths(self.inputs, self.board, where)
            if death.survives and not in_force(self.inputs, "failover", death.host, None)
        )

    def joins(self, wave: Sequence[Step], step: Step, survived: frozenset[str]) -> bool:
        """Whether a step may run beside those of a wave, whichever of them ends first.

        The board holds the VMs of the wave on both hosts, so that a VM whose host dies before it has left finds room
        where it was to go. When all others survive a death then, too, they do so at any moment of the wave.
        ``survived``: what was survived when it began.
        """
        item, target = self.items[step.vm], self.index[step.target]
        if any(step.vm == other.vm for other in wave) or not self.board.fits(item, target):
            return False
        self.board.put(item, target)
        ends = {**self.at, **{one.vm: self.index[one.target] for one in (*wave, step)}}
        kept = survived <= self.survived(ends)
        self.board.take(item, target)
        return kept

    def torn(self, vm: VirtualMachine, target: int) -> str | None:
        """The affinity group that would be on two hosts, or None."""
        if vm.affinity is None or self.inputs.policy.level("affinity") != "deny":
            return None
        if in_force(self.inputs, "affinity", None, vm.name):
            return None
        mates = [name for name, other in self.vms.items() if other.affinity == vm.affinity and name in self.at]
        return vm.affinity if any(self.at[name] != target for name in mates if name != vm.name) else None

    def step(self, name: str, source: int, target: int) -> Step:
        there = self.running[name]
        disk = there.disk_mib if self.inputs.storage_layout == "local" else 0
        hosts = self.inputs.hosts
        return Step(name, hosts[source].name, hosts[target].name, there.memory_mib, disk)


def move(inputs: Inputs, asked: Sequence[Asked]) -> Moves:
    """The named VMs, in this order; everything that speaks against any of them is told."""
    cluster = _Board(today(inputs))
    problems: list[str] = []
    steps = []
    for one in asked:
        problem = _cannot_move(cluster, one.vm) or _bad_target(cluster, one)
        if problem:
            problems.append(problem)
            continue
        step, problem = _one(cluster, one)
        if step is not None:
            steps.append(step)
        elif problem:
            problems.append(problem)
    return Moves(problems=tuple(problems)) if problems else Moves(_waves(today(inputs), steps))


def drain(inputs: Inputs, host: str) -> Moves:
    """All that runs on the host, each VM to a host that the rules allow, all of them at once; or why not.

    That every host's death is survived is not asked: the cluster is one host short by intention.
    """
    known = {one.name for one in inputs.hosts}
    if host not in known:
        return Moves(problems=(f"host {host}: is not one of {', '.join(sorted(known))}",))
    cluster = _Board(today(inputs))
    here = cluster.index[host]
    names = sorted(name for name, at in cluster.at.items() if at == here)
    remarks = [
        f"{name}: is {cluster.running[name].state} and stays on {host}"
        for name in names
        if cluster.running[name].state == "stopped"
    ]
    moving = [name for name in names if cluster.running[name].state != "stopped"]
    problems = [problem for name in moving if (problem := _cannot_move(cluster, name))]
    problems += [
        f"{vm.name}: runs on {host} and is not in the inventory; move it by hand, or stop it"
        for vm in cluster.foreign
        if vm.host == host and vm.state != "stopped"
    ]
    if problems:
        return Moves(problems=tuple(problems), remarks=tuple(remarks))
    cluster.board.closed.add(here)
    groups = _groups(cluster, moving)
    items = [_piece(cluster, group) for group in groups]
    order = sorted(range(len(items)), key=lambda i: (-items[i].memory, -items[i].vcpus, items[i].names))
    for name in moving:
        cluster.board.take(cluster.items[name], here)
    found = complete(cluster.board, items, order, cluster.room, EFFORT)
    if not found.complete:
        return Moves(problems=tuple(_no_place(cluster, host, items, proved=found.proved)), remarks=tuple(remarks))
    steps = [
        cluster.step(name, here, target)
        for i, target in sorted(enumerate(found.where), key=lambda pair: items[pair[0]].names)
        if target is not None
        for name in items[i].names
    ]
    return Moves((tuple(steps),) if steps else (), remarks=tuple(remarks))


def _groups(cluster: _Board, names: Sequence[str]) -> list[list[str]]:
    """The VMs one by one, those of an affinity group that the rules keep together in one piece."""
    bound = cluster.inputs.policy.level("affinity") == "deny"
    pieces: dict[str, list[str]] = {}
    for name in names:
        group = cluster.vms[name].affinity
        free = group is None or not bound or in_force(cluster.inputs, "affinity", None, name)
        pieces.setdefault(f"vm {name}" if free else f"group {group}", []).append(name)
    return list(pieces.values())


def _piece(cluster: _Board, names: Sequence[str]) -> Demand:
    """VMs that go to one host, where the pin of one of them wants it."""
    vms = [cluster.vms[name] for name in names]
    pins = sorted(cluster.index[vm.host] for vm in vms if vm.host is not None)
    return demand(vms, cluster.inputs, only=pins[0] if pins else None)


def _no_place(cluster: _Board, host: str, items: Sequence[Demand], *, proved: bool) -> list[str]:
    """Why a host cannot be emptied: what finds no place even alone, else that there is none for all together."""
    others = [i for i in range(len(cluster.inputs.hosts)) if i != cluster.index[host]]
    lines = []
    for item in items:
        wished = others if item.only is None else [item.only]
        gaps = {i: shortfalls(cluster.board, item, i, cluster.inputs) for i in wished}
        if gaps and all(gaps.values()):
            i = min(gaps, key=lambda i: (len(gaps[i]), max(gap.excess for gap in gaps[i]), i))
            worst = max(gaps[i], key=lambda gap: gap.excess)
            closest = f"the closest, {cluster.inputs.hosts[i].name}, is kept out by {worst.rule}: {worst.text}"
            lines.append(f"{', '.join(item.names)}: no host takes it from {host}; {closest}")
    if not lines:
        count = text.counted(sum(len(item.names) for item in items), "VM")
        how = (
            "there is no place for all of them together"
            if proved
            else "no place for all of them was found (not proved)"
        )
        lines.append(f"host {host}: each of its {count} fits elsewhere alone, yet {how}")
    return lines


def _cannot_move(cluster: _Board, name: str) -> str | None:
    if name not in cluster.vms:
        return f"{name}: is not running under croft; the inventory or the hosts do not have it"
    there: RunningVm = cluster.running[name]
    if there.state != "running":
        return f"{name}: is {there.state} on {there.host}; only a running VM migrates live"
    if cluster.vms[name].host == there.host:
        return f"{name}: is pinned to {there.host} in the inventory; take the pin (host) out first"
    return None


def _bad_target(cluster: _Board, one: Asked) -> str | None:
    if one.target is None:
        return None
    if one.target not in cluster.index:
        return f"{one.vm}: target {one.target} is no host; the hosts are {', '.join(sorted(cluster.index))}"
    if cluster.at[one.vm] == cluster.index[one.target]:
        return f"{one.vm}: runs on {one.target} already"
    pin = cluster.vms[one.vm].host
    if pin is not None and pin != one.target:
        return f"{one.vm}: is pinned to {pin} in the inventory, not to {one.target}; change the pin first"
    return None


def _one(cluster: _Board, one: Asked) -> tuple[Step | None, str | None]:
    """The step, done on the board; or what forbids it."""
    item, source, vm = cluster.items[one.vm], cluster.at[one.vm], cluster.vms[one.vm]
    only = one.target or vm.host
    wished = (
        [cluster.index[only]]
        if only is not None
        else sorted(
            (host for host in range(len(cluster.inputs.hosts)) if host != source),
            key=lambda host: cluster.room(cluster.board, item, host),
        )
    )
    before = cluster.survived()
    why: list[str] = []
    for target in wished:
        name = cluster.inputs.hosts[target].name
        gaps = shortfalls(cluster.board, item, target, cluster.inputs)
        group = cluster.torn(vm, target)
        if gaps or group:
            worst = max(gaps, key=lambda gap: gap.excess, default=None)
            reason = f"{worst.rule}: {worst.text}" if worst else f"affinity: group {group} would be on two hosts"
            why.append(f"{name} is kept out by {reason}")
            continue
        cluster.move(one.vm, target)
        lost = before - cluster.survived()
        if not lost:
            return cluster.step(one.vm, source, target), None
        cluster.move(one.vm, source)
        why.append(f"{name} is kept out by failover: the death of {text.listed(sorted(lost))} would not be survived")
    return None, f"{one.vm}: {'; '.join(why)}"


def _waves(inputs: Inputs, steps: Sequence[Step]) -> tuple[tuple[Step, ...], ...]:
    """Cut the steps where one needs what an earlier one frees, or where their order would matter to a host's death."""
    waves: list[list[Step]] = []
    cluster = _Board(inputs)
    survived: frozenset[str] = frozenset()
    for step in steps:
        if not waves or not cluster.joins(waves[-1], step, survived):
            for other in waves[-1] if waves else ():
                # The wave is over: its VMs count at their sources no more.
                cluster.board.take(cluster.items[other.vm], cluster.index[other.source])
                cluster.at[other.vm] = cluster.index[other.target]
            survived = cluster.survived()
            waves.append([])
        cluster.board.put(cluster.items[step.vm], cluster.index[step.target])
        waves[-1].append(step)
    return tuple(tuple(wave) for wave in waves)


def in_waves(inputs: Inputs, steps: Sequence[Step]) -> tuple[tuple[Step, ...], ...]:
    """Steps of a repair, which are legal one after the other, in waves."""
    return _waves(today(inputs), steps)


def make_moves(  # noqa: PLR0913
    hosts: Sequence[str],
    host_variables: Mapping[str, Mapping[str, Any]],
    virtual_machines: Any,
    *,
    asked: Sequence[Asked] = (),
    drained: str | None = None,
    policy: Any = None,
    storage_layout: Any = "local",
    today_is: date,
) -> dict[str, Any]:
    """From raw variables: {waves, problems, remarks} as plain types; a wave is a list of {vm, from, to, ...}."""
    inputs, problems = read_inputs(
        hosts, host_variables, virtual_machines, policy=policy, storage_layout=storage_layout, today=today_is
    )
    if inputs is None:
        return {"waves": [], "problems": problems, "remarks": []}
    unread = _unread(hosts, host_variables, drained)
    if unread:
        return {"waves": [], "problems": unread, "remarks": []}
    made = move(inputs, asked) if drained is None else drain(inputs, drained)
    return {
        "waves": [[step_dict(step) for step in wave] for wave in made.waves],
        "problems": list(made.problems),
        "remarks": list(made.remarks),
    }


def _unread(hosts: Sequence[str], host_variables: Mapping[str, Mapping[str, Any]], drained: str | None) -> list[str]:
    """The hosts of which nobody knows what runs there: to empty one would be to move nothing."""
    lines = []
    for host in hosts:
        facts = host_variables.get(host, {}).get("croft_host_facts")
        about = facts.get("libvirt") if isinstance(facts, Mapping) else None
        if not isinstance(facts, Mapping):
            lines.append(f"host {host}: was not read; register croft.infra.host_capacity as croft_host_facts")
        elif host == drained and isinstance(about, Mapping) and about.get("available") is False:
            lines.append(
                f"host {host}: what runs there is not known ({about.get('reason')}); bring its libvirt back first"
            )
    return lines


def step_dict(step: Step) -> dict[str, Any]:
    """Plain types: memory in MiB, disks in GiB, what goes over the network in bytes."""
    return {
        "vm": step.vm,
        "from": step.source,
        "to": step.target,
        "memory_mib": step.memory_mib,
        "disk_gib": step.disk_mib / 1024,
        "bytes": (step.memory_mib + step.disk_mib) * _MIB,
    }


def read_asked(raw: Any) -> tuple[list[Asked], list[str]]:
    """A list of names, or of mappings with ``name`` and perhaps ``target``; and one line for each that is neither."""
    if isinstance(raw, str):
        raw = [name.strip() for name in raw.split(",") if name.strip()]
    if not isinstance(raw, Sequence) or not raw:
        return [], ["move: names no VM; give a list of names, or of mappings with name and target"]
    asked, problems = [], []
    for number, entry in enumerate(raw):
        if isinstance(entry, str):
            asked.append(Asked(entry))
        elif isinstance(entry, Mapping) and entry.get("name") and set(entry) <= {"name", "target"}:
            asked.append(Asked(str(entry["name"]), str(entry["target"]) if entry.get("target") else None))
        else:
            problems.append(f"move[{number}]: is {entry!r}; give a name, or a mapping with name and target")
    return asked, problems
