# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs that leave: what is asked, what there is of them, what speaks against it, and the steps. Pure.

A VM leaves only when its name is in the list, and its disks only when that entry says so. The disks go while the domain
is still defined, since its description is the list of them: a run that was cut off is completed by the next one.
"""

from __future__ import annotations

import uuid as uuids
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils.domain import Action, seed_volume
from ansible_collections.croft.infra.plugins.module_utils.identity import vm_uuid

FIELDS = ("name", "disks", "uuid")
STOPPED = ("stopped", "crashed")


@dataclass(frozen=True)
class Leaving:
    """One entry of the list. ``uuid`` tells the VM's volumes from those of another where it has no domain any more."""

    name: str
    uuid: str
    disks: bool = False


@dataclass(frozen=True)
class Found:
    """What this host has of a VM that leaves.

    ``state``: of its domain, None when there is none. ``volumes``: the places of the disks that are its own and are
    there; ``kept``: those of other names, which are attached to it and are not touched. Without a domain ``volumes``
    has what bears its names and its mark in the pool.
    """

    state: str | None = None
    managed: bool = True
    volumes: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


def read_leaving(entries: Iterable[Any], wished: Iterable[str] = ()) -> tuple[list[Leaving], list[str]]:
    """(leaving, problems): one line for each mistake. ``wished``: the names in virtual_machines."""
    found: list[Leaving] = []
    problems: list[str] = []
    for index, entry in enumerate(entries):
        where = f"virtual_machines_absent[{index}]"
        given = {"name": entry} if isinstance(entry, str) else entry
        if not isinstance(given, Mapping) or not isinstance(given.get("name"), str) or not given["name"]:
            problems.append(f"{where}: is {entry!r}; give a VM's name, or a mapping with name and disks")
            continue
        name = given["name"]
        problems += [
            f"{name}: {key} is no field here; known are {', '.join(FIELDS)}" for key in sorted(set(given) - {*FIELDS})
        ]
        disks = _flag(given.get("disks", False))
        if disks is None:
            problems.append(f"{name}: disks is {given['disks']!r}; give true or false")
        identity = _uuid(given.get("uuid") or vm_uuid(name))
        if identity is None:
            problems.append(f"{name}: uuid is {given['uuid']!r}; give a UUID")
        found.append(Leaving(name, identity or "", bool(disks)))
    counts = Counter(one.name for one in found)
    problems += [
        f"{name}: is {n} times in virtual_machines_absent; once is enough" for name, n in counts.items() if n > 1
    ]
    both = sorted(set(counts) & set(wished))
    problems += [f"{name}: is in virtual_machines and in virtual_machines_absent; take it out of one" for name in both]
    return found, problems


def _flag(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    return {"true": True, "yes": True, "false": False, "no": False}.get(str(value).lower())


def _uuid(value: Any) -> str | None:
    try:
        return str(uuids.UUID(str(value)))
    except ValueError:
        return None


def own(place: str, name: str, *, read_only: bool) -> bool:
    """Whether a disk of the VM's domain is the VM's own, by its name: what others attached by hand stays."""
    volume = PurePosixPath(place).name
    # A VM's name has no dot, so that web1.qcow2 and web1.data.qcow2 are no other VM's.
    return volume == seed_volume(name) or (not read_only and volume.startswith(f"{name}."))


def problems(leaving: Iterable[Leaving], found: Mapping[str, Found]) -> list[str]:
    """One line for each thing that forbids to begin."""
    lines = []
    for one in leaving:
        state = found[one.name].state
        if state is not None and not found[one.name].managed:
            lines.append(f"{one.name}: was not made by croft; remove it by hand, and take it out of the list")
        elif state not in (None, "running", *STOPPED):
            lines.append(
                f"{one.name}: is {state} and cannot be asked to shut down; "
                f"stop it by hand ('virsh destroy {one.name}'), then run again"
            )
    return lines


def steps(one: Leaving, found: Found) -> list[Action]:
    """What is done, in order; empty when nothing of the VM is here, or nothing that may go."""
    deleted = [Action("delete_disk", place) for place in found.volumes] if one.disks else []
    if found.state is None:
        return deleted
    stop = [Action("stop", "running -> stopped, by asking the guest")] if found.state == "running" else []
    return [*stop, *deleted, Action("undefine", "its disks stay" if not one.disks else "")]


def remarks(one: Leaving, found: Found) -> list[str]:
    """What a person should know."""
    lines = []
    if one.disks and found.kept:
        lines.append(
            f"{one.name}: these disks were attached to it and do not bear its name, they stay: {', '.join(found.kept)}"
        )
    if found.state is not None and not one.disks and found.volumes:
        lines.append(f"{one.name}: its disks stay: {', '.join(found.volumes)}")
    return lines


def on_no_host(entries: Iterable[Any], results: Iterable[Iterable[Mapping[str, Any]] | None]) -> list[Any]:
    """The entries whose VM no host had. ``results``: what the module said by host, None of one that was not asked."""
    asked = list(results)
    there: set[str] = set()
    for result in asked:
        if result is None:
            # It may be there.
            return []
        there |= {str(one["name"]) for one in result if one["here"]}
    return [entry for entry in entries if (entry if isinstance(entry, str) else entry["name"]) not in there]
