# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt's domain and volume XML: made for a new VM, read for the fields that croft manages, and edited in place.

An existing domain is edited, never written anew: libvirt has added PCI addresses and the versioned machine type to it,
and people their own devices, and a guest would take a changed address for new hardware.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass

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
_UNITS = {"b": 1, "bytes": 1, "KiB": 1024, "k": 1024, "MiB": 1024**2, "M": 1024**2, "GiB": 1024**3, "G": 1024**3}

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
    nfs://10.0.0.9/srv/vms/web1.qcow2 or rbd:///vms/web1.raw of one that QEMU reaches over the network.
    """

    name: str
    uuid: str
    managed: bool
    fields: Fields
    macs: tuple[str, ...]
    disks: tuple[tuple[str, str, bool], ...]
    console_log: str | None
    agent_connected: bool

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
    )


def _location(source: ET.Element) -> str | None:
    protocol, host = source.get("protocol"), source.find("host")
    if protocol is None:
        return source.get("file") or source.get("dev")
    return f"{protocol}://{'' if host is None else host.get('name', '')}/{source.get('name', '').lstrip('/')}"


def _fields(root: ET.Element, marked: ET.Element | None) -> Fields:
    network = root.find("devices/interface/source")
    mac = root.find("devices/interface/mac")
    vcpu = root.find("vcpu")
    types = {value: key for key, value in DOMAIN_TYPES.items()}
    # libvirt spells host-model out in the running domain's XML; the mark keeps what it was started with.
    cpu = _cpu_model(root.find("cpu")) if root.get("id") is None or marked is None else marked.get("cpu_model")
    return Fields(
        vcpus=int(vcpu.get("current") or vcpu.text or 0) if vcpu is not None else 1,
        memory_mib=memory_mib(root),
        network=None if network is None else network.get("network") or network.get("bridge"),
        mac=None if mac is None else mac.get("address", "").lower(),
        accelerator=types.get(root.get("type", ""), root.get("type", "")),
        cpu_model=cpu,
        first_boot_data=None if marked is None else marked.get("first_boot_data"),
        watchdog=any(dog.attrib.items() >= WATCHDOG.items() for dog in root.iterfind("devices/watchdog")),
    )


def memory_mib(root: ET.Element) -> int:
    """The domain's memory in MiB, rounded down."""
    memory = root.find("memory")
    if memory is None or not memory.text:
        return 0
    return int(memory.text) * _UNITS.get(memory.get("unit", "KiB"), 1024) // 1024**2


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


def domain_xml(wish: Wish, arch: str, root_disk: Disk, seed: Disk) -> str:
    """The XML of a new domain. <name> is on a line of its own: Pacemaker's VirtualDomain agent reads it by line."""
    domain = ET.Element("domain", {"type": DOMAIN_TYPES[wish.accelerator]})
    ET.SubElement(domain, "name").text = wish.name
    ET.SubElement(domain, "uuid").text = wish.uuid
    _set_mark(domain, wish)
    ET.SubElement(domain, "memory", {"unit": "MiB"}).text = str(wish.memory_mib)
    ET.SubElement(domain, "vcpu", {"placement": "static"}).text = str(wish.vcpus)
    system = ET.SubElement(domain, "os")
    ET.SubElement(system, "type", {"arch": arch, "machine": MACHINES[arch]}).text = "hvm"
    ET.SubElement(system, "boot", {"dev": "hd"})
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
    _add_devices(ET.SubElement(domain, "devices"), wish, root_disk, seed)
    ET.indent(domain)
    return ET.tostring(domain, encoding="unicode") + "\n"


def _add_devices(devices: ET.Element, wish: Wish, root_disk: Disk, seed: Disk) -> None:
    _add_disk(devices, root_disk, ROOT_TARGET)
    ET.SubElement(_add_disk(devices, seed, SEED_TARGET), "readonly")
    ET.SubElement(devices, "controller", {"type": "usb", "model": "none"})
    interface = ET.SubElement(devices, "interface", {"type": "network"})
    ET.SubElement(interface, "mac", {"address": wish.mac})
    ET.SubElement(interface, "source", {"network": wish.network})
    ET.SubElement(interface, "model", {"type": "virtio"})
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


def edited(xml: str, wish: Wish) -> str:
    """The domain's XML with the managed fields as wished, and all else as it was."""
    root = ET.fromstring(xml)
    root.set("type", DOMAIN_TYPES[wish.accelerator])
    _set_mark(root, wish)
    _set_vcpus(root, wish.vcpus)
    if memory_mib(root) != wish.memory_mib:
        for tag in ("memory", "currentMemory"):
            element = root.find(tag)
            if element is not None:
                element.set("unit", "MiB")
                element.text = str(wish.memory_mib)
    if _cpu_model(root.find("cpu")) != wish.cpu_model:
        old = root.find("cpu")
        place = list(root).index(old) if old is not None else len(root)
        if old is not None:
            root.remove(old)
        root.insert(place, _cpu(wish.cpu_model))
    _set_interface(root, wish)
    if wish.watchdog:
        _set_watchdog(root)
    return ET.tostring(root, encoding="unicode")


def _set_vcpus(root: ET.Element, vcpus: int) -> None:
    vcpu = root.find("vcpu")
    if vcpu is None:
        vcpu = ET.SubElement(root, "vcpu", {"placement": "static"})
    if int(vcpu.get("current") or vcpu.text or 0) != vcpus:
        vcpu.attrib.pop("current", None)
        vcpu.text = str(vcpus)


def _set_interface(root: ET.Element, wish: Wish) -> None:
    interface = root.find("devices/interface")
    devices = root.find("devices")
    if interface is None and devices is not None:
        interface = ET.SubElement(devices, "interface", {"type": "network"})
        ET.SubElement(interface, "model", {"type": "virtio"})
    if interface is None:
        return
    mac, source = interface.find("mac"), interface.find("source")
    if mac is None:
        mac = ET.SubElement(interface, "mac")
    mac.set("address", wish.mac)
    if source is None:
        source = ET.SubElement(interface, "source")
    if source.get("network") != wish.network:
        interface.set("type", "network")
        source.attrib.clear()
        source.set("network", wish.network)


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
        size = int(capacity.text) * _UNITS.get(capacity.get("unit", "bytes"), 1)
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
