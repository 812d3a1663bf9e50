# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wished for a VM, what is there, and what has to be done about the difference. Pure: no host is touched here.

Check mode and the real run both report what these functions say, so the one predicts the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils.devices import FIRMWARE, Nic, Shape
from ansible_collections.croft.infra.plugins.module_utils.seed import FirstBoot

GIB = 1024**3

# Pools whose volumes are files, those whose volumes are block devices of the host, and those of a Ceph cluster.
FILE_POOLS = ("dir", "fs", "netfs")
BLOCK_POOLS = ("logical",)
RBD_POOL = "rbd"

# The words of cpu_model that name no model; anything else does.
CPU_MODES = ("host-model", "host-passthrough", "maximum")
# CPU that a guest is given when the inventory does not say: with KVM the host's model by name, which a live migration
# can check on the other side; QEMU's own translator (TCG) has no host model, "maximum" is all that it can do.
DEFAULT_CPU = {"kvm": "host-model", "tcg": "maximum"}


@dataclass(frozen=True)
class Wish:
    """One VM as the inventory wants it. `disk_bytes` None: as large as the image, and never changed.

    `allow_restart`: what cannot be changed while it runs is brought into force by stopping and starting it.
    `ha`: a cluster starts and stops it, and has its definition; libvirt knows it only while it runs.
    """

    name: str
    uuid: str
    mac: str
    vcpus: int
    memory_mib: int
    image: str
    network: str
    first_boot: FirstBoot
    disk_bytes: int | None = None
    state: str = "running"
    autostart: bool = True
    accelerator: str = "kvm"
    cpu_model: str = "host-model"
    clone: str = "linked"
    watchdog: bool = False
    shape: Shape = field(default_factory=Shape)
    allow_restart: bool = False
    ha: bool = False

    @property
    def nic(self) -> Nic:
        """The first network card."""
        return self.shape.nics[0] if self.shape.nics else Nic("", self.mac, "network", self.network)

    @property
    def macs(self) -> tuple[str, ...]:
        return (self.mac, *(nic.mac for nic in self.shape.nics[1:]))

    @property
    def libvirt_starts_it(self) -> bool:
        """libvirt starts with the host what has no order. The rest is started in order by a unit of the host, or by a
        cluster."""
        return self.autostart and self.shape.start_order is None and not self.ha

    def fields(self) -> Fields:
        return Fields(
            vcpus=self.vcpus,
            memory_mib=self.memory_mib,
            network=self.network,
            mac=self.mac,
            accelerator=self.accelerator,
            cpu_model=self.cpu_model,
            first_boot_data=self.first_boot.digest,
            watchdog=self.watchdog,
            network_options=self.shape.nics[0].options if self.shape.nics else None,
            max_vcpus=self.shape.max_vcpus,
            max_memory_mib=self.shape.max_memory_mib,
            disks=tuple(sorted(disk.name for disk in self.shape.disks)),
            nics=tuple(sorted(nic.text for nic in self.shape.nics[1:])),
            firmware=self.shape.firmware,
            tpm=self.shape.tpm,
            hugepages=self.shape.hugepages,
            numa_node=self.shape.numa_node,
            start=self.shape.start if self.autostart else "",
        )


@dataclass(frozen=True)
class Fields:
    """The fields of a domain that croft manages. `first_boot_data` is FirstBoot.digest.

    A wished None is no wish. `memory_mib` is what the guest has (or would start with), `disks` and `nics` are croft's
    own beside the first of each: names, and Nic.text.
    """

    vcpus: int
    memory_mib: int
    network: str | None
    mac: str | None
    accelerator: str
    cpu_model: str | None
    first_boot_data: str | None
    watchdog: bool = False
    network_options: str | None = None
    max_vcpus: int | None = None
    max_memory_mib: int | None = None
    disks: tuple[str, ...] = ()
    nics: tuple[str, ...] = ()
    firmware: str | None = None
    tpm: bool | None = None
    hugepages: bool | None = None
    numa_node: int | None = None
    start: str | None = None

    def with_wishes(self, wanted: Fields) -> Fields:
        """These fields, with those that are wished in their place."""
        return replace(self, **{name: there for name, _here, there in self.differences(wanted)})

    def differences(self, wanted: Fields) -> list[tuple[str, Any, Any]]:
        """(field, here, wanted) for each field that differs, in a fixed order."""
        pairs = ((name, getattr(self, name), getattr(wanted, name)) for name in self.__dataclass_fields__)
        return [(name, here, there) for name, here, there in pairs if there is not None and here != there]


