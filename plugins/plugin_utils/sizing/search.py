# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where things fit: a board of hosts with running sums, a greedy fill, and a complete search with a stated bound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush, heapreplace
from itertools import pairwise

from ansible_collections.croft.infra.plugins.plugin_utils.sizing.limits import Ceiling, Demand

# Python's own stack allows 1,000 frames; Ansible and pytest need their part of them.
DEEPEST = 400

# How many keys of hosts one greedy pass may compute anew for a change of flavour: about a third of a second.
REKEYED = 300_000


class Board:
    """Running sums per host, by index, as parallel lists: placing, taking back and asking are a few integer steps."""

    __slots__ = ("apart", "ceilings", "closed", "disk_mib", "memory", "vcpus", "vms")

    def __init__(self, ceilings: Sequence[Ceiling]) -> None:
        self.ceilings = list(ceilings)
        size = len(self.ceilings)
        self.vcpus = [0] * size
        self.memory = [0] * size
        self.disk_mib = [0] * size
        self.vms = [0] * size
        # anti-affinity groups on the host, with how many of each: an illegal state must be told apart, too
        self.apart: list[dict[str, int]] = [{} for _ in range(size)]
        self.closed: set[int] = set()

    def put(self, item: Demand, host: int, sign: int = 1) -> None:
        self.vcpus[host] += sign * item.vcpus
        self.memory[host] += sign * item.memory
        self.disk_mib[host] += sign * item.disk_mib
        self.vms[host] += sign * item.vms
        for group in item.apart:
            self.apart[host][group] = self.apart[host].get(group, 0) + sign

    def take(self, item: Demand, host: int) -> None:
        self.put(item, host, -1)

    def holds(self, item: Demand, host: int) -> bool:
        """Whether there is room for it, whatever groups are there and wherever it is pinned to."""
        top = self.ceilings[host]
        return not (
            self.memory[host] + item.memory > top.memory
            or self.vms[host] + item.vms > top.vms
            or self.vcpus[host] + item.vcpus > top.vcpus
            or self.disk_mib[host] + item.disk_mib > top.disk_mib
            or item.vm_vcpus > top.vm_vcpus
            or item.vm_memory_mib > top.vm_memory_mib
            or (item.torn and top.apart)
            or host in self.closed
        )

    def fits(self, item: Demand, host: int) -> bool:
        if not self.holds(item, host) or (item.only is not None and item.only != host):
            return False
        if not item.apart or not self.ceilings[host].apart:
            return True
        here = self.apart[host]
        return not any(here.get(group) for group in item.apart)

    def hosts_for(self, item: Demand) -> list[int]:
        if item.only is not None:
            return [item.only] if self.fits(item, item.only) else []
        return [host for host in range(len(self.ceilings)) if self.fits(item, host)]

    def takes(self, item: Demand) -> bool:
        """Whether any host takes it."""
        if item.only is not None:
            return self.fits(item, item.only)
        return any(self.fits(item, host) for host in range(len(self.ceilings)))

    def slots(self, item: Demand, host: int) -> int:
        """How many more of it the host takes; of an anti-affinity group that counts there at most one."""
        if not self.holds(item, host):
            return 0
        top = self.ceilings[host]
        slots = min(
            (top.vcpus - self.vcpus[host]) // item.vcpus,
            (top.memory - self.memory[host]) // item.memory,
            (top.disk_mib - self.disk_mib[host]) // item.disk_mib,
            top.vms - self.vms[host],
        )
        if item.apart and top.apart:
            return min(slots, int(self.fits(item, host)))
        return slots

    def part(self, hosts: Sequence[int]) -> Board:
        """A board of these hosts alone, in this order, with what is on them."""
        small = Board([self.ceilings[host] for host in hosts])
        for name in ("vcpus", "memory", "disk_mib", "vms"):
            sums: list[int] = getattr(self, name)
            setattr(small, name, [sums[host] for host in hosts])
        small.apart = [dict(self.apart[host]) for host in hosts]
        small.closed = {place for place, host in enumerate(hosts) if host in self.closed}
        return small

    def under(self, ceilings: Sequence[Ceiling]) -> Board:
        """A board of the same hosts with what is on them, under other ceilings."""
        other = self.part(range(len(self.ceilings)))
        other.ceilings = list(ceilings)
        return other

    def state(self, host: int) -> tuple[object, ...]:
        """Two open hosts of the same state are the same to everything that may go to either."""
        groups = frozenset(group for group, count in self.apart[host].items() if count)
        sums = (self.vcpus[host], self.memory[host], self.disk_mib[host], self.vms[host])
        return (self.ceilings[host], sums, groups)


