# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs that leave a host, through libvirt: what there is of them, and carrying out the steps of departure.steps()."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils import disk_lease, domain_xml, seed
from ansible_collections.croft.infra.plugins.module_utils.departure import Found, Leaving, own, steps
from ansible_collections.croft.infra.plugins.module_utils.domain import RBD_POOL, seed_volume
from ansible_collections.croft.infra.plugins.module_utils.guest_stop import StopError, shut_down
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    DOMAIN_STATES,
    LibvirtFailedError,
    bindings,
    words,
)
from ansible_collections.croft.infra.plugins.module_utils.migrator import SHARED_POOLS
from ansible_collections.croft.infra.plugins.module_utils.open_stores import Stores, read


class DepartureError(Exception):
    """A VM could not leave; the text says which, what failed, and why."""


class Departures:
    """The VMs that leave this host."""

    def __init__(self, stores: Stores, sleep: Callable[[float], None] = time.sleep) -> None:
        self.stores = stores
        self.conn = stores.conn
        self.lv = bindings()
        self._sleep = sleep

    # What is there

    def look(self, leaving: Sequence[Leaving]) -> dict[str, Found]:
        """What this host has of each VM: its domain, and the disks that belong to that."""
        described = {d.name(): domain_xml.describe(d.XMLDesc(self.lv.VIR_DOMAIN_XML_INACTIVE)) for d in self._domains()}
        found = {}
        for one in leaving:
            if one.name not in described:
                found[one.name] = Found()
                continue
            about = described[one.name]
            others = {place for name, other in described.items() if name != one.name for _, place, _ in other.disks}
            volumes, kept = [], []
            for _target, place, read_only in about.disks:
                if place in others or not own(place, one.name, read_only=read_only):
                    kept.append(place)
                elif self.stores.volume_at(place) is not None:
                    volumes.append(place)
            # The seed last: as long as it is there, its mark tells whose the other volumes are.
            volumes.sort(key=lambda place: PurePosixPath(place).name == seed_volume(about.name))
            state = DOMAIN_STATES.get(self.conn.lookupByName(one.name).state(0)[0], "stopped")
            found[one.name] = Found(state, about.managed, tuple(volumes), tuple(kept))
        return found

    def look_for_volumes(self, leaving: Sequence[Leaving], *, shared: bool) -> dict[str, Found]:
        """What is left in the pool of VMs that have no domain on any host. ``shared``: also where hosts share it."""
        store = self.stores.main
        nothing = {one.name: Found() for one in leaving}
        if store.pool is None or not store.pool.isActive():
            return nothing
        if not shared and (store.source is not None or store.type in SHARED_POOLS):
            return nothing
        with suppress(self.lv.libvirtError):
            # A pool in which a volume is being made right now cannot be refreshed; libvirt knows what is in it then.
            store.pool.refresh(0)
        volumes = frozenset(store.pool.listVolumes())
        used = {
            place
            for domain in self._domains()
            for _, place, _ in domain_xml.describe(domain.XMLDesc(self.lv.VIR_DOMAIN_XML_INACTIVE)).disks
        }
        found = dict(nothing)
        for one in leaving:
            first = seed_volume(one.name)
            if first not in volumes:
                continue
            mark = read(store.pool.storageVolLookupByName(first), seed.MARK_BYTES)
            if seed.read_mark(mark, one.uuid) in ("building", "ready"):
                names = [
                    *sorted(name for name in volumes if own(name, one.name, read_only=False) and name != first),
                    first,
                ]
                places = [store.location(name) for name in names]
                if not used.intersection(places):
                    found[one.name] = Found(volumes=tuple(places))
        return found

    def _domains(self) -> list[Any]:
        return list(self.conn.listAllDomains(0))

    # Carrying out

    def carry_out(self, leaving: Sequence[Leaving], found: dict[str, Found], patience: int) -> None:
        """Take the steps of every VM. Raises DepartureError at the first that fails; what was done stays done."""
        running = [self.conn.lookupByName(one.name) for one in leaving if found[one.name].state == "running"]
        for domain in running:
            if not domain.isPersistent():
                # A cluster ran it: it gets a definition, by which its disks and its lease are found also after a run
                # that was cut off.
                flags = self.lv.VIR_DOMAIN_XML_INACTIVE | self.lv.VIR_DOMAIN_XML_SECURE
                self.conn.defineXML(domain.XMLDesc(flags))
            # A host that restarts meanwhile must not start it again.
            domain.setAutostart(0)
        try:
            late = shut_down(running, patience, self._sleep)
        except StopError as error:
            raise DepartureError(f"{error.name}: cannot be asked to stop: {error}") from error
        if late:
            raise DepartureError(
                f"still running {patience} s after they were asked to stop: {', '.join(late)}; shut them down inside "
                "or with virsh, then run again"
            )
        for one in leaving:
            self._leave(one, found[one.name])

    def _leave(self, one: Leaving, found: Found) -> None:
        for step in steps(one, found):
            try:
                if step.action == "delete_disk":
                    self._delete(step.detail)
                elif step.action == "undefine":
                    self._undefine(one)
            except (self.lv.libvirtError, LibvirtFailedError, disk_lease.LeaseError) as error:
                raise DepartureError(f"{one.name}: {step.action} {step.detail} failed: {words(error)}") from error

    def _delete(self, place: str) -> None:
        volume = self.stores.volume_at(place)
        if volume is None:
            return
        kind = domain_xml.read_pool(volume.storagePoolLookupByVolume().XMLDesc(0))[0]
        volume.delete(self.lv.VIR_STORAGE_VOL_DELETE_WITH_SNAPSHOTS if kind == RBD_POOL else 0)

    def _undefine(self, one: Leaving) -> None:
        lv = self.lv
        domain = self.conn.lookupByName(one.name)
        hook = disk_lease.load(lv)
        if hook is not None:
            held = [place for place in disk_lease.places(domain.XMLDesc(0)) if place in hook.pools]
            with hook.leases(held, domain.UUIDString()) as leases:
                for lease in leases:
                    disk_lease.release(lease, hook.me)
        flags = lv.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | lv.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        flags |= lv.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        # The firmware's variables and the TPM's state belong to what is on the disks.
        flags |= lv.VIR_DOMAIN_UNDEFINE_NVRAM if one.disks else lv.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM
        flags |= lv.VIR_DOMAIN_UNDEFINE_TPM if one.disks else lv.VIR_DOMAIN_UNDEFINE_KEEP_TPM
        domain.undefineFlags(flags)
