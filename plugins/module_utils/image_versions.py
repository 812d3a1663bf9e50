# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The versions of golden images in pools, which of them somebody needs, and which may go. Pure.

A version is the volume ``NAME-HASH.qcow2`` (``.raw`` in a Ceph cluster); only of names that were given one is removed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

_VERSION = re.compile(r"(?P<name>.+)-(?P<hash>[0-9a-f]{12})\.(qcow2|raw)")


@dataclass(frozen=True)
class Version:
    """A volume that may be a version of a golden image. ``made`` is when it came into the pool, in seconds."""

    volume: str
    made: float


def image_name(volume: str) -> str | None:
    """The name of the image that a volume is called a version of."""
    found = _VERSION.fullmatch(volume)
    return None if found is None else found["name"]


def volume_of(location: str) -> str:
    """The volume that a path, a URL or a name of QEMU's means. Its name has the hash of what is in it, so where it lies
    does not matter."""
    return PurePosixPath(location.rpartition(":")[2]).name


def verdicts(
    versions: Iterable[Version],
    names: Iterable[str],
    current: Iterable[str],
    users: Mapping[str, Iterable[str]],
    keep: int,
) -> list[dict[str, Any]]:
    """``{volume, remove, why}`` of each volume that is a version of an image of ``names``, the newest of each first.

    ``current`` are the volumes that new disks are made of, ``users`` who needs a volume, by its name. Besides the
    current one ``keep`` versions of each image stay, the newest. A version that has a user stays in any case.
    """
    wanted, now = set(names), set(current)
    told: list[dict[str, Any]] = []
    spare = dict.fromkeys(wanted, keep)
    for version in sorted(versions, key=lambda one: (image_name(one.volume) or "", -one.made, one.volume)):
        name = image_name(version.volume)
        if name is None or name not in wanted:
            continue
        its = sorted(set(users.get(version.volume, ())))
        remove = False
        if version.volume in now:
            why = "new disks are made of it"
        elif its:
            why = f"{', '.join(its[:5])}{f' and {len(its) - 5} more' if len(its) > 5 else ''} need it"  # noqa: PLR2004
        elif spare[name] > 0:
            spare[name] -= 1
            why = f"{keep} old versions are kept" if keep > 1 else "one old version is kept"
        else:
            remove, why = True, "no disk is a clone of it"
        told.append({"volume": version.volume, "remove": remove, "why": why})
    return told
