# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.filter.network_problems import network_problems
from ansible_collections.croft.infra.plugins.module_utils import host_networks as networks
from ansible_collections.croft.infra.plugins.module_utils.libvirt_definition import with_uuid

NAT = {
    "name": "inside",
    "mode": "nat",
    "address": "192.168.100.1/24",
    "dhcp_first": "192.168.100.10",
    "dhcp_last": "192.168.100.99",
}
BRIDGE = {"name": "vms", "mode": "bridge", "bridge": "br-vms"}


def nat(**change: Any) -> dict[str, Any]:
    return {**NAT, **change}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([BRIDGE, NAT], []),
        ([{"name": "alone", "mode": "isolated"}], []),
        ([nat(mode="route", dhcp_first=None, dhcp_last=None)], []),
        ([NAT, NAT], ["network inside: is listed twice"]),
        (
            [NAT, nat(name="two", address="192.168.0.1/16", dhcp_first="", dhcp_last="")],
            ["network two: 192.168.0.0/16 overlaps"],
        ),
        ([{"name": "vms", "mode": "bridge"}], ["network vms: has mode bridge and names no bridge"]),
        ([{**BRIDGE, "address": "10.0.0.1/24"}], ["network vms: has mode bridge, so addresses are not libvirt's"]),
        ([nat(address="")], ["network inside: has mode nat and no address"]),
        ([nat(address="", mode="isolated")], ["network inside: DHCP needs an address of the host"]),
        ([nat(address="192.168.100.1")], ["network inside: address 192.168.100.1 is no IPv4 address with the prefix"]),
        ([nat(address="192.168.100.1/31")], ["network inside: address 192.168.100.1/31 is no IPv4 address with"]),
        ([nat(address="fd00::1/64")], ["network inside: address fd00::1/64 is no IPv4 address"]),
        ([nat(address="192.168.100.0/24")], ["network inside: address 192.168.100.0/24 is no host's"]),
        ([nat(address="192.168.100.255/24")], ["network inside: address 192.168.100.255/24 is no host's"]),
        ([nat(dhcp_last="")], ["network inside: DHCP has a first and a last address"]),
        ([nat(dhcp_first="ten")], ["network inside: dhcp_first ten is no IPv4 address"]),
        ([nat(dhcp_last="192.168.101.9")], ["network inside: dhcp_last 192.168.101.9 is not in 192.168.100.0/24"]),
        (
            [nat(dhcp_first="192.168.100.99", dhcp_last="192.168.100.98")],
            ["network inside: dhcp_first 192.168.100.99 is behind"],
        ),
        ([nat(dhcp_first="192.168.100.10", dhcp_last="192.168.100.10")], []),
        ([nat(dhcp_first="192.168.100.1")], ["network inside: 192.168.100.1 is the host's own"]),
        (
            [nat(address="no"), {"name": "vms", "mode": "bridge"}],
            ["network inside: address no is no IPv4", "network vms: has mode bridge and names no bridge"],
        ),
    ],
)
def test_what_is_wrong_is_told_all_at_once(given: list[dict[str, Any]], said: list[str]) -> None:
    lines = network_problems(given)
    assert len(lines) == len(said), lines
    assert all(line.startswith(begin) for line, begin in zip(lines, said, strict=True)), lines


@pytest.mark.parametrize(
    "given",
    [
        NAT,
        BRIDGE,
        nat(mode="route", dhcp_first="", dhcp_last=""),
        {"name": "alone", "mode": "isolated"},
        nat(bridge="br9"),
    ],
)
def test_what_is_written_is_read_again(given: dict[str, Any]) -> None:
    wanted = networks.network_of(given)
    xml = with_uuid(networks.xml_of(wanted), "6f8f3f1e-0a36-4c3f-8d6e-0f2f1c9f0a11")
    assert networks.read(xml) == wanted
    assert "6f8f3f1e" in xml


def test_what_libvirt_adds_is_no_difference() -> None:
    there = networks.read(
        "<network><name>inside</name><forward mode='nat'><nat><port start='1024' end='65535'/></nat></forward>"
        "<bridge name='virbr0' stp='on' delay='0'/><mac address='52:54:00:00:00:01'/>"
        "<ip address='192.168.100.1' netmask='255.255.255.0'><dhcp>"
        "<range start='192.168.100.10' end='192.168.100.99'/></dhcp></ip></network>"
    )
    wanted = networks.network_of(NAT)
    assert networks.differences(wanted, there) == []
    other = networks.network_of(nat(bridge="br9", mode="route", dhcp_last=""))
    assert networks.differences(other, there) == [
        "mode: route (was nat)",
        "dhcp_last: none (was 192.168.100.99)",
        "bridge: br9 (was virbr0)",
    ]


def test_the_vms_in_a_network_are_known() -> None:
    card = "<interface type='network'><source network='{}'/></interface>"
    domains = [
        f"<domain><name>{name}</name><devices>{card.format(network)}</devices></domain>"
        for name, network in (("web2", "inside"), ("app1", "vms"), ("web1", "inside"))
    ]
    assert networks.users(domains, "inside") == ["web1", "web2"]


@pytest.mark.parametrize(
    ("vlans", "wrong"),
    [
        ([], []),
        (["1", "4094", "10-20", 30, "7-7"], []),
        (["0", "4095", "x", "", "10-", "-10", "20-10", "1-4095", "1-2-3"], None),
    ],
)
def test_vlans(vlans: list[Any], wrong: list[str] | None) -> None:
    expected = [f"VLAN {text} is none; give one of 1 to 4094, or a range of them like 100-199" for text in vlans]
    assert network_problems([], vlans=vlans) == (expected if wrong is None else wrong)
