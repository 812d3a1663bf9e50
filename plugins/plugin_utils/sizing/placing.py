# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where each VM goes, and what becomes of it when a host dies.

A VM that runs stays where it runs: that is state, not a wish. A pin is obeyed even where it breaks a rule (the
check then says so). All others are placed under every rule that denies; rules that only warn are kept where there is
a choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ansible_collections.croft.infra.plugins.plugin_utils.sizing.failover import (
    LOCAL_DISK,
    NO_HA,
    Failover,
    Shortfall,
    shortfalls,
)
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.limits import (
    UNLIMITED,
    Ceiling,
    Demand,
    Demands,
    ceilings,
    closed,
    demand,
    in_force,
    memory_weight,
)
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.model import (
    Death,
    HostSets,
    Inputs,
    RunningVm,
    VirtualMachine,
)
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.packing import (
    FILLINGS,
    least_hosts,
    packings,
    tightened,
)
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.search import (
    DEEPEST,
    Board,
    Found,
    Preference,
    complete,
    flavour,
    greedy,
    room,
)

# Work that one search may do before it says that it stopped: hosts times placements tried. About a second.
EFFORT = 200_000

# When a packed cluster must survive a death: what the hosts are filled to, per cent, try after try.
FILLED_TO = (95, 90, 85, 80, 75, 70, 65, 60, 55, 50, 40)
# Of how many packings every set of hosts that may die at once is asked, for one way to fill the hosts.
SETS_ASKED = 4
_NOTHING = Ceiling(0, 0, 0, 0, 0, 0, True)
_SILENT = Ceiling(UNLIMITED, UNLIMITED, UNLIMITED, UNLIMITED, UNLIMITED, UNLIMITED, False)

__all__ = [
    "EFFORT",
    "LOCAL_DISK",
    "NO_HA",
    "Placed",
    "Shortfall",
    "current_hosts",
    "deaths",
    "failover_counts",
    "foreign_demand",
    "place",
    "refused_workload",
    "shortfalls",
]


@dataclass(slots=True)
class Placed:
    """Where everything is.

    ``where``: VM name to host name or None. ``running``: the part of it that is state. ``foreign``: what else is on the
    hosts; of it ``duplicates`` are stopped copies of wanted VMs. ``search``: ``complete`` when what has no place (or
    does not survive) was proved to have none, ``stopped`` when the search met its bound. ``least_hosts``: when VMs are
    packed and all have a place, no placement of them uses fewer hosts.
    """

    where: dict[str, str | None]
    running: dict[str, str]
    foreign: tuple[RunningVm, ...]
    duplicates: tuple[RunningVm, ...]
    deaths: tuple[Death, ...]
    search: str
    board: Board
    host_sets: HostSets | None = field(default=None)
    least_hosts: int | None = field(default=None)


def current_hosts(inputs: Inputs) -> dict[str, RunningVm]:
    """Of each wanted VM that exists: where it is. A definition that runs wins over a stopped copy elsewhere."""
    wanted = {vm.name for vm in inputs.virtual_machines}
    found: dict[str, RunningVm] = {}
    for vm in inputs.present:
        if vm.managed and vm.name in wanted and (vm.name not in found or found[vm.name].state == "stopped"):
            found[vm.name] = vm
    return found


def refused_workload(vm: VirtualMachine, inputs: Inputs) -> bool:
    """Whether io-workload keeps this VM out of every host."""
    rule = inputs.policy.rules["io-workload"]
    denied = rule["level"] == "deny" and vm.workload in rule["workloads"]
    return denied and not in_force(inputs, "io-workload", None, vm.name)


def place(inputs: Inputs) -> Placed:
    """Place every VM, deterministically; see the module's words for what may move and what may not."""
    index = {host.name: i for i, host in enumerate(inputs.hosts)}
    current = current_hosts(inputs)
    kept = {id(vm) for vm in current.values()}
    foreign = tuple(vm for vm in inputs.present if id(vm) not in kept)
    wanted = {vm.name for vm in inputs.virtual_machines}

    board = Board(ceilings(inputs, "deny"))
    board.closed = closed(inputs)
    demands = Demands(inputs)
    for vm in foreign:
        board.put(foreign_demand(vm, inputs), index[vm.host])
    where: dict[str, str | None] = {}
    for wish in inputs.virtual_machines:
        host = current[wish.name].host if wish.name in current else wish.host
        where[wish.name] = host
        if host is not None:
            board.put(demands.of(wish), index[host])

    failover = Failover(inputs, board, EFFORT, demands)
    items = _free_items(inputs, where, index, demands)
    least = least_hosts(board, items) if inputs.policy.placement == "pack" else None
    placed, search = _Chooser(inputs, board, items, where, failover).choose()
    for item, chosen in zip(items, placed, strict=True):
        for name in item.names:
            where[name] = None if chosen is None else inputs.hosts[chosen].name
    several = failover.several and any(vm.ha for vm in inputs.virtual_machines)
    return Placed(
        where=where,
        running={name: vm.host for name, vm in current.items()},
        foreign=foreign,
        duplicates=tuple(vm for vm in foreign if vm.managed and vm.name in wanted),
        deaths=failover.deaths(where),
        search=search,
        board=board,
        host_sets=failover.sets(where) if several else None,
        least_hosts=None if None in placed else least,
    )


