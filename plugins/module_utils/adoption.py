# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk from elsewhere - a backup, another VM - becomes that of a VM that croft will make.

The order is that of vm_host: the seed's mark claims the names, then comes the disk, then the mark says it is whole.
croft.infra.virtual_machines takes it from there: it writes the first-boot data and defines the domain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils import domain_xml, seed
from ansible_collections.croft.infra.plugins.module_utils.domain import root_volume, seed_volume, volume_format
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import bindings
from ansible_collections.croft.infra.plugins.module_utils.open_stores import OpenStore, read, write


@dataclass(frozen=True)
class Place:
    """What there is of a VM to be: its domain on this host, its disk, and its seed (seed.read_mark, or absent)."""

    domain: bool
    root: bool
    seed: str


def look(conn: Any, store: OpenStore, name: str, uuid: str) -> Place:
    """Reads only."""
    volumes = frozenset(store.pool.listVolumes())
    first, mark = seed_volume(name), "absent"
    if first in volumes:
        mark = seed.read_mark(read(store.pool.storageVolLookupByName(first), seed.MARK_BYTES), uuid)
    return Place(
        domain=name in {domain.name() for domain in conn.listAllDomains(0)},
        root=root_volume(name, store.type) in volumes,
        seed=mark,
    )


def problem(name: str, place: Place) -> str | None:
    """Why a new VM's disk cannot be made here. What an earlier run was cut off in is made anew."""
    if place.domain:
        return f"{name}: there is such a VM already; give the new one another name"
    if place.seed == "foreign" or (place.root and place.seed not in ("building", "ready")):
        return f"{name}: the pool has a volume of its name that is not of this VM; remove or rename that"
    if place.root and place.seed == "ready":
        return (
            f"{name}: has a disk already, without a VM; run playbooks/virtual_machines.yml to make the VM of it, or "
            "let it go first (virtual_machines_absent with disks: true)"
        )
    return None


def adopt(store: OpenStore, name: str, uuid: str, make: Callable[[str], None], *, replace: bool = False) -> None:
    """Let ``make`` make the volume of this name. What failed leaves nothing behind.

    ``replace``: it takes the place of the disk of a VM that is there; its seed stays, and says after a failure that the
    disk is not whole.
    """
    first, root = seed_volume(name), root_volume(name, store.type)
    volumes = frozenset(store.pool.listVolumes())
    if first not in volumes:
        fmt = volume_format(store.type, "raw")
        store.pool.createXML(domain_xml.volume_xml(first, seed.MIB, fmt, owner=store.owner), 0)
    claim = store.pool.storageVolLookupByName(first)
    write(claim, seed.mark(uuid, ready=False))
    try:
        if root in volumes:
            store.pool.storageVolLookupByName(root).delete(0)
        make(root)
    except BaseException:
        # The disk first: its seed says whose it is.
        for volume in (root,) if replace else (root, first):
            try:
                store.pool.storageVolLookupByName(volume).delete(0)
            except bindings().libvirtError:
                continue
        raise
    write(claim, seed.mark(uuid, ready=True))
