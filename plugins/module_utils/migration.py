# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Live migrations: what is asked, what speaks against it, and what is said of it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MIB = 1 << 20
GIB = 1 << 30

# How memory is brought over that a guest writes faster than the network carries: stop it for the rest, slow its CPUs
# down (QEMU's auto-converge), or let it go on at the target and fetch what it touches (post-copy: quick, and a failure
# of the network then loses the guest).
MODES = ("precopy", "auto_converge", "post_copy")


NO_POST_COPY = (
    "this host lets QEMU fetch no memory on demand (vm.unprivileged_userfaultfd is 0), so post_copy cannot work; set "
    "kvm_host_post_copy: true for all hosts and run playbooks/hosts.yml, or take another mode"
)


@dataclass(frozen=True)
class Move:
    """One VM to another host; ``address`` is where the target's libvirt is reached."""

    name: str
    target: str
    address: str


@dataclass(frozen=True)
class DiskSeen:
    """A disk of the VM: its target in the guest, where it is, and whether all hosts reach it there.

    ``bytes``: what it takes. ``on_target``: whether the target has a volume of its name; ``image_on_target``: whether
    it has what the disk is a linked clone of (None: it is no clone). ``read_only``: the guest cannot write to it.
    """

    target: str
    place: str
    shared: bool
    bytes: int = 0
    read_only: bool = False
    on_target: bool = False
    image_on_target: bool | None = None


@dataclass(frozen=True)
class Seen:
    """What source and target say of a move before it begins.

    ``state``: of the domain at the source, None when it is not there. ``silent``: why the target does not answer.
    ``lacking``: networks that the target lacks or that are not active there; ``pool_free``: bytes that are left in the
    target's pools for local disks, by pool, None where it has no such pool or it is not active. ``pools``: the pool of
    each local disk. ``snapshots``: how many libvirt knows of it.
    """

    state: str | None = None
    managed: bool = True
    silent: str | None = None
    at_target: bool = False
    lacking: tuple[str, ...] = ()
    snapshots: int = 0
    cpu: str | None = None
    disks: tuple[DiskSeen, ...] = ()
    pools: Mapping[str, str] = field(default_factory=dict)
    pool_free: Mapping[str, int | None] = field(default_factory=dict)


def problems(moves: Sequence[Move], seen: Mapping[str, Seen], *, copy_disks: bool) -> list[str]:
    """One line for each thing that forbids a move: what, where, what to do. Nothing has been moved then."""
    found = []
    for move in moves:
        found += [f"{move.name} to {move.target}: {text}" for text in _of_move(move, seen[move.name], copy_disks)]
    counts = Counter(move.name for move in moves)
    return found + [f"{name}: is to be moved {n} times at once; once is enough" for name, n in counts.items() if n > 1]


def _of_move(move: Move, seen: Seen, copy_disks: bool) -> Iterable[str]:
    if seen.state is None:
        yield "there is no such VM on this host"
        return
    if not seen.managed:
        yield "it was not made by croft; move it by hand"
    if seen.state != "running":
        yield f"it is {seen.state}; only a running VM migrates live"
    if seen.snapshots:
        yield f"it has {seen.snapshots} snapshots, with which libvirt moves no VM; remove them (playbooks/snapshot.yml)"
    if seen.silent is not None:
        yield f"the target's libvirt does not answer at {move.address}: {seen.silent}"
        return
    if seen.at_target:
        yield "the target has a domain of that name; remove one of them"
    for network in seen.lacking:
        yield f"the network {network} is not active there; run site.yml for that host"
    if seen.cpu is not None:
        yield f"its CPU cannot run there: {seen.cpu}; give the VM a cpu_model that all hosts have"
    yield from _of_disks(seen, copy_disks)


def _of_disks(seen: Seen, copy_disks: bool) -> Iterable[str]:
    local = [disk for disk in seen.disks if not disk.shared]
    if local and not copy_disks:
        names = ", ".join(disk.place for disk in local)
        yield f"its disk {names} is local to this host; say migrate_disks: true to copy it as well"
        return
    wanted: Counter[str] = Counter()
    for disk in local:
        pool = seen.pools.get(disk.place)
        if pool is None:
            yield f"its disk {disk.place} is in no storage pool of this host, so there is no place for it there"
        elif seen.pool_free.get(pool) is None:
            yield f"the storage pool {pool} is not active there, and its disk {disk.place} is in that pool here"
        elif disk.on_target and not disk.read_only:
            yield f"the target's pool {pool} has a volume of the name of {disk.place}; remove or rename that one"
        else:
            wanted[pool] += disk.bytes
    for pool, need in wanted.items():
        free = seen.pool_free[pool] or 0
        if need > free:
            yield (
                f"its disks need {need / GIB:.1f} GiB in the target's pool {pool}, {free / GIB:.1f} GiB are left; free "
                "some there"
            )


def incremental(disks: Iterable[DiskSeen]) -> bool:
    """Whether only what differs from the image must be copied: the target has the image of every local disk."""
    written = [disk for disk in disks if not disk.shared and not disk.read_only]
    return bool(written) and all(disk.image_on_target for disk in written)


def progress(stats: Mapping[str, Any]) -> dict[str, int]:
    """{remaining_mib, total_mib, iteration} of a running job, memory and disks together, from virDomainGetJobStats."""
    remaining = int(stats.get("memory_remaining", 0)) + int(stats.get("disk_remaining", 0))
    total = int(stats.get("memory_total", 0)) + int(stats.get("disk_total", 0))
    return {
        "remaining_mib": remaining // MIB,
        "total_mib": total // MIB,
        "iteration": int(stats.get("memory_iteration", 0)),
    }


def outcome(stats: Mapping[str, Any]) -> dict[str, int | None]:
    """{total_ms, downtime_ms, transferred_mib} of a completed migration."""
    downtime = stats.get("downtime")
    return {
        "total_ms": int(stats.get("time_elapsed", 0)),
        "downtime_ms": None if downtime is None else int(downtime),
        "transferred_mib": (int(stats.get("memory_processed", 0)) + int(stats.get("disk_processed", 0))) // MIB,
    }


def sentence(result: Mapping[str, Any]) -> str:
    """How one migration ended, for people."""
    if result["state"] != "done":
        return f"{result['name']}: still on {result['source']}: {result['reason']}"
    # QEMU does not always tell how long the guest stood still.
    down = "" if result["downtime_ms"] is None else f"down for {result['downtime_ms']} ms, "
    return (
        f"{result['name']}: {result['source']} > {result['target']} in {result['total_ms'] / 1000:.1f} s, "
        f"{down}{result['transferred_mib']} MiB"
    )
