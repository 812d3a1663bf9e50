# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where things fit: a board of hosts with running sums, a greedy fill, and a complete search with a stated bound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ansible_collections.croft.infra.plugins.plugin_utils.sizing.limits import Ceiling, Demand

# Python's own stack allows 1,000 frames; Ansible and pytest need their part of them.
DEEPEST = 400


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

    def fits(self, item: Demand, host: int) -> bool:
        top = self.ceilings[host]
        if (
            item.vm_vcpus > top.vm_vcpus
            or item.vm_memory_mib > top.vm_memory_mib
            or self.vcpus[host] + item.vcpus > top.vcpus
            or self.memory[host] + item.memory > top.memory
            or self.disk_mib[host] + item.disk_mib > top.disk_mib
            or self.vms[host] + item.vms > top.vms
            or (item.torn and top.apart)
            or host in self.closed
            or (item.only is not None and item.only != host)
        ):
            return False
        here = self.apart[host]
        return not (top.apart and any(here.get(group) for group in item.apart))

    def hosts_for(self, item: Demand) -> list[int]:
        if item.only is not None:
            return [item.only] if self.fits(item, item.only) else []
        return [host for host in range(len(self.ceilings)) if self.fits(item, host)]

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


def greedy(board: Board, items: Sequence[Demand], order: Sequence[int], prefer: Preference) -> Found:
    """Each item, in this order, to the best host that takes it; the board keeps what was placed."""
    where: list[int | None] = [None] * len(items)
    for index in order:
        item = items[index]
        fitting = board.hosts_for(item)
        if fitting:
            host = min(fitting, key=lambda h: prefer(board, item, h))
            board.put(item, host)
            where[index] = host
    return Found(where, None not in where, False, len(items))


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
