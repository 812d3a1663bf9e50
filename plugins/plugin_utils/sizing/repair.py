# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a cluster that breaks a rule today to live migrations in an order in which no step breaks one on its way.

A step moves one running VM. While it moves it counts on both hosts, so what it breaks would be broken at its target. A
step is legal when no rule that denies is broken by it or broken worse: what is broken already may stay so until its own
step. For ``failover`` that means: a host whose death is survived before a step is so after it.

Two searches. A beam takes the steps that come closest to a legal cluster and gives a plan, not always the shortest. An
A* search (Hart, Nilsson, Raphael 1968) over all legal steps then looks for a shorter one, led by how many VMs must
leave each host at least; where it ends within its bound the plan is the shortest, or it is proved that there is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush

from ansible_collections.croft.infra.plugins.plugin_utils.sizing.limits import (
    Demand,
    ceilings,
    closed,
    demand,
    in_force,
)
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.model import (
    Finding,
    Inputs,
    RunningVm,
    VirtualMachine,
)
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.placing import (
    current_hosts,
    deaths,
    failover_counts,
    foreign_demand,
    shortfalls,
)
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.plan import build_plan
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.search import Board, complete

# Work that each search may do, in steps looked at (one that lets hosts die counts for many); about a second.
EFFORT = 400_000
BEAM = 12
LONGEST = 60
# With many hosts and VMs: fewer paths, and of each only the steps that look best.
WIDE_BEAM = 1
WIDE_STEPS = 2
# Above this many pairs of a VM and a host only VMs that take part in a broken rule are moved, and nothing is proved.
PAIRS = 4_000


@dataclass(frozen=True, slots=True)
class Step:
    """One live migration. ``disk_mib`` is copied as well in the local layout and 0 otherwise."""

    vm: str
    source: str
    target: str
    memory_mib: int
    disk_mib: int


@dataclass(frozen=True, slots=True)
class Repair:
    """What to move, in order.

    ``verdict``: ``legal`` (nothing is broken), ``complete`` (the steps repair all), ``partial`` (they repair what they
    can), ``none``. ``proved``: of a complete one that no shorter one exists, of the others that no complete one does.
    ``broken`` and ``remaining``: the refusals before and after; ``blocked``: one line for each that remains.
    """

    verdict: str
    steps: tuple[Step, ...]
    proved: bool
    broken: tuple[Finding, ...]
    remaining: tuple[Finding, ...]
    blocked: tuple[str, ...]


def today(inputs: Inputs) -> Inputs:
    """The same cluster with the VMs that exist: what is wanted and not there breaks nothing yet."""
    current = current_hosts(inputs)
    return replace(inputs, virtual_machines=tuple(vm for vm in inputs.virtual_machines if vm.name in current))


def after(inputs: Inputs, steps: Sequence[Step]) -> Inputs:
    """The cluster when these steps are done."""
    where = {step.vm: step.target for step in steps}
    movable = {id(vm) for vm in current_hosts(inputs).values()}
    present = [
        replace(vm, host=where[vm.name]) if vm.name in where and id(vm) in movable else vm for vm in inputs.present
    ]
    return replace(inputs, present=tuple(sorted(present, key=lambda vm: (vm.host, vm.name, not vm.managed))))


def refusals(inputs: Inputs) -> tuple[Finding, ...]:
    return tuple(finding for finding in build_plan(inputs).findings if finding.level == "deny")


def repair(inputs: Inputs, effort: int = EFFORT) -> Repair:
    """The fewest live migrations that it can find; deterministic, ``inputs`` is left as it was."""
    now = today(inputs)
    broken = refusals(now)
    if not broken:
        return Repair("legal", (), True, (), (), ())
    cluster = _Cluster(now, effort)
    steps, reached, proved = cluster.solve()
    remaining = refusals(after(now, steps)) if steps else broken
    verdict = "complete" if not remaining else ("partial" if steps else "none")
    # What remains when all that steps can repair is repaired is no matter of where VMs are.
    proved = proved or (reached and verdict != "complete")
    blocked = tuple(cluster.blocked(finding) for finding in remaining)
    return Repair(verdict, steps, proved, broken, remaining, blocked)


