# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of a domain's XML that can change while it runs: further disks, network cards, memory. Pure.

What croft added is told from what people added by the alias, which libvirt keeps when it begins with `ua-`.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from string import ascii_lowercase

from ansible_collections.croft.infra.plugins.module_utils.devices import LINKS, MEMORY_BLOCK_MIB, Nic, Shape

DISK_ALIAS = "ua-croft-disk-"
NIC_ALIAS = "ua-croft-nic-"
MEMORY_ALIAS = "ua-croft-memory"
# Root ports of a new VM, as many as virt-install makes: some seven for what it has at first, the rest to plug into.
ROOT_PORTS = 14

_UNITS = {"b": 1, "bytes": 1, "KiB": 1024, "k": 1024, "MiB": 1024**2, "M": 1024**2, "GiB": 1024**3, "G": 1024**3}
_MIB = 1024**2
_MEMORY = f"devices/memory/alias[@name='{MEMORY_ALIAS}']/.."


def bytes_of(element: ET.Element | None, unit: str = "KiB") -> int:
    """The size that an element says, in bytes; without a unit of its own it is in `unit`."""
    if element is None or not element.text:
        return 0
    return int(element.text) * _UNITS.get(element.get("unit", unit), 1024)


def by_alias(root: ET.Element, alias: str) -> ET.Element | None:
    """The device of that alias."""
    return root.find(f"devices/*/alias[@name='{alias}']/..")


def set_alias(device: ET.Element, name: str) -> None:
    ET.SubElement(device, "alias", {"name": name})


def _own(root: ET.Element, prefix: str) -> Iterator[tuple[str, ET.Element]]:
    for device in list(root.iterfind("devices/*")):
        alias = device.find("alias")
        name = "" if alias is None else alias.get("name", "")
        if name.startswith(prefix):
            yield name.removeprefix(prefix), device


def own_disks(root: ET.Element) -> list[tuple[str, ET.Element]]:
    return list(_own(root, DISK_ALIAS))


def disk_targets(root: ET.Element) -> dict[str, str]:
    """The targets (vdc) of croft's further disks, by name."""
    return {name: disk.find("target").get("dev", "") for name, disk in own_disks(root)}  # type: ignore[union-attr]


def next_target(root: ET.Element) -> str:
    """The first free target after the root disk and the seed, whose places stay theirs."""
    used = {target.get("dev") for target in root.iterfind("devices/disk/target")} | {"vda", "vdb"}
    names = [f"vd{first}{second}" for first in ("", *ascii_lowercase) for second in ascii_lowercase]
    return next(name for name in names if name not in used)


def nics(root: ET.Element) -> list[Nic]:
    """croft's network cards beside the first."""
    return [read_nic(name, card) for name, card in _own(root, NIC_ALIAS)]


def read_nic(name: str, card: ET.Element) -> Nic:
    mac, source, tag = card.find("mac"), card.find("source"), card.find("vlan/tag")
    place: dict[str, str] = {} if source is None else dict(source.attrib)
    # The running domain's XML has a network's bridge beside its name.
    link, value = next(
        (
            (link, place[key])
            for link, key in (("network", "network"), ("bridge", "bridge"), ("macvtap", "dev"))
            if key in place
        ),
        ("network", ""),
    )
    rates = {
        way: int(rate.get("average", "0"))
        for way in ("inbound", "outbound")
        if (rate := card.find(f"bandwidth/{way}")) is not None
    }
    return Nic(
        name=name,
        mac="" if mac is None else mac.get("address", "").lower(),
        link=link,
        source=value,
        vlan=None if tag is None else int(tag.get("id", "0")),
        inbound=rates.get("inbound"),
        outbound=rates.get("outbound"),
    )


def add_nic(devices: ET.Element, nic: Nic) -> ET.Element:
    card = ET.SubElement(devices, "interface")
    ET.SubElement(card, "mac")
    ET.SubElement(card, "source")
    ET.SubElement(card, "model", {"type": "virtio"})
    set_nic(card, nic)
    return card


