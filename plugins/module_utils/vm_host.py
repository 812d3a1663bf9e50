# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The VMs of one host through libvirt: what is there, and carrying out the steps that domain.actions() decided.

The order of making a VM is what lets an interrupted run be completed by the next one: first the seed, whose mark claims
the VM's volume names; then the root disk; then the mark says that the disk is complete; only then the domain.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils import capacity, domain_xml, guest_agent, hotplug, seed
from ansible_collections.croft.infra.plugins.module_utils.domain import (
    Action,
    Actual,
    Domain,
    Host,
    Image,
    Wish,
    actions,
    extra_volume,
    root_volume,
    seed_volume,
    volume_format,
)
from ansible_collections.croft.infra.plugins.module_utils.guest_stop import StopError, shut_down
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    DOMAIN_STATES,
    LibvirtFailedError,
    bindings,
    words,
)
from ansible_collections.croft.infra.plugins.module_utils.open_stores import Stores, read, write
from ansible_collections.croft.infra.plugins.module_utils.private_file import write_privately
from ansible_collections.croft.infra.plugins.module_utils.strays import strays

# How often a running guest is looked at, a second apart, until it took or let go of what was plugged.
_LOOKS = 20


class StepError(Exception):
    """A step failed; the text says which, of which VM, and why. `done` has the steps of that VM done before it."""

    def __init__(self, name: str, step: Action, reason: str, done: list[Action]) -> None:
        super().__init__(f"{name}: {step.action} ({step.detail}) failed: {reason}")
        self.name = name
        self.done = done


# What libvirt sets for a card with a rate in each direction, tried in a network of its own that ends with the shell.
_RATES = (
    "tc qdisc add dev lo root handle 1: htb default 1",
    "tc class add dev lo parent 1: classid 1:1 htb rate 512kbps",
    "tc qdisc add dev lo parent 1:1 handle 2: sfq perturb 10",
    "tc filter add dev lo parent 1:0 protocol all prio 1 handle 1 fw flowid 1",
    "tc qdisc add dev lo ingress",
    "tc filter add dev lo parent ffff: protocol all u32 match u32 0 0 police rate 512kbps burst 512kb mtu 64kb drop "
    "flowid :1",
)


