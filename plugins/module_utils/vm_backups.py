# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of a host's VMs by virtnbdbackup (https://github.com/abbbi/virtnbdbackup), of RBD images by qemu-img, and
their sets on the disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import ExitStack, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils import backups, domain_xml, image_backups
from ansible_collections.croft.infra.plugins.module_utils.backups import PARTIAL, Next, Seen, Set
from ansible_collections.croft.infra.plugins.module_utils.guest_freeze import frozen
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    DOMAIN_STATES,
    LibvirtFailedError,
    bindings,
)
from ansible_collections.croft.infra.plugins.module_utils.open_stores import Stores
from ansible_collections.croft.infra.plugins.module_utils.rbd_images import ImageError
from ansible_collections.croft.infra.plugins.module_utils.snapshots import kind_of

_QUIET = ("--noprogress", "--nocolor", "--logfile", "/dev/null")
TOOLS = ("virtnbdbackup", "virtnbdrestore")


class BackupError(Exception):
    """A backup was not made, is damaged, or was not restored; the text says which and why."""


def run(*command: str) -> str:
    """What one of the tools said. Raises BackupError with its last error when it failed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    log = done.stderr + done.stdout
    if done.returncode:
        raise BackupError(backups.failure(log))
    return log


def read_sets(folder: Path) -> tuple[list[Set], list[str]]:
    """(complete sets, names of half-made ones) in the directory of a VM."""
    complete, half_made = backups.sets_of(os.listdir(folder) if folder.is_dir() else ())
    sets = []
    for name in complete:
        place = folder / name
        points = sorted(
            (place / "checkpoints").glob("virtnbdbackup.*.xml"), key=lambda path: int(path.suffixes[-2][1:])
        )
        copied = any(place.glob("*.copy.data*"))
        sets.append(
            Set(name, () if copied else tuple(path.stem for path in points), cut_off=any(place.glob(f"*{PARTIAL}")))
        )
    return sets, half_made


class Backups:
    """The backups of this host's VMs, under a directory."""

    def __init__(self, stores: Stores, directory: str) -> None:
        self.stores = stores
        self.conn = stores.conn
        self.lv = bindings()
        self.directory = Path(directory)

    def look(self, name: str) -> Seen:
        try:
            domain = self.conn.lookupByName(name)
        except self.lv.libvirtError:
            return Seen()
        about = domain_xml.describe(domain.XMLDesc(0))
        sets, half_made = read_sets(self.directory / name)
        formats = {}
        for target, place, read_only in about.disks:
            volume = self.stores.volume_at(place)
            fmt = None if volume is None else domain_xml.read_volume(volume.XMLDesc(0)).format
            if not read_only:
                formats[target] = kind_of(place, fmt)
        state = DOMAIN_STATES.get(domain.state(0)[0], "stopped")
        return Seen(state, about.managed, formats, domain.snapshotNum(0), tuple(sets), tuple(half_made))

    def back_up(self, name: str, seen: Seen, upcoming: Next, *, keep: int, verify: bool) -> dict[str, Any]:
        """Make a backup, hold it against its checksums, and remove the sets that are kept no longer.

        Of one that failed nothing stays. {set, level, agent, bytes, seconds, removed}.
        """
        folder = self.directory / name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in seen.half_made:
            shutil.rmtree(folder / left)
        started = time.monotonic()
        fresh = upcoming.set or f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        place = folder / (fresh if upcoming.set else fresh + PARTIAL)
        before = _files(place)
        try:
            if "rbd" in (seen.formats or {}).values():
                not_frozen = self._copy_images(name, seen, place, verify=verify)
            else:
                not_frozen = self._copy_disks(name, seen, upcoming.level, place, verify=verify)
        except BackupError:
            self._take_back(place, before, whole=upcoming.set is None)
            raise
        if upcoming.set is None:
            place = place.rename(folder / fresh)
        size = sum(path.stat().st_size for path in _files(place) - before if path.is_file())
        gone = backups.outdated(sorted({*(one.name for one in seen.sets), fresh}), keep)
        for old in gone:
            shutil.rmtree(folder / old)
        return {
            "set": fresh,
            "level": upcoming.level,
            "reason": upcoming.reason,
            "agent": not_frozen if seen.state == "running" else None,
            "bytes": size,
            "seconds": round(time.monotonic() - started, 1),
            "removed": gone,
        }

    def _copy_disks(self, name: str, seen: Seen, level: str, place: Path, *, verify: bool) -> str | None:
        """By virtnbdbackup; why the guest was not frozen, or None."""
        formats = seen.formats or {}
        options = [f"--include={target}" for target in formats] + (["--raw"] if {*formats.values()} - {"qcow2"} else [])
        log = run(
            "virtnbdbackup", "--domain", name, "--level", level, "--output", str(place), "--noprogress", "--nocolor",
            *options,
        )  # fmt: skip
        if verify:
            _verify(place)
        return backups.frozen(log)

    def _copy_images(self, name: str, seen: Seen, place: Path, *, verify: bool) -> str | None:
        """Of the images in the Ceph pool; why the guest was not frozen, or None."""
        domain = self.conn.lookupByName(name)
        disks = {target: where for target, where, _read in domain_xml.describe(domain.XMLDesc(0)).disks}
        volumes = {target: self.stores.volume_at(disks[target]) for target in seen.formats or {}}
        place.mkdir(mode=0o700)
        try:
            with ExitStack() as stack:
                with frozen(domain) if seen.state == "running" else nullcontext(None) as reason:
                    stack.enter_context(image_backups.held(volumes))
                image_backups.write(volumes, place, verify=verify)
        except (LibvirtFailedError, ImageError) as error:
            raise BackupError(str(error)) from error
        return reason

    def _take_back(self, place: Path, before: set[Path], *, whole: bool) -> None:
        """Remove what a backup that failed left. A cut-off incremental one ends its set: it keeps its mark."""
        if whole:
            shutil.rmtree(place, ignore_errors=True)
            return
        for path in _files(place) - before:
            if path.is_file() and path.suffix in (".data", PARTIAL):
                path.unlink(missing_ok=True)
        (place / f"cut-off{PARTIAL}").touch()


def restore(place: Path, into: Path, until: str | None) -> Path:
    """The file with the root disk of a set, if need be made anew in an empty directory; its checksums were right."""
    target = domain_xml.ROOT_TARGET
    image = image_backups.find(place, target)
    if image is not None:
        if not image_backups.is_whole(image):
            raise BackupError(f"{image} is damaged: its checksum is another than when it was written")
        return image
    _verify(place)
    options = ["--until", until] if until else []
    run("virtnbdrestore", "--input", str(place), "--output", str(into), "--disk", target, "--raw", *options, *_QUIET)
    # It names a disk as the file that it was.
    (found,) = (path for path in into.iterdir() if path.suffix != ".xml")
    return found


def _verify(place: Path) -> None:
    run("virtnbdrestore", "--action", "verify", "--input", str(place), "--output", "verify", *_QUIET)


def _files(place: Path) -> set[Path]:
    return set(place.rglob("*")) if place.is_dir() else set()