@dataclass(frozen=True)
class Domain:
    """A domain that is defined on the host.

    `state` is running, stopped, paused, shutting_down, crashed or suspended. `live` is None unless it is active.
    `disk_bytes` is None when the volume of its root disk is not there. `seed` is attached, detached (the domain has no
    such disk), missing (it has, the volume is gone from the pool) or lost (the same, elsewhere than in this pool).
    `extra` has the bytes of croft's further disks by name, None where the volume is not there. Of a running domain:
    `memory_range` is between what its memory can be changed while it runs, in MiB; `free_slots` how many devices can
    be plugged; `agent` whether the guest agent is connected; `mounted` the disks that the guest uses.
    `strays` has (kind, what tells it from others, when) of each device that croft gives no VM, see strays.strays().
    `handed_over`: the cluster has its definition and libvirt has none.
    """

    uuid: str
    managed: bool
    state: str
    autostart: bool
    config: Fields
    live: Fields | None = None
    persistent: bool = True
    strays: tuple[tuple[str, str, str], ...] = ()
    disk_path: str | None = None
    disk_bytes: int | None = None
    seed: str = "attached"
    extra: Mapping[str, int | None] = field(default_factory=dict)
    memory_range: tuple[int, int] | None = None
    free_slots: int = 0
    agent: bool = False
    mounted: frozenset[str] = frozenset()
    handed_over: bool = False


@dataclass(frozen=True)
class Actual:
    """What there is of a VM on the host: its domain, and volumes that bear its names in the pool.

    `seed` is absent, empty, building, ready (these two: of this VM, see seed.read_mark) or foreign. Both are only
    looked at when there is no domain. `spare` has the bytes of volumes, by disk, that bear the name of a wished disk
    and are not the domain's now; `taken` the domain that has such a volume, by disk.
    """

    domain: Domain | None = None
    root_bytes: int | None = None
    seed: str = "absent"
    spare: Mapping[str, int] = field(default_factory=dict)
    taken: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Image:
    """A golden image: a volume of the pool. `bytes` is its virtual size."""

    path: str
    format: str
    bytes: int


# A bridge of Linux that filters VLANs or does not, or anything else.
LINK_KINDS = ("bridge", "vlan_bridge", "device")
# From here on libvirt tells a bridge of Linux which VLAN a card is in, https://libvirt.org/formatdomain.html.
LIBVIRT_WITH_VLANS = 11_000_000


@dataclass(frozen=True)
class Host:
    """What the VMs of a host share. `missing` says why there is no libvirt (None: there is).

    `cpu_models` are those that libvirt knows by name; empty where it does not tell. So is it with `firmware`, of
    devices.FIRMWARE. `tpm` and `rates`: whether it emulates TPMs, and the kernel holds network cards to a rate; None
    where nobody asks or nothing is told; so is it with `free_hugepages_mib`, and `numa_nodes` by their ids.
    `links` are its network devices, each of LINK_KINDS; `bridges` those of libvirt's networks; `libvirt` its version as
    libvirt counts (11.3.0 is 11003000), 0 where nobody asks.
    """

    missing: str | None = None
    arch: str = "x86_64"
    pool_type: str | None = None
    pool_path: str = ""
    pool_active: bool = True
    images: Mapping[str, Image] = field(default_factory=dict)
    volumes: frozenset[str] = frozenset()
    networks: Mapping[str, bool] = field(default_factory=dict)
    uuids: Mapping[str, str] = field(default_factory=dict)
    macs: Mapping[str, str] = field(default_factory=dict)
    iso_tool: str | None = None
    cpu_models: frozenset[str] = frozenset()
    firmware: frozenset[str] = frozenset()
    tpm: bool | None = None
    rates: bool | None = None
    free_hugepages_mib: int | None = None
    numa_nodes: frozenset[int] | None = None
    links: Mapping[str, str] | None = None
    bridges: Mapping[str, str] = field(default_factory=dict)
    libvirt: int = 0