def holds_to_rates() -> bool | None:
    """Whether the kernel holds network cards to a rate; None where it cannot be tried."""
    alone = ["unshare", "--net", "sh", "-c"]
    try:
        if subprocess.run([*alone, "command -v tc"], capture_output=True, check=False, timeout=30).returncode:
            return None
        tried = subprocess.run([*alone, " && ".join(_RATES)], capture_output=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return tried.returncode == 0


def network_links(root: Path = Path("/sys/class/net")) -> dict[str, str]:
    """The network devices, each of domain.LINK_KINDS."""
    found = {}
    for link in root.iterdir():
        filtering = link / "bridge/vlan_filtering"
        filters = filtering.exists() and filtering.read_text().strip() == "1"
        found[link.name] = "vlan_bridge" if filters else "bridge" if (link / "bridge").is_dir() else "device"
    return found


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
        # What a person should know of the steps that were carried out.
        self.notes: list[str] = []
        self._ha_directory = Path(ha_directory or "/nonexistent")

    # What is there

    def look(self, wishes: list[Wish]) -> tuple[Host, dict[str, Actual]]:
        """The host, and what it has of each wished VM. Reads only."""
        domains = {domain.name(): domain for domain in self.conn.listAllDomains(0)}
        described = {name: domain_xml.describe(domain.XMLDesc(self.config_flags())) for name, domain in domains.items()}
        owners = {place: name for name, about in described.items() for _target, place, _read_only in about.disks}
        active = self.pool is not None and bool(self.pool.isActive())
        if active:
            self._refresh()
        volumes = frozenset(self.pool.listVolumes()) if active else frozenset()
        self.images = {name: self._volume_image(name) for name in {wish.image for wish in wishes} & volumes}
        networks = self.conn.listAllNetworks(0)
        host = Host(
            arch=self.conn.getInfo()[0],
            pool_type=self.pool_type,
            pool_path=self.pool_path,
            pool_active=active,
            images=self.images,
            volumes=volumes,
            networks={network.name(): bool(network.isActive()) for network in networks},
            uuids={about.uuid: name for name, about in described.items()},
            macs={mac: name for name, about in described.items() for mac in about.macs},
            iso_tool=shutil.which(seed.ISO_TOOL),
            cpu_models=self._cpu_models(),
            **self._hardware(wishes, networks),
        )
        actuals = {}
        for wish in wishes:
            handed = self.definition(wish.name) if wish.ha else None
            if handed is not None:
                actual = Actual(self._look_at_handed(domains.get(wish.name), handed, wish))
            elif wish.name in domains:
                actual = Actual(self._look_at(domains[wish.name], described[wish.name], wish))
            else:
                actual = self._look_at_volumes(wish, volumes)
            actuals[wish.name] = self._with_extra_volumes(wish, actual, volumes, owners)
        return host, actuals

    def _with_extra_volumes(
        self, wish: Wish, actual: Actual, volumes: frozenset[str], owners: dict[str, str]
    ) -> Actual:
        """The volumes of wished disks that the domain does not have yet."""
        attached = {} if actual.domain is None else actual.domain.extra
        spare, taken = {}, {}
        for disk in wish.shape.disks:
            name = extra_volume(wish.name, disk.name, self.pool_type)
            if disk.name in attached or name not in volumes:
                continue
            spare[disk.name] = int(self.pool.storageVolLookupByName(name).info()[1])
            owner = owners.get(self.store.location(name))
            if owner is not None:
                taken[disk.name] = owner
        return replace(actual, spare=spare, taken=taken) if spare else actual

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

    def _hardware(self, wishes: list[Wish], networks: list[Any]) -> dict[str, Any]:
        """What the host can give VMs of what some hosts cannot; asked only where somebody wants it."""
        found: dict[str, Any] = {}
        arch = self.conn.getInfo()[0]
        wish = next((wish for wish in wishes if wish.shape.tpm or wish.shape.firmware not in (None, "bios")), None)
        if wish is not None:
            try:
                told = self.conn.getDomainCapabilities(
                    None, arch, domain_xml.MACHINES.get(arch), domain_xml.DOMAIN_TYPES[wish.accelerator], 0
                )
                found["firmware"], found["tpm"] = domain_xml.abilities(told)
            except self.lv.libvirtError:
                # Then the start of the VM tells.
                pass
        nics = [nic for wish in wishes for nic in wish.shape.nics]
        if any(nic.limited for nic in nics):
            found["rates"] = holds_to_rates()
        if any(nic.link != "network" or nic.vlan is not None for nic in nics):
            found["links"] = network_links()
            found["bridges"] = self._bridges(networks)
            found["libvirt"] = self.conn.getLibVersion()
        if any(wish.shape.hugepages for wish in wishes):
            found["free_hugepages_mib"] = capacity.free_hugepages_mib(Path("/proc/meminfo").read_text())
        if any(wish.shape.numa_node is not None for wish in wishes):
            found["numa_nodes"] = frozenset(node.id for node in capacity.read_numa_nodes(Path("/"), frozenset()))
        return found

    def _bridges(self, networks: list[Any]) -> dict[str, str]:
        """The bridge of each libvirt network that has one."""
        found = {}
        for network in networks:
            with contextlib.suppress(self.lv.libvirtError):
                found[network.name()] = network.bridgeName()
        return found

    def _volume_image(self, name: str) -> Image:
        return domain_xml.read_volume(self.pool.storageVolLookupByName(name).XMLDesc(0))

    def _look_at(self, domain: Any, about: domain_xml.Description, wish: Wish) -> Domain:
        now = domain.XMLDesc(0) if domain.isActive() else None
        running = None if now is None else domain_xml.describe(now)
        live = None if running is None else running.fields
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
            strays=strays(domain.XMLDesc(self.config_flags()), now, wish.macs),
            disk_path=disk_path,
            disk_bytes=None if disk is None else int(disk.info()[1]),
            seed=seed_state,
            extra={name: self._size_at(about.disk_path(target)) for name, target in about.extra.items()},
            memory_range=None if running is None else running.memory_range,
            free_slots=0 if running is None else running.free_slots,
            agent=running is not None and running.agent_connected,
            mounted=self._mounted(domain, running, wish),
        )

    def _size_at(self, path: str | None) -> int | None:
        volume = self.stores.volume_at(path)
        return None if volume is None else int(volume.info()[1])

    def _mounted(self, domain: Any, running: domain_xml.Description | None, wish: Wish) -> frozenset[str]:
        """The disks that shall be detached and that the guest uses, as far as its agent tells."""
        if running is None or wish.state != "running":
            return frozenset()
        leaving = set(running.extra) - {disk.name for disk in wish.shape.disks}
        if not leaving or not running.agent_connected:
            return frozenset()
        return frozenset(leaving & guest_agent.disks_in_use(domain))

    def definition(self, name: str) -> str | None:
        """The definition of a VM that a cluster runs, or None where the cluster has none."""
        try:
            return self.definition_file(name).read_text()
        except FileNotFoundError:
            return None

    def definition_file(self, name: str) -> Path:
        return self._ha_directory / f"{name}.xml"

    def _look_at_handed(self, domain: Any, definition: str, wish: Wish) -> Domain:
        """A VM that a cluster runs, here (then libvirt has a domain of it) or elsewhere or not at all."""
        about = domain_xml.describe(definition)
        if domain is not None and domain.isActive():
            seen = self._look_at(domain, about, wish)
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
            extra={name: self._size_at(about.disk_path(target)) for name, target in about.extra.items()},
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
            steps = [step for step in plans[wish.name] if step.action not in ("stop", "restart")]
            _Work(self, wish, actuals[wish.name], arch).take(steps)
        restarts = [(wish, step) for wish in wishes for step in plans[wish.name] if step.action == "restart"]
        self._stop([(wish.name, step) for wish, step in restarts], patience)
        for wish, step in restarts:
            _Work(self, wish, actuals[wish.name], arch).take([replace(step, action="start")])

    def wait(self, look: Callable[[], Any], wanted: Any) -> Any:
        """Look until it is as wanted, at most so often; what was seen last."""
        for _look in range(_LOOKS):
            seen = look()
            if seen == wanted:
                return seen
            self._sleep(1)
        return look()

    def _stop(self, stops: list[tuple[str, Action]], patience: int) -> None:
        named = dict(stops)
        try:
            late = shut_down([self.conn.lookupByName(name) for name in named], patience, self._sleep)
        except StopError as error:
            raise StepError(error.name, named[error.name], str(error), []) from error
        if late:
            raise StepError(
                late[0], named[late[0]], f"still running {patience} s after it was asked to stop: {', '.join(late)}", []
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
                method = getattr(self, f"_{step.action}")
                method(step.device) if step.device or step.action == "grow_file_system" else method()
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
                if error.get_error_code() == self._host.lv.VIR_ERR_NO_STORAGE_VOL:
                    # libvirt removes itself what it had no space for.
                    continue
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
            xml = self._config()
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
        self._resize(domain_xml.ROOT_TARGET, self._actual.domain.disk_path, size)

    def _resize(self, target: str, path: str | None, size: int | None) -> None:
        """Make a disk of the domain larger: through QEMU where that has it open."""
        runs = self._actual.domain is not None and self._actual.domain.live is not None
        if runs and domain_xml.describe(self._domain().XMLDesc(0)).disk_path(target) is not None:
            self._domain().blockResize(target, size, self._host.lv.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
        else:
            self._host.stores.volume_at(path).resize(size, 0)

    def _domain(self) -> Any:
        return self.conn.lookupByName(self._wish.name)

    def _config(self) -> str:
        """The VM's definition, wherever it is kept."""
        handed = self._host.definition(self._wish.name) if self._wish.ha else None
        return handed or str(self._domain().XMLDesc(self._host.config_flags()))

    def _extra(self, disk: str) -> str:
        return extra_volume(self._wish.name, disk, self._host.pool_type)

    def _create_volume(self, disk: str) -> None:
        size = next(wished.bytes for wished in self._wish.shape.disks if wished.name == disk)
        fmt = volume_format(self._host.pool_type, "qcow2")
        self.pool.createXML(domain_xml.volume_xml(self._extra(disk), size, fmt, owner=self._host.store.owner), 0)

    def _grow_volume(self, disk: str) -> None:
        size = next(wished.bytes for wished in self._wish.shape.disks if wished.name == disk)
        if self._actual.domain is None or disk not in self._actual.domain.extra:
            self.pool.storageVolLookupByName(self._extra(disk)).resize(size, 0)
            return
        about = domain_xml.describe(self._config())
        target = about.extra[disk]
        self._resize(target, about.disk_path(target), size)

    def _grow_file_system(self, disk: str) -> None:
        trouble = guest_agent.grow_file_systems(self._domain(), disk)
        if trouble is not None:
            word = f"disk {disk}" if disk else "its root disk"
            self._note(f"{word} is larger, and the guest did not let its file system fill it: {trouble}")

    def _note(self, text: str) -> None:
        self._host.notes.append(f"{self._wish.name}: {text}")

    def _places(self) -> dict[str, domain_xml.Disk]:
        """The further disks that there are volumes of."""
        there = self._actual.domain.extra if self._actual.domain is not None else {}
        names = [disk.name for disk in self._wish.shape.disks if disk.name not in there]
        return {name: self._host.store.disk(self._extra(name)) for name in names}

    def _define(self) -> None:
        store = self._host.store
        root, first = store.disk(self._root()), store.disk(seed_volume(self._wish.name))
        self._put(domain_xml.domain_xml(self._wish, self._arch, root, first, self._places()))

    def _redefine(self) -> None:
        self._put(domain_xml.edited(self._config(), self._wish, self._places()))

    def _hand_over(self) -> None:
        self._put(self._config())

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

    def _set_vcpus(self) -> None:
        wanted, domain = self._wish.vcpus, self._domain()
        domain.setVcpusFlags(wanted, self._host.lv.VIR_DOMAIN_AFFECT_LIVE)
        trouble = guest_agent.bring_online(domain, wanted, self._host.wait)
        if trouble is not None:
            self._note(f"has {wanted} vCPUs, and the guest does not use them all: {trouble}")

    def _set_memory(self) -> None:
        domain = self._domain()
        root = ET.fromstring(domain.XMLDesc(0))
        device = hotplug.set_requested(root, self._wish.memory_mib)
        domain.updateDeviceFlags(ET.tostring(device, encoding="unicode"), self._host.lv.VIR_DOMAIN_AFFECT_LIVE)
        wanted = self._wish.memory_mib - (hotplug.memory_range(root) or (0, 0))[0]
        taken = self._host.wait(lambda: hotplug.plugged_mib(ET.fromstring(domain.XMLDesc(0))), wanted)
        if taken != wanted:
            self._note(
                f"was offered {wanted} MiB beyond its first memory and has taken {taken} of them so far; its kernel "
                "needs the driver virtio_mem"
            )

    def _attach(self, alias: str) -> None:
        device = hotplug.by_alias(ET.fromstring(self._config()), alias)
        assert device is not None
        # Where it is on the guest's bus is libvirt's to say: the definition's place may be taken in the running guest.
        for place in device.findall("address"):
            device.remove(place)
        self._domain().attachDeviceFlags(ET.tostring(device, encoding="unicode"), self._host.lv.VIR_DOMAIN_AFFECT_LIVE)

    def _detach(self, alias: str) -> None:
        """Ask the guest to let go of a device; it is gone when it did."""
        domain = self._domain()
        device = hotplug.by_alias(ET.fromstring(domain.XMLDesc(0)), alias)
        assert device is not None
        domain.detachDeviceFlags(ET.tostring(device, encoding="unicode"), self._host.lv.VIR_DOMAIN_AFFECT_LIVE)
        there = self._host.wait(lambda: hotplug.by_alias(ET.fromstring(domain.XMLDesc(0)), alias) is not None, False)
        if there:
            raise RuntimeError("the guest has not let go of it; run again when it is not in use there")

    def _attach_disk(self, name: str) -> None:
        self._attach(hotplug.DISK_ALIAS + name)

    def _detach_disk(self, name: str) -> None:
        self._detach(hotplug.DISK_ALIAS + name)

    def _attach_nic(self, name: str) -> None:
        self._attach(hotplug.NIC_ALIAS + name)

    def _detach_nic(self, name: str) -> None:
        self._detach(hotplug.NIC_ALIAS + name)

    def _set_autostart(self) -> None:
        self._domain().setAutostart(int(self._wish.libvirt_starts_it))

    def _start(self) -> None:
        self.conn.lookupByName(self._wish.name).create()
