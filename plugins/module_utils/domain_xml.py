# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt's domain and volume XML: made for a new VM, read for the fields that croft manages, and edited in place.

An existing domain is edited, never written anew: libvirt has added PCI addresses and the versioned machine type to it,
and people their own devices, and a guest would take a changed address for new hardware.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field

from ansible_collections.croft.infra.plugins.module_utils import hotplug
from ansible_collections.croft.infra.plugins.module_utils.devices import Shape
from ansible_collections.croft.infra.plugins.module_utils.domain import CPU_MODES, Fields, Image, Wish
from ansible_collections.croft.infra.plugins.module_utils.identity import METADATA_PREFIX, METADATA_URI
from ansible_collections.croft.infra.plugins.module_utils.store import Source

CONSOLE_LOG = "/var/log/libvirt/qemu/{name}-console.log"
AGENT_CHANNEL = "org.qemu.guest_agent.0"
ROOT_TARGET = "vda"
# It does nothing by itself: whoever listens for libvirt's event decides (role guest_health).
WATCHDOG = {"model": "i6300esb", "action": "none"}
SEED_TARGET = "vdb"

# The board of a new VM, by the host's architecture. `q35` is an alias: libvirt pins the newest version of it when the
# domain is defined (pc-q35-10.0), so that a later QEMU does not change the hardware under a guest.
MACHINES = {"x86_64": "q35"}
DOMAIN_TYPES = {"kvm": "kvm", "tcg": "qemu"}
_VM_TAG = f"{{{METADATA_URI}}}vm"

# Prefixes of namespaces that stand in domain XML; without this ElementTree would write ns0.
ET.register_namespace(METADATA_PREFIX, METADATA_URI)
ET.register_namespace("qemu", "http://libvirt.org/schemas/domain/qemu/1.0")
ET.register_namespace("libosinfo", "http://libosinfo.org/xmlns/libvirt/domain/1.0")


@dataclass(frozen=True)
class Disk:
    """A disk's place: path of the file or device on the host, or on the server that `source` names, and its format.

    `backing`: what it is a linked clone of, where QEMU must be told. On a server it must: the name in a disk's header
    is one for whoever has the directory itself.
    """

    path: str
    format: str
    block: bool = False
    source: Source | None = None
    backing: Disk | None = None


@dataclass(frozen=True)
class Description:
    """What a domain's XML says that matters here.

    `disks` has (target, place, read only) of every disk with a place: the path of a file or device, or a URL like
    nfs://10.0.0.9/srv/vms/web1.qcow2 or rbd:///vms/web1.raw of one that QEMU reaches over the network. `extra` has the
    targets of croft's further disks by name, `memory_range` between what the memory can change while it runs, and
    `free_slots` how many devices can still be plugged.
    """

    name: str
    uuid: str
    managed: bool
    fields: Fields
    macs: tuple[str, ...]
    disks: tuple[tuple[str, str, bool], ...]
    console_log: str | None
    agent_connected: bool
    extra: dict[str, str] = field(default_factory=dict)
    memory_range: tuple[int, int] | None = None
    free_slots: int = 0

    def disk_path(self, target: str) -> str | None:
        return next((path for name, path, _readonly in self.disks if name == target), None)


def describe(xml: str) -> Description:
    """Read a domain's XML, live or not."""
    root = ET.fromstring(xml)
    marked = root.find(f"metadata/{_VM_TAG}")
    disks = []
    for disk in root.iterfind("devices/disk"):
        source, target = disk.find("source"), disk.find("target")
        path = None if source is None else _location(source)
        if path and target is not None and disk.get("device", "disk") == "disk":
            disks.append((target.get("dev", ""), path, disk.find("readonly") is not None))
    log = root.find("devices/serial/log")
    agent = root.find(f"devices/channel/target[@name='{AGENT_CHANNEL}']")
    macs = tuple(mac.get("address", "").lower() for mac in root.iterfind("devices/interface/mac"))
    return Description(
        name=root.findtext("name", ""),
        uuid=root.findtext("uuid", ""),
        managed=marked is not None,
        fields=_fields(root, marked),
        macs=macs,
        disks=tuple(disks),
        console_log=None if log is None else log.get("file"),
        agent_connected=agent is not None and agent.get("state") == "connected",
        extra=hotplug.disk_targets(root),
        memory_range=hotplug.memory_range(root),
        free_slots=hotplug.free_slots(root),
    )


