# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of a VM's RBD images as qcow2 files, which virtnbdbackup does not make: it knows no disks of a network.

What the file is made from is a snapshot of all images at one moment, so that the guest writes on meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import LibvirtFailedError
from ansible_collections.croft.infra.plugins.module_utils.open_stores import rbd_place, remove_snapshots, snapshot_all
from ansible_collections.croft.infra.plugins.module_utils.rbd_images import export_file, same_as_file

# Without the prefix of snapshots that people ask for: those are counted and kept.
SNAPSHOT = "backup-of-croft"
_SUFFIX = ".image.qcow2"
_SUM = ".sha256"


@contextmanager
def held(volumes: Mapping[str, Any]) -> Iterator[None]:
    """The images have a snapshot meanwhile. Raises LibvirtFailedError."""
    snapshot_all(list(volumes.values()), SNAPSHOT)
    try:
        yield
    finally:
        for volume in volumes.values():
            with suppress(LibvirtFailedError):
                remove_snapshots([volume], SNAPSHOT)


def write(volumes: Mapping[str, Any], place: Path, *, verify: bool) -> None:
    """A file and its checksum for each held image, by target. Raises ImageError."""
    for target, volume in volumes.items():
        pool, user, image = rbd_place(volume)
        file = place / f"{target}{_SUFFIX}"
        export_file(pool, user, f"{image}@{SNAPSHOT}", str(file))
        if verify:
            same_as_file(pool, user, f"{image}@{SNAPSHOT}", str(file))
        Path(f"{file}{_SUM}").write_text(f"{_digest(file)}  {file.name}\n")


def find(place: Path, target: str) -> Path | None:
    """The file of a disk in a set of such copies; None where the set is none."""
    file = place / f"{target}{_SUFFIX}"
    return file if file.exists() else None


def is_whole(file: Path) -> bool:
    """Whether the file is what it was when it was written."""
    said = Path(f"{file}{_SUM}")
    return said.exists() and said.read_text().split()[:1] == [_digest(file)]


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
