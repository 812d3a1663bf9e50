# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stores on libvirt's test driver: its pool is the host's own, or the directory of a server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils import open_stores
from ansible_collections.croft.infra.plugins.module_utils.domain import Image
from ansible_collections.croft.infra.plugins.module_utils.domain_xml import Disk, volume_xml
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import LibvirtFailedError
from ansible_collections.croft.infra.plugins.module_utils.open_stores import OpenStore, opened, read, write
from ansible_collections.croft.infra.plugins.module_utils.store import Source, Store

# libvirt's bindings come with the distribution's Python only. Last, so that nothing else is taken from there.
sys.path.append("/usr/lib/python3/dist-packages")
libvirt = pytest.importorskip("libvirt", reason="Debian package python3-libvirt")

URI, POOL = "test:///default", "default-pool"
SOURCE = Source("nfs", "10.0.0.9", "/srv/vms", 64055)
LOCAL, SERVER = Store(POOL, URI), Store(POOL, URI, SOURCE)
BASE = Image("/default-pool/base.qcow2", "qcow2", 5)


@pytest.fixture
def conn() -> Iterator[Any]:
    """The driver's connection, whose pool has an image, a linked clone of it and a seed."""
    connection = libvirt.open(URI)
    pool = connection.storagePoolLookupByName(POOL)
    for volume in pool.listAllVolumes():
        volume.delete()
    for xml in (
        volume_xml("base.qcow2", 5, "qcow2"),
        volume_xml("web1.qcow2", 5, "qcow2", BASE),
        volume_xml("web1-seed.iso", 5, "raw"),
    ):
        pool.createXML(xml, 0)
    yield connection
    connection.close()


def test_a_store_of_the_host(conn: Any) -> None:
    store = OpenStore(conn, LOCAL)
    assert (store.type, store.path, store.owner) == ("dir", "/default-pool", None)
    assert store.location("web1.qcow2") == "/default-pool/web1.qcow2"
    assert store.disk("web1.qcow2") == Disk("/default-pool/web1.qcow2", "qcow2")
    assert store.backing(BASE) == BASE


def test_a_store_on_a_server(conn: Any) -> None:
    store = OpenStore(conn, SERVER)
    assert store.owner == 64055
    assert store.location("web1.qcow2") == "nfs://10.0.0.9/srv/vms/web1.qcow2"
    base = Disk("/srv/vms/base.qcow2", "qcow2", source=SOURCE)
    assert store.disk("web1.qcow2") == Disk("/srv/vms/web1.qcow2", "qcow2", source=SOURCE, backing=base)
    assert store.disk("web1-seed.iso") == Disk("/srv/vms/web1-seed.iso", "raw", source=SOURCE)
    assert store.backing(BASE) == Image("base.qcow2", "qcow2", 5)


@pytest.mark.parametrize(
    ("store", "location", "name"),
    [
        (LOCAL, "/default-pool/web1.qcow2", "web1.qcow2"),
        (LOCAL, "/default-pool/none.qcow2", None),
        (LOCAL, "/elsewhere/web1.qcow2", None),
        (LOCAL, "nfs://10.0.0.9/srv/vms/web1.qcow2", None),
        (SERVER, "nfs://10.0.0.9/srv/vms/web1.qcow2", "web1.qcow2"),
        (SERVER, "nfs://10.0.0.9/srv/vms/none.qcow2", None),
        (SERVER, "nfs://10.0.0.8/srv/vms/web1.qcow2", None),
        (SERVER, "nfs://10.0.0.9/srv/more/web1.qcow2", None),
        (SERVER, "/default-pool/web1.qcow2", None),
        (Store("none", URI), "/default-pool/web1.qcow2", None),
    ],
)
def test_a_volume_is_found_where_a_domain_says_that_it_is(
    conn: Any, store: Store, location: str, name: str | None
) -> None:
    found = OpenStore(conn, store).volume_at(location)
    assert (None if found is None else found.name()) == name


