# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The storage pools and VMs that libvirt knows on a host, croft's and those of others."""

from __future__ import annotations

from typing import Any

from ansible_collections.croft.infra.plugins.module_utils import domain_xml
from ansible_collections.croft.infra.plugins.module_utils.capacity import in_gib
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    DOMAIN_STATES,
    LibvirtFailedError,
    bindings,
)
from ansible_collections.croft.infra.plugins.module_utils.open_stores import Stores
from ansible_collections.croft.infra.plugins.module_utils.store import Store


def version(conn: Any) -> str:
    """libvirt's version, as in 11.3.0."""
    number = conn.getLibVersion()
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def pools(conn: Any) -> list[dict[str, Any]]:
    """Every storage pool: {name, type, path, active, autostart, capacity_gib, available_gib}."""
    found = []
    for pool in sorted(conn.listAllStoragePools(0), key=lambda pool: pool.name()):
        kind, path = domain_xml.read_pool(pool.XMLDesc(0))
        _state, capacity, _allocation, available = pool.info()
        found.append(
            {
                "name": pool.name(),
                "type": kind,
                "path": path,
                "active": bool(pool.isActive()),
                "autostart": bool(pool.autostart()),
                "capacity_gib": in_gib(capacity),
                "available_gib": in_gib(available),
            }
        )
    return found


def virtual_machines(conn: Any, stores: Stores) -> list[dict[str, Any]]:
    """Every VM; of a running one the vCPUs and memory that it has now, of others those that it would start with."""
    found = []
    for domain in sorted(conn.listAllDomains(0), key=lambda domain: domain.name()):
        about = domain_xml.describe(domain.XMLDesc(0))
        found.append(
            {
                "name": about.name,
                "uuid": about.uuid,
                "vcpus": about.fields.vcpus,
                "memory_mib": about.fields.memory_mib,
                "disk_gib": in_gib(sum(_disk_bytes(stores, domain, disk) for disk in about.disks)),
                "state": DOMAIN_STATES.get(domain.state(0)[0], "unknown"),
                "autostart": bool(domain.autostart()) if domain.isPersistent() else False,
                "managed": about.managed,
            }
        )
    return found


def _disk_bytes(stores: Stores, domain: Any, disk: tuple[str, str, bool]) -> int:
    """The virtual size of a disk that the guest can write to; 0 when nobody can tell (its storage is not there)."""
    target, path, read_only = disk
    if read_only:
        return 0
    try:
        volume = stores.volume_at(path)
    except LibvirtFailedError:
        volume = None
    if volume is None and "://" in path:
        # QEMU would ask the server itself, and stand still, with its guest, until it answers.
        return 0
    try:
        return int(volume.info()[1] if volume is not None else domain.blockInfo(target, 0)[0])
    except bindings().libvirtError:
        return 0


def pool_size(stores: Stores, wanted: Store) -> tuple[float, float] | None:
    """(size, free) in GiB of a store's pool; None when it is not there or not active, or its server does not answer."""
    try:
        pool = stores.open(wanted).pool
        if pool is None or not pool.isActive():
            return None
        pool.refresh(0)
        _state, capacity, _allocation, available = pool.info()
    except (LibvirtFailedError, bindings().libvirtError):
        return None
    return in_gib(capacity), in_gib(available)
