# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Storage pools that are open: their volumes, and how QEMU on this host reaches them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils import domain_xml
from ansible_collections.croft.infra.plugins.module_utils.ceph_connection import CephFailedError, CephMissingError
from ansible_collections.croft.infra.plugins.module_utils.domain import BLOCK_POOLS, RBD_POOL, Image, volume_format
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    LibvirtFailedError,
    bindings,
    connection,
)
from ansible_collections.croft.infra.plugins.module_utils.rbd_images import RbdImages, import_file, rbd_images
from ansible_collections.croft.infra.plugins.module_utils.store import Store

_CHUNK = 256 * 1024


class OpenStore:
    """A store and the connection to the libvirt that has its pool; ``pool`` is None where that has no such pool."""

    def __init__(self, conn: Any, store: Store) -> None:
        self.source = store.source
        self.pool: Any = next((pool for pool in conn.listAllStoragePools(0) if pool.name() == store.pool), None)
        self.type: str | None = None
        self.path = ""
        if self.pool is not None:
            xml = self.pool.XMLDesc(0)
            self.type, self.path = domain_xml.read_pool(xml)
            self.source = self.source or domain_xml.read_rbd_pool(xml)
        self.owner = None if self.source is None else self.source.owner

    def location(self, volume: str) -> str:
        """Where a domain's description says that the volume is."""
        return f"{self.path}/{volume}" if self.source is None else self.source.location(volume)

    def volume_at(self, location: str) -> Any:
        """The volume that a domain's description names, or None when it is not in this pool."""
        name = PurePosixPath(location).name
        if self.pool is None or location != self.location(name):
            return None
        try:
            return self.pool.storageVolLookupByName(name)
        except bindings().libvirtError:
            return None

    def backing(self, image: Image) -> Image:
        """The image as a linked clone names it: beside itself where hosts and server know it by different paths."""
        return image if self.source is None else replace(image, path=PurePosixPath(image.path).name)

    def make_disk(self, name: str, size: int, image: Image, volume: str, *, linked: bool) -> None:
        """Make a root disk of ``size`` bytes from the golden image, which is the pool's volume of that name."""
        if linked and self.type != RBD_POOL:
            fmt = volume_format(self.type, "qcow2")
            self.pool.createXML(domain_xml.volume_xml(name, size, fmt, self.backing(image), owner=self.owner), 0)
            return
        golden = self.pool.storageVolLookupByName(volume)
        xml = domain_xml.volume_xml(name, size, volume_format(self.type, "qcow2"), owner=self.owner)
        # Of an RBD image libvirt makes a clone of its protected snapshot.
        made = self.pool.createXMLFrom(xml, golden, 0)
        if self.type == RBD_POOL and not linked:
            with rbd_images_of(made) as images:
                images.flatten(name)
        if made.info()[1] < size:
            made.resize(size, 0)

    def import_disk(self, name: str, size: int, path: str) -> None:
        """Make a root disk of ``size`` bytes or more from a file with a qcow2 image on this host."""
        if self.type == RBD_POOL:
            assert self.source is not None
            import_file(path, self.source.directory, self.source.user, name)
            return
        fmt = volume_format(self.type, "qcow2")
        upload(self.pool.createXML(domain_xml.volume_xml(name, size, fmt, owner=self.owner), 0), path)

    def disk(self, volume: str) -> domain_xml.Disk:
        """A volume as a domain's disk."""
        found = self.pool.storageVolLookupByName(volume)
        xml = found.XMLDesc(0)
        about = domain_xml.read_volume(xml)
        if self.source is None:
            return domain_xml.Disk(found.path(), about.format, self.type in BLOCK_POOLS)
        parent = domain_xml.backing_path(xml)
        backing = None if parent is None else self.disk(PurePosixPath(parent).name)
        return domain_xml.Disk(self.source.path(volume), about.format, source=self.source, backing=backing)


