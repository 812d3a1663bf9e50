# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Few hosts for many VMs: vector bin packing host by host, by a beam search over what goes into one host.

First-fit-decreasing leaves a fifth of the hosts' room unused when some VMs want CPU and others memory. Filling one
host after the other, always with what leaves the shortest vector of room (the L2 norm of Panigrahy, Talwar, Uyeda and
Wieder, "Heuristics for Vector Bin Packing", 2011), leaves a few per cent; looking at several fillings of a host beside
each other (the beam) leaves less. VMs of one flavour are counted, not listed, and a filling is used again for hosts
that are alike, so the cost follows the flavours rather than the VMs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import mul, sub
from random import Random

from ansible_collections.croft.infra.plugins.plugin_utils.sizing.limits import Ceiling, Demand
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.search import Board, flavour

# Fillings that are kept beside each other, try after try: wider is better and slower in proportion.
WIDTHS = (4, 16, 64, 256)
# Fillings that all tries together may look at, about two seconds; a try that would exceed it is not begun.
FILLINGS = 2_000_000
# To begin with a few hosts anew costs as much as to look at so many fillings; where there are few VMs it is most of it.
_BEGINNING = 200
# Tries with tilted weights when the widths did not reach the bound.
RESTARTS = 200
TILT = 0.5
# Of more kinds of VMs than this, one host chooses among a sample, another one each time, and looks at more fillings.
KINDS = 64
SAMPLE = 16
WIDER = 4

Vector = tuple[int, ...]


@dataclass(slots=True, eq=False)
class _Kind:
    """VMs that are alike: ``left`` are the indices of those that have no host yet, the last one goes first."""

    item: Demand
    size: Vector
    left: list[int]
    weight: float = 0.0


@dataclass(slots=True)
class _Alike:
    """Hosts of one ceiling and one load. ``again``: filled before, with a choice of what there is."""

    hosts: list[int]
    room: Vector
    groups: frozenset[str]
    used: bool
    again: bool = False


