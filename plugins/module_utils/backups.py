# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of VMs: which kind comes next, which are kept, and what a set has. Pure.

Under the directory of a VM lies a directory for each set: one full backup and the incremental ones after it, as
virtnbdbackup writes them. A set that is being made ends with PARTIAL until its full backup is complete.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PARTIAL = ".partial"
SET_NAME = re.compile(r"\d{8}T\d{6}Z")


@dataclass(frozen=True)
class Set:
    """A set: its name, the checkpoint of each backup in it (none of a copy), and whether one of them was cut off."""

    name: str
    checkpoints: tuple[str, ...] = ()
    cut_off: bool = False


@dataclass(frozen=True)
class Seen:
    """What there is of a VM. ``formats``: of each disk that it writes to, by target; ``snapshots``: how many are inside
    of its disks; ``checkpoints``: those that libvirt knows, or can be told of."""

    state: str | None = None
    managed: bool = True
    formats: Mapping[str, str] | None = None
    snapshots: int = 0
    sets: tuple[Set, ...] = ()
    half_made: tuple[str, ...] = ()


@dataclass(frozen=True)
class Next:
    """The next backup: ``level`` as virtnbdbackup names it, the set that it goes to (None: a new one), and why it is
    not incremental."""

    level: str
    set: str | None = None
    reason: str = ""


def sets_of(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """(complete sets, half-made ones) of the names in a VM's directory, the newest last; others are not ours."""
    found = sorted(names)
    return (
        [name for name in found if SET_NAME.fullmatch(name)],
        [name for name in found if name.endswith(PARTIAL) and SET_NAME.fullmatch(name.removesuffix(PARTIAL))],
    )


def next_backup(seen: Seen, *, full_after: int, full: bool = False) -> Next:
    """What comes next. ``full_after``: so many incremental backups follow a full one."""
    copied = _why_not_followed(seen)
    if copied:
        return Next("copy", reason=copied)
    fresh = "it was asked for" if full else _why_no_chain(seen.sets[-1] if seen.sets else None, full_after)
    return Next("full", reason=fresh) if fresh else Next("inc", seen.sets[-1].name)


def _why_not_followed(seen: Seen) -> str | None:
    """Why nobody knows what the VM writes after a backup."""
    if seen.state != "running":
        return "it does not run, so that nothing would follow what it writes"
    if seen.snapshots:
        return "it has snapshots, beside which libvirt follows no writes"
    if any(fmt != "qcow2" for fmt in (seen.formats or {}).values()):
        return "only of qcow2 disks QEMU knows what was written since"
    return None


def _why_no_chain(last: Set | None, full_after: int) -> str | None:
    """Why no incremental backup can follow in the newest set."""
    if last is None or not last.checkpoints:
        return "there is none yet that others could follow"
    if last.cut_off:
        return "the last one was cut off"
    if len(last.checkpoints) > full_after:
        return f"{full_after} incremental ones followed the last full one"
    return None


def outdated(sets: Sequence[str], keep: int) -> list[str]:
    """The sets that go, when ``keep`` of them are kept; 0 keeps all."""
    return sorted(sets)[:-keep] if keep else []


def problems(names: Iterable[str], seen: Mapping[str, Seen]) -> list[str]:
    """One line for each thing that forbids to begin."""
    lines = []
    for name in names:
        if seen[name].state is None:
            lines.append(f"{name}: there is no such VM on this host")
        elif not seen[name].managed:
            lines.append(f"{name}: was not made by croft; back it up by hand")
        elif not seen[name].formats:
            lines.append(f"{name}: has no disk that it writes to")
        elif len({fmt == "rbd" for fmt in (seen[name].formats or {}).values()}) > 1:
            disks = ", ".join(f"{target} ({fmt})" for target, fmt in sorted((seen[name].formats or {}).items()))
            lines.append(f"{name}: has RBD images beside other disks, {disks}; move them to one pool")
        elif seen[name].state not in ("running", "stopped"):
            lines.append(f"{name}: is {seen[name].state}; see to that first")
    return lines


def frozen(log: str) -> str | None:
    """None when virtnbdbackup says that the guest's agent froze its file systems, else what it says about it."""
    if re.search(r"Freezed \[[1-9]", log):
        return None
    said = [line for line in log.splitlines() if re.search(r"[Gg]uest agent|[Ff]reez", line)]
    return said[-1].partition("]: ")[2] if said else "it was not asked"


def failure(log: str) -> str:
    """The last error that virtnbdbackup or virtnbdrestore told, on one line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\b(ERROR|CRITICAL)\b|Error|error:", line)]
    return (errors or lines or ["it said nothing"])[-1].partition("]: ")[2] or (errors or lines or ["?"])[-1]


def restore_problems(
    entries: Sequence[Mapping[str, Any]], sets: Mapping[str, Sequence[Set]], directory: str
) -> list[str]:
    """Why backups cannot be restored: each entry has ``name``, ``as``, and perhaps ``set`` and ``until``."""
    lines = []
    for entry in entries:
        name, known = entry["name"], {one.name: one for one in sets[entry["name"]]}
        wanted = entry.get("set") or (max(known) if known else None)
        if wanted is None:
            lines.append(
                f"{name}: there is no backup in {directory}/{name} here; pin {entry['as']} to the host that has it, or "
                "bring it here"
            )
        elif wanted not in known:
            lines.append(f"{name}: has no set {wanted} in {directory}/{name}; there are {', '.join(sorted(known))}")
        elif entry.get("until") and entry["until"] not in known[wanted].checkpoints:
            points = ", ".join(known[wanted].checkpoints) or "none"
            lines.append(f"{name}: the set {wanted} has no {entry['until']}; it has {points}")
    return lines
