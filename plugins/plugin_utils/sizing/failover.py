# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of the HA VMs when hosts die: shown by an arrangement, or proved to be impossible, or said to be open.

Restarts do not move what runs. A greedy arrangement that holds every rule is a proof that the death is survived; that
none exists is proved by a VM that no host takes, by sums that do not fit, or by a complete search over the hosts that
take anything at all. Only a search that meets its bound leaves the question open, and is never counted as survived.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

from ansible_collections.croft.infra.plugins.plugin_utils.sizing.limits import Demand, Demands, demand
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.model import (
    Death,
    HostSets,
    Inputs,
    LostSet,
    Restart,
    VirtualMachine,
)
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.search import (
    Board,
    Found,
    complete,
    flavour,
    greedy,
    room,
)

LOCAL_DISK = "its disk is in the local pool of the host that died"
NO_HA = "ha is false: it is not restarted elsewhere"

# A report on many deaths that are hard to decide may cost as much as this many of them.
HARD_DEATHS = 10
# How many sets of hosts are examined one by one when more than one host may die; about a second for each 5,000.
SETS = 20_000
# A set that is not survived is named; more of them than this only count.
NAMED_SETS = 20


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A rule that keeps an item from a host: by how much of the limit (``excess``), and in words."""

    rule: str
    excess: float
    text: str


class Failover:
    """Lets hosts die on paper, each time from the state that the board holds; the board is left as it was.

    ``effort``: work that the complete search of one death may do, hosts times placements tried.
    """

    def __init__(self, inputs: Inputs, board: Board, effort: int, demands: Demands | None = None) -> None:
        self.inputs = inputs
        self.board = board
        self.effort = effort
        self.demands = demands or Demands(inputs)
        self.tolerated = int(inputs.policy.rules["failover"]["host_failures_tolerated"])
        self.local = inputs.storage_layout == "local"
        waivers = [w for w in inputs.policy.waivers if w.rule == "failover" and w.in_force(inputs.today)]
        self.excused_vms = {w.vm for w in waivers if w.vm is not None}
        self.excused_hosts = {w.host for w in waivers if w.host is not None}
        # Whether there are sets of hosts to ask for beside the single ones.
        self.several = self.tolerated > 1 and any(host.name not in self.excused_hosts for host in inputs.hosts)
        kept = {w.vm for w in inputs.policy.waivers if w.rule == "affinity" and w.in_force(inputs.today)}
        deny = inputs.policy.level("affinity") == "deny"
        self.groups = {
            vm.name: vm.affinity
            for vm in inputs.virtual_machines
            if deny and vm.affinity is not None and vm.name not in kept
        }
        # How many single hosts and sets of hosts one placement is asked for, at most.
        self.asked = len(inputs.hosts)
        if self.several:
            self.asked += min(comb(len(inputs.hosts), min(self.tolerated, len(inputs.hosts))), SETS)
        # The last placement of which every death is survived: it is mostly the one that is then reported.
        self._proved: tuple[dict[str, str | None], tuple[Death, ...]] | None = None

    def deaths(self, where: Mapping[str, str | None]) -> tuple[Death, ...]:
        """Each host's death, in the hosts' order."""
        if self._proved is not None and self._proved[0] == where:
            return self._proved[1]
        return tuple(self._each(where))

    def survives(self, where: Mapping[str, str | None]) -> bool:
        """Whether every death that the policy asks for is survived, or has a waiver."""
        survived = []
        for death in self._each(where):
            if not death.survives and death.host not in self.excused_hosts:
                return False
            survived.append(death)
        self._proved = (dict(where), tuple(survived))
        return not self.several or self.sets(where, first=True).survived

    def _each(self, where: Mapping[str, str | None]) -> Iterator[Death]:
        cluster = _Cluster(self.inputs, self.board, self.effort)
        by_host = self._by_host(where)
        for dead, host in enumerate(self.inputs.hosts):
            yield self._death(cluster, dead, by_host[host.name])

    def _by_host(self, where: Mapping[str, str | None]) -> dict[str, list[VirtualMachine]]:
        by_host: dict[str, list[VirtualMachine]] = {host.name: [] for host in self.inputs.hosts}
        for vm in self.inputs.virtual_machines:
            host = where[vm.name]
            if host is not None:
                by_host[host].append(vm)
        return by_host

    def _death(self, cluster: _Cluster, dead: int, vms: Sequence[VirtualMachine]) -> Death:
        asked, excused = self._to_restart(vms)
        found = cluster.restart(asked, excused, (dead,))
        items = (*asked, *excused)
        to: dict[str, int | None] = {}
        for item, chosen in zip(items, found.where, strict=True):
            to.update(dict.fromkeys(item.names, chosen))
        why = cluster.why(items, found.where, (dead,)) if None in found.where else {}
        names = self.inputs.hosts
        restarts = []
        survives = True
        for vm in vms:
            target = to.get(vm.name)
            if target is not None:
                restarts.append(Restart(vm.name, vm.ha, names[target].name, ""))
            elif vm.ha:
                restarts.append(Restart(vm.name, True, None, LOCAL_DISK if self.local else why[vm.name]))
                survives = survives and vm.name in self.excused_vms
            else:
                restarts.append(Restart(vm.name, False, None, NO_HA))
        return Death(names[dead].name, survives, found.complete or found.proved, found.steps, tuple(restarts))

    def _to_restart(self, vms: Iterable[VirtualMachine]) -> tuple[list[Demand], list[Demand]]:
        """What must restart, and what may (a waiver excuses it, so it gets what the others leave)."""
        asked: list[Demand] = []
        excused: list[Demand] = []
        together: dict[tuple[bool, str], list[VirtualMachine]] = {}
        if self.local:
            return asked, excused
        for vm in vms:
            if vm.ha:
                waived = vm.name in self.excused_vms
                if vm.name in self.groups:
                    together.setdefault((waived, self.groups[vm.name]), []).append(vm)
                else:
                    (excused if waived else asked).append(self.demands.of(vm))
        for (waived, _), members in together.items():
            (excused if waived else asked).append(demand(members, self.inputs))
        return asked, excused

    def room_to_restart(self, vms: Sequence[VirtualMachine]) -> bool:
        """Whether the sums leave any placement of these VMs that survives.

        Each VM that must restart is on a host that lives, whichever hosts die: all of them fit what the hosts take
        without those that take most. False is a proof that no placement is survived. The board holds what has its place
        already, and a host that carries more than its ceiling is counted with all of it.
        """
        asked, _excused = self._to_restart(vms)
        board = self.board
        tops = board.ceilings
        for need, take in (
            (sum(item.vcpus for item in asked), [max(t.vcpus, has) for t, has in zip(tops, board.vcpus, strict=True)]),
            (
                sum(item.memory for item in asked),
                [max(t.memory, has) for t, has in zip(tops, board.memory, strict=True)],
            ),
            (sum(item.vms for item in asked), [max(t.vms, has) for t, has in zip(tops, board.vms, strict=True)]),
        ):
            dying = [n for n, host in zip(take, self.inputs.hosts, strict=True) if host.name not in self.excused_hosts]
            if need > sum(take) - sum(sorted(dying, reverse=True)[: self.tolerated]):
                return False
        return True

    def any_order_survives(self, where: Mapping[str, str | None]) -> bool:
        """Whether each death is survived in whatever order its HA VMs restart, each on any host that takes it.

        True is a proof by slots (see ``_slots_suffice``), of those that a waiver excuses as well. False says nothing.
        """
        by_host = self._by_host(where)
        asked = [[item for part in self._to_restart(by_host[host.name]) for item in part] for host in self.inputs.hosts]
        return not self.local and self._slots_suffice(asked, 1)

    # --- several hosts at once ----------------------------------------------------------------------------------------

    def sets(self, where: Mapping[str, str | None], *, first: bool = False) -> HostSets:
        """Let every set of as many hosts as the policy tolerates die at once.

        All sets are survived when the slots suffice for the worst of them (see ``_slots_suffice``): that is a proof for
        any number of sets. Otherwise the sets are examined one by one, those that lose most first; when they are more
        than ``SETS`` the rest stays open and the answer is no proof. Fewer hosts at once are then survived as well:
        what restarts beside more others restarts beside fewer. A set with a host whose death has a waiver is not
        asked. ``first``: stop at the first that is not survived.
        """
        hosts = self.inputs.hosts
        asks = [h for h, host in enumerate(hosts) if host.name not in self.excused_hosts]
        size = min(self.tolerated, len(asks))
        total = comb(len(asks), size)
        by_host = self._by_host(where)
        asked = [self._to_restart(by_host[host.name])[0] for host in hosts]
        if not self.local and self._slots_suffice(asked, size):
            return HostSets(size, total, 0, "slots", (), 0)
        cluster = _Cluster(self.inputs, self.board, self.effort)
        lost: list[LostSet] = []
        broken = 0
        examined = 0
        heaviest = sorted(asks, key=lambda h: (-sum(item.memory for item in asked[h]), h))
        for dead in combinations(heaviest, size):
            if examined == SETS:
                break
            examined += 1
            names = tuple(sorted(hosts[h].name for h in dead))
            died = [vm for h in dead for vm in by_host[hosts[h].name]]
            items, excused = self._to_restart(died)
            stranded = [vm.name for vm in died if vm.ha and self.local and vm.name not in self.excused_vms]
            proved = True
            if items:
                found = cluster.restart(items, excused, dead)
                stranded = [n for item, to in zip(items, found.where, strict=False) if to is None for n in item.names]
                proved = found.complete or found.proved
            if stranded:
                broken += 1
                if len(lost) < NAMED_SETS:
                    lost.append(LostSet(names, tuple(sorted(stranded)), proved))
                if first:
                    break
        return HostSets(size, total, examined, "all" if examined == total else "bound", tuple(lost), broken)

    def _slots_suffice(self, asked: Sequence[Sequence[Demand]], size: int) -> bool:
        """Whether the VMs of any ``size`` hosts fit the others, by slots that are as large as the largest of them.

        A host offers floor(free / largest demand) slots, the least over all resources. A set K needs the sum of its
        restarts and may not use its own slots, so all sets pass when the largest (restarts + slots) of any K are no
        more than all slots. A VM of an anti-affinity group finds at most (group - 1) hosts closed, which are left out
        on top. VMs of an affinity group may die on two hosts of a set and are then one larger piece: no slot is.
        """
        items = [item for part in asked for item in part]
        if not items:
            return True
        if self.groups or any(item.torn for item in items):
            return False
        largest = Demand(
            names=(),
            vcpus=max(item.vcpus for item in items),
            memory=max(item.memory for item in items),
            disk_mib=max(item.disk_mib for item in items),
            vms=1,
            vm_vcpus=max(item.vm_vcpus for item in items),
            vm_memory_mib=max(item.vm_memory_mib for item in items),
            apart=frozenset(),
        )
        slots = [self.board.slots(largest, host) for host in range(len(asked))]
        members: dict[str, int] = {}
        for vm in self.inputs.virtual_machines:
            if vm.anti_affinity is not None:
                members[vm.anti_affinity] = members.get(vm.anti_affinity, 0) + 1
        closed = max((members[group] for item in items for group in item.apart), default=1) - 1
        worst = sorted((len(part) + slot for part, slot in zip(asked, slots, strict=True)), reverse=True)
        kept = sorted(slots, reverse=True)[:closed]
        return sum(worst[:size]) + sum(kept) <= sum(slots)


# --- one restart ------------------------------------------------------------------------------------------------------


class _Cluster:
    """The board as it stands, ordered so that a place is found without asking every host for every VM."""

    def __init__(self, inputs: Inputs, board: Board, effort: int) -> None:
        self.inputs = inputs
        self.board = board
        self.effort = effort
        self.left = effort * HARD_DEATHS
        self.roomiest = sorted(range(len(board.ceilings)), key=self._filled)
        self._takers: dict[tuple[object, ...], list[int]] = {}
        self._closest: dict[tuple[object, ...], list[tuple[tuple[int, float, int], str]]] = {}

    def _filled(self, host: int) -> tuple[float, int]:
        own, board = self.inputs.hosts[host], self.board
        # The ceilings may be out of reach (a rule that is off): the host's own size says how full it is.
        cpu = board.vcpus[host] / own.threads
        q = self.inputs.policy.rules["memory-overcommit"]["limit"].denominator
        return (max(cpu, board.memory[host] / (q * own.memory_mib)), host)

    def restart(self, items: Sequence[Demand], extra: Sequence[Demand], dead: Sequence[int]) -> Found:
        """Find every item a host that lives, or as many as the greedy orders can; then the extra ones.

        ``complete`` and ``proved`` speak of the items alone.
        """
        found = self._arrange(items, dead) if items else Found([], True, False)
        if not extra:
            return found
        board = self.board
        for item, host in zip(items, found.where, strict=True):
            if host is not None:
                board.put(item, host)
        dying = set(dead) - board.closed
        board.closed |= dying
        more = greedy(board, extra, range(len(extra)), _tightest)
        board.closed -= dying
        where = [*found.where, *more.where]
        for item, host in zip((*items, *extra), where, strict=True):
            if host is not None:
                board.take(item, host)
        return Found(where, found.complete, found.proved, found.steps)

    def _arrange(self, items: Sequence[Demand], dead: Sequence[int]) -> Found:
        by_memory = sorted(range(len(items)), key=lambda i: (-items[i].memory, items[i].names))
        spread = self._spread(items, by_memory, dead)
        if spread.complete:
            return spread
        # From here on only the hosts that take at least one of them matter: the others cannot be part of any answer.
        takers = [self.takers(item) for item in items]
        alive = sorted(set().union(*takers).difference(dead))
        small = self.board.part(alive)
        by_vcpus = sorted(range(len(items)), key=lambda i: (-items[i].vcpus, items[i].names))
        best = spread
        for order in (by_memory, by_vcpus):
            found = greedy(small, items, order, _tightest)
            for item, host in zip(items, found.where, strict=True):
                if host is not None:
                    small.take(item, host)
            if found.where.count(None) < best.where.count(None):
                best = Found([None if h is None else alive[h] for h in found.where], found.complete, False, found.steps)
            if found.complete:
                return best
        if any(not set(hosts).difference(dead) for hosts in takers) or not room(small, items):
            return Found(best.where, False, True, best.steps)
        bound = min(self.effort, self.left) // len(alive)
        searched = complete(small, items, by_memory, _tightest, bound)
        self.left -= min(self.left, searched.steps * len(alive))
        if searched.complete:
            return Found([None if h is None else alive[h] for h in searched.where], True, False, searched.steps)
        return Found(best.where, False, searched.proved, searched.steps)

    def _spread(self, items: Sequence[Demand], order: Sequence[int], dead: Sequence[int]) -> Found:
        """Each item to the next of the roomiest hosts, round and round."""
        board, hosts = self.board, self.roomiest
        size = len(hosts)
        where: list[int | None] = [None] * len(items)
        at = 0
        for index in order:
            item = items[index]
            for step in range(at, at + size):
                host = hosts[step % size]
                if host not in dead and board.fits(item, host):
                    board.put(item, host)
                    where[index] = host
                    at = (step + 1) % size
                    break
            else:
                break
        for item, chosen in zip(items, where, strict=True):
            if chosen is not None:
                board.take(item, chosen)
        return Found(where, None not in where, False, len(items))

    def takers(self, item: Demand) -> list[int]:
        """The hosts that take the item as the board stands, the dead ones not yet left out."""
        key = (*flavour(item), item.apart)
        found = self._takers.get(key)
        if found is None:
            found = self._takers[key] = self.board.hosts_for(item)
        return found

    def why(self, items: Sequence[Demand], placed: Sequence[int | None], dead: Sequence[int]) -> dict[str, str]:
        """For each VM that finds no host: the rule that stands in its way on the host that comes closest."""
        board = self.board
        touched = {host for host in placed if host is not None}
        for item, host in zip(items, placed, strict=True):
            if host is not None:
                board.put(item, host)
        why = {}
        for item, host in zip(items, placed, strict=True):
            if host is None:
                ranked = [entry for entry in (self._gaps(item, h) for h in touched) if entry is not None]
                for entry in self._ranked(item):
                    if entry[0][2] not in touched and entry[0][2] not in dead:
                        ranked.append(entry)
                        break
                text = min(ranked)[1] if ranked else "there is no other host"
                why.update(dict.fromkeys(item.names, text))
        for item, host in zip(items, placed, strict=True):
            if host is not None:
                board.take(item, host)
        return why

    def _ranked(self, item: Demand) -> list[tuple[tuple[int, float, int], str]]:
        """How far each host is from taking the item; a host that a restart has changed is asked anew by the caller."""
        key = (*flavour(item), item.apart)
        found = self._closest.get(key)
        if found is None:
            found = self._closest[key] = sorted(self._gaps(item, host) for host in range(len(self.inputs.hosts)))
        return found

    def _gaps(self, item: Demand, host: int) -> tuple[tuple[int, float, int], str]:
        gaps = shortfalls(self.board, item, host, self.inputs)
        if not gaps:
            # Only when the greedy orders left it out beside others that took the room since.
            return ((0, 0.0, host), f"the VMs that restart on {self.inputs.hosts[host].name} leave it no room")
        worst = max(gaps, key=lambda gap: gap.excess)
        return ((len(gaps), worst.excess, host), f"{worst.rule} on {self.inputs.hosts[host].name}: {worst.text}")


def _tightest(board: Board, item: Demand, host: int) -> tuple[object, ...]:
    top = board.ceilings[host]
    return (top.memory - board.memory[host] - item.memory, top.vcpus - board.vcpus[host] - item.vcpus, host)


def shortfalls(board: Board, item: Demand, host: int, inputs: Inputs) -> list[Shortfall]:
    """Every rule that denies and that the item would break on this host, in the rules' order."""
    top = board.ceilings[host]
    q = inputs.policy.rules["memory-overcommit"]["limit"].denominator
    gaps = []
    if host in board.closed and inputs.hosts[host].maintenance is not None:
        gaps.append(Shortfall("maintenance", 1e9, f"takes nothing new ({inputs.hosts[host].maintenance})"))
    for need, limit, unit in (
        (item.vm_vcpus, top.vm_vcpus, "vCPUs"),
        (item.vm_memory_mib, top.vm_memory_mib, "MiB"),
    ):
        if need > limit:
            gaps.append(
                Shortfall("vm-share", _part(need - limit, limit), f"needs {need} {unit}, one VM may take {limit}")
            )
    if board.vms[host] + item.vms > top.vms:
        text = f"{board.vms[host] + item.vms} VMs, at most {top.vms}"
        gaps.append(Shortfall("consolidation", _part(board.vms[host] + item.vms - top.vms, top.vms), text))
    for rule, need, used, limit, unit, scale in (
        ("cpu-overcommit", item.vcpus, board.vcpus[host], top.vcpus, "vCPUs", 1),
        ("memory-overcommit", item.memory, board.memory[host], top.memory, "MiB", q),
        ("storage-capacity", item.disk_mib, board.disk_mib[host], top.disk_mib, "GiB", 1024),
    ):
        if used + need > limit:
            text = f"needs {-(-need // scale)} {unit}, {max((limit - used) // scale, 0)} left"
            gaps.append(Shortfall(rule, _part(used + need - limit, limit), text))
    if top.apart and (item.torn or any(board.apart[host].get(group) for group in item.apart)):
        groups = ", ".join(sorted(item.apart))
        gaps.append(Shortfall("affinity", 1.0, f"anti-affinity group {groups} is there already"))
    return gaps


def _part(excess: int, limit: int) -> float:
    return excess / max(limit, 1)
