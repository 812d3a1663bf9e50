# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt's own test driver in place of a host.

The driver keeps domains, pools and networks in memory, for as long as a connection is open, and checks their XML as the
real one does. It has no data in its volumes and cannot resize them; that little is put in its place here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.croft.infra.plugins.module_utils import domain_xml, seed, vm_host

# libvirt's bindings come with the distribution's Python only. Last, so that nothing else is taken from there.
sys.path.append("/usr/lib/python3/dist-packages")
libvirt = pytest.importorskip("libvirt", reason="Debian package python3-libvirt")

URI = "test:///default"
POOL = "default-pool"
IMAGE = "base.qcow2"
MIB = 1024 * 1024


class Volumes:
    """What the driver's volumes hold: bytes and sizes by path."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}
        self.sizes: dict[str, int] = {}


@pytest.fixture
def volumes(monkeypatch: pytest.MonkeyPatch) -> Volumes:
    kept = Volumes()
    real_info = libvirt.virStorageVol.info

    def write(volume: Any, data: bytes) -> None:
        kept.data[volume.path()] = data + kept.data.get(volume.path(), b"")[len(data) :]

    def info(volume: Any) -> list[int]:
        kind, size, used = real_info(volume)
        return [kind, kept.sizes.get(volume.path(), size), used]

    def resize(volume: Any, size: int, _flags: int = 0) -> int:
        kept.sizes[volume.path()] = size
        return 0

    def block_resize(domain: Any, target: str, size: int, flags: int = 0) -> int:
        assert flags == libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES
        kept.sizes[domain_xml.describe(domain.XMLDesc(0)).disk_path(target)] = size
        return 0

    monkeypatch.setattr(vm_host, "write", write)
    monkeypatch.setattr(vm_host, "read", lambda volume, size: kept.data.get(volume.path(), b"")[:size])
    monkeypatch.setattr(libvirt.virStorageVol, "info", info)
    monkeypatch.setattr(libvirt.virStorageVol, "resize", resize)
    monkeypatch.setattr(libvirt.virDomain, "blockResize", block_resize)
    return kept


@pytest.fixture
def conn(volumes: Volumes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The driver's connection, with a golden image of 64 MiB in its pool; its state lives as long as the test."""
    monkeypatch.setattr(domain_xml, "DOMAIN_TYPES", {"kvm": "test"})
    monkeypatch.setitem(domain_xml.MACHINES, "i686", "testmachine")
    monkeypatch.setattr(vm_host.shutil, "which", lambda tool: f"/usr/bin/{tool}")
    monkeypatch.setattr(seed, "build_iso", lambda first_boot, _tool: first_boot.digest.encode().rjust(MIB, b"\0"))
    opened = libvirt.open(URI)
    for domain in opened.listAllDomains():
        if domain.isActive():
            domain.destroy()
        domain.undefine()
    for volume in opened.storagePoolLookupByName(POOL).listAllVolumes():
        volume.delete()
    opened.storagePoolLookupByName(POOL).createXML(domain_xml.volume_xml(IMAGE, 64 * MIB, "qcow2"), 0)
    yield opened
    opened.close()


@pytest.fixture
def put_under(conn: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Give a module the driver's connection, which it does not close."""

    @contextmanager
    def connect(_uri: str) -> Iterator[Any]:
        yield conn

    def put(module: Any) -> None:
        monkeypatch.setattr(module, "connection", connect)

    return put


@pytest.fixture
def run_module(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run a module's main() with arguments, and return what it printed, and its warnings as plain texts."""

    def run(module: Any, arguments: dict[str, Any], *, check: bool = False, diff: bool = False) -> dict[str, Any]:
        warned: list[str] = []
        monkeypatch.setattr(AnsibleModule, "warn", lambda _module, text: warned.append(text))
        with (
            patch_module_args({**arguments, "_ansible_check_mode": check, "_ansible_diff": diff}),
            pytest.raises(SystemExit),
        ):
            module.main()
        outcome: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
        return {**outcome, "warnings": warned}

    return run