def foreign_demand(vm: RunningVm, inputs: Inputs) -> Demand:
    """What a VM that is not in the inventory takes; its share and its groups are nobody's to judge."""
    memory = memory_weight(vm.memory_mib, inputs.policy)
    return Demand((vm.name,), vm.vcpus, memory, vm.disk_mib, 1, 0, 0, frozenset())


def _bound(vm: VirtualMachine, inputs: Inputs) -> bool:
    """Whether the VM's affinity group must stay in one piece."""
    deny = inputs.policy.level("affinity") == "deny"
    return deny and vm.affinity is not None and not in_force(inputs, "affinity", None, vm.name)


def _pieces(vms: Sequence[VirtualMachine], inputs: Inputs) -> dict[str, list[VirtualMachine]]:
    """The VMs one by one, those of an affinity group in one piece, by a key that tells the pieces apart."""
    pieces: dict[str, list[VirtualMachine]] = {}
    for vm in vms:
        pieces.setdefault(f"group {vm.affinity}" if _bound(vm, inputs) else f"vm {vm.name}", []).append(vm)
    return pieces


def _free_items(
    inputs: Inputs, where: Mapping[str, str | None], index: Mapping[str, int], demands: Demands
) -> list[Demand]:
    """What is to be placed; a group of which a member has its host goes there, too."""
    homes: dict[str, int] = {}
    free = []
    for vm in inputs.virtual_machines:
        host = where[vm.name]
        if host is None:
            if not refused_workload(vm, inputs):
                free.append(vm)
        elif _bound(vm, inputs):
            key = f"group {vm.affinity}"
            homes[key] = min(index[host], homes.get(key, index[host]))
    return [
        demands.of(vms[0]) if len(vms) == 1 and key not in homes else demand(vms, inputs, only=homes.get(key))
        for key, vms in _pieces(free, inputs).items()
    ]


def _within_nodes(inputs: Inputs, soft: list[Ceiling]) -> list[Ceiling]:
    """These ceilings, and no VM larger than a NUMA node, where hosts have nodes of different sizes to choose from."""
    hosts = inputs.hosts
    if len({(host.node_threads, host.node_memory_mib) for host in hosts}) == 1:
        return soft
    return [
        replace(
            top,
            vm_vcpus=min(top.vm_vcpus, host.node_threads),
            vm_memory_mib=min(top.vm_memory_mib, host.node_memory_mib),
        )
        for top, host in zip(soft, hosts, strict=True)
    ]