def test_a_pool_that_is_not_there(conn: Any) -> None:
    store = OpenStore(conn, Store("none", URI))
    assert (store.pool, store.type, store.path) == (None, None, "")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every connection that is opened, and every one that is closed."""
    log: list[str] = []
    real_open, real_close = libvirt.open, libvirt.virConnect.close
    monkeypatch.setattr(libvirt, "open", lambda uri: log.append(f"open {uri}") or real_open(uri))
    monkeypatch.setattr(libvirt.virConnect, "close", lambda conn: log.append("close") or real_close(conn))
    return log


def test_one_connection_serves_a_store_of_the_host(conn: Any, counted: list[str]) -> None:
    with opened(URI, LOCAL, []) as stores:
        assert stores.main.pool.name() == POOL
        assert stores.volume_at("/default-pool/web1.qcow2").name() == "web1.qcow2"
    assert counted == [f"open {URI}", "close"]


def test_disks_are_found_in_every_store_of_the_host(conn: Any, counted: list[str]) -> None:
    away = Store("away", "test:///no/such/file.xml", Source("nfs", "10.0.0.7", "/srv/vms", 1))
    with opened(URI, LOCAL, [LOCAL, away, SERVER]) as stores:
        for location, name in (
            (None, None),
            ("/default-pool/web1.qcow2", "web1.qcow2"),
            ("/none", None),
            ("nfs://10.0.0.8/srv/vms/web1.qcow2", None),
        ):
            found = stores.volume_at(location)
            assert (None if found is None else found.name()) == name
        assert counted == [f"open {URI}"]
        # A server is spoken to when a disk is there, and once.
        for name in ("web1.qcow2", "base.qcow2"):
            assert stores.volume_at(f"nfs://10.0.0.9/srv/vms/{name}").name() == name
        assert counted == [f"open {URI}"] * 2
        with pytest.raises(LibvirtFailedError, match=r"no connection to test:///no/such/file\.xml"):
            stores.volume_at("nfs://10.0.0.7/srv/vms/web1.qcow2")
    assert counted.count("close") == 2


def test_the_main_store_on_a_server_has_a_connection_of_its_own(conn: Any, monkeypatch: Any) -> None:
    log: list[str] = []
    real = open_stores.connection
    monkeypatch.setattr(open_stores, "connection", lambda uri: log.append(uri) or real(URI))
    remote = Store(POOL, "qemu+tls://10.0.0.9/system", SOURCE)
    with opened(URI, remote, [remote]) as stores:
        assert stores.volume_at("nfs://10.0.0.9/srv/vms/web1.qcow2").name() == "web1.qcow2"
        assert stores.volume_at("nfs://10.0.0.9/srv/vms/none.qcow2") is None
    assert log == [URI, "qemu+tls://10.0.0.9/system"]


def test_everything_is_closed_when_something_fails(conn: Any, counted: list[str]) -> None:
    with pytest.raises(LibvirtFailedError), opened(URI, Store("x", "test:///no/such/file.xml"), []):
        raise AssertionError
    assert counted == [f"open {URI}", "open test:///no/such/file.xml", "close"]


class Volume:
    """A volume's content behind a stream that takes and gives at most ``piece`` bytes at once."""

    def __init__(self, data: bytes, piece: int) -> None:
        self.data, self.piece = bytearray(data), piece
        self.finished = 0

    def info(self) -> list[int]:
        return [0, len(self.data), len(self.data)]

    def connect(self) -> Volume:
        return self

    def newStream(self, _flags: int) -> Volume:  # noqa: N802
        return self

    def download(self, _stream: Any, offset: int, length: int, _flags: int) -> None:
        self.left = bytes(self.data[offset : offset + length])

    def upload(self, _stream: Any, offset: int, length: int, _flags: int) -> None:
        self.at, self.end = offset, offset + length

    def recv(self, size: int) -> bytes:
        taken, self.left = self.left[: min(size, self.piece)], self.left[min(size, self.piece) :]
        return taken

    def send(self, data: bytes) -> int:
        taken = data[: self.piece]
        assert self.at + len(taken) <= self.end
        self.data[self.at : self.at + len(taken)] = taken
        self.at += len(taken)
        return len(taken)

    def finish(self) -> None:
        self.finished += 1


@pytest.mark.parametrize("piece", [1, 3, 1 << 20])
def test_bytes_go_through_streams_in_pieces(piece: int) -> None:
    volume = Volume(b"0123456789", piece)
    assert read(volume, 7) == b"0123456"
    write(volume, b"abcd")
    assert (bytes(volume.data), volume.finished) == (b"abcd456789", 2)
