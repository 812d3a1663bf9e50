# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clones of VMs: a copy of the disk of one that runs, at one moment, or of one that is stopped."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils import domain_xml
from ansible_collections.croft.infra.plugins.module_utils.disk_mover import Disk, DiskMover
from ansible_collections.croft.infra.plugins.module_utils.domain import RBD_POOL, volume_format
from ansible_collections.croft.infra.plugins.module_utils.guest_freeze import frozen
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    DOMAIN_STATES,
    bindings,
)
from ansible_collections.croft.infra.plugins.module_utils.open_stores import OpenStore, Stores, rbd_images_of


def problems(name: str, domain: Any, stores: Stores) -> list[str]:
    """Why this VM cannot be copied."""
    if domain is None:
        return [f"{name}: there is no such VM on this host"]
    about = domain_xml.describe(domain.XMLDesc(0))
    state = DOMAIN_STATES.get(domain.state(0)[0], "stopped")
    path = about.disk_path(domain_xml.ROOT_TARGET)
    lines = []
    if not about.managed:
        lines.append(f"{name}: was not made by croft; copy it by hand")
    if state not in ("running", "stopped"):
        lines.append(f"{name}: is {state}; see to that first")
    if stores.volume_at(path) is None:
        lines.append(f"{name}: its disk {path or '(vda)'} is not there")
    elif state == "stopped" and path != stores.main.location(PurePosixPath(str(path)).name):
        lines.append(f"{name}: is stopped, and its disk is not in the pool of new disks; start it, or move the disk")
    return lines


def copy_stopped(stores: Stores, source: Any, new: str) -> None:
    """A full copy of a volume; of an RBD image a clone that is then flattened, so that each stands alone."""
    store = stores.main
    size = int(source.info()[1])
    xml = domain_xml.volume_xml(new, size, volume_format(store.type, "qcow2"), owner=store.owner)
    made = store.pool.createXMLFrom(xml, source, 0)
    if store.type == RBD_POOL:
        with rbd_images_of(made) as images:
            images.flatten(new)


class RunningCopy(DiskMover):
    """The copy of a running VM's disk: a mirror that is cut off when it is equal and the guest holds still."""

    def copy_running(self, domain: Any, store: OpenStore, new: str) -> str | None:
        """None when the guest's agent froze its file systems for the moment, else why not."""
        target = domain_xml.ROOT_TARGET
        place = domain_xml.describe(domain.XMLDesc(0)).disk_path(target)
        made: list[Any] = []
        self._mirror(domain, Disk(target, str(place), new, False, 0, False), self.stores.volume_at(place), store, made)
        with frozen(domain) as reason:
            # Not pivoted: the guest stays on its disk, and the copy is what it was at this moment.
            domain.blockJobAbort(target, 0)
        return reason


def lookup(conn: Any, name: str) -> Any:
    """The domain, or None."""
    try:
        return conn.lookupByName(name)
    except bindings().libvirtError:
        return None