def _location(source: ET.Element) -> str | None:
    protocol, host = source.get("protocol"), source.find("host")
    if protocol is None:
        return source.get("file") or source.get("dev")
    return f"{protocol}://{'' if host is None else host.get('name', '')}/{source.get('name', '').lstrip('/')}"


def _fields(root: ET.Element, marked: ET.Element | None) -> Fields:
    found = root.find("devices/interface")
    card = None if found is None else hotplug.read_nic("", found)
    mac = root.find("devices/interface/mac")
    vcpu = root.find("vcpu")
    types = {value: key for key, value in DOMAIN_TYPES.items()}
    # libvirt spells host-model out in the running domain's XML; the mark keeps what it was started with.
    cpu = _cpu_model(root.find("cpu")) if root.get("id") is None or marked is None else marked.get("cpu_model")
    return Fields(
        vcpus=int(vcpu.get("current") or vcpu.text or 0) if vcpu is not None else 1,
        memory_mib=memory_mib(root),
        network=None if card is None else card.place,
        mac=None if mac is None else mac.get("address", "").lower(),
        accelerator=types.get(root.get("type", ""), root.get("type", "")),
        cpu_model=cpu,
        first_boot_data=None if marked is None else marked.get("first_boot_data"),
        watchdog=any(dog.attrib.items() >= WATCHDOG.items() for dog in root.iterfind("devices/watchdog")),
        network_options=None if card is None else card.options,
        max_vcpus=int(vcpu.text or 0) if vcpu is not None else 1,
        max_memory_mib=hotplug.max_memory_mib(root, memory_mib(root)),
        disks=tuple(sorted(hotplug.disk_targets(root))),
        nics=tuple(sorted(nic.text for nic in hotplug.nics(root))),
        firmware=hotplug.firmware(root),
        tpm=root.find("devices/tpm") is not None,
        hugepages=root.find("memoryBacking/hugepages") is not None,
        numa_node=hotplug.numa_node(root),
        start="" if marked is None else _start(marked),
    )


def _start(marked: ET.Element) -> str:
    order, delay = marked.get("start_order"), marked.get("start_delay", "0")
    return "" if order is None else Shape(start_order=int(order), start_delay=int(delay)).start


def memory_mib(root: ET.Element) -> int:
    """The memory that the domain has or would start with, in MiB, rounded down; not what can be plugged yet."""
    return (hotplug.bytes_of(root.find("memory")) - hotplug.unplugged(root)) // 1024**2


def _cpu_model(cpu: ET.Element | None) -> str | None:
    if cpu is None:
        return None
    mode = cpu.get("mode", "custom")
    return mode if mode in CPU_MODES else cpu.findtext("model")


def _cpu(model: str) -> ET.Element:
    if model in CPU_MODES:
        return ET.Element("cpu", {"mode": model})
    cpu = ET.Element("cpu", {"mode": "custom", "match": "exact"})
    ET.SubElement(cpu, "model", {"fallback": "forbid"}).text = model
    return cpu


