#!/usr/bin/python3
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt's hook for disks that QEMU itself opens over the network: two hosts never run one disk.

QEMU locks a disk image that it opens as a file, and so does virtlockd; neither can where QEMU speaks NFS itself, and
the lock of an RBD image is handed over to whoever wants to write. Here something small beside the disks,
`<uuid>.lease`, names the hosts that hold a VM: on NFS a volume that the server's libvirt makes, in a Ceph pool an
object. It is made for one of two that ask at the same moment. A holder that answers and does not run the VM holds it no
more; one that does not answer keeps it, since it may still be writing. Where a cluster (Pacemaker) has fenced it after
it took the lease, it was off since, and holds it no more; else an administrator who knows better deletes the lease.
During a live migration both hosts are holders.

Installed as /usr/lib/croft/disk-lease, and called by /etc/libvirt/hooks/qemu.d/croft-disk-lease at the moments that
matter. It uses nothing but the standard library, libvirt's bindings and, for Ceph, librados'. libvirt hands over the
VM's name and the moment as arguments and its XML on the standard input, and refuses to start the VM when the script
fails.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol

# A file for each storage: {"host": ..., "address": ..., "pools": [...]}; pools of NFS have name, server and path, those
# of Ceph name and user.
CONFIG = Path("/etc/croft/disk-lease.d")
CEPH_CONF = "/etc/ceph/ceph.conf"
CEPH_SECONDS = "20"
INCOMING = Path("/run/croft/incoming")
SIZE = 4096
STONITH_ADMIN = "/usr/sbin/stonith_admin"
# libvirt prepares an incoming VM at once; a mark that is older is of a migration that ended before it came to that.
INCOMING_SECONDS = 60


class LeaseError(Exception):
    """A lease cannot be reached, or read; the text says why."""


@dataclass(frozen=True)
class Holder:
    """A host that holds a VM's disk: its name, and the address at which its libvirt is asked.

    ``since``: when it took the disk, in seconds since 1970 by its clock; 0 when that is not known.
    """

    name: str
    address: str
    since: float = field(default=0, compare=False)


@dataclass(frozen=True)
class Verdict:
    """Whether this host may hold the disk, the holders from then on, and why not."""

    holders: tuple[Holder, ...]
    refusal: str | None = None


def decide(
    vm: str, me: Holder, holders: Sequence[Holder], running: Mapping[str, bool | None], *, incoming: bool
) -> Verdict:
    """May ``me`` hold the disk of ``vm``?

    ``running``: of each other holder whether the VM runs there, None when it does not answer. ``incoming``: the VM
    comes by live migration, so that its source runs it rightly.
    """
    others = [holder for holder in holders if holder.name != me.name]
    if incoming:
        return Verdict((*others, me))
    active = [holder.name for holder in others if running[holder.name]]
    silent = [holder.name for holder in others if running[holder.name] is None]
    if active:
        return Verdict(tuple(holders), f"{vm} runs on {', '.join(active)}; migrate it, or stop it there first")
    if silent:
        names = ", ".join(silent)
        return Verdict(
            tuple(holders),
            f"{vm} was last held by {names}, which does not answer and may still run it; bring {names} back, or make "
            "sure that it is off and delete the lease",
        )
    return Verdict((me,))


def released(me: Holder, holders: Sequence[Holder]) -> tuple[Holder, ...]:
    """The holders when this host lets go."""
    return tuple(holder for holder in holders if holder.name != me.name)


class Place(NamedTuple):
    """Where a disk lies that QEMU opens itself: a directory of an NFS server, or a pool of the Ceph cluster."""

    protocol: str
    host: str
    directory: str


def written(xml: str) -> list[tuple[Place, str]]:
    """The place and the name there of each disk of the domain that the guest can write to and QEMU opens over NFS or in
    a Ceph pool."""
    found = []
    for disk in ET.fromstring(xml).iterfind("devices/disk[@type='network']"):
        source, host = disk.find("source"), disk.find("source/host")
        if source is None or disk.find("readonly") is not None:
            continue
        directory, _, name = source.get("name", "").rpartition("/")
        if source.get("protocol") == "nfs" and host is not None:
            found.append((Place("nfs", host.get("name", ""), directory), name))
        elif source.get("protocol") == "rbd":
            # A host knows one cluster; its mons may be named or not.
            found.append((Place("rbd", "", directory), name))
    return found


