# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The VMs of one host through libvirt: what is there, and carrying out the steps that domain.actions() decided.

The order of making a VM is what lets an interrupted run be completed by the next one: first the seed, whose mark claims
the VM's volume names; then the root disk; then the mark says that the disk is complete; only then the domain.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils import domain_xml, seed
from ansible_collections.croft.infra.plugins.module_utils.domain import (
    Action,
    Actual,
    Domain,
    Host,
    Image,
    Wish,
    actions,
    root_volume,
    seed_volume,
    volume_format,
)
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    DOMAIN_STATES,
    LibvirtFailedError,
    bindings,
    words,
)
from ansible_collections.croft.infra.plugins.module_utils.open_stores import Stores, read, write
from ansible_collections.croft.infra.plugins.module_utils.private_file import write_privately


class StepError(Exception):
    """A step failed; the text says which, of which VM, and why. `done` has the steps of that VM done before it."""

    def __init__(self, name: str, step: Action, reason: str, done: list[Action]) -> None:
        super().__init__(f"{name}: {step.action} ({step.detail}) failed: {reason}")
        self.name = name
        self.done = done


class VmHost:
    """One host's VMs, new ones in one store, over open libvirt connections.

    `sleep` is called between two looks at a guest that shuts down. `ha_directory` has the definitions of the VMs that a
    cluster runs.
    """

    def __init__(
        self, stores: Stores, sleep: Callable[[float], None] = time.sleep, *, ha_directory: str | None = None
    ) -> None:
        self.conn = stores.conn
        self.stores = stores
        self.lv = bindings()
        self._sleep = sleep
        self.store = stores.main
        self.pool = self.store.pool
        self.pool_type, self.pool_path = self.store.type, self.store.path
        self.images: dict[str, Image] = {}
        self._ha_directory = Path(ha_directory or "/nonexistent")

    # What is there

    def look(self, wishes: list[Wish]) -> tuple[Host, dict[str, Actual]]:
        """The host, and what it has of each wished VM. Reads only."""
        domains = {domain.name(): domain for domain in self.conn.listAllDomains(0)}
        described = {name: domain_xml.describe(domain.XMLDesc(self.config_flags())) for name, domain in domains.items()}
        active = self.pool is not None and bool(self.pool.isActive())
        if active:
            self._refresh()
        volumes = frozenset(self.pool.listVolumes()) if active else frozenset()
        self.images = {name: self._volume_image(name) for name in {wish.image for wish in wishes} & volumes}
        host = Host(
            arch=self.conn.getInfo()[0],
            pool_type=self.pool_type,
            pool_path=self.pool_path,
            pool_active=active,
            images=self.images,
            volumes=volumes,
            networks={network.name(): bool(network.isActive()) for network in self.conn.listAllNetworks(0)},
            uuids={about.uuid: name for name, about in described.items()},
            macs={mac: name for name, about in described.items() for mac in about.macs},
            iso_tool=shutil.which(seed.ISO_TOOL),
            cpu_models=self._cpu_models(),
        )
        actuals = {}
        for wish in wishes:
            handed = self.definition(wish.name) if wish.ha else None
            if handed is not None:
                actuals[wish.name] = Actual(self._look_at_handed(domains.get(wish.name), handed))
            elif wish.name in domains:
                actuals[wish.name] = Actual(self._look_at(domains[wish.name], described[wish.name]))
            else:
                actuals[wish.name] = self._look_at_volumes(wish, volumes)
        return host, actuals

    def config_flags(self) -> int:
        # Secure: else passwords that someone set would be lost when the XML is defined again.
        return int(self.lv.VIR_DOMAIN_XML_INACTIVE | self.lv.VIR_DOMAIN_XML_SECURE)

    def _refresh(self) -> None:
        """Let libvirt see files that were put into the pool's directory behind its back."""
        try:
            self.pool.refresh(0)
        except self.lv.libvirtError:
            # A pool in which a volume is being made right now cannot be refreshed; libvirt knows what is in it then.
            return

    def _cpu_models(self) -> frozenset[str]:
        try:
            return frozenset(self.conn.getCPUModelNames(self.conn.getInfo()[0], 0))
        except self.lv.libvirtError:
            return frozenset()

    def _volume_image(self, name: str) -> Image:
        return domain_xml.read_volume(self.pool.storageVolLookupByName(name).XMLDesc(0))

    def _look_at(self, domain: Any, about: domain_xml.Description) -> Domain:
        live = domain_xml.describe(domain.XMLDesc(0)).fields if domain.isActive() else None
        disk_path = about.disk_path(domain_xml.ROOT_TARGET)
        seed_path = about.disk_path(domain_xml.SEED_TARGET)
        disk = self.stores.volume_at(disk_path)
        seed_state = "detached"
        if seed_path is not None:
            here = seed_path == self.store.location(seed_volume(about.name))
            seed_state = "attached" if self.stores.volume_at(seed_path) is not None else "missing" if here else "lost"
        return Domain(
            uuid=about.uuid,
            managed=about.managed,
            state=DOMAIN_STATES.get(domain.state(0)[0], "stopped"),
            autostart=bool(domain.autostart()) if domain.isPersistent() else False,
            config=about.fields,
            live=live,
            persistent=bool(domain.isPersistent()),
            disk_path=disk_path,
            disk_bytes=None if disk is None else int(disk.info()[1]),
            seed=seed_state,
        )

    def definition(self, name: str) -> str | None:
        """The definition of a VM that a cluster runs, or None where the cluster has none."""
        try:
            return self.definition_file(name).read_text()
        except FileNotFoundError:
            return None

    def definition_file(self, name: str) -> Path:
        return self._ha_directory / f"{name}.xml"

    def _look_at_handed(self, domain: Any, definition: str) -> Domain:
        """A VM that a cluster runs, here (then libvirt has a domain of it) or elsewhere or not at all."""
        about = domain_xml.describe(definition)
        if domain is not None and domain.isActive():
            seen = self._look_at(domain, about)
            return replace(seen, handed_over=not seen.persistent)
        disk = self.stores.volume_at(about.disk_path(domain_xml.ROOT_TARGET))
        seed_volume_ = self.stores.volume_at(about.disk_path(domain_xml.SEED_TARGET))
        return Domain(
            uuid=about.uuid,
            managed=about.managed,
            state="stopped",
            autostart=False,
            config=about.fields,
            disk_path=about.disk_path(domain_xml.ROOT_TARGET),
            disk_bytes=None if disk is None else int(disk.info()[1]),
            seed="attached" if seed_volume_ is not None else "missing",
            handed_over=domain is None,
        )

    def _look_at_volumes(self, wish: Wish, volumes: frozenset[str]) -> Actual:
        root, first = root_volume(wish.name, self.pool_type), seed_volume(wish.name)
        mark = "absent"
        if first in volumes:
            mark = seed.read_mark(read(self.pool.storageVolLookupByName(first), seed.MARK_BYTES), wish.uuid)
        size = int(self.pool.storageVolLookupByName(root).info()[1]) if root in volumes else None
        return Actual(root_bytes=size, seed=mark)

    # Carrying out

    def carry_out(self, wishes: list[Wish], actuals: dict[str, Actual], arch: str, patience: int) -> None:
        """Take the steps of every VM. Raises StepError at the first that fails; the steps before it stay done.

        Guests to be stopped are all asked first and get `patience` seconds in common, counted by looks: the wall clock
        may jump.
        """
        plans = {wish.name: actions(wish, actuals[wish.name]) for wish in wishes}
        self._stop(
            [(wish.name, step) for wish in wishes for step in plans[wish.name] if step.action == "stop"], patience
        )
        for wish in wishes:
            _Work(self, wish, actuals[wish.name], arch).take([s for s in plans[wish.name] if s.action != "stop"])

    def _stop(self, stops: list[tuple[str, Action]], patience: int) -> None:
        asked = []
        for name, step in stops:
            try:
                domain = self.conn.lookupByName(name)
                domain.shutdown()
            except self.lv.libvirtError as error:
                raise StepError(name, step, words(error), []) from error
            asked.append((name, step, domain))
        for _look in range(patience):
            asked = [entry for entry in asked if entry[2].isActive()]
            if not asked:
                return
            self._sleep(1)
        late = [entry for entry in asked if entry[2].isActive()]
        if late:
            others = ", ".join(name for name, _step, _domain in late)
            raise StepError(
                late[0][0], late[0][1], f"still running {patience} s after it was asked to stop: {others}", []
            )


