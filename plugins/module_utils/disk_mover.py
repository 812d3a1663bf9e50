# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks of running VMs from one storage pool to another, through libvirt's block copy.

A disk is mirrored while the guest writes, and the guest is switched to the copy when both are equal. Only what differs
from the golden image is copied when the target has that image, too. The old volume goes when the guest has left it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils import disk_lease, domain_xml
from ansible_collections.croft.infra.plugins.module_utils.domain import stored_as
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    DOMAIN_STATES,
    bindings,
    quietly,
    removed,
    words,
)
from ansible_collections.croft.infra.plugins.module_utils.migration import GIB
from ansible_collections.croft.infra.plugins.module_utils.open_stores import OpenStore, Stores


@dataclass(frozen=True)
class Disk:
    """A disk that shall move: its target in the guest, its place, and its name and need (bytes) in the other pool."""

    target: str
    place: str
    name: str
    read_only: bool
    need: int
    clash: bool


@dataclass(frozen=True)
class Seen:
    """What there is of a VM: its state (None: no such VM here), and its disks that are not in the pool yet."""

    state: str | None = None
    managed: bool = True
    disks: tuple[Disk, ...] = ()
    snapshots: int = 0


def problems(pools: dict[str, str], seen: dict[str, Seen], free: dict[str, int | None]) -> list[str]:
    """One line for each thing that forbids to begin. ``pools``: the wished pool by VM; ``free``: bytes left by pool,
    None where the pool is not there or not active."""
    found = []
    wanted: dict[str, int] = {}
    for name, pool in pools.items():
        vm = seen[name]
        if vm.state is None:
            found.append(f"{name}: there is no such VM on this host")
            continue
        if not vm.managed:
            found.append(f"{name}: was not made by croft; move its disks by hand")
        if vm.disks and vm.state != "running":
            found.append(f"{name}: is {vm.state}; disks are moved of a running VM")
        if vm.disks and vm.snapshots:
            found.append(
                f"{name}: has {vm.snapshots} snapshots inside of its disks, which a copy would lose; remove them first"
            )
        if free[pool] is None:
            found.append(
                f"{name}: the storage pool {pool} is not there or not active; run site.yml, or correct the name"
            )
        found += [
            f"{name}: the storage pool {pool} has a volume of the name of {disk.place}; remove or rename that one"
            for disk in vm.disks
            if disk.clash
        ]
        wanted[pool] = wanted.get(pool, 0) + sum(disk.need for disk in vm.disks)
    for pool, need in wanted.items():
        left = free[pool]
        if left is not None and need > left:
            found.append(
                f"storage pool {pool}: {need / GIB:.1f} GiB are needed, {left / GIB:.1f} GiB are left; free some there"
            )
    return found