@dataclass(frozen=True)
class Action:
    """One step; `action` is a stable word, `detail` is for people, `device` the disk or network card that it is for."""

    action: str
    detail: str
    device: str = ""

    def as_dict(self) -> dict[str, str]:
        return {"action": self.action, "detail": self.detail}


def root_volume(name: str, pool_type: str | None) -> str:
    """The name of the root disk's volume: qcow2 in pools of files, raw in others."""
    return f"{name}.raw" if pool_type in (*BLOCK_POOLS, RBD_POOL) else f"{name}.qcow2"


def volume_format(pool_type: str | None, fmt: str) -> str | None:
    """The format of a volume that were ``fmt`` in a file; None where it is a block device, which libvirt gives none."""
    if pool_type in BLOCK_POOLS:
        return None
    return "raw" if pool_type == RBD_POOL else fmt


def stored_as(volume: str, fmt: str, pool_type: str | None) -> tuple[str, str | None]:
    """(name, format) of a volume when it lies in a pool of this type; a root disk's name ends with its format."""
    stem, _dot, suffix = volume.rpartition(".")
    if suffix not in ("qcow2", "raw"):
        return volume, volume_format(pool_type, fmt)
    return root_volume(stem, pool_type), volume_format(pool_type, "qcow2")


def extra_volume(name: str, disk: str, pool_type: str | None) -> str:
    """The name of a further disk's volume. A VM's name has no dot, so it is no other VM's root disk."""
    return root_volume(f"{name}.{disk}", pool_type)


def seed_volume(name: str) -> str:
    """The name of the volume with the first-boot data."""
    return f"{name}-seed.iso"


def gib(size: int) -> str:
    """Bytes as GiB for people: 10 GiB, 1.5 GiB."""
    return f"{round(size / GIB, 2):g} GiB"


def actions(wish: Wish, actual: Actual) -> list[Action]:
    """The steps, in order, that make `wish` true; empty when it is. Only for a VM without problems()."""
    steps = _steps_for_new(wish, actual) if actual.domain is None else _steps_for_domain(wish, actual, actual.domain)
    return [Action(*step) for step in steps]


def _steps_for_new(wish: Wish, actual: Actual) -> Iterable[tuple[str, ...]]:
    yield "write_seed", f"first-boot data {wish.first_boot.digest}"
    size = gib(wish.disk_bytes) if wish.disk_bytes else "as large as the image"
    how = "linked clone" if wish.clone == "linked" else "full copy"
    if actual.root_bytes is None:
        yield "create_disk", f"{how} of {wish.image}, {size}"
    elif actual.seed == "building":
        yield "recreate_disk", f"{how} of {wish.image}, {size}; an earlier run was cut off while it made this disk"
    elif wish.disk_bytes and wish.disk_bytes > actual.root_bytes:
        yield "grow_disk", f"{gib(actual.root_bytes)} -> {size}"
    yield from _volume_steps(wish, actual)
    yield "define", f"{wish.vcpus} vCPU, {wish.memory_mib} MiB, network {wish.network}, {wish.accelerator}"
    if wish.ha:
        return
    if wish.libvirt_starts_it:
        yield "set_autostart", "on"
    if wish.state == "running":
        yield "start", "stopped -> running"


def _steps_for_domain(wish: Wish, actual: Actual, domain: Domain) -> Iterable[tuple[str, ...]]:
    if wish.state == "stopped" and domain.state == "running" and not wish.ha:
        yield "stop", "running -> stopped, by asking the guest"
    changes = _changes(wish, domain, domain.config)
    if domain.seed == "missing" or any(name == "first_boot_data" for name, _here, _there in changes):
        yield "write_seed", f"first-boot data {domain.config.first_boot_data} -> {wish.first_boot.digest}"
    if wish.disk_bytes and domain.disk_bytes and wish.disk_bytes > domain.disk_bytes:
        yield "grow_disk", f"{gib(domain.disk_bytes)} -> {gib(wish.disk_bytes)}"
    yield from _volume_steps(wish, actual)
    if domain.agent and wish.state == domain.state == "running":
        for word, name in _grown(wish, domain):
            yield "grow_file_system", f"of disk {word}, by the guest agent", name
    if changes:
        yield "redefine", ", ".join(f"{name} {shown(here)} -> {shown(there)}" for name, here, there in changes)
    elif not domain.persistent and not wish.ha:
        yield "redefine", "transient -> persistent"
    if wish.ha and not domain.handed_over:
        yield "hand_over", "its definition, to the cluster"
    yield from ((step.action, step.detail, step.device) for step in live_steps(wish, domain))
    if wish.ha:
        return
    if wish.libvirt_starts_it != domain.autostart:
        yield "set_autostart", "on" if wish.libvirt_starts_it else "off"
    if wish.state == "running" and domain.state == "stopped":
        yield "start", "stopped -> running"
    waiting = _waiting(wish, domain)
    if wish.allow_restart and waiting and wish.state == domain.state == "running":
        yield "restart", f"to bring into force: {', '.join(entry['field'] for entry in waiting)}"