_Move = tuple[int, int, int]
_SUMS = ("vcpus", "memory", "disk_mib", "vms")


class _Cluster:
    """The state of the search: which VM is where, moved forth and back on one board."""

    def __init__(self, inputs: Inputs, effort: int) -> None:
        self.inputs = inputs
        self.effort = effort
        self.index = {host.name: i for i, host in enumerate(inputs.hosts)}
        self.running = current_hosts(inputs)
        self.vms = inputs.virtual_machines
        self.items = [demand([vm], inputs) for vm in self.vms]
        self.at = [self.index[self.running[vm.name].host] for vm in self.vms]
        self.board = Board(ceilings(inputs, "deny"))
        self.board.closed = closed(inputs)
        self.fixed = Board(self.board.ceilings)
        kept = {id(vm) for vm in self.running.values()}
        for other in inputs.present:
            if id(other) not in kept:
                self._put_fixed(foreign_demand(other, inputs), self.index[other.host])
        self.mobile = [self._mobile(vm) for vm in self.vms]
        for item, host, mobile in zip(self.items, self.at, self.mobile, strict=True):
            self.board.put(item, host)
            if not mobile:
                self.fixed.put(item, host)
        deny = inputs.policy.level("affinity") == "deny"
        self.groups = [
            vm.affinity if deny and vm.affinity and not in_force(inputs, "affinity", None, vm.name) else None
            for vm in self.vms
        ]
        # The least VMs of a host, where the policy refuses less.
        self.floor = [
            int(rule["min"])
            if rule["min_level"] == "deny" and not in_force(inputs, "consolidation", host.name, None)
            else 0
            for host in inputs.hosts
            for rule in (inputs.policy.on(host.name)["consolidation"],)
        ]
        self.failover = failover_counts(inputs)
        self.survival: dict[tuple[int, ...], frozenset[str]] = {}
        self.wide = sum(self.mobile) * len(inputs.hosts) > PAIRS
        self.steps = 0
        self.excused = self._hopeless()

    def _put_fixed(self, item: Demand, host: int) -> None:
        self.board.put(item, host)
        self.fixed.put(item, host)

    def _mobile(self, vm: VirtualMachine) -> bool:
        """What runs can be moved live; a VM that is where it is pinned to stays."""
        there = self.running[vm.name]
        return there.state == "running" and vm.host != there.host

    # --- what is broken ---

    def _hopeless(self) -> frozenset[tuple[int, str]]:
        """Hosts' rules and VMs' shares that stay broken when everything that can leave has left."""
        found = set()
        for host, top in enumerate(self.fixed.ceilings):
            for name in _SUMS:
                if getattr(self.fixed, name)[host] > getattr(top, name):
                    found.add((host, name))
            if top.apart and any(count > 1 for count in self.fixed.apart[host].values()):
                found.add((host, "apart"))
        return frozenset(found)

    def _too_big(self, vm: int, host: int) -> int:
        """By how much the VM is over its share on this host, in vCPUs and MiB."""
        top, item = self.board.ceilings[host], self.items[vm]
        return max(item.vm_vcpus - top.vm_vcpus, 0) + max(item.vm_memory_mib - top.vm_memory_mib, 0)

    def _stuck(self, vm: int) -> bool:
        """Whether its share is broken wherever it may go."""
        hosts = range(len(self.board.ceilings)) if self.mobile[vm] else (self.at[vm],)
        return all(self._too_big(vm, host) for host in hosts)

    def _at_risk(self) -> frozenset[str]:
        """Hosts whose death is not survived now; a search that met its bound counts as not survived."""
        if not self.failover:
            return frozenset()
        key = tuple(self.at)
        if key not in self.survival:
            self.steps += 20 * len(self.inputs.hosts) + 10 * len(self.vms)
            where = {vm.name: self.inputs.hosts[host].name for vm, host in zip(self.vms, self.at, strict=True)}
            self.survival[key] = frozenset(
                death.host
                for death in deaths(self.inputs, self.board, where)
                if not death.survives and not in_force(self.inputs, "failover", death.host, None)
            )
        return self.survival[key]

    def _torn(self) -> int:
        """How many hosts more than one each affinity group is on, in all."""
        on: dict[str, set[int]] = {}
        for group, host in zip(self.groups, self.at, strict=True):
            if group is not None:
                on.setdefault(group, set()).add(host)
        return sum(len(hosts) - 1 for hosts in on.values())

    def _leavers(self, host: int, mine: Sequence[int]) -> int:
        """How many VMs must leave this host at least; each resource alone, the greatest of them."""
        board, top = self.board, self.board.ceilings[host]
        most = 0
        for name in _SUMS:
            excess = getattr(board, name)[host] - getattr(top, name)
            if excess > 0 and (host, name) not in self.excused:
                sizes = sorted((getattr(self.items[vm], name) for vm in mine if self.mobile[vm]), reverse=True)
                count = 0
                while excess > 0 and count < len(sizes):
                    excess -= sizes[count]
                    count += 1
                most = max(most, count)
        if top.apart and (host, "apart") not in self.excused:
            most = max(most, sum(count - 1 for count in board.apart[host].values() if count > 1))
        return max(most, sum(1 for vm in mine if self._too_big(vm, host) and not self._stuck(vm)))

    def least(self) -> int:
        """A lower bound of the steps to go: each step takes one VM off one host. 0 only when nothing is left to do."""
        mine: dict[int, list[int]] = {}
        for vm, host in enumerate(self.at):
            mine.setdefault(host, []).append(vm)
        leaving = sum(self._leavers(host, vms) for host, vms in mine.items())
        lacking = sum(max(least - count, 0) for least, count in zip(self.floor, self.board.vms, strict=True))
        least = max(leaving, self._torn(), lacking)
        return least or int(bool(self._at_risk()))

    def distance(self) -> float:
        """How far the cluster is from a legal one: each rule's excess over its limit, and one for each broken rule."""
        far = sum(self._far(host) for host in range(len(self.board.ceilings)))
        far += sum(1 for vm, host in enumerate(self.at) if self._too_big(vm, host) and not self._stuck(vm))
        return far + self._torn() + len(self._at_risk())

    def _far(self, host: int) -> float:
        """The part of the distance that this host's sums have."""
        far = 0.0
        board, top = self.board, self.board.ceilings[host]
        for name in _SUMS:
            excess = getattr(board, name)[host] - getattr(top, name)
            if excess > 0 and (host, name) not in self.excused:
                far += 1 + excess / max(getattr(top, name), 1)
        if top.apart and (host, "apart") not in self.excused:
            far += sum(count - 1 for count in board.apart[host].values() if count > 1)
        return far + max(self.floor[host] - board.vms[host], 0)

    # --- steps ---

    def moves(self) -> Iterator[_Move]:
        """Every legal step but for failover, which is asked of the state after it."""
        for vm in self._candidates():
            source, item = self.at[vm], self.items[vm]
            wish = self.vms[vm].host
            free = replace(item, vm_vcpus=0, vm_memory_mib=0) if self._too_big(vm, source) else item
            if self.board.vms[source] <= self.floor[source]:
                continue
            for target in range(len(self.board.ceilings)) if wish is None else (self.index[wish],):
                self.steps += 1
                if (
                    target != source
                    and self.board.fits(free, target)
                    and self._too_big(vm, target) <= self._too_big(vm, source)
                ):
                    yield (vm, source, target)

    def _candidates(self) -> list[int]:
        if not self.wide:
            return [vm for vm, mobile in enumerate(self.mobile) if mobile]
        board = self.board
        hot = {
            host
            for host, top in enumerate(board.ceilings)
            if board.vcpus[host] > top.vcpus
            or board.memory[host] > top.memory
            or board.disk_mib[host] > top.disk_mib
            or board.vms[host] > top.vms
            or (top.apart and any(count > 1 for count in board.apart[host].values()))
        } | {self.index[name] for name in self._at_risk()}
        return [
            vm
            for vm, mobile in enumerate(self.mobile)
            if mobile and (self.at[vm] in hot or self._too_big(vm, self.at[vm]) or self.groups[vm] is not None)
        ]

    def legal(self, move: _Move) -> bool:
        """Whether the step keeps affinity groups and failover; the state is left as it was."""
        if not self.failover and not any(self.groups):
            return True
        self.steps += len(self.vms)
        torn, risk = self._torn(), self._at_risk()
        self.do(move)
        kept = self._torn() <= torn and self._at_risk() <= risk
        self.undo(move)
        return kept

    def do(self, move: _Move) -> None:
        vm, source, target = move
        self.board.take(self.items[vm], source)
        self.board.put(self.items[vm], target)
        self.at[vm] = target

    def undo(self, move: _Move) -> None:
        vm, source, target = move
        self.board.take(self.items[vm], target)
        self.board.put(self.items[vm], source)
        self.at[vm] = source

    # --- the searches ---

    def solve(self) -> tuple[tuple[Step, ...], bool, bool]:
        """The steps; whether they reach all that steps can; and whether it is proved that no better ones exist."""
        start = self.least()
        if start == 0:
            return (), True, True
        best, reached = self._beam()
        if reached and len(best) == start:
            return self._steps(best), True, True
        if not reached and self._no_arrangement():
            return self._steps(best), False, True
        if self.wide:
            return self._steps(best), reached, False
        found, proved = self._shortest(len(best) if reached else 1 << 20)
        if found is not None:
            return self._steps(found), True, proved
        return self._steps(best), reached, proved

    def _beam(self) -> tuple[list[_Move], bool]:
        """The best path that a beam finds: to a legal cluster, or to the one that is closest to it."""
        best: tuple[float, list[_Move]] = (self.distance(), [])
        paths: list[list[_Move]] = [[]]
        seen = {tuple(self.at)}
        limit = self.steps + self.effort
        for _ in range(LONGEST):
            grown = [node for path in paths for node in self._grow(path, seen, limit)]
            if not grown:
                break
            grown.sort()
            if grown[0][0] < best[0]:
                best = (grown[0][0], grown[0][2])
            if best[0] == 0:
                return best[1], True
            paths = [path for _, _, path in grown[: WIDE_BEAM if self.wide else BEAM]]
        return best[1], best[0] == 0

    def _grow(self, path: list[_Move], seen: set[tuple[int, ...]], limit: int) -> list[tuple[float, int, list[_Move]]]:
        """This path with one step more, in every way that leads to a state that was not seen."""
        for move in path:
            self.do(move)
        grown: list[tuple[float, int, list[_Move]]] = []
        for _, move in sorted((self._promise(move), move) for move in self.moves()):
            if self.steps > limit or (self.wide and len(grown) == WIDE_STEPS):
                break
            if not self.legal(move):
                continue
            self.do(move)
            if tuple(self.at) not in seen:
                seen.add(tuple(self.at))
                longer = [*path, move]
                grown.append((self.distance(), self._cost(longer), longer))
            self.undo(move)
        for move in reversed(path):
            self.undo(move)
        return grown

    def _promise(self, move: _Move) -> tuple[float, int]:
        """How much farther the step's two hosts are from legal after it (less is better), and the memory it moves."""
        vm, source, target = move
        before = self._far(source) + self._far(target) + bool(self._too_big(vm, source))
        self.do(move)
        after_it = self._far(source) + self._far(target) + bool(self._too_big(vm, target))
        self.undo(move)
        return after_it - before, self.running[self.vms[vm].name].memory_mib

    def _cost(self, path: Sequence[_Move]) -> int:
        return sum(self.running[self.vms[vm].name].memory_mib for vm, _, _ in path)

    def _shortest(self, below: int) -> tuple[list[_Move] | None, bool]:
        """The shortest path of fewer than ``below`` steps, or None; and whether that is proved.

        A* over the states: the fewest steps made and at least to come first. All of them seen without a legal one is
        the proof that there is none.
        """
        limit = self.steps + self.effort
        start = tuple(self.at)
        made = {start: 0}
        came: dict[tuple[int, ...], tuple[tuple[int, ...], _Move]] = {}
        heap = [(self.least(), 0, start)]
        found: tuple[int, ...] | None = None
        while heap and self.steps <= limit:
            most, _, state = heappop(heap)
            if most >= below:
                heap = []
                break
            self._go(state)
            least = self.least()
            if least == 0:
                found = state
                break
            if most > made[state] + least:
                continue  # a longer way to a state that was reached by a shorter one
            for move in list(self.moves()):
                if not self.legal(move):
                    continue
                self.do(move)
                there, steps = tuple(self.at), made[state] + 1
                if steps < made.get(there, below):
                    made[there] = steps
                    came[there] = (state, move)
                    heappush(heap, (steps + self.least(), -steps, there))
                self.undo(move)
        self._go(start)
        if found is None:
            return None, not heap
        path = []
        while found != start:
            found, move = came[found]
            path.append(move)
        return path[::-1], True

    def _go(self, state: Sequence[int]) -> None:
        """Put every VM where this state has it."""
        for vm, (source, target) in enumerate(zip(tuple(self.at), state, strict=True)):
            if source != target:
                self.do((vm, source, target))

    def _no_arrangement(self) -> bool:
        """Whether it is proved that no arrangement of what can move is legal, in whatever order it is reached."""
        if self.excused or any(self._stuck(vm) for vm in range(len(self.vms))):
            return False
        free = [vm for vm, mobile in enumerate(self.mobile) if mobile]
        items = []
        for vm in free:
            wish = self.vms[vm].host
            items.append(self.items[vm])
            if wish is not None:
                return False  # it may stay or go: two choices that the search of arrangements does not know
        board = Board(self.fixed.ceilings)
        board.closed = set(self.board.closed)
        for host in range(len(board.ceilings)):
            board.vcpus[host], board.memory[host] = self.fixed.vcpus[host], self.fixed.memory[host]
            board.disk_mib[host], board.vms[host] = self.fixed.disk_mib[host], self.fixed.vms[host]
            board.apart[host] = dict(self.fixed.apart[host])
        order = sorted(range(len(items)), key=lambda i: (-items[i].memory, -items[i].vcpus, items[i].names))
        found = complete(
            board, items, order, lambda b, item, h: (-b.memory[h], h), self.effort // (4 * len(board.ceilings))
        )
        return found.proved

    def _steps(self, path: Sequence[_Move]) -> tuple[Step, ...]:
        local = self.inputs.storage_layout == "local"
        steps = []
        for vm, source, target in path:
            there: RunningVm = self.running[self.vms[vm].name]
            hosts = self.inputs.hosts
            disk = there.disk_mib if local else 0
            steps.append(Step(there.name, hosts[source].name, hosts[target].name, there.memory_mib, disk))
        return tuple(steps)

    # --- words ---

    def blocked(self, finding: Finding) -> str:
        """Why this refusal remains, in one line."""
        about = f"{finding.rule}: {finding.message}"
        if finding.rule == "io-workload":
            return f"{about}; a migration does not change that: {finding.fix}"
        if finding.rule == "storage-capacity" and finding.host is None:
            return f"{about}; all hosts share the pool: {finding.fix}"
        if finding.rule == "failover" and self.inputs.storage_layout == "local":
            return f"{about}; {finding.fix}"
        host = None if finding.host is None else self.index[finding.host]
        mine = [
            vm
            for vm, at in enumerate(self.at)
            if (finding.vm is None and at == host) or self.vms[vm].name == finding.vm
        ]
        movable = [vm for vm in mine if self.mobile[vm]]
        if mine and not movable:
            names = ", ".join(self._why_fixed(vm) for vm in mine[:3])
            return f"{about}; nothing there can be moved live ({names})"
        closest: tuple[tuple[int, float, int, int], str] | None = None
        for vm in movable:
            for target in range(len(self.board.ceilings)):
                if target == self.at[vm]:
                    continue
                gaps = shortfalls(self.board, self.items[vm], target, self.inputs)
                key = (len(gaps), max((gap.excess for gap in gaps), default=0.0), vm, target)
                if closest is None or key < closest[0]:
                    place = f"{self.vms[vm].name} to {self.inputs.hosts[target].name}"
                    worst = max(gaps, key=lambda gap: gap.excess, default=None)
                    what = f"{worst.rule} there: {worst.text}" if worst else "would break another rule or not be enough"
                    closest = (key, f"the closest step, {place}, is kept out by {what}" if worst else f"{place} {what}")
        return f"{about}; {closest[1] if closest else 'there is no other host'}"

    def _why_fixed(self, vm: int) -> str:
        entry = self.vms[vm]
        state = self.running[entry.name].state
        return f"{entry.name} is {'pinned there' if state == 'running' else state}"
