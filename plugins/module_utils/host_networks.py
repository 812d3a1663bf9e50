# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's libvirt networks: what is wrong with wished ones, their XML, how one that is there differs. Pure."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils import libvirt_definition
from ansible_collections.croft.infra.plugins.module_utils.devices import MAX_VLAN

# With an address of the host in it, which is the guests' router.
ROUTED = ("nat", "route")
# The host and one guest.
_LONGEST_PREFIX = 30


@dataclass(frozen=True)
class Network:
    """A network as it is wished. ``address``: the host's own in it, with the prefix length."""

    name: str
    mode: str = "nat"
    bridge: str = ""
    address: str = ""
    dhcp_first: str = ""
    dhcp_last: str = ""


def network_of(given: Mapping[str, Any]) -> Network:
    """From an entry of an inventory, whose form was checked."""
    return Network(**{key: str(value) for key, value in given.items() if value is not None})


def problems(networks: Iterable[Network]) -> list[str]:
    """What is wrong, one line each."""
    lines: list[str] = []
    seen: dict[str, IPv4Interface | None] = {}
    for one in networks:
        if one.name in seen:
            lines.append(f"network {one.name}: is listed twice; give one of them another name")
            continue
        mistake = _mistake(one)
        own = None if mistake or not one.address else IPv4Interface(one.address)
        lines += [mistake] if mistake else []
        if own:
            lines += [
                f"network {one.name}: {own.network} overlaps {other.network} of network {name}; choose another address"
                for name, other in seen.items()
                if other is not None and other.network.overlaps(own.network)
            ]
            lines += _dhcp_problems(one, own)
        seen[one.name] = own
    return lines


def _mistake(one: Network) -> str:
    """What is wrong with its form and its address; empty when that is well."""
    wrong = ""
    dhcp = one.dhcp_first or one.dhcp_last
    if one.mode == "bridge" and not one.bridge:
        wrong = "has mode bridge and names no bridge; name one that the host has"
    elif one.mode == "bridge" and (one.address or dhcp):
        wrong = "has mode bridge, so addresses are not libvirt's; leave address and dhcp away"
    elif one.mode in ROUTED and not one.address:
        wrong = f"has mode {one.mode} and no address; give the host one, like 192.168.100.1/24"
    elif dhcp and not one.address:
        wrong = "DHCP needs an address of the host in it; give one, like 192.168.100.1/24"
    elif one.address:
        wrong = _address_mistake(one.address)
    return f"network {one.name}: {wrong}" if wrong else ""


def _address_mistake(text: str) -> str:
    try:
        own = IPv4Interface(text)
    except ValueError:
        own = None
    if own is None or "/" not in text or own.network.prefixlen > _LONGEST_PREFIX:
        return f"address {text} is no IPv4 address with the prefix length of a network, like 192.168.100.1/24"
    if own.ip in (own.network.network_address, own.network.broadcast_address):
        return f"address {text} is no host's in {own.network}; take another one of it"
    return ""


def _dhcp_problems(one: Network, own: IPv4Interface) -> list[str]:
    given = {"dhcp_first": one.dhcp_first, "dhcp_last": one.dhcp_last}
    if not any(given.values()):
        return []
    if not all(given.values()):
        return [f"network {one.name}: DHCP has a first and a last address; give dhcp_first and dhcp_last, or neither"]
    lines, range_ = [], []
    for key, text in given.items():
        try:
            address = IPv4Address(text)
        except ValueError:
            lines.append(f"network {one.name}: {key} {text} is no IPv4 address")
            continue
        range_.append(address)
        if address not in own.network:
            lines.append(f"network {one.name}: {key} {text} is not in {own.network}")
    if len(range_) == len(given):
        first, last = range_
        if first > last:
            lines.append(f"network {one.name}: dhcp_first {first} is behind dhcp_last {last}; swap them")
        elif first <= own.ip <= last:
            lines.append(
                f"network {one.name}: {own.ip} is the host's own and in the range of DHCP; leave it out of that"
            )
    return lines


def vlan_problems(vlans: Iterable[str]) -> list[str]:
    """What is wrong with a list of VLANs and ranges of them, like 10 and 100-199; one line each."""
    lines = []
    for text in map(str, vlans):
        first, dash, last = text.partition("-")
        ends = [int(end) for end in ((first, last) if dash else (first,)) if end.isdecimal()]
        known = len(ends) == 1 + len(dash) and all(1 <= end <= MAX_VLAN for end in ends)
        if not known or ends != sorted(ends):
            lines.append(f"VLAN {text} is none; give one of 1 to {MAX_VLAN}, or a range of them like 100-199")
    return lines


def xml_of(one: Network) -> str:
    """Its definition for libvirt, https://libvirt.org/formatnetwork.html."""
    root = ET.Element("network")
    ET.SubElement(root, "name").text = one.name
    if one.mode != "isolated":
        ET.SubElement(root, "forward", mode=one.mode)
    if one.bridge:
        ET.SubElement(root, "bridge", name=one.bridge)
    if one.address:
        own = IPv4Interface(one.address)
        ip = ET.SubElement(root, "ip", address=str(own.ip), prefix=str(own.network.prefixlen))
        if one.dhcp_first:
            ET.SubElement(ET.SubElement(ip, "dhcp"), "range", start=one.dhcp_first, end=one.dhcp_last)
    return ET.tostring(root, encoding="unicode")


def read(xml: str) -> Network:
    """A definition as libvirt tells it; one that has more than a wished one can have is read as far as that goes."""
    root = ET.fromstring(xml)
    forward, bridge, ip, range_ = (root.find(path) for path in ("forward", "bridge", "ip", "ip/dhcp/range"))
    address = ""
    if ip is not None:
        address = f"{ip.get('address')}/{ip.get('prefix') or ip.get('netmask')}"
        address = str(IPv4Interface(address)) if ip.get("family", "ipv4") == "ipv4" else address
    return Network(
        name=root.findtext("name", ""),
        # libvirt's own default of a <forward> without a mode is nat.
        mode="isolated" if forward is None else forward.get("mode", "nat"),
        bridge="" if bridge is None else bridge.get("name", ""),
        address=address,
        dhcp_first="" if range_ is None else range_.get("start", ""),
        dhcp_last="" if range_ is None else range_.get("end", ""),
    )


def differences(wanted: Network, there: Network) -> list[str]:
    """What differs, one text each, like `address: 10.1.0.1/24 (was 10.0.0.1/24)`. libvirt names a bridge of its own."""
    keys = ["mode", "address", "dhcp_first", "dhcp_last", *(["bridge"] if wanted.bridge else [])]
    new, old = ({key: getattr(one, key) for key in keys} for one in (wanted, there))
    return libvirt_definition.differences(new, old)


def users(domains: Iterable[str], network: str) -> list[str]:
    """The names of the domains, by their XML, that have a card in the network."""
    roots = [ET.fromstring(xml) for xml in domains]
    return sorted(
        root.findtext("name", "")
        for root in roots
        if any(source.get("network") == network for source in root.iterfind("devices/interface/source"))
    )