def _grown(wish: Wish, domain: Domain) -> list[tuple[str, str]]:
    """(word for people, name) of the disks that the running guest has and that become larger; the root disk's name is
    empty.
    """
    root = bool(wish.disk_bytes and domain.disk_bytes and wish.disk_bytes > domain.disk_bytes)
    attached = () if domain.live is None else domain.live.disks
    sizes = {name: domain.extra.get(name) or 0 for name in attached}
    more = [disk.name for disk in wish.shape.disks if 0 < sizes.get(disk.name, 0) < disk.bytes]
    return ([("vda", "")] if root else []) + [(name, name) for name in more]


def _volume_steps(wish: Wish, actual: Actual) -> Iterable[tuple[str, ...]]:
    """Volumes of further disks are made and made larger; one that is there already is taken with what is on it."""
    extra = {} if actual.domain is None else actual.domain.extra
    for disk in wish.shape.disks:
        size = extra.get(disk.name) or actual.spare.get(disk.name)
        if size is None:
            yield "create_volume", f"{disk.name}, {gib(disk.bytes)}", disk.name
        elif disk.bytes > size:
            yield "grow_volume", f"{disk.name}, {gib(size)} -> {gib(disk.bytes)}", disk.name


def live_steps(wish: Wish, domain: Domain) -> list[Action]:
    """What is changed in the guest while it runs. The rest of what differs waits for a restart."""
    if domain.live is None or wish.state != "running" or domain.state != "running":
        return []
    live = domain.live
    steps = []
    if live.vcpus < wish.vcpus <= (live.max_vcpus or 0):
        steps.append(Action("set_vcpus", f"{live.vcpus} -> {wish.vcpus}, while it runs"))
    least, most = domain.memory_range or (0, 0)
    if live.memory_mib != wish.memory_mib and least <= wish.memory_mib <= most:
        steps.append(Action("set_memory", f"{live.memory_mib} -> {wish.memory_mib} MiB, while it runs"))
    disks, cards = {disk.name for disk in wish.shape.disks}, {nic.text: nic.name for nic in wish.shape.nics[1:]}
    gone = [Action("detach_disk", f"{name}; its volume stays", name) for name in live.disks if name not in disks]
    gone += [Action("detach_nic", text, text.split()[0]) for text in live.nics if text not in cards]
    new = [Action("attach_disk", name, name) for name in sorted(disks - set(live.disks))]
    new += [Action("attach_nic", text, name) for text, name in sorted(cards.items()) if text not in live.nics]
    return steps + gone + new[: domain.free_slots + len(gone)]


def shown(value: Any) -> str:
    """A field's value for people."""
    return ", ".join(value) or "none" if isinstance(value, tuple) else str(value) or "none"


def _changes(wish: Wish, domain: Domain, here: Fields) -> list[tuple[str, Any, Any]]:
    """What differs, and matters.

    First-boot data of a guest whose seed was detached cannot reach it any more and is left alone, and so is a watchdog
    that is not wished any more.
    """
    left = {"first_boot_data": domain.seed == "detached", "watchdog": not wish.watchdog}
    return [change for change in here.differences(wish.fields()) if not left.get(change[0])]


def needs_restart(wish: Wish, actual: Actual) -> list[dict[str, Any]]:
    """The fields that the running VM still has otherwise than wished: [{field, running, wanted}]."""
    domain = actual.domain
    if domain is None or domain.live is None or state_after(wish, actual) == "stopped":
        return []
    restarts = wish.allow_restart and wish.state == domain.state == "running"
    return [] if restarts else _waiting(wish, domain)


