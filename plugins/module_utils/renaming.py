# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stopped VM gets another name, and its volumes with it. Its UUID and MAC address stay: to its guest it is the same.

A run that was cut off is completed by the next one: what has the new name already is passed over.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils import domain_xml
from ansible_collections.croft.infra.plugins.module_utils.departure import own
from ansible_collections.croft.infra.plugins.module_utils.domain import BLOCK_POOLS, RBD_POOL
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import DOMAIN_STATES, bindings
from ansible_collections.croft.infra.plugins.module_utils.open_stores import Stores, rbd_images_of

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Seen:
    """What there is of a VM. ``volumes``: the disks of its own, old place to new name; ``clashes``: new names that
    something has already, beside the old. ``renamed``: its domain bears the new name."""

    state: str | None = None
    managed: bool = True
    snapshots: int = 0
    saved: bool = False
    volumes: Mapping[str, str] | None = None
    clashes: tuple[str, ...] = ()
    renamed: bool = False

    @property
    def done(self) -> bool:
        return self.renamed and not self.volumes


def new_name(place: str, old: str, new: str) -> str:
    """The name of a volume of the VM under the VM's new name."""
    return new + PurePosixPath(place).name.removeprefix(old)


def problems(entries: Sequence[Mapping[str, str]], seen: Mapping[str, Seen], taken: Collection[str]) -> list[str]:
    """One line for each thing that forbids to begin. ``taken``: the names of the VMs of all hosts."""
    lines = []
    for entry in entries:
        old, new = entry["name"], entry["to"]
        found = seen[old]
        if not _LABEL.fullmatch(new):
            lines.append(f"{old}: {new!r} is no name; give lower case letters, digits and hyphens (RFC 1123)")
        if found.renamed:
            continue
        if found.state is None:
            lines.append(f"{old}: there is no such VM on this host")
            continue
        if new in taken:
            lines.append(f"{old}: there is a VM {new} already; give another name")
        lines += [f"{old}: {line}" for line in _of_vm(found)]
    return lines


def _of_vm(found: Seen) -> list[str]:
    lines = []
    if not found.managed:
        lines.append("was not made by croft; rename it by hand")
    if found.state != "stopped":
        lines.append(
            f"is {found.state}; only a stopped VM is renamed (state: stopped, then playbooks/virtual_machines.yml)"
        )
    if found.saved:
        lines.append("has its memory saved to a file; start and stop it first")
    if found.snapshots:
        lines.append(f"has {found.snapshots} snapshots, with which libvirt renames no VM; remove them first")
    return lines + [f"the pool has a volume {name}; remove or rename it" for name in found.clashes]


def renamed_xml(xml: str, moved: Mapping[str, str], old: str, new: str) -> str:
    """The domain's XML with the volumes at their new places, as ``moved`` has them by old place's file name."""
    root = ET.fromstring(xml)
    for source in root.iterfind("devices/disk/source"):
        for key in ("file", "dev", "name"):
            value = source.get(key)
            name = "" if value is None else PurePosixPath(value).name
            if value is not None and name in moved:
                source.set(key, value.removesuffix(name) + moved[name])
    for log in root.iterfind("devices//log"):
        if log.get("file") == domain_xml.CONSOLE_LOG.format(name=old):
            log.set("file", domain_xml.CONSOLE_LOG.format(name=new))
    return ET.tostring(root, encoding="unicode")


class Renamer:
    """Renames VMs of this host."""

    def __init__(self, stores: Stores) -> None:
        self.stores = stores
        self.conn = stores.conn
        self.lv = bindings()

    def look(self, old: str, new: str) -> Seen:
        domain = self._domain(old)
        if domain is None:
            # A run that was cut off renamed the domain and perhaps not all of its volumes.
            domain = self._domain(new)
            if domain is None:
                return Seen()
            left = self._volumes(domain, old, new)
            return Seen("stopped", volumes=left, renamed=True)
        volumes = self._volumes(domain, old, new)
        clashes = []
        for place, name in volumes.items():
            there = self.stores.volume_at(str(PurePosixPath(place).with_name(name)).replace(":/", "://", 1))
            if there is not None and self.stores.volume_at(place) is not None:
                clashes.append(name)
        return Seen(
            state=DOMAIN_STATES.get(domain.state(0)[0], "stopped"),
            managed=domain_xml.describe(domain.XMLDesc(0)).managed,
            snapshots=domain.snapshotNum(0),
            saved=bool(domain.hasManagedSaveImage(0)),
            volumes=volumes,
            clashes=tuple(clashes),
        )

    def _domain(self, name: str) -> Any:
        try:
            return self.conn.lookupByName(name)
        except self.lv.libvirtError:
            return None

    def _volumes(self, domain: Any, old: str, new: str) -> dict[str, str]:
        about = domain_xml.describe(domain.XMLDesc(self.lv.VIR_DOMAIN_XML_INACTIVE))
        return {
            place: new_name(place, old, new)
            for _target, place, read_only in about.disks
            if own(place, old, read_only=read_only)
        }

    def rename(self, old: str, new: str, seen: Seen) -> dict[str, str]:
        """Rename; {name, uuid, mac} as the inventory needs them from then on."""
        domain = self._domain(old)
        if domain is not None:
            for checkpoint in domain.listAllCheckpoints(0):
                # libvirt renames no domain that has any; the next backup is a full one.
                checkpoint.delete(self.lv.VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY)
            domain.rename(new, 0)
        domain = self.conn.lookupByName(new)
        moved = {}
        for place, name in (seen.volumes or {}).items():
            self._rename_volume(place, name)
            moved[PurePosixPath(place).name] = name
        flags = self.lv.VIR_DOMAIN_XML_INACTIVE | self.lv.VIR_DOMAIN_XML_SECURE
        if moved:
            self.conn.defineXML(renamed_xml(domain.XMLDesc(flags), moved, old, new))
        about = domain_xml.describe(self.conn.lookupByName(new).XMLDesc(flags))
        return {"name": new, "uuid": about.uuid, "mac": about.macs[0] if about.macs else ""}

    def _rename_volume(self, place: str, name: str) -> None:
        volume = self.stores.volume_at(place)
        if volume is None:
            return
        pool = volume.storagePoolLookupByVolume()
        kind, path = domain_xml.read_pool(pool.XMLDesc(0))
        if kind == RBD_POOL:
            with rbd_images_of(volume) as images:
                images.rename(volume.name(), name)
        elif "://" not in place and kind not in BLOCK_POOLS:
            Path(path, volume.name()).rename(Path(path, name))
        else:
            # libvirt renames no volume, and nobody here has the file.
            pool.createXMLFrom(volume.XMLDesc(0).replace(f"<name>{volume.name()}<", f"<name>{name}<"), volume, 0)
            volume.delete(0)
        with suppress(self.lv.libvirtError):
            pool.refresh(0)