def places(xml: str) -> list[Place]:
    """The place of each of these disks."""
    return [place for place, _name in written(xml)]


def disks_at(xml: str, place: Place) -> list[str]:
    """The names of those of them that are in this place."""
    return [name for at, name in written(xml) if at == place]


def place_of(pool: Mapping[str, Any]) -> Place:
    """The place of a pool in the configuration."""
    if "server" in pool:
        return Place("nfs", str(pool["server"]), str(pool["path"]).rstrip("/"))
    return Place("rbd", "", str(pool["name"]))


def decode(data: bytes) -> tuple[Holder, ...]:
    """The holders in a lease; none in one that is still empty."""
    text = data.rstrip(b"\0").decode()
    entries = json.loads(text) if text else ()
    return tuple(Holder(entry["name"], entry["address"], float(entry.get("since", 0))) for entry in entries)


def encode(holders: Sequence[Holder]) -> bytes:
    entries = [{"name": h.name, "address": h.address, "since": h.since} for h in holders]
    return json.dumps(entries).encode().ljust(SIZE, b"\0")


class Lease(Protocol):
    """The lease of one VM, over an open connection."""

    uuid: str
    name: str

    def make(self) -> bool:
        """Make an empty lease; False when it is there already: somebody was first."""

    def read(self) -> tuple[Holder, ...] | None:
        """The holders, or None where there is no lease."""

    def write(self, holders: Sequence[Holder]) -> None:
        """Name the holders; without any the lease goes."""

    def evict(self, disks: Sequence[str]) -> None:
        """Have nobody wait for a holder that runs the VM no more, and shut it out."""


class ObjectLease:
    """A lease that is an object in a pool of a Ceph cluster."""

    def __init__(self, rados: Any, pool: Any, uuid: str) -> None:
        self.rados = rados
        self.pool = pool
        self.uuid = uuid
        self.name = f"{uuid}.lease"

    def make(self) -> bool:
        try:
            with self.rados.WriteOpCtx() as write:
                write.new(self.rados.LIBRADOS_CREATE_EXCLUSIVE)
                self.pool.operate_write_op(write, self.name)
        except self.rados.ObjectExists:
            return False
        return True

    def read(self) -> tuple[Holder, ...] | None:
        try:
            return decode(self.pool.read(self.name, SIZE))
        except self.rados.ObjectNotFound:
            return None

    def write(self, holders: Sequence[Holder]) -> None:
        if holders:
            self.pool.write_full(self.name, encode(holders))
        else:
            self.pool.remove_object(self.name)

    def evict(self, disks: Sequence[str]) -> None:
        """QEMU has an exclusive lock on each image that it writes to. Who wants it next asks the holder, and waits for
        30 s until one that does not answer counts as dead; broken, the lock is free and the holder's writes are
        refused."""
        rbd = import_module("rbd")
        try:
            for name in disks:
                with rbd.Image(self.pool, name) as image:
                    for owner in list(image.lock_get_owners()):
                        image.lock_break(owner["mode"], owner["owner"])
        except rbd.Error as error:
            # Then it takes those 30 s.
            sys.stderr.write(f"croft: the lock of {self.uuid}'s former host stays: {error}\n")


