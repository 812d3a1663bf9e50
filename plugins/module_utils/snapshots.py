# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots of VMs: what is asked, what speaks against it, and which ones are kept. Pure.

Of a VM whose disks are qcow2 a snapshot lies inside of them, with the guest's memory when it runs; in a Ceph pool it is
one of each image, for which the guest's agent freezes the file systems. Ours begin with PREFIX; others are not touched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

PREFIX = "croft-"
DAY = 86400
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_GIB = 1024**3


@dataclass(frozen=True)
class Snapshot:
    """A snapshot by its full name; ``created`` in seconds since 1970."""

    name: str
    created: float


@dataclass(frozen=True)
class Disk:
    """A disk that the guest writes to. ``kind``: qcow2, rbd, or another format. ``free``: bytes left in its pool."""

    target: str
    place: str
    kind: str
    free: int | None = None


@dataclass(frozen=True)
class Seen:
    """What there is of a VM. ``checkpoints``: how many its incremental backups left."""

    state: str | None = None
    managed: bool = True
    memory_bytes: int = 0
    disks: tuple[Disk, ...] = ()
    snapshots: tuple[Snapshot, ...] = ()
    checkpoints: int = 0

    @property
    def kind(self) -> str:
        """How its disks are snapshotted: qcow2, rbd, none where it has no disk, or mixed."""
        kinds = {disk.kind for disk in self.disks}
        return kinds.pop() if len(kinds) == 1 else "mixed" if kinds else "none"

    def has(self, snapshot: str) -> bool:
        return any(one.name == snapshot for one in self.snapshots)


def full_name(name: str) -> str:
    """The name with our prefix."""
    return name if name.startswith(PREFIX) else f"{PREFIX}{name}"


def name_problem(name: str) -> str | None:
    """Why this cannot be a snapshot's name."""
    if _NAME.fullmatch(name):
        return None
    return f"snapshot name {name!r}: give 1 to 63 letters, digits, hyphens, dots and underscores"


def ours(snapshots: Iterable[Snapshot]) -> list[Snapshot]:
    """Those that croft made, the newest first."""
    return sorted((s for s in snapshots if s.name.startswith(PREFIX)), key=lambda s: (-s.created, s.name))


def expired(
    snapshots: Iterable[Snapshot], *, keep_last: int | None, keep_days: float | None, now: float
) -> list[Snapshot]:
    """Ours that no rule keeps: neither among the ``keep_last`` newest nor younger than ``keep_days``. Without rules all
    are kept."""
    if keep_last is None and keep_days is None:
        return []
    mine = ours(snapshots)
    kept = set(mine[: keep_last or 0])
    if keep_days is not None:
        kept |= {one for one in mine if now - one.created < keep_days * DAY}
    return [one for one in mine if one not in kept]


def create_problems(name: str, seen: Seen, snapshot: str, *, drop_checkpoints: bool) -> list[str]:
    """Why no snapshot of this VM can be made; empty as well when it is there already."""
    lines = _vm_problems(name, seen)
    if lines or seen.has(snapshot):
        return lines
    if seen.kind in ("none", "mixed") or seen.kind not in ("qcow2", "rbd"):
        disks = ", ".join(f"{disk.target} ({disk.kind})" for disk in seen.disks) or "none"
        return [f"{name}: all its disks must be qcow2, or all RBD images, for a snapshot; it has {disks}"]
    if seen.kind == "rbd":
        return []
    if seen.state != "running" and any("://" in disk.place for disk in seen.disks):
        lines.append(
            f"{name}: is {seen.state}, and libvirt makes no snapshot of a stopped VM whose disk QEMU reaches over NFS; "
            "start it first"
        )
    if seen.checkpoints and not drop_checkpoints:
        lines.append(
            f"{name}: has {seen.checkpoints} checkpoints of its incremental backups, beside which libvirt makes no "
            "snapshot; say snapshot_drop_checkpoints: true, and its next backup is a full one"
        )
    free = seen.disks[0].free
    if seen.state == "running" and free is not None and free < seen.memory_bytes:
        lines.append(
            f"{name}: the snapshot holds its memory, {seen.memory_bytes / _GIB:.1f} GiB, and its pool has "
            f"{free / _GIB:.1f} GiB left; free some, or stop the VM"
        )
    return lines


def known_problems(entries: Sequence[Mapping[str, Any]], seen: Mapping[str, Seen], what: str) -> list[str]:
    """Why snapshots cannot be reverted to or removed: each entry has ``name`` and ``snapshot``."""
    lines = []
    for entry in entries:
        name, snapshot = entry["name"], entry["snapshot"]
        found = _vm_problems(name, seen[name])
        if not found and not seen[name].has(snapshot) and what == "revert":
            known = ", ".join(one.name for one in ours(seen[name].snapshots)) or "none"
            found = [f"{name}: has no snapshot {snapshot}; it has {known}"]
        if what == "remove" and not snapshot.startswith(PREFIX):
            found.append(f"{name}: the snapshot {snapshot} was not made by croft; remove it by hand")
        lines += found
    return lines


def _vm_problems(name: str, seen: Seen) -> list[str]:
    if seen.state is None:
        return [f"{name}: there is no such VM on this host"]
    if not seen.managed:
        return [f"{name}: was not made by croft; see to its snapshots by hand"]
    return []


def kind_of(place: str, fmt: str | None) -> str:
    """How the disk at this place is snapshotted, by the format of its volume."""
    if place.startswith("rbd:"):
        return "rbd"
    return fmt or PurePosixPath(place).suffix.lstrip(".") or "unknown"
