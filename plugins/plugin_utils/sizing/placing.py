# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where each VM goes, and what becomes of it when a host dies.

A VM that runs stays where it runs: that is state, not a wish. A pin is obeyed even where it breaks a rule (the
check then says so). All others are placed under every rule that denies; rules that only warn are kept where there is
a choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.croft.infra.plugins.plugin_utils.sizing.limits import (
    Demand,
    ceilings,
    demand,
    in_force,
    memory_weight,
)
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.model import (
    Death,
    Inputs,
    Restart,
    RunningVm,
    VirtualMachine,
)
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.search import (
    Board,
    Found,
    Preference,
    complete,
    greedy,
)

# Work that one search may do before it says that it stopped: hosts times placements tried. About a second.
EFFORT = 200_000

LOCAL_DISK = "its disk is in the local pool of the host that died"
NO_HA = "ha is false: it is not restarted elsewhere"


@dataclass(slots=True)
class Placed:
    """Where everything is.

    ``where``: VM name to host name or None. ``running``: the part of it that is state. ``foreign``: what else is on the
    hosts; of it ``duplicates`` are stopped copies of wanted VMs. ``search``: ``complete`` when what has no place (or
    does not survive) was proved to have none, ``stopped`` when the search met its bound.
    """

    where: dict[str, str | None]
    running: dict[str, str]
    foreign: tuple[RunningVm, ...]
    duplicates: tuple[RunningVm, ...]
    deaths: tuple[Death, ...]
    search: str
    board: Board


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
    for vm in foreign:
        board.put(foreign_demand(vm, inputs), index[vm.host])
    where: dict[str, str | None] = {}
    for wish in inputs.virtual_machines:
        host = current[wish.name].host if wish.name in current else wish.host
        where[wish.name] = host
        if host is not None:
            board.put(demand([wish], inputs), index[host])

    items = _free_items(inputs, where, index)
    placed, search = _Chooser(inputs, board, items, where).choose()
    for item, chosen in zip(items, placed, strict=True):
        for name in item.names:
            where[name] = None if chosen is None else inputs.hosts[chosen].name
    return Placed(
        where=where,
        running={name: vm.host for name, vm in current.items()},
        foreign=foreign,
        duplicates=tuple(vm for vm in foreign if vm.managed and vm.name in wanted),
        deaths=deaths(inputs, board, where),
        search=search,
        board=board,
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


def _free_items(inputs: Inputs, where: Mapping[str, str | None], index: Mapping[str, int]) -> list[Demand]:
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
    return [demand(vms, inputs, only=homes.get(key)) for key, vms in _pieces(free, inputs).items()]


class _Chooser:
    """Tries the ways to place what is free, from the one that balances best to the one that misses nothing."""

    def __init__(self, inputs: Inputs, board: Board, items: list[Demand], where: Mapping[str, str | None]) -> None:
        self.inputs = inputs
        self.board = board
        self.items = items
        self.where = where
        self.soft = ceilings(inputs, "warn")
        self.cpu = [host.threads - host.reserved_cpus for host in inputs.hosts]
        self.memory = [
            memory_weight(host.memory_mib - host.reserved_memory_mib, inputs.policy) for host in inputs.hosts
        ]
        self.size = [max(item.vcpus / sum(self.cpu), item.memory / sum(self.memory)) for item in items]

    def choose(self) -> tuple[list[int | None], str]:
        """The host index of each item (None: no place), and whether that is ``complete`` knowledge or ``stopped``."""
        hopeful = [i for i, item in enumerate(self.items) if self.board.hosts_for(item)]
        # When something has no place at all the plan is refused anyway: the rest is placed for the report's sake.
        survive = len(hopeful) == len(self.items) and failover_counts(self.inputs)
        ways: list[Preference] = [self.spread, self.pack]
        if self.inputs.policy.placement == "pack":
            ways.reverse()
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
        searched = self._search(hopeful, ways[0], survive=survive)
        if not searched.complete and survive and best_count < len(hopeful):
            # None survives; an arrangement that at least places everything is the one to show.
            placed = self._search(hopeful, ways[0], survive=False)
            if placed.complete:
                return placed.where, "complete" if searched.proved else "stopped"
        if searched.complete:
            return searched.where, "complete"
        self._put(best, +1)
        return best, "complete" if searched.proved else "stopped"

    def spread(self, board: Board, item: Demand, host: int) -> tuple[object, ...]:
        """Least loaded first, by the scarcer of CPU and memory."""
        return (self._warns(board, item, host), self._load(board, item, host), board.vms[host], host)

    def pack(self, board: Board, item: Demand, host: int) -> tuple[object, ...]:
        """Fullest first."""
        return (self._warns(board, item, host), -self._load(board, item, host), -board.vms[host], host)

    def _warns(self, board: Board, item: Demand, host: int) -> int:
        """How many rules that only warn would be broken there."""
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
        return max(cpu, (board.memory[host] + item.memory) / self.memory[host])

    def _orders(self, chosen: Sequence[int]) -> list[list[int]]:
        """Biggest first by the scarcest resource, then by each resource alone; what has one host only goes first."""
        keys: list[Callable[[int], float]] = [
            lambda i: self.size[i],
            lambda i: self.items[i].memory,
            lambda i: self.items[i].vcpus,
            lambda i: self.items[i].disk_mib,
        ]

        def ordered(key: Callable[[int], float]) -> list[int]:
            return sorted(chosen, key=lambda i: (self.items[i].only is None, -key(i), self.items[i].names))

        return [ordered(key) for key in keys]

    def _search(self, chosen: Sequence[int], prefer: Preference, *, survive: bool) -> Found:
        """The complete search over these items, its answer in the places of all items."""
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
            [chosen.index(i) for i in self._orders(chosen)[0]],
            prefer,
            EFFORT // len(names),
            accept=(lambda part: self._survives(spread_out(part))) if survive else None,
            accept_cost=1 + ha * len(names) // 10,
            special=frozenset(i for i, host in enumerate(names) if host.name in waived),
        )
        found.where = spread_out(found.where)
        return found

    def _survives(self, placed: Sequence[int | None]) -> bool:
        where = dict(self.where)
        for item, host in zip(self.items, placed, strict=True):
            for name in item.names:
                where[name] = None if host is None else self.inputs.hosts[host].name
        return all(
            death.survives or in_force(self.inputs, "failover", death.host, None)
            for death in deaths(self.inputs, self.board, where)
        )

    def _put(self, placed: Sequence[int | None], sign: int) -> None:
        for item, host in zip(self.items, placed, strict=True):
            if host is not None:
                self.board.put(item, host, sign)


