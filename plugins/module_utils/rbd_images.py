# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The content of RBD images, through librbd: libvirt makes, resizes and deletes them, and neither reads nor writes.

A golden image is written under another name, closed with a protected snapshot, and gets its own name last: what has
the name is whole.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils.ceph import CONF
from ansible_collections.croft.infra.plugins.module_utils.ceph_connection import CephFailedError, bindings

GOLDEN = "golden"
SECONDS = "30"


class ImageError(Exception):
    """An image cannot be read or written; the text says which and why."""


@dataclass(frozen=True)
class Golden:
    """A golden image: when it was made, in seconds, and its clones in all pools, as POOL/IMAGE."""

    made: float
    clones: tuple[str, ...]


class RbdImages:
    """The images of one pool of the cluster that this host knows, opened as one user (without `client.`)."""

    def __init__(self, pool: Any, rbd: Any) -> None:
        self._pool = pool
        self._rbd = rbd

    def names(self) -> list[str]:
        return list(self._rbd.RBD().list(self._pool))

    def read(self, name: str, length: int) -> bytes:
        """The first bytes of an image."""
        with self._rbd.Image(self._pool, name, read_only=True) as image:
            return bytes(image.read(0, min(length, image.size())))

    def write(self, name: str, data: bytes) -> None:
        """Write over the beginning of an image."""
        with self._rbd.Image(self._pool, name) as image:
            image.write(data, 0)
            image.flush()

    def flatten(self, name: str) -> None:
        """Copy into a linked clone what it still shares with its image, so that it stands alone."""
        with self._rbd.Image(self._pool, name) as image:
            image.flatten()

    def snapshots(self, name: str) -> dict[str, float]:
        """The snapshots of an image by name, each with its time in seconds since 1970."""
        with self._rbd.Image(self._pool, name, read_only=True) as image:
            return {
                snapshot["name"]: image.get_snap_timestamp(snapshot["id"]).replace(tzinfo=UTC).timestamp()
                for snapshot in image.list_snaps()
            }

    def create_snapshot(self, name: str, snapshot: str) -> None:
        with self._rbd.Image(self._pool, name) as image:
            image.create_snap(snapshot)

    def remove_snapshot(self, name: str, snapshot: str) -> None:
        """Remove a snapshot of an image; one that is not there is none to remove."""
        with self._rbd.Image(self._pool, name) as image, suppress(self._rbd.ImageNotFound):
            image.remove_snap(snapshot)

    def revert(self, name: str, snapshot: str) -> None:
        """Make an image again what it was; what was written since is lost. Nobody may have it open."""
        with self._rbd.Image(self._pool, name) as image:
            image.rollback_to_snap(snapshot)

    def rename(self, name: str, new: str) -> None:
        self._rbd.RBD().rename(self._pool, name, new)

    def close_golden(self, made: str, name: str) -> None:
        """Make the image ``made`` the golden image ``name``: with a protected snapshot, which nobody writes to."""
        with self._rbd.Image(self._pool, made) as image:
            if GOLDEN not in [snapshot["name"] for snapshot in image.list_snaps()]:
                image.create_snap(GOLDEN)
            if not image.is_protected_snap(GOLDEN):
                image.protect_snap(GOLDEN)
        self._rbd.RBD().rename(self._pool, made, name)

    def golden(self, name: str) -> Golden | None:
        """What is known of a golden image; None when the image is none, since it has no such snapshot."""
        with self._rbd.Image(self._pool, name, read_only=True) as image:
            if GOLDEN not in [snapshot["name"] for snapshot in image.list_snaps()]:
                return None
            # Of every snapshot, and clones that lie in the trash too: those can be brought back.
            clones = [f"{child['pool']}/{child['image']}" for child in image.list_children2()]
            return Golden(image.create_timestamp().timestamp(), tuple(sorted(clones)))

    def remove(self, name: str) -> None:
        """Remove an image and its snapshots. Raises librbd's ImageBusy while it has clones."""
        with self._rbd.Image(self._pool, name) as image:
            for snapshot in image.list_snaps():
                if image.is_protected_snap(snapshot["name"]):
                    image.unprotect_snap(snapshot["name"])
                image.remove_snap(snapshot["name"])
        self._rbd.RBD().remove(self._pool, name)


@contextmanager
def rbd_images(pool: str, user: str) -> Iterator[RbdImages]:
    """A pool of the cluster, open. Raises CephMissingError, and CephFailedError also for what is done inside."""
    rados, rbd = bindings("rados"), bindings("rbd")
    options = dict.fromkeys(("client_mount_timeout", "rados_mon_op_timeout", "rados_osd_op_timeout"), SECONDS)
    handle = rados.Rados(conffile=CONF, rados_id=user.removeprefix("client."), conf=options)
    try:
        handle.connect()
        with handle.open_ioctx(pool) as objects:
            yield RbdImages(objects, rbd)
    except (rados.Error, rbd.Error) as error:
        raise CephFailedError(f"pool {pool} of the Ceph cluster, as {user}: {' '.join(str(error).split())}") from error
    finally:
        with suppress(rados.Error):
            handle.shutdown()


def import_file(path: str, pool: str, user: str, name: str) -> None:
    """Write a disk image of any format that QEMU reads as a new image of the pool. Raises ImageError."""
    _qemu_img(
        f"{path} could not be written to {pool}/{name}",
        "convert", "-O", "raw", "-t", "none", path, _url(pool, user, name),
    )  # fmt: skip


def export_file(pool: str, user: str, name: str, path: str) -> None:
    """Write an image, or NAME@SNAPSHOT, into a new qcow2 file, which has no room for zeros. Raises ImageError."""
    _qemu_img(f"{pool}/{name} could not be written to {path}", "convert", "-O", "qcow2", _url(pool, user, name), path)


def same_as_file(pool: str, user: str, name: str, path: str) -> None:
    """Hold a qcow2 file against the image, or NAME@SNAPSHOT, byte for byte. Raises ImageError when they differ."""
    what = f"{path} is not what {pool}/{name} is"
    _qemu_img(what, "compare", "-f", "raw", "-F", "qcow2", _url(pool, user, name), path)


def _url(pool: str, user: str, name: str) -> str:
    return f"rbd:{pool}/{name}:id={user.removeprefix('client.')}:conf={CONF}"


def _qemu_img(failed: str, *arguments: str) -> None:
    done = subprocess.run(["qemu-img", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ImageError(f"{failed}: {' '.join((done.stderr or done.stdout).split())}")