def domain_xml(wish: Wish, arch: str, root_disk: Disk, seed: Disk, places: Mapping[str, Disk] | None = None) -> str:
    """The XML of a new domain; `places` has the further disks by name.

    <name> is on a line of its own: Pacemaker's VirtualDomain agent reads it by line.
    """
    domain = ET.Element("domain", {"type": DOMAIN_TYPES[wish.accelerator]})
    ET.SubElement(domain, "name").text = wish.name
    ET.SubElement(domain, "uuid").text = wish.uuid
    _set_mark(domain, wish)
    ET.SubElement(domain, "memory", {"unit": "MiB"}).text = str(wish.memory_mib)
    ET.SubElement(domain, "vcpu", {"placement": "static"}).text = str(wish.vcpus)
    _add_system(domain, wish.shape.firmware or "bios", arch)
    features = ET.SubElement(domain, "features")
    ET.SubElement(features, "acpi")
    ET.SubElement(features, "apic")
    domain.append(_cpu(wish.cpu_model))
    clock = ET.SubElement(domain, "clock", {"offset": "utc"})
    ET.SubElement(clock, "timer", {"name": "rtc", "tickpolicy": "catchup"})
    ET.SubElement(clock, "timer", {"name": "pit", "tickpolicy": "delay"})
    ET.SubElement(clock, "timer", {"name": "hpet", "present": "no"})
    # A guest that panicked says so through the panic device and is booted again.
    for event, reaction in (("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "restart")):
        ET.SubElement(domain, event).text = reaction
    _add_devices(ET.SubElement(domain, "devices"), wish, arch, root_disk, seed)
    _set_shape(domain, wish, places or {})
    ET.indent(domain)
    return ET.tostring(domain, encoding="unicode") + "\n"


def abilities(capabilities: str) -> tuple[frozenset[str], bool]:
    """(kinds of firmware, whether it emulates TPMs) by libvirt's domain capabilities for a machine."""
    root = ET.fromstring(capabilities)
    firmware = {"bios"}
    if any(value.text == "efi" for value in root.iterfind("os/enum[@name='firmware']/value")):
        secure = {value.text for value in root.iterfind("os/loader/enum[@name='secure']/value")}
        firmware |= {"uefi"} if "no" in secure else set()
        firmware |= {"uefi-secure"} if "yes" in secure else set()
    backends = root.iterfind("devices/tpm[@supported='yes']/enum[@name='backendModel']/value")
    return frozenset(firmware), any(value.text == "emulator" for value in backends)


def _add_system(domain: ET.Element, firmware: str, arch: str) -> None:
    system = ET.SubElement(domain, "os", {} if firmware == "bios" else {"firmware": "efi"})
    ET.SubElement(system, "type", {"arch": arch, "machine": MACHINES[arch]}).text = "hvm"
    if firmware != "bios":
        # Said either way: libvirt takes the first firmware that fits, often one that boots signed systems only.
        wanted = {"secure-boot": "no"} if firmware == "uefi" else {"secure-boot": "yes", "enrolled-keys": "yes"}
        features = ET.SubElement(system, "firmware")
        for name, enabled in wanted.items():
            ET.SubElement(features, "feature", {"enabled": enabled, "name": name})
    ET.SubElement(system, "boot", {"dev": "hd"})


def _add_devices(devices: ET.Element, wish: Wish, arch: str, root_disk: Disk, seed: Disk) -> None:
    _add_disk(devices, root_disk, ROOT_TARGET)
    ET.SubElement(_add_disk(devices, seed, SEED_TARGET), "readonly")
    ET.SubElement(devices, "controller", {"type": "usb", "model": "none"})
    if MACHINES.get(arch) == "q35":
        # A PCIe root port takes one device, and only those that are there at its start take one while it runs.
        ET.SubElement(devices, "controller", {"type": "pci", "index": "0", "model": "pcie-root"})
        for port in range(1, hotplug.ROOT_PORTS + 1):
            ET.SubElement(devices, "controller", {"type": "pci", "index": str(port), "model": "pcie-root-port"})
    hotplug.add_nic(devices, wish.nic)
    serial = ET.SubElement(devices, "serial", {"type": "pty"})
    # Not appended to: the log then holds this start of the guest only, and what it said on an earlier one is no answer.
    ET.SubElement(serial, "log", {"file": CONSOLE_LOG.format(name=wish.name), "append": "off"})
    ET.SubElement(serial, "target", {"port": "0"})
    channel = ET.SubElement(devices, "channel", {"type": "unix"})
    ET.SubElement(channel, "target", {"type": "virtio", "name": AGENT_CHANNEL})
    ET.SubElement(devices, "memballoon", {"model": "virtio"})
    rng = ET.SubElement(devices, "rng", {"model": "virtio"})
    ET.SubElement(rng, "backend", {"model": "random"}).text = "/dev/urandom"
    ET.SubElement(devices, "panic", {"model": "isa"})
    if wish.watchdog:
        ET.SubElement(devices, "watchdog", WATCHDOG)


def _add_disk(devices: ET.Element, place: Disk, target: str) -> ET.Element:
    disk = ET.SubElement(devices, "disk", {"type": _disk_type(place), "device": "disk"})
    # cache=none: the host's page cache would hold the guest's writes, and a live migration over shared storage would
    # lose them. Linux AIO (native) suits block devices; on a sparse file it can block in the submission.
    options = {"cache": "none", "discard": "unmap"}
    if place.source is None:
        options["io"] = "native" if place.block else "threads"
    ET.SubElement(disk, "driver", {"name": "qemu", "type": place.format, **options})
    _add_source(disk, place)
    if place.source is not None:
        _add_backing(disk, place.backing)
    ET.SubElement(disk, "target", {"dev": target, "bus": "virtio"})
    return disk


def _disk_type(place: Disk) -> str:
    if place.source is not None:
        return "network"
    return "block" if place.block else "file"


def _add_source(parent: ET.Element, place: Disk) -> None:
    if place.source is None:
        ET.SubElement(parent, "source", {"dev" if place.block else "file": place.path})
        return
    source = ET.SubElement(parent, "source", {"protocol": place.source.protocol, "name": place.path})
    if place.source.host:
        ET.SubElement(source, "host", {"name": place.source.host})
    if place.source.user:
        auth = ET.SubElement(source, "auth", {"username": place.source.user})
        ET.SubElement(auth, "secret", {"type": "ceph", "uuid": place.source.secret})


def _add_backing(parent: ET.Element, backing: Disk | None) -> None:
    """The chain below a disk; an empty element ends it."""
    if backing is None:
        ET.SubElement(parent, "backingStore")
        return
    element = ET.SubElement(parent, "backingStore", {"type": _disk_type(backing)})
    ET.SubElement(element, "format", {"type": backing.format})
    _add_source(element, backing)
    _add_backing(element, backing.backing)


def disk_xml(place: Disk, target: str) -> str:
    """The XML of one disk, as a copy job or an attachment takes it."""
    devices = ET.Element("devices")
    return ET.tostring(_add_disk(devices, place, target), encoding="unicode")


def mirror_ready(xml: str, target: str) -> bool:
    """Whether the copy of a running domain's disk is equal and follows every write."""
    for disk in ET.fromstring(xml).iterfind("devices/disk"):
        at, mirror = disk.find("target"), disk.find("mirror")
        if at is not None and at.get("dev") == target:
            return mirror is not None and mirror.get("ready") == "yes"
    return False


def edited(xml: str, wish: Wish, places: Mapping[str, Disk] | None = None) -> str:
    """The domain's XML with the managed fields as wished, and all else as it was. `places`: see domain_xml()."""
    root = ET.fromstring(xml)
    root.set("type", DOMAIN_TYPES[wish.accelerator])
    _set_mark(root, wish)
    _set_vcpus(root, wish.vcpus)
    if _cpu_model(root.find("cpu")) != wish.cpu_model:
        old = root.find("cpu")
        place = list(root).index(old) if old is not None else len(root)
        if old is not None:
            root.remove(old)
        root.insert(place, _cpu(wish.cpu_model))
    _set_interface(root, wish)
    if wish.watchdog:
        _set_watchdog(root)
    _set_shape(root, wish, places or {})
    return ET.tostring(root, encoding="unicode")


def _set_vcpus(root: ET.Element, vcpus: int) -> None:
    vcpu = root.find("vcpu")
    if vcpu is None:
        vcpu = ET.SubElement(root, "vcpu", {"placement": "static"})
    if int(vcpu.get("current") or vcpu.text or 0) != vcpus:
        # A maximum that somebody set stays when it is large enough.
        most = int(vcpu.text or 0) if vcpu.get("current") else 0
        vcpu.set("current", str(vcpus))
        vcpu.text = str(max(most, vcpus))
    _no_current(vcpu)


def _no_current(vcpu: ET.Element) -> None:
    if vcpu.get("current") == vcpu.text:
        vcpu.attrib.pop("current")


def _set_shape(root: ET.Element, wish: Wish, places: Mapping[str, Disk]) -> None:
    """What a VM has beyond its name, size and first disk."""
    shape, devices, vcpu = wish.shape, root.find("devices"), root.find("vcpu")
    if vcpu is not None and shape.max_vcpus is not None:
        vcpu.set("current", str(wish.vcpus))
        vcpu.text = str(shape.max_vcpus)
        _no_current(vcpu)
    hotplug.set_memory(root, wish.memory_mib, shape.max_memory_mib)
    hotplug.set_options(root, shape)
    if devices is None:
        return
    wanted = {disk.name for disk in shape.disks}
    for name, disk in hotplug.own_disks(root):
        if name not in wanted:
            devices.remove(disk)
    there = hotplug.disk_targets(root)
    for name in sorted(wanted - set(there)):
        disk = _add_disk(devices, places[name], hotplug.next_target(root))
        ET.SubElement(disk, "serial").text = name
        hotplug.set_alias(disk, hotplug.DISK_ALIAS + name)
    hotplug.set_nics(devices, shape.nics[1:])


def _set_interface(root: ET.Element, wish: Wish) -> None:
    interface, devices = root.find("devices/interface"), root.find("devices")
    if devices is None:
        return
    if interface is None:
        hotplug.add_nic(devices, wish.nic)
    else:
        # An entry without `networks` says nothing of VLAN and rates; those that people gave it stay.
        hotplug.set_nic(interface, wish.nic, keep_options=not wish.shape.nics)


def _set_watchdog(root: ET.Element) -> None:
    """Add a watchdog that is wished; one that is not wished any more does no harm and stays."""
    dogs, devices = root.findall("devices/watchdog"), root.find("devices")
    for dog in dogs:
        # libvirt gives a q35 machine one of its own (itco), and QEMU knows one action for all.
        dog.set("action", WATCHDOG["action"])
    if devices is not None and not any(dog.get("model") == WATCHDOG["model"] for dog in dogs):
        ET.SubElement(devices, "watchdog", WATCHDOG)


def _set_mark(root: ET.Element, wish: Wish) -> None:
    metadata = root.find("metadata")
    if metadata is None:
        metadata = ET.SubElement(root, "metadata")
    marked = metadata.find(_VM_TAG)
    if marked is None:
        marked = ET.SubElement(metadata, _VM_TAG)
    marked.set("cpu_model", wish.cpu_model)
    marked.set("first_boot_data", wish.first_boot.digest)
    for name, value in (("start_order", wish.shape.start_order), ("start_delay", wish.shape.start_delay)):
        marked.attrib.pop(name, None)
        if wish.autostart and wish.shape.start_order is not None:
            marked.set(name, str(value))


def volume_xml(name: str, size: int, fmt: str | None, image: Image | None = None, *, owner: int | None = None) -> str:
    """The XML of a new volume of `size` bytes; with `image` it is a linked clone of it. `owner`: its user and group.

    `fmt` is None where a volume is a block device.
    """
    volume = ET.Element("volume")
    ET.SubElement(volume, "name").text = name
    ET.SubElement(volume, "capacity", {"unit": "bytes"}).text = str(size)
    target = ET.SubElement(volume, "target")
    if fmt is not None:
        ET.SubElement(target, "format", {"type": fmt})
    if owner is not None:
        rights = ET.SubElement(target, "permissions")
        for tag, value in (("mode", "0600"), ("owner", str(owner)), ("group", str(owner))):
            ET.SubElement(rights, tag).text = value
    if image is not None:
        backing = ET.SubElement(volume, "backingStore")
        ET.SubElement(backing, "path").text = image.path
        ET.SubElement(backing, "format", {"type": image.format})
    ET.indent(volume)
    return ET.tostring(volume, encoding="unicode")


def read_volume(xml: str) -> Image:
    """Path, format and virtual size of a volume, from its XML; what QEMU has no format for (an ISO) is raw to it."""
    root = ET.fromstring(xml)
    fmt = root.find("target/format")
    capacity = root.find("capacity")
    size = 0
    if capacity is not None and capacity.text:
        size = hotplug.bytes_of(capacity, "bytes")
    kind = "raw" if fmt is None else fmt.get("type", "raw")
    return Image(
        path=root.findtext("target/path", ""),
        format=kind if kind in ("qcow2", "vmdk", "vdi", "qed") else "raw",
        bytes=size,
    )


def backing_path(xml: str) -> str | None:
    """What a volume is a linked clone of, from its XML: the path of its backing file, or None."""
    return ET.fromstring(xml).findtext("backingStore/path")


def read_pool(xml: str) -> tuple[str, str]:
    """(type, target path) of a storage pool."""
    root = ET.fromstring(xml)
    return root.get("type", ""), root.findtext("target/path", "")


def read_rbd_pool(xml: str) -> Source | None:
    """How QEMU opens the images of a storage pool of type rbd; None of any other type."""
    root = ET.fromstring(xml)
    if root.get("type") != "rbd":
        return None
    auth, secret = root.find("source/auth"), root.find("source/auth/secret")
    return Source(
        "rbd",
        "",
        root.findtext("source/name", ""),
        user="" if auth is None else auth.get("username", ""),
        secret="" if secret is None else secret.get("uuid", ""),
    )
