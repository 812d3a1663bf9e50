# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the VM entries of an inventory to typed wishes, with every mistake found in one pass."""

from __future__ import annotations

import ipaddress
import json
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils import devices
from ansible_collections.croft.infra.plugins.module_utils.domain import DEFAULT_CPU, GIB, Wish
from ansible_collections.croft.infra.plugins.module_utils.guest_health import SIGNALS
from ansible_collections.croft.infra.plugins.module_utils.identity import vm_mac, vm_uuid
from ansible_collections.croft.infra.plugins.module_utils.seed import FirstBoot

# An entry carries fields that other parts read (where it is placed, what it is for); they are named here so that a
# misspelled field is found.
FIELDS = frozenset(
    {
        "name",
        "vcpus",
        "memory_mib",
        "disk_gib",
        "workload",
        "host",
        "anti_affinity",
        "affinity",
        "ha",
        "autostart",
        "state",
    }
    | {"image", "network", "address", "gateway", "nameservers", "uuid", "mac", "health"}
    | devices.FIELDS
)

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_KEY = re.compile(r"(ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/]+=*( [^\r\n]*)?")


@dataclass(frozen=True)
class Defaults:
    """What holds for every VM whose entry does not say otherwise."""

    image: str | None = None
    network: str | None = None
    accelerator: str = "kvm"
    cpu_model: str | None = None
    clone: str = "linked"
    ssh_authorized_keys: tuple[str, ...] = ()
    gateway: str | None = None
    nameservers: tuple[str, ...] = ()
    allow_restart: tuple[str, ...] = ()
    # The volume of each image that VMs call by its name, and the merged user data of each VM that has any.
    images: Mapping[str, str] | None = None
    user_data: Mapping[str, Any] | None = None
    ha_directory: str | None = None


class _Entry:
    """Reads one entry, and collects what is wrong with it."""

    def __init__(self, entry: Mapping[str, Any], where: str) -> None:
        self._entry = entry
        self._where = where
        self.problems: list[str] = []

    @property
    def entry(self) -> Mapping[str, Any]:
        return self._entry

    def wrong(self, text: str) -> None:
        self.problems.append(f"{self._where}: {text}")

    def value(self, name: str, default: Any = None) -> Any:
        value = self._entry.get(name)
        return default if value is None or value == "" else value

    def text(self, name: str, default: str | None = None) -> str | None:
        value = self.value(name, default)
        return None if value is None else str(value)

    def whole(self, name: str, *, required: bool) -> int | None:
        value = self.value(name)
        if value is None:
            if required:
                self.wrong(f"{name} is missing; give a whole number of at least 1")
            return None
        # Jinja hands numbers over as text, and YAML reads `yes` as a number's cousin.
        if not isinstance(value, bool) and re.fullmatch(r"\d+", str(value)) and int(value) >= 1:
            return int(value)
        self.wrong(f"{name} is {value!r}; give a whole number of at least 1")
        return None

    def flag(self, name: str, default: bool) -> bool:
        value = self.value(name, default)
        known = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
        if str(value).lower() in known:
            return known[str(value).lower()]
        self.wrong(f"{name} is {value!r}; give true or false")
        return default

    def checked(self, name: str, default: str | None, check: Callable[[str], object], want: str) -> str | None:
        value = self.text(name, default)
        if value is None:
            return None
        try:
            check(value)
        except ValueError:
            self.wrong(f"{name} is {value!r}; give {want}")
            return None
        return value


def read_wishes(entries: Iterable[Any], defaults: Defaults) -> tuple[list[Wish], list[str]]:
    """(wishes, problems): one wish for each entry without a problem; one line for each problem of all entries."""
    wishes: list[Wish] = []
    # Not quoted: it might be a private key.
    problems = [
        f"ssh_authorized_keys[{index}]: is no public key in OpenSSH's form (type, key, comment)"
        for index, key in enumerate(defaults.ssh_authorized_keys)
        if not _KEY.fullmatch(key)
    ]
    names: list[str] = []
    for index, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            problems.append(f"virtual_machines[{index}]: is {entry!r}; give a mapping with name, vcpus, memory_mib")
            continue
        name = str(entry.get("name") or "")
        reader = _Entry(entry, name or f"virtual_machines[{index}]")
        wish = _read(name, reader, defaults)
        for unknown in sorted(str(key) for key in set(entry) - FIELDS):
            reader.wrong(f"{unknown} is no field of a VM; known are {', '.join(sorted(FIELDS))}")
        names.append(name)
        problems += reader.problems
        if wish is not None and not reader.problems:
            wishes.append(wish)
    problems += [f"{name}: this name is there {count} times" for name, count in Counter(names).items() if count > 1]
    problems += _shared("MAC address", ((mac, wish.name) for wish in wishes for mac in wish.macs))
    problems += _shared("UUID", ((wish.uuid, wish.name) for wish in wishes))
    problems += _shared(
        "address", ((w.first_boot.address.partition("/")[0], w.name) for w in wishes if w.first_boot.address)
    )
    return wishes, problems


