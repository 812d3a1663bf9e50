# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a VM may have beyond its name, size and first disk, read from its inventory entry. Pure.

The plan and the module read it with the same function, so that both refuse the same mistakes.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils.identity import vm_mac

GIB = 1024**3
# The last is UEFI with Secure Boot, and with the keys that distributions and Windows are signed for.
FIRMWARE = ("bios", "uefi", "uefi-secure")
# Where a network card ends, and the word for it in libvirt's XML.
LINKS = {"network": "network", "bridge": "bridge", "macvtap": "direct"}
# virtio-mem plugs memory in blocks of 2 MiB on x86.
MEMORY_BLOCK_MIB = 2
MAX_VLAN = 4094

FIELDS = frozenset(
    {
        "max_vcpus",
        "max_memory_mib",
        "disks",
        "networks",
        "cpu_model",
        "firmware",
        "tpm",
        "hugepages",
        "numa_node",
        "start_order",
        "start_delay",
    }
)
_DISK_FIELDS = frozenset({"name", "size_gib"})
_NIC_FIELDS = frozenset({"name", *LINKS, "vlan", "mac", "address", "bandwidth"})
_BANDWIDTH_FIELDS = frozenset({"inbound_kib_s", "outbound_kib_s"})
# A disk's name is its serial number in the guest (/dev/disk/by-id/virtio-<name>), of which virtio takes 20 bytes.
_DISK_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?")
_NIC_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_SOURCE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.+-]{0,62}[A-Za-z0-9])?")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_CPU_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class ExtraDisk:
    """A disk beside the root disk."""

    name: str
    bytes: int


@dataclass(frozen=True)
class Nic:
    """A network card. `link` is a key of LINKS, rates are KiB/s as the guest sees the directions."""

    name: str
    mac: str
    link: str
    source: str
    vlan: int | None = None
    inbound: int | None = None
    outbound: int | None = None
    address: str | None = None

    @property
    def place(self) -> str:
        """Where it ends: `lan`, `bridge br0`."""
        return self.source if self.link == "network" else f"{self.link} {self.source}"

    @property
    def limited(self) -> bool:
        return bool(self.inbound or self.outbound)

    @property
    def options(self) -> str:
        """How it ends there: `VLAN 10, in 1000 KiB/s`."""
        parts = [f"VLAN {self.vlan}"] if self.vlan else []
        parts += [f"{word} {rate} KiB/s" for word, rate in (("in", self.inbound), ("out", self.outbound)) if rate]
        return ", ".join(parts)

    @property
    def path(self) -> str:
        return ", ".join(part for part in (self.place, self.options) if part)

    @property
    def text(self) -> str:
        return f"{self.name} {self.mac} ({self.path})"


@dataclass(frozen=True)
class Shape:
    """The typed form of FIELDS. None: nothing is wished, whatever is there stays. `nics` are all cards; the first is
    the one that `network`, `mac` and `address` speak of when the entry has no `networks`.
    """

    max_vcpus: int | None = None
    max_memory_mib: int | None = None
    disks: tuple[ExtraDisk, ...] = ()
    nics: tuple[Nic, ...] = ()
    cpu_model: str | None = None
    firmware: str | None = None
    tpm: bool | None = None
    hugepages: bool | None = None
    numa_node: int | None = None
    start_order: int | None = None
    start_delay: int = 0

    @property
    def start(self) -> str:
        """When it is started after its host, in words; empty when libvirt starts it in no order."""
        return "" if self.start_order is None else f"order {self.start_order}, then wait {self.start_delay} s"