def set_nic(card: ET.Element, nic: Nic, *, keep_options: bool = False) -> None:
    """Let a network card have that address and end there."""
    here = read_nic(nic.name, card)
    for tag in ("mac", "source"):
        if card.find(tag) is None:
            ET.SubElement(card, tag)
    mac, source = card.find("mac"), card.find("source")
    assert mac is not None
    assert source is not None
    mac.set("address", nic.mac)
    if here.place != nic.place:
        card.set("type", LINKS[nic.link])
        source.attrib.clear()
        source.attrib.update({"dev": nic.source, "mode": "bridge"} if nic.link == "macvtap" else {nic.link: nic.source})
    if keep_options or here.options == nic.options:
        return
    for tag in ("vlan", "bandwidth"):
        old = card.find(tag)
        if old is not None:
            card.remove(old)
    if nic.vlan is not None:
        ET.SubElement(ET.SubElement(card, "vlan"), "tag", {"id": str(nic.vlan)})
    rates = [(way, rate) for way, rate in (("inbound", nic.inbound), ("outbound", nic.outbound)) if rate]
    bandwidth = ET.SubElement(card, "bandwidth") if rates else card
    for way, rate in rates:
        ET.SubElement(bandwidth, way, {"average": str(rate)})


def set_nics(devices: ET.Element, wanted: Sequence[Nic]) -> None:
    """The cards beside the first: those that are not wished go, those that are stay as they are."""
    root = ET.Element("domain")
    root.append(devices)
    texts = {nic.text for nic in wanted}
    there = set()
    for name, card in list(_own(root, NIC_ALIAS)):
        text = read_nic(name, card).text
        if text in texts:
            there.add(text)
        else:
            devices.remove(card)
    for nic in wanted:
        if nic.text not in there:
            set_alias(add_nic(devices, nic), NIC_ALIAS + nic.name)


def free_slots(root: ET.Element) -> int:
    """How many PCIe root ports have no device."""
    ports = {int(port.get("index", "-1")) for port in root.iterfind("devices/controller[@model='pcie-root-port']")}
    used = {int(place.get("bus", "0"), 16) for place in root.iterfind("devices/*/address[@type='pci']")}
    return len(ports - used)


def _sizes(root: ET.Element) -> tuple[int, int, int] | None:
    """(base, pluggable, plugged) in bytes of a domain whose memory can grow."""
    device = root.find(_MEMORY)
    if device is None:
        return None
    size = bytes_of(device.find("target/size"))
    return bytes_of(root.find("memory")) - size, size, bytes_of(device.find("target/requested"))


def unplugged(root: ET.Element) -> int:
    """Bytes that <memory> counts and the guest does not have."""
    sizes = _sizes(root)
    return 0 if sizes is None else sizes[1] - sizes[2]