class DiskMover:
    """Moves disks of this host's VMs; ``timeout`` in seconds for each disk, counted by looks."""

    def __init__(self, stores: Stores, timeout: int, sleep: Callable[[float], None] = time.sleep) -> None:
        self.stores = stores
        self.conn = stores.conn
        self.lv = bindings()
        self.timeout = timeout
        self._sleep = sleep

    def look(self, name: str, store: OpenStore) -> Seen:
        try:
            domain = self.conn.lookupByName(name)
        except self.lv.libvirtError:
            return Seen()
        about = domain_xml.describe(domain.XMLDesc(0))
        here = frozenset(store.pool.listVolumes()) if store.pool is not None and store.pool.isActive() else frozenset()
        disks = []
        for target, place, read_only in about.disks:
            there, _format = stored_as(PurePosixPath(place).name, "raw", store.type)
            if place == store.location(there):
                continue
            found = self.stores.volume_at(place)
            need = 0 if found is None else int(found.info()[2])
            disks.append(Disk(target, place, there, read_only, need, there in here))
        return Seen(
            DOMAIN_STATES.get(domain.state(0)[0], "stopped"), about.managed, tuple(disks), domain.snapshotNum(0)
        )

    def move(self, name: str, seen: Seen, store: OpenStore) -> dict[str, Any]:
        """Move the disks of one VM; how it ended. What failed is as it was before, disk by disk."""
        domain = self.conn.lookupByName(name)
        moved: list[dict[str, Any]] = []
        try:
            refusal = self._take_lease(domain, store)
        except disk_lease.LeaseError as error:
            refusal = f"its lease in the pool cannot be reached: {error}"
        if refusal is not None:
            return {"name": name, "state": "failed", "reason": refusal, "disks": moved}
        for disk in seen.disks:
            started = time.monotonic()
            made: list[Any] = []
            old = self.stores.volume_at(disk.place)
            try:
                self._copy(domain, disk, old, store, made)
            except (self.lv.libvirtError, TimeoutError) as error:
                left = removed(made)
                return {
                    "name": name,
                    "state": "failed",
                    "reason": f"{disk.target}: {words(error)}{left}",
                    "disks": moved,
                }
            left = removed([old])
            moved.append(
                {
                    "disk": disk.target,
                    "from": disk.place,
                    "to": store.location(disk.name),
                    "seconds": round(time.monotonic() - started, 1),
                    **({"remark": left.lstrip("; ")} if left else {}),
                }
            )
        try:
            self._give_leases_back(domain)
        except disk_lease.LeaseError as error:
            # It is found out when the VM is started next.
            return {
                "name": name,
                "state": "done",
                "disks": moved,
                "remark": f"a lease could not be given back: {error}",
            }
        return {"name": name, "state": "done", "disks": moved}

    def _copy(self, domain: Any, disk: Disk, old: Any, store: OpenStore, made: list[Any]) -> None:
        self._mirror(domain, disk, old, store, made)
        try:
            domain.blockJobAbort(disk.target, self.lv.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT)
        except self.lv.libvirtError:
            quietly(lambda: domain.blockJobAbort(disk.target, 0))
            raise

    def _mirror(self, domain: Any, disk: Disk, old: Any, store: OpenStore, made: list[Any]) -> None:
        """Make the volume and have it follow every write of the guest."""
        lv = self.lv
        xml = old.XMLDesc(0)
        about, parent = domain_xml.read_volume(xml), domain_xml.backing_path(xml)
        _name, fmt = stored_as(old.name(), about.format, store.type)
        image = None
        # Only a file names what it is a clone of; what is no file gets the whole content.
        if fmt == "qcow2" and parent is not None and PurePosixPath(parent).name in store.pool.listVolumes():
            found = store.pool.storageVolLookupByName(PurePosixPath(parent).name)
            image = store.backing(domain_xml.read_volume(found.XMLDesc(0)))
        size = domain.blockInfo(disk.target)[0]
        new = store.pool.createXML(domain_xml.volume_xml(disk.name, size, fmt, image, owner=store.owner), 0)
        made.append(new)
        # A mirror does not outlive the guest's process: one that dies meanwhile starts again on the old disk.
        flags = lv.VIR_DOMAIN_BLOCK_COPY_REUSE_EXT | lv.VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB
        flags |= lv.VIR_DOMAIN_BLOCK_COPY_SHALLOW if image is not None else 0
        domain.blockCopy(disk.target, domain_xml.disk_xml(store.disk(disk.name), disk.target), {}, flags)
        try:
            self._wait(domain, disk)
        except (lv.libvirtError, TimeoutError):
            quietly(lambda: domain.blockJobAbort(disk.target, 0))
            raise

    def _wait(self, domain: Any, disk: Disk) -> None:
        """Until the copy is equal and follows every write."""
        for _look in range(self.timeout * 5):
            job = domain.blockJobInfo(disk.target, 0)
            if not job:
                raise TimeoutError("the copy ended by itself; the host's log of QEMU says why")
            if job["cur"] == job["end"] and job["end"] > 0 and self._follows(domain, disk.target):
                return
            self._sleep(0.2)
        raise TimeoutError(f"not copied within {self.timeout} s; the disk stays where it was")

    def _follows(self, domain: Any, target: str) -> bool:
        """Whether libvirt says of the mirror that it is ready for the switch."""
        return domain_xml.mirror_ready(domain.XMLDesc(0), target)

    def _take_lease(self, domain: Any, store: OpenStore) -> str | None:
        """Take the lease of a disk that QEMU will open itself; returns why not."""
        hook = disk_lease.load(self.lv)
        if hook is None or store.source is None:
            return None
        place = disk_lease.Place(store.source.protocol, store.source.host, store.source.directory.rstrip("/"))
        if place not in hook.pools or place in disk_lease.places(domain.XMLDesc(0)):
            return None
        with hook.leases([place], domain.UUIDString()) as leases:
            return disk_lease.claim(self.lv, leases[0], hook.me, domain.name(), incoming=False)

    def _give_leases_back(self, domain: Any) -> None:
        """Give back those that are needed no more."""
        hook = disk_lease.load(self.lv)
        if hook is None:
            return
        now = disk_lease.places(domain.XMLDesc(0))
        with hook.leases([place for place in hook.pools if place not in now], domain.UUIDString()) as leases:
            for lease in leases:
                disk_lease.release(lease, hook.me)


def free_bytes(stores: Iterable[tuple[str, OpenStore]]) -> dict[str, int | None]:
    """What is left in each pool; None where it is not there or not active."""
    return {
        name: int(store.pool.info()[3]) if store.pool is not None and store.pool.isActive() else None
        for name, store in stores
    }
