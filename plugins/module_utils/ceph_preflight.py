# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What speaks against building or changing a Ceph cluster, and what would be done. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils.ceph import in_network

LEAST_HOSTS = 3
LEAST_MIN_SIZE = 2


@dataclass(frozen=True)
class Disk:
    """A disk that is wanted for an OSD, as its host shows it. `osd` is the BlueStore label, `bytes` the size."""

    path: str
    real: str = ""
    exists: bool = True
    block: bool = True
    bytes: int = 0
    signatures: tuple[str, ...] = ()
    mounted_at: str = ""
    held_by: tuple[str, ...] = ()
    osd: Mapping[str, str] | None = None

    @property
    def holds(self) -> str:
        """What is on it, in words; empty when it is empty."""
        return ", ".join(
            [*(sorted(set(self.signatures))), *(f"used by {holder}" for holder in self.held_by)]
            + ([f"mounted at {self.mounted_at}"] if self.mounted_at else [])
        )


@dataclass(frozen=True)
class Member:
    """A host with what it has and what is wanted of it. Memory in MiB; addresses with their prefix lengths."""

    name: str
    address: str = ""
    addresses: tuple[str, ...] = ()
    memory_mib: int = 0
    device_mapper: bool = False
    fsids: Mapping[str, str] = field(default_factory=dict)  # where it was found -> the cluster that it names
    mons: tuple[str, ...] = ()
    osds: Mapping[str, int] = field(default_factory=dict)  # UUID -> id, of the OSDs that the host has
    disks: tuple[Disk, ...] = ()
    wipe: tuple[str, ...] = ()


@dataclass(frozen=True)
class DeadOsd:
    """An OSD that is down."""

    id: int
    uuid: str
    host: str