class Stores:
    """The store for new disks, and whatever else the disks of this host's VMs may be in."""

    def __init__(self, conn: Any, main: OpenStore, others: Sequence[Store], stack: ExitStack) -> None:
        self.conn = conn
        self.main = main
        self._others = others
        self._open: dict[Store, OpenStore] = {}
        self._stack = stack

    def volume_at(self, location: str | None) -> Any:
        """The volume at a path in any active pool of the host, or at a URL in a pool of a server; None: not there.

        Raises LibvirtFailedError when that server's libvirt does not answer.
        """
        if location is None:
            return None
        if "://" not in location:
            try:
                return self.conn.storageVolLookupByPath(location)
            except bindings().libvirtError:
                return None
        found = self.main.volume_at(location)
        if found is None and location.startswith("rbd:"):
            volumes = (pool.volume_at(location) for pool in self._image_pools)
            return next((volume for volume in volumes if volume is not None), None)
        for other in self._others:
            if found is None and other.source is not None and location.startswith(other.source.location("")):
                found = self.open(other).volume_at(location)
        return found

    @cached_property
    def _image_pools(self) -> list[OpenStore]:
        """The host's pools of RBD images."""
        pools = [
            OpenStore(self.conn, Store(pool.name())) for pool in self.conn.listAllStoragePools(0) if pool.isActive()
        ]
        return [pool for pool in pools if pool.type == RBD_POOL]

    def open(self, store: Store) -> OpenStore:
        """A store, opened at its first use."""
        if store not in self._open:
            self._open[store] = OpenStore(self._stack.enter_context(connection(store.uri)), store)
        return self._open[store]


@contextmanager
def opened(uri: str, main: Store, others: Sequence[Store]) -> Iterator[Stores]:
    """The host's libvirt and the libvirt that has the main store, closed at the end.

    Raises LibvirtMissingError or LibvirtFailedError.
    """
    with ExitStack() as stack:
        conn = stack.enter_context(connection(uri))
        there = conn if main.uri == uri else stack.enter_context(connection(main.uri))
        yield Stores(conn, OpenStore(there, main), [other for other in others if other != main], stack)


@contextmanager
def rbd_images_of(volume: Any) -> Iterator[RbdImages]:
    """The pool of a volume that is an RBD image, over librbd. Raises LibvirtFailedError."""
    pool, user, _image = rbd_place(volume)
    try:
        with rbd_images(pool, user) as images:
            yield images
    except (CephMissingError, CephFailedError) as error:
        raise LibvirtFailedError(str(error)) from error


def snapshot_all(volumes: Sequence[Any], snapshot: str) -> None:
    """A snapshot of RBD images, of all or of none. Raises LibvirtFailedError."""
    made: list[Any] = []
    try:
        for volume in volumes:
            with rbd_images_of(volume) as images:
                # One that is left of a run that was cut off is not of this moment.
                images.remove_snapshot(volume.name(), snapshot)
                images.create_snapshot(volume.name(), snapshot)
            made.append(volume)
    except LibvirtFailedError:
        remove_snapshots(made, snapshot)
        raise


def remove_snapshots(volumes: Sequence[Any], snapshot: str) -> None:
    """Remove a snapshot of RBD images. Raises LibvirtFailedError."""
    for volume in volumes:
        with rbd_images_of(volume) as images:
            images.remove_snapshot(volume.name(), snapshot)


def rbd_place(volume: Any) -> tuple[str, str, str]:
    """(pool, user, image) of a volume that is an RBD image."""
    source = domain_xml.read_rbd_pool(volume.storagePoolLookupByVolume().XMLDesc(0))
    assert source is not None
    return source.directory, source.user, str(volume.name())


def _is_rbd(volume: Any) -> bool:
    """Whether the volume is one of a network storage, which is that of Ceph; libvirt makes no others of this type."""
    return bool(volume.info()[0] == bindings().VIR_STORAGE_VOL_NETWORK)


def read(volume: Any, length: int) -> bytes:
    """The first bytes of a volume."""
    if _is_rbd(volume):
        with rbd_images_of(volume) as images:
            return images.read(volume.name(), length)
    stream = volume.connect().newStream(0)
    volume.download(stream, 0, length, 0)
    data = b""
    while chunk := stream.recv(_CHUNK):
        data += chunk
    stream.finish()
    return data


def write(volume: Any, data: bytes) -> None:
    """Write over the beginning of a volume."""
    if _is_rbd(volume):
        with rbd_images_of(volume) as images:
            images.write(volume.name(), data)
        return
    stream = volume.connect().newStream(0)
    volume.upload(stream, 0, len(data), 0)
    sent = 0
    while sent < len(data):
        sent += stream.send(data[sent : sent + _CHUNK])
    stream.finish()


def upload(volume: Any, path: str) -> None:
    """A file's bytes become those of a volume; its format is the file's."""
    stream = volume.connect().newStream(0)
    with Path(path).open("rb") as file:
        volume.upload(stream, 0, Path(path).stat().st_size, 0)
        stream.sendAll(lambda _stream, length, source: source.read(length), file)
    stream.finish()