class _Reader:
    """Reads one mapping and notes what is wrong with it."""

    def __init__(self, entry: Mapping[str, Any], where: str = "", problems: list[str] | None = None) -> None:
        self.entry = entry
        self.where = where
        self.problems: list[str] = [] if problems is None else problems

    def wrong(self, field: str, text: str) -> None:
        self.problems.append(f"{self.where}{field} {text}")

    def value(self, field: str) -> Any:
        value = self.entry.get(field)
        return None if value == "" else value

    def whole(self, field: str, least: int = 1, most: int | None = None) -> int | None:
        value = self.value(field)
        if value is None:
            return None
        # Jinja hands numbers over as text, and YAML reads `yes` as a number's cousin.
        if not isinstance(value, bool) and re.fullmatch(r"\d+", str(value)):
            number = int(value)
            if number >= least and (most is None or number <= most):
                return number
        limit = f", at most {most}" if most else ""
        self.wrong(field, f"is {value!r}; give a whole number of at least {least}{limit}")
        return None

    def flag(self, field: str) -> bool | None:
        value = self.value(field)
        known = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
        if value is None or str(value).lower() in known:
            return None if value is None else known[str(value).lower()]
        self.wrong(field, f"is {value!r}; give true or false")
        return None

    def word(self, field: str, pattern: re.Pattern[str], want: str) -> str | None:
        value = self.value(field)
        if value is None or (isinstance(value, str) and pattern.fullmatch(value)):
            return value
        self.wrong(field, f"is {value!r}; give {want}")
        return None

    def items(self, field: str, fields: frozenset[str]) -> list[_Reader]:
        """The mappings of a list, each with fields that are known."""
        value = self.value(field)
        if value is None:
            return []
        if not isinstance(value, list | tuple) or not all(isinstance(item, Mapping) for item in value):
            self.wrong(field, f"is {value!r}; give a list of mappings")
            return []
        readers = [_Reader(item, f"{field}[{index}].", self.problems) for index, item in enumerate(value)]
        for reader in readers:
            reader.known(fields)
        return readers

    def known(self, fields: frozenset[str]) -> None:
        for unknown in sorted(str(key) for key in set(self.entry) - fields):
            self.wrong(unknown, f"is not known; known are {', '.join(sorted(fields))}")


def read_shape(name: str, entry: Mapping[str, Any], network: str | None) -> tuple[Shape, list[str]]:
    """(shape, problems) of the VM `name`; `network` is that of cards which name none."""
    reader = _Reader(entry)
    shape = Shape(
        max_vcpus=_maximum(reader, "max_vcpus", "vcpus"),
        max_memory_mib=_maximum(reader, "max_memory_mib", "memory_mib"),
        disks=_disks(reader),
        nics=_nics(name, reader, network),
        cpu_model=reader.word("cpu_model", _CPU_MODEL, "host-model, host-passthrough, maximum or a model's name"),
        firmware=reader.word("firmware", re.compile("|".join(FIRMWARE)), "bios, uefi or uefi-secure"),
        tpm=reader.flag("tpm"),
        hugepages=reader.flag("hugepages"),
        numa_node=reader.whole("numa_node", 0),
        start_order=reader.whole("start_order", 0),
        start_delay=reader.whole("start_delay", 0) or 0,
    )
    sizes = [(field, str(entry.get(field))) for field in ("max_memory_mib", "memory_mib")]
    for field, size in sizes if shape.max_memory_mib is not None else ():
        if size.isdigit() and int(size) % MEMORY_BLOCK_MIB:
            reader.wrong(field, f"is {size}; memory that can grow comes in blocks of {MEMORY_BLOCK_MIB} MiB")
    if entry.get("start_delay") is not None and shape.start_order is None:
        reader.wrong("start_delay", "has no effect without start_order; give both")
    return shape, reader.problems


def extra_gib(entry: Mapping[str, Any]) -> int:
    """The size in GiB of all disks beside the root disk of an entry that read_shape() found nothing wrong with."""
    return sum(int(disk["size_gib"]) for disk in entry.get("disks") or [])


def _maximum(reader: _Reader, field: str, present: str) -> int | None:
    most, now = reader.whole(field), str(reader.value(present))
    if most is not None and now.isdigit() and most < int(now):
        reader.wrong(field, f"is {most}, less than {present}, which is {now}")
    return most


