# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What speaks against making storage pools on a host, found before anything is written to a disk. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Signature:
    """What wipefs(8) finds on a device: a file system, a partition table, a volume group's member, ..."""

    type: str
    label: str = ""


@dataclass(frozen=True)
class Device:
    """A block device as the host shows it."""

    exists: bool = True
    block: bool = True
    signatures: tuple[Signature, ...] = ()
    mounted_at: str = ""


@dataclass(frozen=True)
class Host:
    """What the host has: devices by the path they were asked for, libvirt's pools by name, each with its target."""

    devices: Mapping[str, Device] = field(default_factory=dict)
    pools: Mapping[str, str] = field(default_factory=dict)
    volume_groups: Mapping[str, str] = field(default_factory=dict)  # device -> volume group it belongs to
    device_mapper: bool = True


def label_of(pool: str) -> str:
    """The label of a file system that was made for a pool; ext4 takes 16 bytes and XFS takes 12."""
    return f"croft-{pool}"[:12]


def pool_problems(pools: Sequence[Mapping[str, Any]], host: Host) -> list[str]:
    """Return one line for each thing that keeps a pool from being made: what, where, and what to do."""
    problems: list[str] = []
    users: dict[str, str] = {}
    for pool in pools:
        name, kind = pool["name"], pool.get("type") or "dir"
        where = f"storage pool {name}"
        devices = pool_devices(pool)
        for device in devices:
            if device in users:
                problems.append(f"{where}: device {device} is taken by storage pool {users[device]}; give each its own")
            users.setdefault(device, name)
        if kind == "dir" and not pool.get("path"):
            problems.append(f"{where}: has no path; give the directory that it shall be in")
        if kind == "logical":
            problems.extend(_logical_problems(where, pool, host))
        for device in devices:
            problems.extend(_device_problems(where, pool, device, host))
        target = complete(pool)["path"]
        there = host.pools.get(name)
        if there and target and there != target:
            problems.append(
                f"{where}: libvirt has it at {there}, the inventory at {target}; name it otherwise, or move it by hand"
            )
    names = [pool["name"] for pool in pools]
    problems.extend(f"storage pool {name}: is there twice; keep one" for name in _doubles(names))
    return problems


def complete(pool: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pool with its defaults filled in: kind, file system and its label, volume group, where it is."""
    kind, group = pool.get("type") or "dir", pool.get("volume_group") or pool["name"]
    return {
        "name": pool["name"],
        "type": kind,
        "path": pool.get("path") if kind == "dir" else f"/dev/{group}",
        "device": pool.get("device") or "",
        "devices": pool_devices(pool),
        "filesystem": pool.get("filesystem") or "ext4",
        "label": label_of(pool["name"]),
        "volume_group": group,
        "owner": str(pool.get("owner") or "root"),
    }


def pool_devices(pool: Mapping[str, Any]) -> list[str]:
    """The devices that a pool is made on."""
    if (pool.get("type") or "dir") == "logical":
        return list(pool.get("devices") or ())
    return [pool["device"]] if pool.get("device") else []


def _doubles(names: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    return sorted({name for name in names if name in seen or seen.add(name)})  # type: ignore[func-returns-value]


def _logical_problems(where: str, pool: Mapping[str, Any], host: Host) -> list[str]:
    if not host.device_mapper:
        return [f"{where}: this kernel has no device mapper, so LVM cannot work here; use type dir"]
    if not pool.get("devices"):
        return [f"{where}: has no devices; name the empty disks that make its volume group"]
    return []


def _device_problems(where: str, pool: Mapping[str, Any], path: str, host: Host) -> list[str]:
    device = host.devices.get(path, Device(exists=False))
    if not device.exists:
        return [f"{where}: device {path} is not there; look at the names with lsblk"]
    if not device.block:
        return [f"{where}: {path} is not a block device; name a disk or a partition"]
    if device.mounted_at and device.mounted_at != pool.get("path"):
        return [f"{where}: device {path} is mounted at {device.mounted_at}; take another disk"]
    if (pool.get("type") or "dir") == "logical":
        wanted = pool.get("volume_group") or pool["name"]
        ours = host.volume_groups.get(path) == wanted
    else:
        # Ours by its label, so that a run that was cut off between formatting and mounting goes on.
        ours = bool(device.mounted_at) or any(s.label == label_of(pool["name"]) for s in device.signatures)
    if device.signatures and not ours:
        kinds = ", ".join(sorted({signature.type for signature in device.signatures}))
        return [
            f"{where}: device {path} is not empty ({kinds}); take another disk, or empty it with wipefs if nobody "
            "needs what it holds"
        ]
    return []