# --- when a host dies -------------------------------------------------------------------------------------------------


def failover_counts(inputs: Inputs) -> bool:
    """Whether a placement can be refused for what happens when a host dies, and another one could be better."""
    rule = inputs.policy.rules["failover"]
    asked = rule["level"] == "deny" and rule["host_failures_tolerated"] > 0
    return asked and inputs.storage_layout != "local" and any(vm.ha for vm in inputs.virtual_machines)


def deaths(inputs: Inputs, board: Board, where: Mapping[str, str | None]) -> tuple[Death, ...]:
    """Let every host die once on paper, each time from the state that the board holds; the board is left as it was."""
    by_host: dict[str, list[VirtualMachine]] = {host.name: [] for host in inputs.hosts}
    for vm in inputs.virtual_machines:
        host = where[vm.name]
        if host is not None:
            by_host[host].append(vm)
    return tuple(_death(inputs, board, i, by_host[host.name]) for i, host in enumerate(inputs.hosts))


def _death(inputs: Inputs, board: Board, dead: int, vms: Sequence[VirtualMachine]) -> Death:
    local = inputs.storage_layout == "local"
    ha = [vm for vm in vms if vm.ha and not local]
    # A VM that has a waiver for failover gets what the others leave.
    asked = [vm for vm in ha if not in_force(inputs, "failover", None, vm.name)]
    excused = [vm for vm in ha if in_force(inputs, "failover", None, vm.name)]
    pieces = [demand(piece, inputs) for part in (asked, excused) for piece in _pieces(part, inputs).values()]
    first = len(_pieces(asked, inputs))
    found = _restart(board, pieces[:first], pieces[first:], dead, len(inputs.hosts))
    to: dict[str, int | None] = {}
    for item, chosen in zip(pieces, found.where, strict=True):
        to.update(dict.fromkeys(item.names, chosen))
    why = _why(inputs, board, pieces, found.where, dead) if None in found.where else {}
    restarts = []
    for vm in sorted(vms, key=lambda vm: vm.name):
        target = to.get(vm.name)
        reason = ""
        if target is None:
            reason = NO_HA if not vm.ha else (LOCAL_DISK if local else why[vm.name])
        restarts.append(Restart(vm.name, vm.ha, None if target is None else inputs.hosts[target].name, reason))
    stranded = [restart.name for restart in restarts if restart.ha and restart.to is None]
    survives = all(in_force(inputs, "failover", None, name) for name in stranded)
    return Death(inputs.hosts[dead].name, survives, found.complete or found.proved, found.steps, tuple(restarts))