@dataclass(frozen=True)
class Cluster:
    """The cluster as it answers. Usage is the used share of each OSD, by id."""

    fsid: str
    quorum: tuple[str, ...] = ()
    mons: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    usage: Mapping[int, float] = field(default_factory=dict)
    full_ratio: float = 0.95
    nearfull_ratio: float = 0.85
    osd_hosts: tuple[str, ...] = ()
    osd_uuids: tuple[str, ...] = ()
    osds_down: tuple[DeadOsd, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """The cluster as it shall be. Networks like 10.0.0.0/24, the cluster's may be empty."""

    fsid: str
    hosts: tuple[str, ...]
    mons: tuple[str, ...]
    mgrs: tuple[str, ...] = ()
    size: int = 3
    min_size: int = 2
    public_network: str = ""
    cluster_network: str = ""
    osd_memory_mib: int = 4096
    method: str = "auto"
    encrypted: bool = False


def member_of(facts: Mapping[str, Any]) -> Member:
    """Read what module ceph_host returned."""
    disks = tuple(
        Disk(
            path=str(disk["path"]),
            real=str(disk["real"]),
            exists=bool(disk["exists"]),
            block=bool(disk["block"]),
            bytes=int(disk["bytes"]),
            signatures=tuple(disk["signatures"]),
            mounted_at=str(disk["mounted_at"]),
            held_by=tuple(disk["held_by"]),
            osd=disk["osd"],
        )
        for disk in facts["disks"]
    )
    return Member(
        name=str(facts["name"]),
        address=str(facts["address"]),
        addresses=tuple(facts["addresses"]),
        memory_mib=int(facts["memory_mib"]),
        device_mapper=bool(facts["device_mapper"]),
        fsids=dict(facts["fsids"]),
        mons=tuple(facts["mons"]),
        osds={str(osd["uuid"]): int(osd["id"]) for osd in facts["osds"]},
        disks=disks,
        wipe=tuple(facts["wipe"]),
    )


def cluster_of(facts: Mapping[str, Any] | None) -> Cluster | None:
    """Read the part `cluster` of what module ceph_host returned; None when the cluster did not answer."""
    if not facts:
        return None
    return Cluster(
        fsid=str(facts["fsid"]),
        quorum=tuple(facts["quorum"]),
        mons=tuple(facts["mons"]),
        flags=tuple(facts["flags"]),
        usage={int(osd): float(share) for osd, share in facts["usage"].items()},
        full_ratio=float(facts["full_ratio"]),
        nearfull_ratio=float(facts["nearfull_ratio"]),
        osd_hosts=tuple(facts["osd_hosts"]),
        osd_uuids=tuple(facts["osd_uuids"]),
        osds_down=tuple(DeadOsd(int(osd["id"]), str(osd["uuid"]), str(osd["host"])) for osd in facts["osds_down"]),
    )


def problems(wanted: Wanted, members: Sequence[Member], cluster: Cluster | None) -> list[str]:
    """One line for each thing that speaks against it: what, where, and what to do."""
    lines = _shape_problems(wanted, members)
    for member in members:
        lines += _host_problems(wanted, member, cluster)
        lines += _disk_problems(wanted, member, cluster)
        lines += _dead_problems(wanted, member, cluster)
    if cluster:
        lines += _cluster_problems(wanted, cluster)
    elif 0 < len([m for m in members if m.mons]) < len(wanted.mons):
        having = [member.name for member in members if member.mons]
        if len(having) > len(wanted.mons) // 2:
            lines.append(
                f"mons of {_and(having)}: are there and have no quorum; start them (systemctl start ceph-mon.target) "
                "and look at /var/log/ceph, before other mons are made"
            )
    return lines


def _shape_problems(wanted: Wanted, members: Sequence[Member]) -> list[str]:
    lines = []
    there = {member.name for member in members}
    lines += [
        f"{name}: does not answer; bring it back, or take it out of the cluster with playbooks/ceph_remove_host.yml"
        for name in wanted.hosts
        if name not in there
    ]
    if len(wanted.hosts) < LEAST_HOSTS:
        lines.append(
            f"cluster: has {_count(len(wanted.hosts), 'host')}, Ceph needs {LEAST_HOSTS} for mons that survive the "
            "loss of one and for three copies; add hosts, or use storage_layout local or centralized"
        )
    lines += _mon_problems(wanted)
    with_disks = [member.name for member in members if member.disks]
    if len(wanted.hosts) >= LEAST_HOSTS and len(with_disks) < wanted.size:
        lines.append(
            f"cluster: {len(with_disks)} of its hosts have OSD disks, {wanted.size} copies on different hosts need "
            f"{wanted.size}; give ceph_osd_devices on more hosts"
        )
    if not LEAST_MIN_SIZE <= wanted.min_size <= wanted.size:
        lines.append(
            f"pool: min_size {wanted.min_size} with size {wanted.size}; give at least {LEAST_MIN_SIZE} and at most the "
            "size, since writes that only one disk has are lost with it"
        )
    elif wanted.min_size == wanted.size:
        lines.append(
            f"pool: min_size {wanted.min_size} equals size {wanted.size}, so the loss of one host stops all I/O; lower "
            f"ceph_pool_min_size to {wanted.size - 1}"
        )
    return lines


def _mon_problems(wanted: Wanted) -> list[str]:
    lines = [
        f"mon on {name}: is not a host of the cluster; take it out of ceph_mon_hosts, or add the host"
        for name in wanted.mons
        if name not in wanted.hosts
    ]
    lines += [
        f"mgr on {name}: is not a host of the cluster; take it out of ceph_mgr_hosts, or add the host"
        for name in wanted.mgrs
        if name not in wanted.hosts
    ]
    count = len(wanted.mons)
    if count % 2 == 0 or count < LEAST_HOSTS:
        why = "an even number survives no more losses than one less" if count % 2 == 0 else "a quorum survives no loss"
        better = max(LEAST_HOSTS, count - 1 if count % 2 == 0 else count)
        lines.append(f"ceph_mon_hosts: names {_count(count, 'mon')} and {why}; name {better} or {better + 2} hosts")
    return lines


def _host_problems(wanted: Wanted, member: Member, cluster: Cluster | None) -> list[str]:
    name = member.name
    lines = []
    for fsid in sorted(set(member.fsids.values()) - {wanted.fsid}):
        where = [path for path, found in member.fsids.items() if found == fsid]
        lines.append(
            f"{name}: is in cluster {fsid} (by {_and(where)}), not in {wanted.fsid}; take the host out of the "
            "inventory, or purge the other cluster from it by hand"
        )
    own = {str(ipaddress.ip_interface(text).ip) for text in member.addresses}
    if member.address not in own:
        lines.append(f"{name}: has no address {member.address}; set ceph_address to one of {_and(sorted(own))}")
    elif wanted.public_network and not in_network([member.address], wanted.public_network):
        lines.append(
            f"{name}: address {member.address} is not in ceph_public_network {wanted.public_network}; correct one"
        )
    if wanted.cluster_network and not in_network(member.addresses, wanted.cluster_network):
        lines.append(
            f"{name}: has no address in ceph_cluster_network {wanted.cluster_network}; give it one, or leave the "
            "variable empty"
        )
    lines += _memory_problems(wanted, member)
    if member.mons and cluster is None and name not in wanted.mons:
        lines.append(f"{name}: has a mon and is not in ceph_mon_hosts, and no mon answers; start the cluster first")
    return lines


def _memory_problems(wanted: Wanted, member: Member) -> list[str]:
    need = len(member.disks) * wanted.osd_memory_mib
    if need <= member.memory_mib:
        return []
    return [
        f"{member.name}: {_count(len(member.disks), 'OSD')} of {wanted.osd_memory_mib} MiB need {need} MiB, the host "
        f"has {member.memory_mib}; lower ceph_osd_memory_mib or give it fewer disks"
    ]


def _disk_problems(wanted: Wanted, member: Member, cluster: Cluster | None) -> list[str]:
    lines = []
    paths = [disk.path for disk in member.disks]
    lines += [
        f"{member.name}: ceph_wipe_devices names {path}, which is not in ceph_osd_devices; correct one of them"
        for path in member.wipe
        if path not in paths
    ]
    taken: dict[str, str] = {}
    for disk in member.disks:
        where = f"{member.name}: disk {disk.path}"
        if not disk.exists:
            lines.append(f"{where} is not there; look at the names with lsblk")
            continue
        if not disk.block:
            lines.append(f"{where} is not a block device; name a whole disk")
            continue
        if disk.real in taken:
            lines.append(f"{where} is the same disk as {taken[disk.real]}; name it once")
        taken.setdefault(disk.real, disk.path)
        if disk.osd and disk.osd.get("ceph_fsid") in set(member.fsids.values()) - {wanted.fsid}:
            # Told once for the host; and nobody is to wipe a disk of a cluster that runs there.
            continue
        lines += _content_problems(wanted, where, disk, disk.path in member.wipe, cluster)
    if not member.device_mapper and member.disks:
        if wanted.method == "lvm":
            lines.append(
                f"{member.name}: the kernel has no device mapper, which LVM needs; set ceph_osd_method to raw or auto"
            )
        if wanted.encrypted:
            lines.append(
                f"{member.name}: the kernel has no device mapper, which encryption of disks needs; set "
                "ceph_encrypt_disks to false, or use another kernel"
            )
    elif wanted.encrypted and wanted.method == "raw":
        lines.append(f"{member.name}: ceph_encrypt_disks needs ceph_osd_method lvm or auto, not raw")
    return lines


def _dead_problems(wanted: Wanted, member: Member, cluster: Cluster | None) -> list[str]:
    """An OSD that has lost its disk keeps its number when a new disk takes its place, and lingers when none does."""
    if cluster is None or all(is_ours(disk, wanted.fsid, cluster) for disk in member.disks):
        return []
    here = {disk.osd.get("osd_uuid") for disk in member.disks if disk.osd}
    return [
        f"{member.name}: osd.{osd.id} is down and on none of the disks in ceph_osd_devices; have the new disk take its "
        f"place: playbooks/ceph_replace_disk.yml -e ceph_replace_host={member.name} -e ceph_replace_osd={osd.id}"
        for osd in cluster.osds_down
        if osd.host == member.name and osd.uuid not in here
    ]


def _content_problems(wanted: Wanted, where: str, disk: Disk, may_wipe: bool, cluster: Cluster | None) -> list[str]:
    if disk.mounted_at or (disk.held_by and not disk.osd):
        # Nobody means to wipe what is in use.
        return [f"{where} is in use ({disk.holds}); name another disk"]
    if may_wipe or is_ours(disk, wanted.fsid, cluster):
        return []
    advice = "name another disk, or name this one in ceph_wipe_devices of this host if nobody needs what it holds"
    if disk.osd and is_ours(disk, wanted.fsid):
        return [f"{where} was osd.{disk.osd.get('whoami', '?')}, which the cluster has no more; {advice}"]
    if disk.osd:
        other = disk.osd.get("ceph_fsid", "unknown")
        return [f"{where} is osd.{disk.osd.get('whoami', '?')} of another cluster ({other}); {advice}"]
    if disk.signatures:
        return [f"{where} is not empty ({disk.holds}); {advice}"]
    return []


def is_ours(disk: Disk, fsid: str, cluster: Cluster | None = None) -> bool:
    """Does the disk carry an OSD of this cluster, and one that is still in it when the cluster answers?"""
    ours = bool(disk.osd and disk.osd.get("ceph_fsid") == fsid)
    return ours and (cluster is None or (disk.osd or {}).get("osd_uuid") in cluster.osd_uuids)


def _cluster_problems(wanted: Wanted, cluster: Cluster) -> list[str]:
    lines = []
    if cluster.fsid != wanted.fsid:
        lines.append(
            f"cluster: the one that answers is {cluster.fsid}, the inventory's is {wanted.fsid}; use the directory of "
            "ceph_identity_dir that belongs to it"
        )
    full = {osd: share for osd, share in cluster.usage.items() if share >= cluster.nearfull_ratio}
    for osd, share in sorted(full.items()):
        kind = "full" if share >= cluster.full_ratio else "near full"
        limit = cluster.full_ratio if share >= cluster.full_ratio else cluster.nearfull_ratio
        lines.append(
            f"osd.{osd}: is {kind} ({share:.0%}, limit {limit:.0%}); delete or move data before anything else changes"
        )
    return lines


def method_of(wanted: Wanted, member: Member) -> str:
    """How OSDs are made on this host: `lvm` where the kernel has the device mapper, else `raw`."""
    if wanted.method != "auto":
        return wanted.method
    return "lvm" if member.device_mapper else "raw"


def steps(wanted: Wanted, members: Iterable[Member], cluster: Cluster | None) -> list[str]:
    """What a run would do to hosts and cluster, one line each; nothing on a cluster that is as it shall be."""
    lines = []
    for member in members:
        if member.name in wanted.mons and member.name not in member.mons:
            lines.append(f"{member.name}: make a mon at {member.address}")
        for disk in member.disks:
            if is_ours(disk, wanted.fsid, cluster) and (disk.osd or {}).get("mkfs_done") == "yes":
                continue
            wipe = f"wipe {disk.path} ({disk.holds}) and make" if disk.path in member.wipe and disk.holds else "make"
            how = method_of(wanted, member)
            lines.append(f"{member.name}: {wipe} an OSD on {disk.path} ({disk.bytes / 2**30:.0f} GiB, {how})")
    if cluster:
        lines += [f"cluster: take mon.{name} out" for name in cluster.mons if name not in wanted.mons]
    return lines


def notes(wanted: Wanted, members: Iterable[Member]) -> list[str]:
    """What is worth knowing and no problem: how OSDs are made where LVM is not to be had, disks that nobody names."""
    lines = []
    for member in members:
        if member.disks and not member.device_mapper:
            lines.append(f"{member.name}: the kernel has no device mapper, so OSDs lie on raw disks, without LVM")
        named = {str(disk.osd["osd_uuid"]) for disk in member.disks if disk.osd}
        for uuid, osd in sorted(member.osds.items(), key=lambda item: item[1]):
            if uuid not in named:
                lines.append(
                    f"{member.name}: osd.{osd} lies on a disk that ceph_osd_devices does not name; it is left alone"
                )
    return lines


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else list(names)) or "none"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