def _waiting(wish: Wish, domain: Domain) -> list[dict[str, Any]]:
    if domain.live is None:
        return []
    after = _after(domain.live, wish, live_steps(wish, domain))
    return [
        {"field": name, "running": list(here) if isinstance(here, tuple) else here, "wanted": there}
        for name, here, there in _changes(wish, domain, after)
        # When it is started is no matter of a VM that runs.
        if name != "start"
    ]


def _after(live: Fields, wish: Wish, steps: list[Action]) -> Fields:
    """The fields of the running VM when the steps were taken."""
    devices = {verb: {step.device for step in steps if step.action == verb} for verb in (step.action for step in steps)}
    cards = {nic.name: nic.text for nic in wish.shape.nics[1:]}
    disks = set(live.disks) - devices.get("detach_disk", set()) | devices.get("attach_disk", set())
    nics = {text for text in live.nics if text.split()[0] not in devices.get("detach_nic", set())}
    nics |= {cards[name] for name in devices.get("attach_nic", set())}
    return replace(
        live,
        vcpus=wish.vcpus if "set_vcpus" in devices else live.vcpus,
        memory_mib=wish.memory_mib if "set_memory" in devices else live.memory_mib,
        disks=tuple(sorted(disks)),
        nics=tuple(sorted(nics)),
    )


def state_after(wish: Wish, actual: Actual) -> str:
    """The VM's state when the actions were carried out."""
    if wish.ha:
        return "stopped" if actual.domain is None else actual.domain.state
    settled = actual.domain is None or actual.domain.state in ("running", "stopped")
    return wish.state if settled or actual.domain is None else actual.domain.state


def remarks(wish: Wish, actual: Actual) -> list[str]:
    """What a person should know, and croft does not act on."""
    domain = actual.domain
    if domain is None:
        return []
    fields = [f"{entry['field']} (has {entry['running']})" for entry in needs_restart(wish, actual)]
    waits = []
    if fields:
        how = "stop and start it, or name it in virtual_machines_allow_restart"
        waits.append(f"{wish.name}: {how}, to bring these into force: {', '.join(fields)}")
    if domain.live is not None and not domain.agent and wish.state == "running":
        waits += [
            f"{wish.name}: its guest agent does not answer; let the file system fill disk {word} by hand, in the guest"
            for word, _name in _grown(wish, domain)
        ]
    if domain.state in ("running", "stopped"):
        return waits
    return [
        *waits,
        f"{wish.name}: is {domain.state}, wanted {wish.state}; it is left so, since croft does not know the "
        f"reason: 'virsh domstate --reason {wish.name}' tells it",
    ]


def problems(wishes: list[Wish], actuals: Mapping[str, Actual], host: Host) -> list[str]:
    """Everything that forbids to begin, one line each."""
    found: list[str] = []
    for wish in wishes:
        actual = actuals.get(wish.name, Actual())
        found += [f"{wish.name}: {text}" for text in _identity_problems(wish, actual, host)]
        check = _new_problems(wish, actual, host) if actual.domain is None else _domain_problems(wish, actual.domain)
        found += [f"{wish.name}: {text}" for text in _volume_problems(wish, actual)]
        found += [f"{wish.name}: {text}" for text in check]
    return found


def _identity_problems(wish: Wish, actual: Actual, host: Host) -> Iterable[str]:
    pairs = [("UUID", wish.uuid, host.uuids), *(("MAC address", mac, host.macs) for mac in wish.macs)]
    for word, value, owners in pairs:
        owner = owners.get(value, wish.name)
        if owner != wish.name:
            yield f"the {word} {value} already belongs to the domain {owner}; give one of them another"
    if actual.domain is not None and actual.domain.managed and actual.domain.uuid != wish.uuid:
        yield f"the domain has the UUID {actual.domain.uuid}, wanted {wish.uuid}; a UUID cannot be changed"


