# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots of a host's VMs through libvirt, and through librbd where their disks are images of a Ceph pool."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils import domain_xml
from ansible_collections.croft.infra.plugins.module_utils.guest_freeze import frozen
from ansible_collections.croft.infra.plugins.module_utils.guest_stop import StopError, shut_down
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    DOMAIN_STATES,
    LibvirtFailedError,
    bindings,
    words,
)
from ansible_collections.croft.infra.plugins.module_utils.open_stores import (
    Stores,
    rbd_images_of,
    remove_snapshots,
    snapshot_all,
)
from ansible_collections.croft.infra.plugins.module_utils.snapshots import Disk, Seen, Snapshot, kind_of


class SnapshotError(Exception):
    """A snapshot could not be made, taken back or removed; the text says of which VM and why."""


class Snapshots:
    """The snapshots of this host's VMs."""

    def __init__(self, stores: Stores, sleep: Callable[[float], None] = time.sleep) -> None:
        self.stores = stores
        self.conn = stores.conn
        self.lv = bindings()
        self._sleep = sleep

    def look(self, name: str) -> Seen:
        try:
            domain = self.conn.lookupByName(name)
        except self.lv.libvirtError:
            return Seen()
        about = domain_xml.describe(domain.XMLDesc(0))
        disks = tuple(self._disk(target, place) for target, place, read_only in about.disks if not read_only)
        found = [
            Snapshot(one.getName(), float(ET.fromstring(one.getXMLDesc(0)).findtext("creationTime", "0")))
            for one in domain.listAllSnapshots(0)
        ]
        if disks and all(disk.kind == "rbd" for disk in disks):
            found += self._of_images(disks)
        return Seen(
            state=DOMAIN_STATES.get(domain.state(0)[0], "stopped"),
            managed=about.managed,
            memory_bytes=about.fields.memory_mib * 1024**2,
            disks=disks,
            snapshots=tuple(found),
            checkpoints=len(domain.listAllCheckpoints(0)),
        )

    def _disk(self, target: str, place: str) -> Disk:
        volume = self.stores.volume_at(place)
        if volume is None:
            return Disk(target, place, kind_of(place, None))
        fmt = domain_xml.read_volume(volume.XMLDesc(0)).format
        return Disk(target, place, kind_of(place, fmt), int(volume.storagePoolLookupByVolume().info()[3]))

    def _of_images(self, disks: tuple[Disk, ...]) -> list[Snapshot]:
        """The snapshots that every image has."""
        found: list[dict[str, float]] = []
        for disk in disks:
            volume = self.stores.volume_at(disk.place)
            if volume is None:
                return []
            with rbd_images_of(volume) as images:
                found.append(images.snapshots(volume.name()))
        return [Snapshot(name, at) for name, at in found[0].items() if all(name in other for other in found)]

    # Making

    def create(self, name: str, seen: Seen, snapshot: str) -> dict[str, Any]:
        """Make a snapshot; {seconds, agent, with_memory}. What failed leaves nothing behind."""
        domain = self.conn.lookupByName(name)
        started = time.monotonic()
        running = seen.state == "running"
        try:
            if seen.kind == "rbd":
                with frozen(domain) if running else nullcontext("is not running") as agent:
                    snapshot_all(self._volumes(seen.disks), snapshot)
            else:
                agent = None
                for checkpoint in reversed(domain.listAllCheckpoints(self.lv.VIR_DOMAIN_CHECKPOINT_LIST_TOPOLOGICAL)):
                    checkpoint.delete(0)
                self._create_inside(domain, snapshot)
        except (self.lv.libvirtError, LibvirtFailedError) as error:
            raise SnapshotError(f"{name}: the snapshot {snapshot} could not be made: {words(error)}") from error
        return {
            "seconds": round(time.monotonic() - started, 2),
            "with_memory": running and seen.kind == "qcow2",
            "agent": agent,
        }

    def _create_inside(self, domain: Any, snapshot: str) -> None:
        root = ET.Element("domainsnapshot")
        ET.SubElement(root, "name").text = snapshot
        disks = ET.SubElement(root, "disks")
        for target, _place, read_only in domain_xml.describe(domain.XMLDesc(0)).disks:
            ET.SubElement(disks, "disk", {"name": target, "snapshot": "no" if read_only else "internal"})
        domain.snapshotCreateXML(ET.tostring(root, encoding="unicode"), 0)

    def _volumes(self, disks: tuple[Disk, ...]) -> list[Any]:
        return [self.stores.volume_at(disk.place) for disk in disks]

    # Taking back, removing

    def revert(self, name: str, seen: Seen, snapshot: str, patience: int) -> None:
        """Everything that was written since the snapshot is lost. The VM runs afterwards when it ran before."""
        domain = self.conn.lookupByName(name)
        running = bool(domain.isActive())
        try:
            if seen.kind == "rbd":
                self._revert_images(domain, seen, snapshot, patience)
                if running:
                    domain.create()
                return
            flags = self.lv.VIR_DOMAIN_SNAPSHOT_REVERT_RUNNING if running else 0
            domain.revertToSnapshot(domain.snapshotLookupByName(snapshot, 0), flags)
        except (self.lv.libvirtError, LibvirtFailedError, StopError) as error:
            raise SnapshotError(f"{name}: could not go back to {snapshot}: {words(error)}") from error

    def _revert_images(self, domain: Any, seen: Seen, snapshot: str, patience: int) -> None:
        if domain.isActive() and shut_down([domain], patience, self._sleep):
            raise LibvirtFailedError(f"still running {patience} s after it was asked to stop")
        for volume in self._volumes(seen.disks):
            with rbd_images_of(volume) as images:
                images.revert(volume.name(), snapshot)

    def remove(self, name: str, seen: Seen, snapshot: str) -> None:
        try:
            if seen.kind == "rbd":
                remove_snapshots(self._volumes(seen.disks), snapshot)
                return
            self.conn.lookupByName(name).snapshotLookupByName(snapshot, 0).delete(0)
        except (self.lv.libvirtError, LibvirtFailedError) as error:
            raise SnapshotError(f"{name}: the snapshot {snapshot} could not be removed: {words(error)}") from error