class VolumeLease:
    """A lease that is a volume in the pool of a server, made by the server's libvirt."""

    def __init__(self, lv: Any, conn: Any, pool: str, uuid: str) -> None:
        self.lv = lv
        self.conn = conn
        self.pool = conn.storagePoolLookupByName(pool)
        self.uuid = uuid
        self.name = f"{uuid}.lease"

    def make(self) -> bool:
        xml = (
            f"<volume><name>{self.name}</name><capacity unit='bytes'>{SIZE}</capacity>"
            "<target><format type='raw'/><permissions><mode>0600</mode></permissions></target></volume>"
        )
        try:
            self.pool.createXML(xml, 0)
        except self.lv.libvirtError as error:
            if error.get_error_code() == self.lv.VIR_ERR_STORAGE_VOL_EXIST:
                return False
            raise
        return True

    def read(self) -> tuple[Holder, ...] | None:
        try:
            volume = self.pool.storageVolLookupByName(self.name)
        except self.lv.libvirtError as error:
            if error.get_error_code() == self.lv.VIR_ERR_NO_STORAGE_VOL:
                return None
            raise
        stream = self.conn.newStream(0)
        volume.download(stream, 0, SIZE, 0)
        data = b""
        while chunk := stream.recv(SIZE):
            data += chunk
        stream.finish()
        return decode(data)

    def write(self, holders: Sequence[Holder]) -> None:
        volume = self.pool.storageVolLookupByName(self.name)
        if not holders:
            volume.delete(0)
            return
        stream = self.conn.newStream(0)
        volume.upload(stream, 0, SIZE, 0)
        stream.send(encode(holders))
        stream.finish()

    def evict(self, disks: Sequence[str]) -> None:
        """On NFS nobody waits: QEMU's locks there end with its connection."""


def runs_at(lv: Any, holder: Holder, uuid: str) -> bool | None:
    """Whether the holder's libvirt runs the VM; None when it does not answer."""
    try:
        conn = lv.openReadOnly(f"qemu+tls://{holder.address}/system")
    except lv.libvirtError:
        return None
    try:
        return bool(conn.lookupByUUIDString(uuid).isActive())
    except lv.libvirtError as error:
        return False if error.get_error_code() == lv.VIR_ERR_NO_DOMAIN else None
    finally:
        conn.close()


def fenced_at(history: str) -> float:
    """When a node was last turned off for certain, from the history of its fencing as XML; 0 where it never was."""
    times = [
        datetime.fromisoformat(event.get("completed", "").replace("Z", "+00:00"))
        for event in ET.fromstring(history).iterfind(".//fence_event")
        if event.get("status") == "success" and event.get("action") in ("off", "reboot") and event.get("completed")
    ]
    # Pacemaker writes the zone along; without one it is this host's.
    return max((at.astimezone(UTC).timestamp() for at in times), default=0)