class _Work:
    """The steps of one VM; each step is the method of its action's name."""

    def __init__(self, host: VmHost, wish: Wish, actual: Actual, arch: str) -> None:
        self._host = host
        self.conn = host.conn
        self.pool = host.pool
        self._wish = wish
        self._actual = actual
        self._arch = arch
        self._made: list[str] = []
        self._done: list[Action] = []

    def take(self, steps: list[Action]) -> None:
        for step in steps:
            try:
                getattr(self, f"_{step.action}")()
            except (self._host.lv.libvirtError, LibvirtFailedError, RuntimeError, OSError) as error:
                left = self._undo() if self._actual.domain is None and step.action != "start" else ""
                raise StepError(self._wish.name, step, words(error) + left, self._done) from error
            self._done.append(step)

    def _undo(self) -> str:
        """Remove the volumes made in this run when no domain owns them; returns what could not be removed."""
        names = {domain.name() for domain in self.conn.listAllDomains(0)}
        if self._wish.name in names:
            return ""
        left = ""
        # The disk first: as long as the seed is there, its mark tells a next run that the rest is this VM's.
        for name in reversed(self._made):
            try:
                self.pool.storageVolLookupByName(name).delete(0)
            except self._host.lv.libvirtError as error:
                left += f"; the volume {name} made in this run could not be removed: {words(error)}"
        self._done = [step for step in self._done if step.action not in ("write_seed", "create_disk", "recreate_disk")]
        return left

    def _root(self) -> str:
        return root_volume(self._wish.name, self._host.pool_type)

    def _write_seed(self) -> None:
        """Write the first-boot data. Without a domain it is marked as building until define; with one it is ready."""
        domain = self._actual.domain
        complete = domain is not None or (self._actual.root_bytes is not None and self._actual.seed == "ready")
        tool = shutil.which(seed.ISO_TOOL) or seed.ISO_TOOL
        data = seed.build_iso(self._wish.first_boot, tool)
        data = seed.mark(self._wish.uuid, ready=complete) + data[seed.MARK_BYTES :]
        volume = self._seed_volume(len(data))
        if volume.info()[1] < len(data):
            volume.resize(len(data), 0)
        write(volume, data)

    def _seed_volume(self, size: int) -> Any:
        """The volume for the first-boot data: the domain's, wherever it lies, else one of the pool, made if need be."""
        if self._actual.domain is not None and self._actual.domain.seed == "attached":
            xml = self._xml()
            return self._host.stores.volume_at(domain_xml.describe(xml).disk_path(domain_xml.SEED_TARGET))
        name = seed_volume(self._wish.name)
        if name in self.pool.listVolumes():
            return self.pool.storageVolLookupByName(name)
        self._made.append(name)
        fmt = volume_format(self._host.pool_type, "raw")
        return self.pool.createXML(domain_xml.volume_xml(name, size, fmt, owner=self._host.store.owner), 0)

    def _recreate_disk(self) -> None:
        self.pool.storageVolLookupByName(self._root()).delete(0)
        self._create_disk()

    def _create_disk(self) -> None:
        wish, image = self._wish, self._host.images[self._wish.image]
        size = wish.disk_bytes or image.bytes
        self._made.append(self._root())
        self._host.store.make_disk(self._root(), size, image, wish.image, linked=wish.clone == "linked")
        seed_disk = self.pool.storageVolLookupByName(seed_volume(wish.name))
        write(seed_disk, seed.mark(wish.uuid, ready=True))

    def _grow_disk(self) -> None:
        size = self._wish.disk_bytes
        if self._actual.domain is None:
            self.pool.storageVolLookupByName(self._root()).resize(size, 0)
            return
        domain = None if self._actual.domain.live is None else self.conn.lookupByName(self._wish.name)
        if domain is not None:
            domain.blockResize(domain_xml.ROOT_TARGET, size, self._host.lv.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
        else:
            self._host.stores.volume_at(self._actual.domain.disk_path).resize(size, 0)

    def _define(self) -> None:
        store = self._host.store
        root, first = store.disk(self._root()), store.disk(seed_volume(self._wish.name))
        self._put(domain_xml.domain_xml(self._wish, self._arch, root, first))

    def _redefine(self) -> None:
        self._put(domain_xml.edited(self._xml(), self._wish))

    def _hand_over(self) -> None:
        self._put(self._xml())

    def _xml(self) -> str:
        """The VM's definition, wherever it is kept."""
        if self._actual.domain is not None and self._actual.domain.handed_over:
            return self._host.definition(self._wish.name) or ""
        return str(self.conn.lookupByName(self._wish.name).XMLDesc(self._host.config_flags()))

    def _put(self, xml: str) -> None:
        """Define the VM. What a cluster runs is in a file: libvirt fills in the hardware's addresses, and forgets it.

        A VM that runs goes on in either case.
        """
        defined = self.conn.defineXML(xml)
        if not self._wish.ha:
            return
        whole = defined.XMLDesc(self._host.config_flags())
        defined.undefine()
        write_privately(self._host.definition_file(self._wish.name), whole)

    def _set_autostart(self) -> None:
        self.conn.lookupByName(self._wish.name).setAutostart(int(self._wish.autostart))

    def _start(self) -> None:
        self.conn.lookupByName(self._wish.name).create()