# Chooses among hosts that fit, the smallest key first; the index makes the order total and the plan deterministic.
Preference = Callable[[Board, Demand, int], tuple[object, ...]]


@dataclass(slots=True)
class Found:
    """What a search found.

    ``where[i]``: host index of item i or None. ``complete``: everything has a place. ``proved``: when not complete, no
    arrangement is (False: the bound was met first). ``steps``: what the search cost, in placements tried.
    """

    where: list[int | None]
    complete: bool
    proved: bool
    steps: int = 0


def flavour(item: Demand) -> tuple[int | bool, ...]:
    """What decides where the item fits, its groups and its pin aside: items of one flavour are alike to a host."""
    return (item.vcpus, item.memory, item.disk_mib, item.vms, item.vm_vcpus, item.vm_memory_mib, item.torn)


def greedy(board: Board, items: Sequence[Demand], order: Sequence[int], prefer: Preference) -> Found:
    """Each item, in this order, to the best host that takes it; the board keeps what was placed.

    A heap over the hosts serves all items of one flavour, so the cost is flavours * hosts + items * log(hosts), not
    items * hosts. Beyond ``REKEYED`` keys in all, the heap is carried on to the next flavours, with the keys of a
    flavour before: what fits is still asked exactly, only the best of the hosts may then be the second best.
    """
    where: list[int | None] = [None] * len(items)
    size = len(board.ceilings)
    kinds = 1 + sum(flavour(items[a]) != flavour(items[b]) for a, b in pairwise(order)) if order else 0
    carried = max(1, kinds * size // REKEYED)
    ranking = _Ranking(board, prefer)
    last: object = None
    age = 0
    for index in order:
        item = items[index]
        if item.only is not None:
            host = item.only if board.fits(item, item.only) else None
            if host is not None:
                board.put(item, host)
                last = None
        else:
            kind = flavour(item)
            if kind != last:
                if last is None or age % carried == 0:
                    ranking.rank(item)
                else:
                    ranking.fresh = False
                age += 1
                last = kind
            host = ranking.take(item)
            if host is None and not ranking.fresh:
                # A host without room for an earlier flavour is not among those carried on, and may have some for this.
                ranking.rank(item)
                host = ranking.take(item)
        where[index] = host
    return Found(where, None not in where, False, len(items))


class _Ranking:
    """The hosts that may take an item of one flavour, best first."""

    __slots__ = ("board", "fresh", "heap", "prefer")

    def __init__(self, board: Board, prefer: Preference) -> None:
        self.board = board
        self.prefer = prefer
        self.heap: list[tuple[tuple[object, ...], int]] = []
        self.fresh = True

    def rank(self, item: Demand) -> None:
        board, prefer = self.board, self.prefer
        self.heap = [(prefer(board, item, h), h) for h in range(len(board.ceilings)) if board.holds(item, h)]
        heapify(self.heap)
        self.fresh = True

    def take(self, item: Demand) -> int | None:
        """Put the item onto the best host that takes it and say which one that is."""
        heap, board = self.heap, self.board
        aside: list[tuple[tuple[object, ...], int]] = []
        chosen: int | None = None
        while heap:
            key, host = heap[0]
            if not board.fits(item, host):
                # With fresh keys a host that lacks room for one lacks it for all of the flavour; a group is one item's.
                heappop(heap)
                if not self.fresh or board.holds(item, host):
                    aside.append((key, host))
                continue
            if not self.fresh:
                heapreplace(heap, (self.prefer(board, item, host), host))
                if heap[0][1] != host:
                    continue
            chosen = host
            board.put(item, host)
            if not self.fresh or board.holds(item, host):
                heapreplace(heap, (self.prefer(board, item, host), host))
            else:
                heappop(heap)
            break
        for entry in aside:
            heappush(heap, entry)
        return chosen


@dataclass(slots=True)
class _Run:
    board: Board
    items: Sequence[Demand]
    order: Sequence[int]
    prefer: Preference
    accept: Callable[[list[int | None]], bool]
    accept_cost: int
    bound: int
    where: list[int | None]
    special: frozenset[int]
    steps: int = 0
    stopped: bool = False
    seen: set[tuple[object, ...]] = field(default_factory=set)


def complete(  # noqa: PLR0913
    board: Board,
    items: Sequence[Demand],
    order: Sequence[int],
    prefer: Preference,
    bound: int,
    *,
    accept: Callable[[list[int | None]], bool] | None = None,
    accept_cost: int = 1,
    special: frozenset[int] = frozenset(),
) -> Found:
    """Depth-first over all arrangements: finds one, or proves that there is none, within ``bound`` steps.

    Hosts in the same state are tried once, and a remainder that failed once is not tried again from the same states
    (that only without ``accept``, which may tell arrangements of the same sums apart: then only hosts that are still
    empty are the same). ``special``: hosts that ``accept`` treats differently from others of their state. The board
    keeps what was found and is else as it came in. More than ``DEEPEST`` items are not tried: each needs a stack frame.
    """
    if len(items) > DEEPEST:
        return Found([None] * len(items), False, False, 0)
    pinned = frozenset(item.only for item in items if item.only is not None)
    run = _Run(
        board=board,
        items=items,
        order=order,
        prefer=prefer,
        accept=accept or (lambda _: True),
        accept_cost=accept_cost,
        bound=bound,
        where=[None] * len(items),
        special=special | pinned,
    )
    done = _place_rest(run, 0, remember=accept is None)
    return Found(list(run.where), done, not done and not run.stopped, run.steps)


def _place_rest(run: _Run, depth: int, *, remember: bool) -> bool:
    if depth == len(run.order):
        run.steps += run.accept_cost
        return run.accept(run.where)
    key: tuple[object, ...] = ()
    if remember:
        key = (depth, *(run.board.state(host) for host in range(len(run.board.ceilings))))
        if key in run.seen:
            return False
    index = run.order[depth]
    item = run.items[index]
    for host in _distinct(run, item, by_state=remember):
        if run.steps >= run.bound:
            run.stopped = True
            return False
        run.steps += 1
        run.board.put(item, host)
        run.where[index] = host
        if _place_rest(run, depth + 1, remember=remember):
            return True
        run.where[index] = None
        run.board.take(item, host)
        if run.stopped:
            return False
    if remember:
        run.seen.add(key)
    return False


def _distinct(run: _Run, item: Demand, *, by_state: bool) -> list[int]:
    """The hosts that take the item, best first, one of each kind that makes no difference."""
    board = run.board
    chosen: list[int] = []
    tried: set[tuple[object, ...]] = set()
    for host in sorted(board.hosts_for(item), key=lambda h: run.prefer(board, item, h)):
        if host not in run.special and (by_state or not board.vms[host]):
            state = board.state(host)
            if state in tried:
                continue
            tried.add(state)
        chosen.append(host)
    return chosen


def room(board: Board, items: Sequence[Demand]) -> bool:
    """Whether the sums fit at all: less room than demand proves that no arrangement exists."""
    left = [0, 0, 0, 0]
    for host, top in enumerate(board.ceilings):
        left[0] += max(top.vcpus - board.vcpus[host], 0)
        left[1] += max(top.memory - board.memory[host], 0)
        left[2] += max(top.disk_mib - board.disk_mib[host], 0)
        left[3] += max(top.vms - board.vms[host], 0)
    needs = (
        sum(item.vcpus for item in items),
        sum(item.memory for item in items),
        sum(item.disk_mib for item in items),
        sum(item.vms for item in items),
    )
    return all(need <= have for need, have in zip(needs, left, strict=True))