def _restart(board: Board, items: Sequence[Demand], extra: Sequence[Demand], dead: int, size: int) -> Found:
    """Find every item a host other than the dead one, or as many as the greedy orders can; then the extra ones.

    ``complete`` and ``proved`` speak of the items alone; the board is left as it was.
    """
    board.closed.add(dead)
    try:
        found = _restart_on(board, items, size) if items else Found([], True, False)
        for item, host in zip(items, found.where, strict=True):
            if host is not None:
                board.put(item, host)
        more = greedy(board, extra, range(len(extra)), _tightest)
        where = [*found.where, *more.where]
        for item, host in zip((*items, *extra), where, strict=True):
            if host is not None:
                board.take(item, host)
        return Found(where, found.complete, found.proved, found.steps)
    finally:
        board.closed.discard(dead)


def _tightest(board: Board, item: Demand, host: int) -> tuple[object, ...]:
    top = board.ceilings[host]
    return (top.memory - board.memory[host] - item.memory, top.vcpus - board.vcpus[host] - item.vcpus, host)


def _restart_on(board: Board, items: Sequence[Demand], size: int) -> Found:
    keys: tuple[Callable[[Demand], int], ...] = (lambda item: item.memory, lambda item: item.vcpus)
    orders = [sorted(range(len(items)), key=lambda i: (-key(items[i]), items[i].names)) for key in keys]
    hopeless = any(not board.hosts_for(item) for item in items)
    best: Found | None = None
    for order in orders:
        found = greedy(board, items, order, _tightest)
        for item, host in zip(items, found.where, strict=True):
            if host is not None:
                board.take(item, host)
        if found.complete:
            return found
        if best is None or found.where.count(None) < best.where.count(None):
            best = found
    assert best is not None
    if hopeless or not _room(board, items):
        return Found(best.where, False, True, best.steps)
    found = complete(board, items, orders[0], _tightest, EFFORT // size)
    if found.complete:
        for item, host in zip(items, found.where, strict=True):
            board.take(item, host)  # type: ignore[arg-type]
        return found
    return Found(best.where, False, found.proved, found.steps)


def _room(board: Board, items: Sequence[Demand]) -> bool:
    """Whether the sums fit at all: less room than demand proves that no arrangement exists."""
    room = [0, 0, 0, 0]
    for host, top in enumerate(board.ceilings):
        if host not in board.closed:
            room[0] += max(top.vcpus - board.vcpus[host], 0)
            room[1] += max(top.memory - board.memory[host], 0)
            room[2] += max(top.disk_mib - board.disk_mib[host], 0)
            room[3] += max(top.vms - board.vms[host], 0)
    needs = (
        sum(item.vcpus for item in items),
        sum(item.memory for item in items),
        sum(item.disk_mib for item in items),
        sum(item.vms for item in items),
    )
    return all(need <= left for need, left in zip(needs, room, strict=True))


def _why(
    inputs: Inputs, board: Board, items: Sequence[Demand], placed: Sequence[int | None], dead: int
) -> dict[str, str]:
    """For each VM that finds no host: the rule that stands in its way on the host that comes closest."""
    for item, host in zip(items, placed, strict=True):
        if host is not None:
            board.put(item, host)
    why = {}
    for item, host in zip(items, placed, strict=True):
        if host is None:
            text = _obstacle(inputs, board, item, dead)
            why.update(dict.fromkeys(item.names, text))
    for item, host in zip(items, placed, strict=True):
        if host is not None:
            board.take(item, host)
    return why


def _obstacle(inputs: Inputs, board: Board, item: Demand, dead: int) -> str:
    closest = None
    for host in range(len(inputs.hosts)):
        if host != dead:
            gaps = shortfalls(board, item, host, inputs)
            key = (len(gaps), max((gap.excess for gap in gaps), default=0.0), host)
            if closest is None or key < closest[0]:
                closest = (key, host, gaps)
    if closest is None:
        return "there is no other host"
    _, host, gaps = closest
    worst = max(gaps, key=lambda gap: gap.excess)
    return f"{worst.rule} on {inputs.hosts[host].name}: {worst.text}"


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A rule that keeps an item from a host: by how much of the limit (``excess``), and in words."""

    rule: str
    excess: float
    text: str


def shortfalls(board: Board, item: Demand, host: int, inputs: Inputs) -> list[Shortfall]:
    """Every rule that denies and that the item would break on this host, in the rules' order."""
    top = board.ceilings[host]
    q = inputs.policy.rules["memory-overcommit"]["limit"].denominator
    gaps = []
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