def was_fenced(holder: Holder) -> bool:
    """Whether the cluster turned the holder off after it took the lease; it has started nothing since, since it would
    have taken the lease anew."""
    if not holder.since or not Path(STONITH_ADMIN).exists():
        return False
    # Verbose: else what people had fenced is left out.
    command = [STONITH_ADMIN, "--history", holder.name, "--verbose", "--output-as=xml"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
        return done.returncode == 0 and fenced_at(done.stdout) > holder.since
    except (subprocess.TimeoutExpired, ET.ParseError, ValueError):
        return False


def claim(  # noqa: PLR0913
    lv: Any, lease: Lease, me: Holder, vm: str, *, incoming: bool, disks: Sequence[str] = ()
) -> str | None:
    """Take the lease of a VM that is about to open these disks there; returns why not."""
    if lease.make():
        lease.write((me,))
        if not incoming:
            # Given back by whoever had it last, whose QEMU may have been killed with its disks locked.
            lease.evict(disks)
        return None
    holders = lease.read()
    if holders == ():
        # Another host made it a moment ago and has not written its name yet, or died over it.
        time.sleep(1)
        holders = lease.read()
    if holders == ():
        return f"{vm}'s lease {lease.name} names nobody; make sure that no host runs {vm}, and delete the lease"
    if holders is None:
        return f"{vm}'s lease was given back a moment ago; start it again"
    others = [] if incoming else [holder for holder in holders if holder.name != me.name]
    # First what takes no waiting for a host that is off.
    running = {holder.name: False if was_fenced(holder) else runs_at(lv, holder, lease.uuid) for holder in others}
    verdict = decide(vm, me, holders, running, incoming=incoming)
    if verdict.refusal is None:
        if not incoming:
            # Nobody runs it, and it did not end in order.
            lease.evict(disks)
        lease.write(verdict.holders)
    return verdict.refusal


def release(lease: Lease, me: Holder) -> None:
    """Let go."""
    holders = lease.read()
    if holders is not None:
        lease.write(released(me, holders))


def expected(mark: Path) -> bool:
    """Whether a live migration that has just begun brings the VM. The mark has the seconds since this host's boot."""
    try:
        return 0 <= time.monotonic() - float(mark.read_text()) <= INCOMING_SECONDS
    except (OSError, ValueError):
        return False


def load(lv: Any) -> Hook | None:
    """The hook with the configuration that the deployment wrote; None where no storage needs leases."""
    files = sorted(CONFIG.glob("*.json"))
    return Hook(lv, [json.loads(file.read_text()) for file in files]) if files else None


class Hook:
    """What libvirt's moments ask for, with what the files of the configuration say."""

    def __init__(self, lv: Any, config: Sequence[Mapping[str, Any]]) -> None:
        self.lv = lv
        self.me = Holder(config[0]["host"], config[0]["address"], time.time())
        self.pools = {place_of(pool): pool for part in config for pool in part["pools"]}

    def call(self, vm: str, operation: str, moment: str, xml: str) -> str | None:
        """Returns why the VM must not start, or None."""
        held = sorted({place for place in places(xml) if place in self.pools})
        if not held:
            return None
        uuid = ET.fromstring(xml).findtext("uuid", "")
        coming = INCOMING / uuid
        refusal = None
        if (operation, moment) == ("migrate", "begin"):
            coming.parent.mkdir(parents=True, exist_ok=True)
            coming.write_text(str(time.monotonic()))
        elif (operation, moment) == ("prepare", "begin"):
            with self.leases(held, uuid) as leases:
                # It is good for one start only.
                incoming = expected(coming)
                coming.unlink(missing_ok=True)
                refusals = (
                    claim(self.lv, lease, self.me, vm, incoming=incoming, disks=disks_at(xml, place))
                    for place, lease in zip(held, leases, strict=True)
                )
                refusal = next(filter(None, refusals), None)
        elif (operation, moment) == ("release", "end"):
            with self.leases(held, uuid) as leases:
                for lease in leases:
                    release(lease, self.me)
        return refusal

    @contextmanager
    def leases(self, at: Sequence[Place], uuid: str) -> Iterator[list[Lease]]:
        """The leases of a VM, one for each place that its disks are in. Raises LeaseError, also for what is inside."""
        errors: list[type[Exception]] = [self.lv.libvirtError, ImportError, OSError, ValueError]
        if any(place.protocol == "rbd" for place in at):
            errors.append(import_module("rados").Error)
        try:
            with ExitStack() as stack:
                yield [self._lease(place, uuid, stack) for place in at]
        except tuple(errors) as error:
            raise LeaseError(" ".join(str(error).split())) from error

    def _lease(self, place: Place, uuid: str, stack: ExitStack) -> Lease:
        pool = self.pools[place]
        if place.protocol == "nfs":
            conn = self.lv.open(f"qemu+tls://{place.host}/system")
            stack.callback(conn.close)
            return VolumeLease(self.lv, conn, pool["name"], uuid)
        rados = import_module("rados")
        options = dict.fromkeys(("client_mount_timeout", "rados_mon_op_timeout", "rados_osd_op_timeout"), CEPH_SECONDS)
        cluster = rados.Rados(conffile=CEPH_CONF, rados_id=pool["user"].removeprefix("client."), conf=options)
        stack.callback(cluster.shutdown)
        cluster.connect()
        objects = cluster.open_ioctx(pool["name"])
        stack.callback(objects.close)
        return ObjectLease(rados, objects, uuid)


def main(arguments: Sequence[str]) -> int:
    import libvirt as lv  # noqa: PLC0415  (not there where only the decisions are used)

    lv.registerErrorHandler(lambda _context, _error: None, None)
    vm, operation, moment = arguments[1:4]
    try:
        hook = load(lv)
        if hook is None:
            raise LeaseError(f"there is no configuration in {CONFIG}; run the playbook for storage again")
        refusal = hook.call(vm, operation, moment, sys.stdin.read())
    except (LeaseError, OSError, ValueError) as error:
        # What is stopped is stopped: a lease that stays is found out when the VM is started elsewhere.
        refusal = f"the lease of {vm} cannot be reached: {error}" if moment == "begin" else None
    if refusal is not None:
        sys.stderr.write(f"croft: {refusal}\n")
    return 0 if refusal is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
