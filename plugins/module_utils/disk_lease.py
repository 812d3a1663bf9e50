#!/usr/bin/python3
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt's hook for disks that QEMU itself opens over NFS: two hosts never run one disk.

QEMU locks a disk image that it opens as a file, and so does virtlockd; neither can where QEMU speaks NFS itself. Here
a small volume beside the disks, `<uuid>.lease`, names the hosts that hold a VM. The server's libvirt makes it for one
of two that ask at the same moment. A holder that answers and does not run the VM holds it no more; one that does not
answer keeps it, since it may still be writing, until somebody who knows better (an administrator, after fencing)
deletes the volume. During a live migration both hosts are holders.

Installed as /etc/libvirt/hooks/qemu.d/croft-disk-lease; it uses nothing but the standard library and libvirt's
bindings. libvirt hands over the VM's name and the moment as arguments and its XML on the standard input, and refuses to
start the VM when the script fails.
"""

from __future__ import annotations

import json
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIG = Path("/etc/croft/disk-lease.json")
INCOMING = Path("/run/croft/incoming")
SIZE = 4096
# libvirt prepares an incoming VM at once; a mark that is older is of a migration that ended before it came to that.
INCOMING_SECONDS = 60


@dataclass(frozen=True)
class Holder:
    """A host that holds a VM's disk: its name, and the address at which its libvirt is asked."""

    name: str
    address: str


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


def nfs_disks(xml: str) -> list[tuple[str, str]]:
    """(server, directory) of each disk of the domain that the guest can write to and QEMU opens over NFS."""
    found = []
    for disk in ET.fromstring(xml).iterfind("devices/disk[@type='network']"):
        source, host = disk.find("source[@protocol='nfs']"), disk.find("source/host")
        if source is not None and host is not None and disk.find("readonly") is None:
            found.append((host.get("name", ""), source.get("name", "").rpartition("/")[0]))
    return found


def decode(data: bytes) -> tuple[Holder, ...]:
    """The holders in a lease; none in one that is still empty."""
    text = data.rstrip(b"\0").decode()
    return tuple(Holder(entry["name"], entry["address"]) for entry in json.loads(text)) if text else ()


def encode(holders: Sequence[Holder]) -> bytes:
    return json.dumps([{"name": h.name, "address": h.address} for h in holders]).encode().ljust(SIZE, b"\0")


class Lease:
    """The lease of one VM in the pool of one server, over an open connection."""

    def __init__(self, lv: Any, conn: Any, pool: str, uuid: str) -> None:
        self.lv = lv
        self.conn = conn
        self.pool = conn.storagePoolLookupByName(pool)
        self.uuid = uuid
        self.volume = f"{uuid}.lease"

    def make(self) -> bool:
        """Make the empty lease; False when it is there already: somebody was first."""
        xml = (
            f"<volume><name>{self.volume}</name><capacity unit='bytes'>{SIZE}</capacity>"
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
        """The holders, or None where there is no lease."""
        try:
            volume = self.pool.storageVolLookupByName(self.volume)
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
        """Name the holders; without any the lease goes."""
        volume = self.pool.storageVolLookupByName(self.volume)
        if not holders:
            volume.delete(0)
            return
        stream = self.conn.newStream(0)
        volume.upload(stream, 0, SIZE, 0)
        stream.send(encode(holders))
        stream.finish()


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


def claim(lease: Lease, me: Holder, vm: str, *, incoming: bool) -> str | None:
    """Take the lease; returns why not."""
    if lease.make():
        lease.write((me,))
        return None
    holders = lease.read()
    if holders == ():
        # Another host made it a moment ago and has not written its name yet, or died over it.
        time.sleep(1)
        holders = lease.read()
    if holders == ():
        return f"{vm}'s lease {lease.volume} names nobody; make sure that no host runs {vm}, and delete the lease"
    if holders is None:
        return f"{vm}'s lease was given back a moment ago; start it again"
    others = [] if incoming else [holder for holder in holders if holder.name != me.name]
    running = {holder.name: runs_at(lease.lv, holder, lease.uuid) for holder in others}
    verdict = decide(vm, me, holders, running, incoming=incoming)
    if verdict.refusal is None:
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


class Hook:
    """What libvirt's moments ask for, with the configuration that the deployment wrote."""

    def __init__(self, lv: Any, config: Mapping[str, Any]) -> None:
        self.lv = lv
        self.me = Holder(config["host"], config["address"])
        self.pools = {(pool["server"], pool["path"].rstrip("/")): pool["name"] for pool in config["pools"]}

    def call(self, vm: str, operation: str, moment: str, xml: str) -> str | None:
        """Returns why the VM must not start, or None."""
        places = sorted({place for place in nfs_disks(xml) if place in self.pools})
        if not places:
            return None
        uuid = ET.fromstring(xml).findtext("uuid", "")
        coming = INCOMING / uuid
        refusal = None
        if (operation, moment) == ("migrate", "begin"):
            coming.parent.mkdir(parents=True, exist_ok=True)
            coming.write_text(str(time.monotonic()))
        elif (operation, moment) == ("prepare", "begin"):
            with self.leases(places, uuid) as leases:
                incoming = expected(coming)
                refusals = (claim(lease, self.me, vm, incoming=incoming) for lease in leases)
                refusal = next(filter(None, refusals), None)
        elif (operation, moment) == ("release", "end"):
            with self.leases(places, uuid) as leases:
                for lease in leases:
                    release(lease, self.me)
        # libvirt does not call `release` for a start that its hook refused.
        if refusal or (operation, moment) in (("started", "begin"), ("release", "end")):
            coming.unlink(missing_ok=True)
        return refusal

    @contextmanager
    def leases(self, places: Sequence[tuple[str, str]], uuid: str) -> Iterator[list[Lease]]:
        """The leases of a VM, one for each server and pool that its disks are on."""
        conns = [self.lv.open(f"qemu+tls://{server}/system") for server, _path in places]
        try:
            yield [Lease(self.lv, conn, self.pools[at], uuid) for conn, at in zip(conns, places, strict=True)]
        finally:
            for conn in conns:
                conn.close()


def main(arguments: Sequence[str]) -> int:
    import libvirt as lv  # noqa: PLC0415  (not there where only the decisions are used)

    lv.registerErrorHandler(lambda _context, _error: None, None)
    vm, operation, moment = arguments[1:4]
    try:
        refusal = Hook(lv, json.loads(CONFIG.read_text())).call(vm, operation, moment, sys.stdin.read())
    except (lv.libvirtError, OSError, ValueError) as error:
        # What is stopped is stopped: a lease that stays is found out when the VM is started elsewhere.
        words = " ".join(str(error).split())
        refusal = f"the lease of {vm} cannot be reached: {words}" if moment == "begin" else None
    if refusal is not None:
        sys.stderr.write(f"croft: {refusal}\n")
    return 0 if refusal is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