def memory_range(root: ET.Element) -> tuple[int, int] | None:
    """The least and the most MiB that it can have without a restart."""
    sizes = _sizes(root)
    return None if sizes is None else (sizes[0] // _MIB, (sizes[0] + sizes[1]) // _MIB)


def max_memory_mib(root: ET.Element, present: int) -> int:
    both = memory_range(root)
    return present if both is None else both[1]


def plugged_mib(root: ET.Element) -> int:
    """What the guest took of the memory that it was offered."""
    device = root.find(_MEMORY)
    return 0 if device is None else bytes_of(device.find("target/current")) // _MIB


def set_requested(root: ET.Element, memory_mib: int) -> ET.Element:
    """Offer the guest so much memory in all; the device that says so. Only within memory_range()."""
    device, sizes = root.find(_MEMORY), _sizes(root)
    requested = None if device is None else device.find("target/requested")
    assert device is not None
    assert sizes is not None
    assert requested is not None
    requested.set("unit", "KiB")
    requested.text = str((memory_mib * _MIB - sizes[0]) // 1024)
    return device


def set_memory(root: ET.Element, memory_mib: int, most: int | None) -> None:
    """Memory, and with `most` a virtio-mem device for what can be plugged. Its base is never changed without need."""
    cpu, numa = root.find("cpu"), root.find("cpu/numa")
    both, sizes = memory_range(root), _sizes(root)
    if both is not None and both[0] <= memory_mib <= both[1] and most in (None, both[1]):
        set_requested(root, memory_mib)
    elif sizes is not None or bytes_of(root.find("memory")) != memory_mib * _MIB or (most or 0) > memory_mib:
        _make_memory(root, memory_mib, max(most or 0, memory_mib))
    if sizes is not None and root.find(_MEMORY) is None and cpu is not None and numa is not None:
        cpu.remove(numa)
    _set_cell(root)


def _make_memory(root: ET.Element, base: int, most: int) -> None:
    devices, old = root.find("devices"), root.find(_MEMORY)
    assert devices is not None
    if old is not None:
        devices.remove(old)
    for tag in ("maxMemory", "memory", "currentMemory"):
        found = root.find(tag)
        if found is not None:
            root.remove(found)
    vcpu = root.find("vcpu")
    place = len(root) if vcpu is None else list(root).index(vcpu)
    sizes = [("maxMemory", {"slots": "1"}, most)] if most > base else []
    for offset, (tag, extra, size) in enumerate([*sizes, ("memory", {}, most), ("currentMemory", {}, base)]):
        element = ET.Element(tag, {"unit": "MiB", **extra})
        element.text = str(size)
        root.insert(place + offset, element)
    if most == base:
        return
    device = ET.SubElement(devices, "memory", {"model": "virtio-mem"})
    target = ET.SubElement(device, "target")
    for tag, size in (("size", most - base), ("block", MEMORY_BLOCK_MIB), ("requested", 0)):
        ET.SubElement(target, tag, {"unit": "MiB"}).text = str(size)
        if tag == "size":
            ET.SubElement(target, "node").text = "0"
    set_alias(device, MEMORY_ALIAS)


def _set_cell(root: ET.Element) -> None:
    """The guest's NUMA node, without which QEMU plugs no memory; all CPUs that there may be are in it."""
    cpu, sizes, vcpu = root.find("cpu"), _sizes(root), root.find("vcpu")
    if cpu is None or sizes is None:
        return
    cells = cpu.findall("numa/cell")
    if len(cells) > 1:
        return
    cell = cells[0] if cells else ET.SubElement(ET.SubElement(cpu, "numa"), "cell", {"id": "0"})
    last = int(vcpu.text or 1) - 1 if vcpu is not None else 0
    cell.set("cpus", f"0-{last}" if last else "0")
    cell.set("memory", str(sizes[0] // 1024))
    cell.set("unit", "KiB")


def firmware(root: ET.Element) -> str:
    """What the domain boots with, one of devices.FIRMWARE."""
    system, loader = root.find("os"), root.find("os/loader")
    by_name = system is not None and system.get("firmware") == "efi"
    if not by_name and (loader is None or loader.get("type") != "pflash"):
        return "bios"
    # libvirt writes what it chose into the definition.
    chosen = loader is not None and loader.get("secure") == "yes"
    asked = root.find("os/firmware/feature[@name='secure-boot'][@enabled='yes']") is not None
    return "uefi-secure" if chosen or asked else "uefi"


def numa_node(root: ET.Element) -> int | None:
    memory = root.find("numatune/memory")
    nodes = "" if memory is None else memory.get("nodeset", "")
    return int(nodes) if nodes.isdigit() else None


def set_options(root: ET.Element, shape: Shape) -> None:
    """Hugepages, the host's NUMA node, and the TPM, where the wish speaks of them."""
    backing, devices = root.find("memoryBacking"), root.find("devices")
    there = backing is not None and backing.find("hugepages") is not None
    if shape.hugepages and not there:
        ET.SubElement(ET.SubElement(root, "memoryBacking") if backing is None else backing, "hugepages")
    elif shape.hugepages is False and there and backing is not None:
        backing.remove(backing.find("hugepages"))  # type: ignore[arg-type]
    if shape.numa_node is not None and numa_node(root) != shape.numa_node:
        tune = root.find("numatune")
        tune = ET.SubElement(root, "numatune") if tune is None else tune
        for old in tune.findall("memory"):
            tune.remove(old)
        ET.SubElement(tune, "memory", {"mode": "strict", "nodeset": str(shape.numa_node)})
    tpm = root.find("devices/tpm")
    if shape.tpm and tpm is None and devices is not None:
        tpm = ET.SubElement(devices, "tpm", {"model": "tpm-crb"})
        ET.SubElement(tpm, "backend", {"type": "emulator", "version": "2.0"})
    elif shape.tpm is False and tpm is not None and devices is not None:
        devices.remove(tpm)
