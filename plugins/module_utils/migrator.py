# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Live migrations from this host through libvirt, several at a time.

The source's libvirt leads (peer to peer), over TLS, so that a migration goes on when whoever asked for it goes away.
Where disks are local the volumes are made at the target first, and the source's go when the VM runs there. A VM that a
cluster runs is moved by the cluster, with its own limits.
"""

from __future__ import annotations

import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils import cluster_moves, domain_xml, migration
from ansible_collections.croft.infra.plugins.module_utils.domain import volume_format
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    DOMAIN_STATES,
    LibvirtFailedError,
    bindings,
    connection,
    migration_uri_of,
    quietly,
    removed,
    uri_of,
    words,
)
from ansible_collections.croft.infra.plugins.module_utils.migration import DiskSeen, Move, Seen

# Pools that every host has at the same path.
SHARED_POOLS = ("netfs", "rbd", "iscsi", "gluster")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Limits:
    """How migrations may behave: MiB/s (None: no limit), milliseconds, seconds, and a word of migration.MODES.

    ``connections`` carry one VM's memory.
    """

    bandwidth_mib: int | None = None
    downtime_ms: int | None = None
    timeout: int = 600
    mode: str = "precopy"
    connections: int = 1

    @property
    def channels(self) -> int:
        """How many connections are used. Over several, QEMU 10.0 sends 11 MiB/s where 2 are the limit, and below 10.1
        it refuses them together with post-copy."""
        return 1 if self.bandwidth_mib or self.mode == "post_copy" else self.connections


class Migrator:
    """Moves VMs of this host, whose libvirt is ``conn``; ``connect`` opens the libvirt of a target by its address."""

    def __init__(
        self, conn: Any, limits: Limits, stack: ExitStack, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.conn = conn
        self.lv = bindings()
        self.limits = limits
        self._stack = stack
        self._sleep = sleep
        self._targets: dict[str, Any] = {}
        self._silent: dict[str, str] = {}
        # To refresh and change a pool is nothing that two may do at once.
        self._pools = threading.Lock()

    def target(self, address: str) -> Any:
        """The libvirt of a target, opened once; None when it does not answer."""
        if address not in self._targets and address not in self._silent:
            try:
                self._targets[address] = self._stack.enter_context(connection(uri_of(address)))
            except LibvirtFailedError as error:
                self._silent[address] = str(error)
        return self._targets.get(address)

    # What is there

    def look(self, moves: Sequence[Move]) -> dict[str, Seen]:
        """What speaks for and against each move."""
        return {move.name: self._look_at(move) for move in moves}

    def _look_at(self, move: Move) -> Seen:
        try:
            domain = self.conn.lookupByName(move.name)
        except self.lv.libvirtError:
            return Seen()
        about = domain_xml.describe(domain.XMLDesc(0))
        state = DOMAIN_STATES.get(domain.state(0)[0], "stopped")
        target = self.target(move.address)
        if target is None:
            return Seen(state, about.managed, silent=self._silent[move.address])
        networks = {network.name() for network in target.listAllNetworks(0) if network.isActive()}
        disks, pools, free = self._look_at_disks(about, target)
        return Seen(
            state=state,
            managed=about.managed,
            at_target=any(there.name() == move.name for there in target.listAllDomains(0)),
            snapshots=domain.snapshotNum(0),
            lacking=tuple(sorted(set(networks_of(domain.XMLDesc(0))) - networks)),
            cpu=self._cpu_problem(domain, target) if state == "running" else None,
            disks=disks,
            pools=pools,
            pool_free=free,
        )

    def _look_at_disks(
        self, about: domain_xml.Description, target: Any
    ) -> tuple[tuple[DiskSeen, ...], dict[str, str], dict[str, int | None]]:
        seen, pools, free = [], {}, {}
        for dev, place, read_only in about.disks:
            volume = None if "://" in place else self._volume(place)
            pool = None if volume is None else volume.storagePoolLookupByVolume()
            if "://" in place or (pool is not None and domain_xml.read_pool(pool.XMLDesc(0))[0] in SHARED_POOLS):
                seen.append(DiskSeen(dev, place, shared=True, read_only=read_only))
                continue
            there = None if pool is None else self._pool(target, pool.name())
            names = frozenset(there.listVolumes()) if there is not None else frozenset()
            image = None if volume is None else domain_xml.backing_path(volume.XMLDesc(0))
            if pool is not None:
                pools[place] = pool.name()
                free[pool.name()] = None if there is None else int(there.info()[3])
            seen.append(
                DiskSeen(
                    dev,
                    place,
                    shared=False,
                    # A sparse copy takes no more than there is.
                    bytes=0 if volume is None else int(volume.info()[2]),
                    read_only=read_only,
                    on_target=PurePosixPath(place).name in names,
                    image_on_target=None if image is None else PurePosixPath(image).name in names,
                )
            )
        return tuple(seen), pools, free

    def _volume(self, path: str) -> Any:
        try:
            return self.conn.storageVolLookupByPath(path)
        except self.lv.libvirtError:
            return None

    def _pool(self, conn: Any, name: str) -> Any:
        """An active pool with fresh knowledge of its volumes, or None."""
        try:
            pool = conn.storagePoolLookupByName(name)
            if not pool.isActive():
                return None
            pool.refresh(0)
        except self.lv.libvirtError:
            return None
        return pool

    def _cpu_problem(self, domain: Any, target: Any) -> str | None:
        """Why the guest's CPU cannot run at the target, or None. QEMU's own translator (TCG) has one everywhere."""
        root = ET.fromstring(domain.XMLDesc(self.lv.VIR_DOMAIN_XML_MIGRATABLE))
        cpu = root.find("cpu")
        if cpu is None or root.get("type") != "kvm":
            return None
        try:
            fits = target.compareCPU(
                ET.tostring(cpu, encoding="unicode"), self.lv.VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE
            )
        except self.lv.libvirtError as error:
            return words(error)
        return None if fits > 0 else "the target's CPU lacks features"

    # Moving

    def carry_out(self, moves: Sequence[Move], seen: Mapping[str, Seen], parallel: int) -> list[dict[str, Any]]:
        """Move all, ``parallel`` at a time; how each ended, in the order of ``moves``. A failed one stays."""
        with ThreadPoolExecutor(max_workers=max(1, parallel)) as pool:
            return list(pool.map(lambda move: self._move(move, seen[move.name]), moves))

    def _move(self, move: Move, seen: Seen) -> dict[str, Any]:
        source = self.conn.getHostname()
        about: dict[str, Any] = {"name": move.name, "source": source, "target": move.target}
        target = self.target(move.address)
        made: list[Any] = []
        domain = self.conn.lookupByName(move.name)
        autostart = domain.isPersistent() and domain.autostart()
        local = [disk for disk in seen.disks if not disk.shared]
        increment = migration.incremental(seen.disks)
        try:
            with self._pools:
                for disk in local:
                    self._make_disk(disk, seen, target, made, increment=increment)
            if cluster_moves.runs_in_cluster(move.name):
                self._through_cluster(move, target)
            else:
                self._migrate(domain, move, local, increment=increment)
        except (self.lv.libvirtError, cluster_moves.ClusterMoveError) as error:
            left = removed(made)
            return {**about, "state": "failed", "reason": words(error) + left}
        there = target.lookupByName(move.name)
        if there.isPersistent():
            # libvirt takes the definition along, and not that it starts with the host.
            there.setAutostart(autostart)
        result = {**about, "state": "done", **migration.outcome(there.jobStats(self.lv.VIR_DOMAIN_JOB_STATS_COMPLETED))}
        left = removed([self._volume(disk.place) for disk in local])
        return {**result, "remark": left.lstrip("; ")} if left else result

    def _make_disk(self, disk: DiskSeen, seen: Seen, target: Any, made: list[Any], *, increment: bool) -> None:
        """The volume at the target: empty for a disk that is copied live, complete for one that is only read."""
        here = self._volume(disk.place)
        pool = target.storagePoolLookupByName(seen.pools[disk.place])
        xml = here.XMLDesc(0)
        about = domain_xml.read_volume(xml)
        image = None
        if increment and not disk.read_only:
            name = PurePosixPath(domain_xml.backing_path(xml) or "").name
            image = domain_xml.read_volume(pool.storageVolLookupByName(name).XMLDesc(0))
        if disk.on_target:
            pool.storageVolLookupByName(here.name()).delete(0)
        fmt = volume_format(domain_xml.read_pool(pool.XMLDesc(0))[0], about.format)
        made.append(pool.createXML(domain_xml.volume_xml(here.name(), about.bytes, fmt, image), 0))
        if disk.read_only:
            copy(here, made[-1])

    def _through_cluster(self, move: Move, target: Any) -> None:
        def active(conn: Any) -> bool:
            try:
                return bool(conn.lookupByName(move.name).isActive())
            except self.lv.libvirtError:
                return False

        def arrived() -> bool:
            return active(target) and not active(self.conn)

        cluster_moves.move(move.name, move.target, self.limits.timeout, arrived, self._sleep)

    def _migrate(self, domain: Any, move: Move, local: Sequence[DiskSeen], *, increment: bool) -> None:
        lv, limits = self.lv, self.limits
        flags = lv.VIR_MIGRATE_LIVE | lv.VIR_MIGRATE_PEER2PEER | lv.VIR_MIGRATE_TLS
        flags |= lv.VIR_MIGRATE_PERSIST_DEST | lv.VIR_MIGRATE_UNDEFINE_SOURCE
        parameters: dict[str, Any] = {lv.VIR_MIGRATE_PARAM_URI: migration_uri_of(move.address)}
        written = [disk.target for disk in local if not disk.read_only]
        if written:
            flags |= lv.VIR_MIGRATE_NON_SHARED_INC if increment else lv.VIR_MIGRATE_NON_SHARED_DISK
            parameters[lv.VIR_MIGRATE_PARAM_MIGRATE_DISKS] = written
        if limits.bandwidth_mib:
            parameters[lv.VIR_MIGRATE_PARAM_BANDWIDTH] = limits.bandwidth_mib
        flags |= {
            "auto_converge": lv.VIR_MIGRATE_AUTO_CONVERGE,
            "post_copy": lv.VIR_MIGRATE_POSTCOPY,
        }.get(limits.mode, 0)
        if limits.channels > 1:
            flags |= lv.VIR_MIGRATE_PARALLEL
            parameters[lv.VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS] = limits.channels
        if limits.downtime_ms:
            domain.migrateSetMaxDowntime(limits.downtime_ms)
        over = threading.Event()
        watch = threading.Thread(target=self._watch, args=(domain, over), daemon=True)
        watch.start()
        try:
            domain.migrateToURI3(uri_of(move.address), parameters, flags)
        finally:
            over.set()
            watch.join()

    def _watch(self, domain: Any, over: threading.Event) -> None:
        """Switch to post-copy after the first pass, and stop a migration that takes too long; it is counted by looks,
        since the wall clock may jump."""
        switched = False
        for _look in range(self.limits.timeout):
            if over.wait(1):
                return
            if self.limits.mode == "post_copy" and not switched:
                switched = self._switch(domain)
        if not over.is_set() and not switched:
            quietly(domain.abortJob)

    def _switch(self, domain: Any) -> bool:
        try:
            if migration.progress(domain.jobStats())["iteration"] < 1:
                return False
            domain.migrateStartPostCopy(0)
        except self.lv.libvirtError:
            return False
        return True


def networks_of(xml: str) -> list[str]:
    """The libvirt networks that a domain is plugged into."""
    sources = ET.fromstring(xml).iterfind("devices/interface[@type='network']/source")
    return [source.get("network", "") for source in sources]


def copy(source: Any, target: Any) -> None:
    """The content of a volume into another, of whatever host."""
    size = int(source.info()[1])
    out, into = source.connect().newStream(0), target.connect().newStream(0)
    source.download(out, 0, size, 0)
    target.upload(into, 0, size, 0)
    while data := out.recv(_CHUNK):
        while data:
            data = data[into.send(data) :]
    out.finish()
    into.finish()