class _Chooser:
    """Tries the ways to place what is free, from the one that balances best to the one that misses nothing."""

    def __init__(
        self, inputs: Inputs, board: Board, items: list[Demand], where: Mapping[str, str | None], failover: Failover
    ) -> None:
        self.inputs = inputs
        self.board = board
        self.items = items
        self.where = where
        self.soft = _within_nodes(inputs, ceilings(inputs, "warn"))
        self.warned = [top != _SILENT for top in self.soft]
        self.failover = failover
        self.cpu = [host.threads - host.reserved_cpus for host in inputs.hosts]
        self.memory = [
            memory_weight(host.memory_mib - host.reserved_memory_mib, inputs.policy) for host in inputs.hosts
        ]
        cpu, memory = sum(self.cpu), sum(self.memory)
        self.size = [max(item.vcpus / cpu, item.memory / memory) for item in items]

    def choose(self) -> tuple[list[int | None], str]:
        """The host index of each item (None: no place), and whether that is ``complete`` knowledge or ``stopped``."""
        hopeful = self._hopeful()
        # When something has no place at all the plan is refused anyway: the rest is placed for the report's sake.
        survive = len(hopeful) == len(self.items) and failover_counts(self.inputs)
        ways: list[Preference] = [self.spread, self.pack]
        if self.inputs.policy.placement == "pack":
            ways.reverse()
            packed = self._packed(hopeful, survive=survive, stubborn=False)
            if packed is not None:
                return packed, "complete"
        best: list[int | None] = [None] * len(self.items)
        best_count = -1
        for prefer, order in ((prefer, order) for prefer in ways for order in self._orders(hopeful)):
            found = greedy(self.board, self.items, order, prefer)
            count = sum(host is not None for host in found.where)
            if count == len(hopeful) and (not survive or self._survives(found.where)):
                return found.where, "complete"
            self._put(found.where, -1)
            if count > best_count:
                best, best_count = found.where, count
        where, known = self._thorough(hopeful, ways[0], survive=survive)
        if where is None and survive and best_count < len(hopeful):
            # None survives; an arrangement that at least places everything is the one to show.
            where, _placed = self._thorough(hopeful, ways[0], survive=False)
        if where is None:
            self._put(best, +1)
            where = best
        return where, known

    def _thorough(
        self, hopeful: Sequence[int], prefer: Preference, *, survive: bool
    ) -> tuple[list[int | None] | None, str]:
        """By the complete search, and by the packer when that stops; what is found is on the board then."""
        if survive:
            names = {name for item in self.items for name in item.names}
            there = [vm for vm in self.inputs.virtual_machines if vm.name in names or self.where[vm.name] is not None]
            if not self.failover.room_to_restart(there):
                return None, "complete"
        searched = self._search(hopeful, prefer, survive=survive)
        if searched.complete:
            return searched.where, "complete"
        if searched.proved:
            return None, "complete"
        packed = self._packed(hopeful, survive=survive, stubborn=True)
        return packed, "stopped" if packed is None else "complete"

    # --- packing ------------------------------------------------------------------------------------------------------

    def _packed(self, hopeful: Sequence[int], *, survive: bool, stubborn: bool) -> list[int | None] | None:
        """All that is hopeful on few hosts, every death survived when asked for; None when the packer finds no way.

        What is found is on the board then. Each way to fill the hosts gives several packings; of the first way that
        gives any that will do, the one on the fewest hosts is taken. ``stubborn``: look on for any that will do.
        """
        if not hopeful or not room(self.board, [self.items[i] for i in hopeful]):
            return None
        in_use = {host for host, count in enumerate(self.board.vms) if count}
        for tops, most in self._fills(in_use, survive=survive, thin=not stubborn):
            best: list[int | None] | None = None
            least = len(tops) + 1
            looks = 0
            for where in self._packings(tops, most, hopeful, stubborn=stubborn and most == FILLINGS):
                used = len(in_use.union(host for host in where if host is not None))
                if used >= least or any(where[i] is None for i in hopeful):
                    continue
                self._put(where, +1)
                if not survive or self._survives(where):
                    best, least = where, used
                self._put(where, -1)
                looks += 1
                # One that will do is enough; and to ask for every set of hosts may cost seconds.
                if stubborn or (self.failover.several and looks == SETS_ASKED):
                    break
            if best is not None:
                self._put(best, +1)
                return best
        return None

    def _fills(self, in_use: set[int], *, survive: bool, thin: bool) -> Iterator[tuple[list[Ceiling], int]]:
        """Ceilings to fill the hosts to, with the fillings to look at: rules that warn are kept first, then not.

        When every death is to be survived, also with the largest host that is empty left so, and (``thin``) with room
        left on each.
        """
        hard = self.board.ceilings
        limits = [tightened(hard, self.soft), hard] if any(self.warned) else [hard]
        for tops in limits:
            yield tops, FILLINGS
        if not survive:
            return
        few = FILLINGS // 8
        empty = [host for host in range(len(hard)) if host not in in_use]
        if empty:
            spare = max(empty, key=lambda host: (self.memory[host], self.cpu[host], -host))
            for tops in limits:
                yield [_NOTHING if host == spare else top for host, top in enumerate(tops)], few
        for percent in FILLED_TO if thin else ():
            for tops in limits:
                yield tightened(tops, [_SILENT] * len(tops), percent), few

    def _packings(
        self, tops: Sequence[Ceiling], most: int, hopeful: Sequence[int], *, stubborn: bool
    ) -> Iterator[list[int | None]]:
        """The packings under these ceilings; what finds no place there gets one under the rules that deny alone."""
        hard = self.board.ceilings
        under = self._hopeful(tops) if tops is not hard else hopeful
        for part in packings(self.board, tops, [self.items[i] for i in under], most, stubborn=stubborn):
            where: list[int | None] = [None] * len(self.items)
            for i, host in zip(under, part, strict=True):
                where[i] = host
            left = [i for i in hopeful if where[i] is None]
            if left and tops is not hard:
                self._put(where, +1)
                more = next(packings(self.board, hard, [self.items[i] for i in left]))
                self._put(where, -1)
                for i, host in zip(left, more, strict=True):
                    where[i] = host
            yield where

    def _hopeful(self, tops: Sequence[Ceiling] | None = None) -> list[int]:
        """The items that any host takes, as long as it is the only one; under these ceilings or the board's own."""
        board = self.board if tops is None else self.board.under(tops)
        known: dict[tuple[object, ...], bool] = {}
        hopeful = []
        for i, item in enumerate(self.items):
            key = (*flavour(item), item.apart, item.only)
            if key not in known:
                known[key] = board.takes(item)
            if known[key]:
                hopeful.append(i)
        return hopeful

    def spread(self, board: Board, item: Demand, host: int) -> tuple[object, ...]:
        """Least loaded first, by the scarcer of CPU and memory."""
        return (self._warns(board, item, host), self._load(board, item, host), board.vms[host], host)

    def pack(self, board: Board, item: Demand, host: int) -> tuple[object, ...]:
        """Fullest first."""
        return (self._warns(board, item, host), -self._load(board, item, host), -board.vms[host], host)

    def _warns(self, board: Board, item: Demand, host: int) -> int:
        """How many rules that only warn would be broken there."""
        if not self.warned[host]:
            return 0
        top = self.soft[host]
        here = board.apart[host]
        return sum(
            (
                board.vcpus[host] + item.vcpus > top.vcpus,
                board.memory[host] + item.memory > top.memory,
                board.disk_mib[host] + item.disk_mib > top.disk_mib,
                board.vms[host] + item.vms > top.vms,
                item.vm_vcpus > top.vm_vcpus or item.vm_memory_mib > top.vm_memory_mib,
                top.apart and any(here.get(group) for group in item.apart),
            )
        )

    def _load(self, board: Board, item: Demand, host: int) -> float:
        cpu = (board.vcpus[host] + item.vcpus) / self.cpu[host]
        memory = (board.memory[host] + item.memory) / self.memory[host]
        return cpu if cpu > memory else memory

    def _orders(self, chosen: Sequence[int]) -> Iterator[list[int]]:
        """Biggest first by the scarcest resource, then by each resource alone; what has one host only goes first."""
        keys: list[Callable[[int], float]] = [
            lambda i: self.size[i],
            lambda i: self.items[i].memory,
            lambda i: self.items[i].vcpus,
            lambda i: self.items[i].disk_mib,
        ]

        kinds = {i: flavour(self.items[i]) for i in chosen}

        def ordered(key: Callable[[int], float]) -> list[int]:
            # Those of one flavour beside each other: what is known of the hosts for one holds for the next.
            return sorted(chosen, key=lambda i: (self.items[i].only is None, -key(i), kinds[i], self.items[i].names))

        return (ordered(key) for key in keys)

    def _search(self, chosen: Sequence[int], prefer: Preference, *, survive: bool) -> Found:
        """The complete search over these items, its answer in the places of all items."""
        if len(chosen) > DEEPEST:
            # More than the search goes down to; only the sums may still prove that there is no place.
            # VMs that are all alike leave nothing to choose: what one order leaves out, every order does.
            alike = len({(flavour(self.items[i]), self.items[i].apart, self.items[i].only) for i in chosen}) == 1
            proved = (alike and not survive) or not room(self.board, [self.items[i] for i in chosen])
            return Found([None] * len(self.items), False, proved)
        names = self.inputs.hosts
        ha = sum(vm.ha for vm in self.inputs.virtual_machines)
        items = [self.items[i] for i in chosen]

        def spread_out(part: Sequence[int | None]) -> list[int | None]:
            whole: list[int | None] = [None] * len(self.items)
            for i, host in zip(chosen, part, strict=True):
                whole[i] = host
            return whole

        waived = {w.host for w in self.inputs.policy.waivers if w.rule == "failover"}
        found = complete(
            self.board,
            items,
            [chosen.index(i) for i in next(self._orders(chosen))],
            prefer,
            EFFORT // len(names),
            accept=(lambda part: self._survives(spread_out(part))) if survive else None,
            accept_cost=1 + ha * self.failover.asked // 10,
            special=frozenset(i for i, host in enumerate(names) if host.name in waived),
        )
        found.where = spread_out(found.where)
        return found

    def _survives(self, placed: Sequence[int | None]) -> bool:
        where = dict(self.where)
        for item, host in zip(self.items, placed, strict=True):
            for name in item.names:
                where[name] = None if host is None else self.inputs.hosts[host].name
        return self.failover.survives(where)

    def _put(self, placed: Sequence[int | None], sign: int) -> None:
        for item, host in zip(self.items, placed, strict=True):
            if host is not None:
                self.board.put(item, host, sign)


def failover_counts(inputs: Inputs) -> bool:
    """Whether a placement can be refused for what happens when a host dies, and another one could be better."""
    rule = inputs.policy.rules["failover"]
    asked = rule["level"] == "deny" and rule["host_failures_tolerated"] > 0
    return asked and inputs.storage_layout != "local" and any(vm.ha for vm in inputs.virtual_machines)


def deaths(inputs: Inputs, board: Board, where: Mapping[str, str | None]) -> tuple[Death, ...]:
    """Let every host die once on paper, each time from the state that the board holds; the board is left as it was."""
    return Failover(inputs, board, EFFORT).deaths(where)