def packings(
    board: Board, tops: Sequence[Ceiling], items: Sequence[Demand], most: int = FILLINGS, *, stubborn: bool = True
) -> Iterator[list[int | None]]:
    """Ways to pack the items, each try wider than the one before; it ends when none can be better, or takes too long.

    ``tops``: the ceilings to keep, at most those of the board. ``most``: fillings to look at in all. ``stubborn``: try
    on when a VM is left without a host. An item that found no host is None. The board is not changed.
    """
    packer = _Packer(board, tops, items)
    least = packer.least_hosts()
    tries: list[list[int | None]] = []

    def enough(where: list[int | None], *, anywhere: bool) -> bool:
        tries.append(where)
        return None not in where and (anywhere or len(packer.used(where)) <= least)

    before = 0
    for width in WIDTHS:
        where = packer.pack(width)
        yield where
        if enough(where, anywhere=False):
            return
        # The next width costs about as many times more as it is wider.
        if packer.steps + 4 * (packer.steps - before) > most:
            break
        before = packer.steps
    # The same again with the resources' worth tilted a little, host by host: little is lost where little is known.
    crowded = all(None in where for where in tries)
    if crowded and not stubborn:
        return
    more = (most if crowded else most // 8) // 2
    most = packer.steps + more
    for seed in range(RESTARTS):
        before = packer.steps
        if before + before // len(tries) > most:
            break
        packer.chance = Random(seed)
        where = packer.pack(WIDTHS[seed % 2 + 1])
        yield where
        if enough(where, anywhere=crowded):
            return
    best = min(tries, key=lambda where: (where.count(None), len(packer.used(where))))
    if crowded:
        yield _mended(packer, best, range(len(tops)), more)
        return
    # One host less, and one less again.
    kept = packer.in_use.union(item.only for item in items if item.only is not None)
    while len(packer.used(best)) > least:
        hosts = packer.used(best)
        emptied = min(hosts - kept, key=lambda host: (best.count(host), host), default=None)
        if emptied is None:
            return
        where = _mended(packer, [None if at == emptied else at for at in best], sorted(hosts - {emptied}), more)
        if None in where:
            return
        yield where
        best = where


def _mended(packer: _Packer, where: Sequence[int | None], hosts: Sequence[int], most: int) -> list[int | None]:
    """A few of these hosts emptied and filled anew together with what has no place, again and again while that helps.

    ``most``: fillings to look at.
    """
    board, items = packer.board, packer.items
    chance = Random(len(items))
    where = list(where)
    weights = packer.weights()

    def homeless(indices: Iterable[int], places: Sequence[int | None]) -> float:
        lost = (packer.sizes[i] for i, host in zip(indices, places, strict=True) if host is None)
        return sum(sum(map(mul, weights, size)) for size in lost)

    steps = 0
    while None in where and steps < most:
        chosen = sorted(chance.sample(hosts, min(chance.randint(2, 5), len(hosts))))
        local = {host: at for at, host in enumerate(chosen)}
        part = board.part(chosen)
        free = []
        for i, host in enumerate(where):
            if host is None:
                if items[i].only is None:
                    free.append(i)
            elif host in local:
                if items[i].only is None:
                    free.append(i)
                else:
                    part.put(items[i], local[host])
        small = _Packer(part, [packer.tops[host] for host in chosen], [items[i] for i in free])
        small.chance = chance
        found = small.pack(WIDTHS[1])
        steps += small.steps + len(items) + _BEGINNING
        if homeless(free, found) <= homeless(free, [where[i] for i in free]):
            for i, at in zip(free, found, strict=True):
                where[i] = None if at is None else chosen[at]
    return where


class _Packer:
    def __init__(self, board: Board, tops: Sequence[Ceiling], items: Sequence[Demand]) -> None:
        self.board = board
        self.tops = tops
        self.items = items
        self.steps = 0
        self.turn = 0
        self.chance: Random | None = None
        # Of each anti-affinity group: how many have no host yet.
        self.left_of: dict[str, int] = {}
        self.in_use = {host for host, count in enumerate(board.vms) if count}
        wanted = [_vector(item) for item in items]
        total = [sum(column) for column in zip(*wanted, strict=True)] if wanted else [0] * 4
        rooms = [self._room(host, total) for host in range(len(tops))]
        # A resource of which every host has enough for everything decides nothing.
        self.counted = [d for d in range(4) if any(room[d] < total[d] for room in rooms)]
        self.sizes = [tuple(want[d] for d in self.counted) for want in wanted]
        self.rooms = [tuple(room[d] for d in self.counted) for room in rooms]
        # What all hosts offer of each resource, and what is still wanted of it.
        self.offered = [max(sum(max(room[d], 0) for room in self.rooms), 1) for d in range(len(self.counted))]
        self.total = [total[d] for d in self.counted]
        self.wanted = list(self.total)

    def _room(self, host: int, total: Sequence[int]) -> Vector:
        top, board = self.tops[host], self.board
        room = (
            top.vcpus - board.vcpus[host],
            top.memory - board.memory[host],
            top.disk_mib - board.disk_mib[host],
            top.vms - board.vms[host],
        )
        return tuple(min(have, most) for have, most in zip(room, total, strict=True))

    def least_hosts(self) -> int:
        """The L1 bound: with the largest hosts first, no fewer give the sums; those in use stay in use."""
        most = int(bool(self.items) and not self.in_use)
        for d, total in enumerate(self.total):
            rest = total - sum(max(self.rooms[host][d], 0) for host in self.in_use)
            count = 0
            for room in sorted((r[d] for h, r in enumerate(self.rooms) if h not in self.in_use), reverse=True):
                if rest <= 0 or room <= 0:
                    break
                rest -= room
                count += 1
            most = max(most, count)
        return max(len(self.in_use) + most, self._largest_group())

    def _largest_group(self) -> int:
        """Hosts that the largest anti-affinity group needs, when it counts on every host."""
        if not all(top.apart for top in self.tops):
            return 0
        members: dict[str, int] = {}
        for item in self.items:
            for group in item.apart:
                members[group] = members.get(group, 0) + 1
        there = {group: sum(bool(here.get(group)) for here in self.board.apart) for group in members}
        return max((count + there[group] for group, count in members.items()), default=0)

    def used(self, where: Iterable[int | None]) -> set[int]:
        """The hosts in use with these places taken."""
        return self.in_use.union(host for host in where if host is not None)

    def pack(self, width: int) -> list[int | None]:
        """The host of each item, None for what found no room."""
        where: list[int | None] = [None] * len(self.items)
        self.wanted = list(self.total)
        kinds, pinned = self._kinds()
        self.left_of = _members(kinds)
        rooms, groups = self._pinned(pinned, where)
        gone = 0
        hosts = deque(self._order(rooms, groups))
        while hosts:
            alike = hosts[0]
            filling = self._fill(alike, kinds, width) if alike.hosts else []
            if not filling:
                hosts.popleft()
                continue
            # Half of what could be filled alike: what is left must still go together with something.
            times = min(len(kind.left) // count for kind, count in filling)
            times = 1 if self.chance else max(1, min(times // 2, len(alike.hosts)))
            filled, alike.hosts = alike.hosts[:times], alike.hosts[times:]
            for kind, count in filling:
                for host in filled:
                    for _ in range(count):
                        where[kind.left.pop()] = host
                self._gone(kind, count * times)
                gone += not kind.left
            if len(kinds) > KINDS:
                hosts.appendleft(_filled(alike, filled, filling))
            if gone > len(kinds) // 8:
                kinds = [kind for kind in kinds if kind.left]
                gone = 0
        return where

    def _kinds(self) -> tuple[list[_Kind], dict[int, list[int]]]:
        """What may go anywhere, by kind, and what has one host only, by host."""
        loose: dict[tuple[object, ...], _Kind] = {}
        pinned: dict[int, list[int]] = {}
        for i in sorted(range(len(self.items)), key=lambda i: self.items[i].names, reverse=True):
            item = self.items[i]
            if item.only is not None:
                pinned.setdefault(item.only, []).append(i)
            else:
                loose.setdefault((*flavour(item), item.apart), _Kind(item, self.sizes[i], [])).left.append(i)
        return self._largest_first(loose.values()), pinned

    def _gone(self, kind: _Kind, count: int) -> None:
        for d, size in enumerate(kind.size):
            self.wanted[d] -= size * count
        for group in kind.item.apart:
            self.left_of[group] -= count

    def _pinned(
        self, pinned: dict[int, list[int]], where: list[int | None]
    ) -> tuple[list[Vector], list[frozenset[str]]]:
        """The room and the groups of each host when what may only go there is there."""
        rooms = list(self.rooms)
        groups = [frozenset(group for group, count in here.items() if count) for here in self.board.apart]
        for host, indices in pinned.items():
            for i in reversed(indices):
                left = tuple(map(sub, rooms[host], self.sizes[i]))
                if self._may(self.items[i], host, groups[host]) and min(left, default=0) >= 0:
                    where[i] = host
                    rooms[host] = left
                    groups[host] |= self.items[i].apart
        return rooms, groups

    def _may(self, item: Demand, host: int, groups: frozenset[str]) -> bool:
        top = self.tops[host]
        return not (
            item.vm_vcpus > top.vm_vcpus
            or item.vm_memory_mib > top.vm_memory_mib
            or host in self.board.closed
            or (top.apart and (item.torn or not groups.isdisjoint(item.apart)))
        )

    def _order(self, rooms: Sequence[Vector], groups: Sequence[frozenset[str]]) -> list[_Alike]:
        """The hosts in use first, the fullest of them before the others; then the empty ones, largest first."""
        weights = self.weights()
        alike: dict[tuple[object, ...], _Alike] = {}
        for host, room in enumerate(rooms):
            used = host in self.in_use or room != self.rooms[host]
            top = self.tops[host]
            key = (used, room, groups[host], top.vm_vcpus, top.vm_memory_mib, top.apart, host in self.board.closed)
            alike.setdefault(key, _Alike([], room, groups[host], used)).hosts.append(host)

        def rank(one: _Alike) -> tuple[bool, float, int]:
            left = sum(map(mul, weights, one.room))
            return (not one.used, left if one.used else -left, one.hosts[0])

        return sorted(alike.values(), key=rank)

    def weights(self) -> list[float]:
        """What a unit of each resource is worth: the scarcer it is for what is still to be placed, the more."""
        worth = [want / have * len(self.rooms) / have for want, have in zip(self.wanted, self.offered, strict=True)]
        if self.chance is None:
            return worth
        return [one * self.chance.uniform(1 - TILT, 1 + TILT) for one in worth]

    def _largest_first(self, kinds: Iterable[_Kind]) -> list[_Kind]:
        weights = self.weights()
        listed = list(kinds)
        for kind in listed:
            kind.weight = sum(map(mul, weights, kind.size))
        return sorted(listed, key=lambda kind: (-kind.weight, kind.size, kind.item.names))

    def _fill(self, alike: _Alike, kinds: Sequence[_Kind], width: int) -> list[tuple[_Kind, int]]:
        """What goes into a host of these, as counts of kinds; empty when nothing does."""
        host = alike.hosts[0]
        self.turn += 1
        few = _spaced(kinds, 4 * KINDS, self.turn)
        fitting: Sequence[_Kind] = self._fitting(few, alike, host)
        if not fitting and few is not kinds and not alike.again:
            fitting = self._fitting(kinds, alike, host)
        if not fitting:
            return []
        apart = self.tops[host].apart
        if not self.counted:
            return _all(self._fitting(kinds, alike, host), apart)
        urgent = self._urgent(kinds, alike, host) if apart else []
        if len(fitting) > KINDS:
            fitting = _spaced(fitting, SAMPLE, self.turn)
            width *= WIDER
        fitting = self._largest_first([*urgent, *(kind for kind in fitting if kind not in urgent)])
        return self._beam(alike.room, fitting, width, urgent, apart=apart)

    def _urgent(self, kinds: Sequence[_Kind], alike: _Alike, host: int) -> list[_Kind]:
        """The largest that fits of each anti-affinity group that needs every host to come, one kind a group.

        So many hosts are still to come as the sums of what is wanted need.
        """
        if not self.left_of:
            return []
        to_come = max(want * len(self.rooms) / have for want, have in zip(self.wanted, self.offered, strict=True))
        pressing = {group for group, left in self.left_of.items() if left >= to_come}
        if not pressing:
            return []
        chosen: list[_Kind] = []
        taken: set[str] = set()
        room = alike.room
        for kind in self._largest_first(self._fitting([k for k in kinds if pressing & k.item.apart], alike, host)):
            left = tuple(map(sub, room, kind.size))
            if taken.isdisjoint(kind.item.apart) and min(left) >= 0:
                chosen.append(kind)
                taken |= kind.item.apart
                room = left
        return chosen

    def _fitting(self, kinds: Sequence[_Kind], alike: _Alike, host: int) -> list[_Kind]:
        room, groups = alike.room, alike.groups
        return [
            kind
            for kind in kinds
            if kind.left and min(map(sub, room, kind.size), default=0) >= 0 and self._may(kind.item, host, groups)
        ]

    def _beam(
        self, room: Vector, kinds: Sequence[_Kind], width: int, first: Sequence[_Kind], *, apart: bool
    ) -> list[tuple[_Kind, int]]:
        """Fillings grow by one VM at a time, never by one of an earlier kind; the ``width`` best are kept.

        All begin with one each of what comes ``first``, which is of anti-affinity groups.

        Best is the least length of what is left, each resource by its worth; of the fillings that take nothing more the
        one that leaves the least worth is taken.
        """
        weights = self.weights()
        squares = [weight * weight for weight in weights] if len(weights) > 1 else weights
        none: frozenset[str] = frozenset()
        sizes = [(kind.size, kind.item.apart if apart else none, len(kind.left)) for kind in kinds]
        # how good, room left, place of the last kind, how often it was taken in a row, what was taken
        begun = tuple(at for at, kind in enumerate(kinds) if kind in first)
        for at in begun:
            room = tuple(map(sub, room, sizes[at][0]))
        level: list[tuple[float, Vector, int, int, tuple[int, ...]]] = [(0.0, room, 0, 0, begun)]
        best: tuple[float, tuple[int, ...]] = (float("inf"), ())
        while level:
            grown = []
            for _, left, last, run, taken in level:
                done = True
                for at in range(last, len(sizes)):
                    size, groups, count = sizes[at]
                    rest = tuple(map(sub, left, size))
                    again = run + 1 if at == last else 1
                    if min(rest) < 0 or again > count:
                        continue
                    if groups and any(not groups.isdisjoint(sizes[other][1]) for other in taken):
                        continue
                    done = False
                    grown.append((sum(map(mul, squares, map(mul, rest, rest))), rest, at, again, (*taken, at)))
                self.steps += len(sizes) - last
                if done and taken:
                    best = min(best, (sum(map(mul, weights, left)), taken))
            grown.sort()
            level = grown[:width]
        return [(kinds[at], best[1].count(at)) for at in sorted(set(best[1]))]


def _members(kinds: Iterable[_Kind]) -> dict[str, int]:
    members: dict[str, int] = {}
    for kind in kinds:
        for group in kind.item.apart:
            members[group] = members.get(group, 0) + len(kind.left)
    return members


def _filled(alike: _Alike, hosts: list[int], filling: Sequence[tuple[_Kind, int]]) -> _Alike:
    """These of the hosts with the filling in them."""
    room = alike.room
    for kind, count in filling:
        room = tuple(left - count * size for left, size in zip(room, kind.size, strict=True))
    return _Alike(hosts, room, alike.groups.union(*(kind.item.apart for kind, _ in filling)), used=True, again=True)


def _spaced(kinds: Sequence[_Kind], most: int, turn: int) -> Sequence[_Kind]:
    """At most so many of them, from all sizes alike; others at every turn."""
    size = len(kinds)
    if size <= most:
        return kinds
    start = turn % (size // most)
    return [kinds[start + i * (size - start) // most] for i in range(most)]


def _all(kinds: Sequence[_Kind], apart: bool) -> list[tuple[_Kind, int]]:
    """Everything, as nothing is scarce; of each anti-affinity group one."""
    taken: list[tuple[_Kind, int]] = []
    groups: set[str] = set()
    for kind in kinds:
        if not apart or not kind.item.apart:
            taken.append((kind, len(kind.left)))
        elif groups.isdisjoint(kind.item.apart):
            groups |= kind.item.apart
            taken.append((kind, 1))
    return taken


def _vector(item: Demand) -> Vector:
    return (item.vcpus, item.memory, item.disk_mib, item.vms)


def least_hosts(board: Board, items: Sequence[Demand]) -> int:
    """A lower bound on the hosts in use with these items placed as well, by the sums alone (the L1 bound)."""
    return _Packer(board, board.ceilings, items).least_hosts()


def tightened(tops: Sequence[Ceiling], soft: Sequence[Ceiling], percent: int = 100) -> list[Ceiling]:
    """Ceilings that keep both, the sums cut to ``percent``: that leaves room for the VMs of a host that dies."""
    return [
        Ceiling(
            min(top.vcpus, other.vcpus) * percent // 100,
            min(top.memory, other.memory) * percent // 100,
            min(top.disk_mib, other.disk_mib),
            min(top.vms, other.vms) * percent // 100,
            min(top.vm_vcpus, other.vm_vcpus),
            min(top.vm_memory_mib, other.vm_memory_mib),
            top.apart or other.apart,
        )
        for top, other in zip(tops, soft, strict=True)
    ]