def _disks(reader: _Reader) -> tuple[ExtraDisk, ...]:
    disks = []
    for item in reader.items("disks", _DISK_FIELDS):
        name = item.word("name", _DISK_NAME, "1 to 20 lower case letters, digits and hyphens")
        size = item.whole("size_gib")
        for field, value in (("name", item.value("name")), ("size_gib", item.value("size_gib"))):
            if value is None:
                item.wrong(field, "is missing")
        if name and size:
            disks.append(ExtraDisk(name, size * GIB))
    _unique(reader, "disks", (disk.name for disk in disks))
    return tuple(disks)


def _nics(vm: str, reader: _Reader, network: str | None) -> tuple[Nic, ...]:
    nics = []
    for index, item in enumerate(reader.items("networks", _NIC_FIELDS)):
        nic = _nic(vm, item, network, first=index == 0)
        if nic is not None:
            nics.append(nic)
    _unique(reader, "networks", (nic.name for nic in nics))
    _unique(reader, "networks", (nic.mac for nic in nics), "MAC address")
    for field in ("network", "mac", "address") if nics else ():
        there, own = reader.value(field), nics[0].source if field == "network" else getattr(nics[0], field)
        # The plan fills these in with what they follow from, and hands the entry on.
        if there is not None and own is not None and str(there).lower() not in (str(own).lower(), vm_mac(vm)):
            reader.wrong(field, f"is {there!r} beside networks, whose first has {own}; leave it out")
    return tuple(nics)


def _nic(vm: str, item: _Reader, network: str | None, *, first: bool) -> Nic | None:
    named = [link for link in LINKS if item.value(link) is not None]
    if len(named) > 1:
        item.wrong(named[1], f"is there beside {named[0]}; give one of {', '.join(LINKS)}")
    link = named[0] if named else "network"
    source = item.word(link, _SOURCE, "its name") if named else network
    if source is None:
        if not named:
            item.wrong("network", "is missing, and the deployment names none; give one")
        return None
    vlan = item.whole("vlan", 1, MAX_VLAN)
    if vlan is not None and link == "macvtap":
        item.wrong("vlan", f"is not for macvtap; put it upon the host's device of that VLAN, such as {source}.{vlan}")
    default = re.sub(r"[^a-z0-9]+", "-", source.lower()) + (f"-{vlan}" if vlan else "")
    name = item.word("name", _NIC_NAME, "1 to 32 lower case letters, digits and hyphens") or default
    mac = item.value("mac") or (vm_mac(vm) if first else vm_mac(f"{vm}/{name}"))
    mac = str(mac).lower()
    if not _MAC.fullmatch(mac) or int(mac[:2], 16) & 1:
        item.wrong("mac", f"is {mac!r}; give a unicast MAC address like 52:54:00:12:34:56")
    rates = item.value("bandwidth") or {}
    if not isinstance(rates, Mapping):
        item.wrong("bandwidth", f"is {rates!r}; give a mapping of {' and '.join(sorted(_BANDWIDTH_FIELDS))}")
        rates = {}
    limits = _Reader(rates, f"{item.where}bandwidth.", item.problems)
    limits.known(_BANDWIDTH_FIELDS)
    return Nic(
        name=name,
        mac=mac,
        link=link,
        source=source,
        vlan=vlan,
        inbound=limits.whole("inbound_kib_s"),
        outbound=limits.whole("outbound_kib_s"),
        address=_address(item),
    )


def _address(item: _Reader) -> str | None:
    value = item.value("address")
    if value is None:
        return None
    try:
        if "/" not in str(value):
            raise ValueError
        ipaddress.ip_interface(str(value))
    except ValueError:
        item.wrong("address", f'is {value!r}; give an address with its prefix length, like "10.0.0.5/24"')
        return None
    return str(value)


def _unique(reader: _Reader, field: str, values: Iterable[str], word: str = "name") -> None:
    for value, count in Counter(values).items():
        if count > 1:
            reader.wrong(field, f"has the {word} {value} {count} times; give each its own")