def _new_problems(wish: Wish, actual: Actual, host: Host) -> Iterable[str]:
    root = root_volume(wish.name, host.pool_type)
    if wish.clone == "linked" and host.pool_type in BLOCK_POOLS:
        yield f"a {host.pool_type} pool cannot hold linked clones; set clone to full"
    if root == wish.image:
        yield f"its disk would have the name of the image {wish.image}; rename the VM or the image"
    if actual.seed == "foreign":
        yield f"the volume {seed_volume(wish.name)} is there and not of this VM; remove or rename it"
    if actual.root_bytes is not None and actual.seed not in ("building", "ready"):
        yield f"the volume {root} is there and not of this VM; remove or rename it, or give the VM another name"
    elif actual.root_bytes is not None and actual.seed == "ready":
        yield from _shrink(wish, actual.root_bytes)
    image = host.images.get(wish.image)
    if image is not None and wish.disk_bytes is not None and wish.disk_bytes < image.bytes:
        yield f"disk_gib is {gib(wish.disk_bytes)}, the image {wish.image} needs at least {gib(image.bytes)}"


def _volume_problems(wish: Wish, actual: Actual) -> Iterable[str]:
    for disk in wish.shape.disks:
        if disk.name in actual.taken:
            yield f"the volume of its disk {disk.name} is in use by the domain {actual.taken[disk.name]}"
        if disk.bytes < actual.spare.get(disk.name, 0):
            size = gib(actual.spare[disk.name])
            yield f"disks: {disk.name} is {gib(disk.bytes)}, its volume has {size}; a disk is never made smaller"


def _domain_problems(wish: Wish, domain: Domain) -> Iterable[str]:
    if not domain.managed:
        yield "a domain of that name is there and was not made by croft; rename one of them"
        return
    if domain.disk_bytes is None:
        yield (
            f"its disk {domain.disk_path or '(vda)'} is not there; bring it back (is its storage mounted, its pool "
            "active?), or undefine the domain to have it made anew"
        )
    else:
        yield from _shrink(wish, domain.disk_bytes)
    for disk in wish.shape.disks:
        size = domain.extra.get(disk.name, disk.bytes)
        if size is None:
            yield f"the volume of its disk {disk.name} is not there; bring it back, or detach it from the domain"
        elif disk.bytes < size:
            yield f"disks: {disk.name} is {gib(disk.bytes)}, it has {gib(size)}; a disk is never made smaller"
    for name in sorted(domain.mounted):
        yield f"its disk {name} shall be detached and is in use in the guest; unmount it there first"
    if wish.shape.firmware and domain.config.firmware not in (None, wish.shape.firmware):
        yield (
            f"its firmware is {domain.config.firmware}, wanted {wish.shape.firmware}; what is on its disk boots with "
            "one only: make a new VM"
        )
    if domain.seed == "lost":
        yield "the volume of its disk vdb (first-boot data) is gone; detach that disk from the domain"


def _shrink(wish: Wish, size: int) -> Iterable[str]:
    if wish.disk_bytes is not None and wish.disk_bytes < size:
        yield f"disk_gib is {gib(wish.disk_bytes)}, its disk has {gib(size)}; a disk is never made smaller"