def _shared(word: str, pairs: Iterable[tuple[str, str]]) -> list[str]:
    owners: dict[str, list[str]] = {}
    for value, name in pairs:
        owners.setdefault(value, []).append(name)
    return [
        f"{', '.join(names)}: have the same {word} {value}; give each its own"
        for value, names in owners.items()
        if len(set(names)) > 1
    ]


def _read(name: str, reader: _Entry, defaults: Defaults) -> Wish | None:
    if not _LABEL.fullmatch(name):
        reader.wrong(
            f"name is {name!r}; give 1 to 63 lower case letters, digits and hyphens (RFC 1123), no hyphen at an end"
        )
    vcpus = reader.whole("vcpus", required=True)
    memory_mib = reader.whole("memory_mib", required=True)
    disk_gib = reader.whole("disk_gib", required=False)
    state = reader.text("state", "running")
    if state not in ("running", "stopped"):
        reader.wrong(f"state is {state!r}; give running or stopped")
    identity = reader.checked("uuid", vm_uuid(name), uuid.UUID, "a UUID")
    mac = reader.checked("mac", vm_mac(name), _check_mac, "a unicast MAC address like 52:54:00:12:34:56")
    identity, mac = str(uuid.UUID(identity)) if identity else None, mac.lower() if mac else None
    health = reader.value("health", [])
    if not isinstance(health, list) or set(map(str, health)) - set(SIGNALS):
        reader.wrong(f"health is {health!r}; give a list of {' and '.join(SIGNALS)}")
    image, network = reader.text("image", defaults.image), reader.text("network", defaults.network)
    shape, wrong = devices.read_shape(name, reader.entry, defaults.network)
    for text in wrong:
        reader.wrong(text)
    if shape.nics:
        network, mac = shape.nics[0].place, shape.nics[0].mac
    first_boot = _read_first_boot(name, str(identity), str(mac), reader, defaults)
    if shape.nics:
        more = tuple((nic.mac, nic.address) for nic in shape.nics[1:] if nic.address)
        first_boot = replace(first_boot, address=shape.nics[0].address, more=more)
    autostart = reader.flag("autostart", True)
    for field, value in (("image", image), ("network", network)):
        if not value:
            reader.wrong(f"has no {field}, and the deployment names none; give one")
    if not vcpus or not memory_mib or not identity or not mac or not state or not image or not network:
        return None
    return Wish(
        name=name,
        uuid=identity,
        mac=mac,
        vcpus=vcpus,
        memory_mib=memory_mib,
        image=(defaults.images or {}).get(image, image),
        network=network,
        first_boot=first_boot,
        disk_bytes=disk_gib * GIB if disk_gib else None,
        state=state,
        autostart=autostart,
        accelerator=defaults.accelerator,
        cpu_model=shape.cpu_model or defaults.cpu_model or DEFAULT_CPU[defaults.accelerator],
        clone=defaults.clone,
        watchdog="watchdog" in health,
        shape=shape,
        allow_restart=name in defaults.allow_restart,
        ha=reader.flag("ha", False) and defaults.ha_directory is not None,
    )


def _read_first_boot(name: str, identity: str, mac: str, reader: _Entry, defaults: Defaults) -> FirstBoot:
    address = reader.checked("address", None, _check_address, 'an address with its prefix length, like "10.0.0.5/24"')
    gateway = reader.checked("gateway", defaults.gateway, ipaddress.ip_address, "an IP address")
    servers = reader.value("nameservers", list(defaults.nameservers))
    if not isinstance(servers, list):
        reader.wrong(f"nameservers is {servers!r}; give a list of IP addresses")
        servers = []
    for server in servers:
        try:
            ipaddress.ip_address(str(server))
        except ValueError:
            reader.wrong(f"nameservers has {server!r}; give IP addresses")
    if address and gateway and ipaddress.ip_address(gateway) not in ipaddress.ip_interface(address).network:
        reader.wrong(f"gateway is {gateway}, which is not in the network of its address {address}")
    own = (defaults.user_data or {}).get(name)
    return FirstBoot(
        name=name,
        uuid=identity,
        mac=mac,
        ssh_authorized_keys=defaults.ssh_authorized_keys,
        address=address,
        gateway=gateway,
        nameservers=tuple(str(server) for server in servers),
        user_data=json.dumps(own, sort_keys=True) if own else "",
    )


def _check_mac(value: str) -> None:
    if not _MAC.fullmatch(value.lower()) or int(value[:2], 16) & 1:
        raise ValueError(value)


def _check_address(value: str) -> None:
    if "/" not in value:
        raise ValueError(value)
    ipaddress.ip_interface(value)