def host_problems(
    wishes: list[Wish], actuals: Mapping[str, Actual], host: Host, pool: str
) -> tuple[list[str], list[str]]:
    """(problems, not yet there): what the host lacks for these VMs.

    The second list holds what an earlier step of a deployment brings (libvirt, the pool, the image, the network, the
    ISO tool): an obstacle for a real run, an assumption for check mode.
    """
    if host.missing is not None:
        return [], [host.missing]
    found: list[str] = []
    lacking: list[str] = []
    new = [wish for wish in wishes if actuals.get(wish.name, Actual()).domain is None]
    if host.pool_type is None:
        lacking.append(f"the storage pool {pool} is not defined")
    elif not host.pool_active:
        lacking.append(f"the storage pool {pool} is not active")
    elif host.pool_type not in (*FILE_POOLS, *BLOCK_POOLS, RBD_POOL):
        known = ", ".join((*FILE_POOLS, *BLOCK_POOLS, RBD_POOL))
        found.append(f"the storage pool {pool} is of type {host.pool_type}; known are {known}")
    else:
        for image in sorted({wish.image for wish in new} - set(host.images)):
            lacking.append(f"the image {image} is not in the storage pool {pool}")
    steps = {wish.name: {step.action for step in actions(wish, actuals.get(wish.name, Actual()))} for wish in wishes}
    using = [wish for wish in wishes if steps[wish.name] & {"define", "redefine", "start", "restart"}]
    uses_network = {nic.source for wish in using for nic in (wish.nic, *wish.shape.nics[1:]) if nic.link == "network"}
    for model in sorted({wish.cpu_model for wish in wishes} - set(CPU_MODES) - host.cpu_models):
        if host.cpu_models:
            found.append(
                f"the CPU model {model} is not known here; 'virsh cpu-models {host.arch}' lists those that are"
            )
    for network in sorted(uses_network):
        if not host.networks.get(network, False):
            lacking.append(f"the network {network} is not {'active' if network in host.networks else 'defined'}")
    lacking += _lacking_hardware(using, host)
    lacking += _lacking_links(using, host)
    found += _vlan_problems(using, host)
    limited = sorted(wish.name for wish in using if any(nic.limited for nic in wish.shape.nics))
    if limited and host.rates is False:
        found.append(
            f"{', '.join(limited)}: bandwidth needs a kernel with sch_htb, sch_sfq, sch_ingress, cls_fw, cls_u32 and "
            "act_police, and this one lacks some; leave bandwidth out, or boot one that has them"
        )
    found += _numa_problems(using, host)
    found += _hugepages_problems([wish for wish in wishes if steps[wish.name] & _TAKES_MEMORY], actuals, host)
    if host.iso_tool is None and any("write_seed" in words for words in steps.values()):
        lacking.append("xorrisofs is not installed (Debian package xorriso); it makes the first-boot data")
    return found, lacking


def _lacking_links(wishes: list[Wish], host: Host) -> list[str]:
    """The bridges and devices that cards shall end in and that are not here."""
    words = {"bridge": "bridge", "macvtap": "network device"}
    ends = {(nic.link, nic.source) for wish in wishes for nic in wish.shape.nics if nic.link in words}
    missing = [] if host.links is None else sorted(end for end in ends if end[1] not in host.links)
    return [f"the {words[link]} {source} is not on this host" for link, source in missing]


def _vlan_problems(wishes: list[Wish], host: Host) -> Iterable[str]:
    """Cards whose VLAN nobody would keep apart from the others."""
    for wish in wishes:
        for nic in (nic for nic in wish.shape.nics if nic.vlan is not None):
            bridge = host.bridges.get(nic.source, "") if nic.link == "network" else nic.source
            kind = (host.links or {}).get(bridge)
            if kind == "bridge":
                yield (
                    f"{wish.name}: VLAN {nic.vlan} on the bridge {bridge}, which does not filter VLANs; have it do so "
                    "with kvm_host_bridge_vlans, or leave vlan out"
                )
            elif kind == "vlan_bridge" and 0 < host.libvirt < LIBVIRT_WITH_VLANS:
                yield (
                    f"{wish.name}: VLAN {nic.vlan} on the bridge {bridge} needs libvirt 11 (Debian 13); upgrade the "
                    "host, or give it a bridge on a device of that VLAN and leave vlan out"
                )


def _numa_problems(wishes: list[Wish], host: Host) -> Iterable[str]:
    for wish in wishes:
        node, nodes = wish.shape.numa_node, host.numa_nodes
        if node is not None and nodes is not None and node not in nodes:
            have = f"it has {', '.join(map(str, sorted(nodes)))}" if nodes else "its kernel knows none"
            yield f"{wish.name}: numa_node is {node}, which this host does not have ({have}); name another, or none"


_TAKES_MEMORY = {"start", "restart", "set_memory"}


def _hugepages_problems(wishes: list[Wish], actuals: Mapping[str, Actual], host: Host) -> Iterable[str]:
    """More huge pages than are free, of VMs that are about to take memory."""
    taking = {}
    for wish in wishes:
        domain = actuals.get(wish.name, Actual()).domain
        live = None if domain is None else domain.live
        has = live.memory_mib if live is not None and live.hugepages else 0
        if wish.shape.hugepages and wish.memory_mib > has:
            taking[wish.name] = wish.memory_mib - has
    needed = sum(taking.values())
    if host.free_hugepages_mib is not None and needed > host.free_hugepages_mib:
        yield (
            f"{', '.join(sorted(taking))}: hugepages needs {needed} MiB of free huge pages, this host has "
            f"{host.free_hugepages_mib}; set more aside with kvm_host_hugepages, or leave hugepages out"
        )


def _lacking_hardware(wishes: list[Wish], host: Host) -> list[str]:
    """What of the VMs' hardware nobody here emulates."""
    lacking = []
    for firmware in sorted({str(wish.shape.firmware) for wish in wishes} & set(FIRMWARE[1:]) - host.firmware):
        if host.firmware:
            lacking.append(f"libvirt has no firmware for {firmware} (Debian package ovmf)")
    if host.tpm is False and any(wish.shape.tpm for wish in wishes):
        lacking.append("libvirt emulates no TPM (Debian package swtpm-tools)")
    return lacking


def summary(wish: Wish, actual: Actual) -> dict[str, Any]:
    """The VM's entry in the module's result."""
    return {
        "name": wish.name,
        "uuid": wish.uuid,
        "mac": wish.mac,
        "state": state_after(wish, actual),
        "actions": [step.as_dict() for step in actions(wish, actual)],
        "needs_restart": needs_restart(wish, actual),
    }


def diff(wishes: list[Wish], actuals: Mapping[str, Actual]) -> dict[str, str]:
    """Ansible's diff: before and after of every VM with something to do, in YAML."""
    before: list[str] = []
    after: list[str] = []
    for wish in wishes:
        actual = actuals.get(wish.name, Actual())
        if not actions(wish, actual):
            continue
        domain = actual.domain
        if domain is not None:
            before += _block(wish.name, domain.state, domain.autostart, domain.disk_bytes, domain.config)
        size = wish.disk_bytes or (domain.disk_bytes if domain is not None else None)
        fields = wish.fields() if domain is None else domain.config.with_wishes(wish.fields())
        after += _block(wish.name, state_after(wish, actual), wish.libvirt_starts_it, size, fields)
    return {"before": "".join(before), "after": "".join(after)}


_ALWAYS_SHOWN = ("vcpus", "memory_mib", "network", "mac", "accelerator", "cpu_model", "first_boot_data")


def _block(name: str, state: str, autostart: bool, disk_bytes: int | None, fields: Fields) -> list[str]:
    values: dict[str, Any] = {"state": state, "autostart": autostart}
    if disk_bytes is not None:
        values["disk_gib"] = f"{round(disk_bytes / GIB, 2):g}"
    known = {key: getattr(fields, key) for key in fields.__dataclass_fields__}
    values |= {key: shown(value) for key, value in known.items() if key in _ALWAYS_SHOWN or value not in (None, (), "")}
    lines = [f"  {key}: {str(value).lower() if isinstance(value, bool) else value}\n" for key, value in values.items()]
    return [f"{name}:\n", *lines]


def compared(wish: Wish, actual: Actual) -> list[dict[str, Any]]:
    """Wished against real, field by field: [{field, wished, configured, running, differs}].

    ``configured`` is what it starts with next, ``running`` what it has now (None unless it is active). Empty of a VM
    that has no domain here.
    """
    domain = actual.domain
    if domain is None:
        return []
    wanted, live = wish.fields(), domain.live
    differing = {
        name for here in (domain.config, live) if here is not None for name, _, _ in _changes(wish, domain, here)
    }
    rows = [
        (name, getattr(wanted, name), getattr(domain.config, name), None if live is None else getattr(live, name))
        for name in wanted.__dataclass_fields__
    ]
    here = None if domain.disk_bytes is None else gib(domain.disk_bytes)
    pairs = [
        ("uuid", wish.uuid, domain.uuid),
        ("disk", gib(wish.disk_bytes) if wish.disk_bytes else here, here),
        ("autostart", wish.libvirt_starts_it, domain.autostart),
        ("state", wish.state, domain.state),
        ("persistent", not wish.ha, domain.persistent),
    ]
    found = [(name, wished, is_, None, wished != is_) for name, wished, is_ in pairs]
    found += [(name, wished, is_, now, name in differing) for name, wished, is_, now in rows]
    keys = ("field", "wished", "configured", "running", "differs")
    return [dict(zip(keys, row, strict=True)) for row in found]
