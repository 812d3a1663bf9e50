# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a domain's XML says of what can change while it runs: written for a wish, read back, and edited."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from ansible_collections.croft.infra.plugins.module_utils import hotplug
from ansible_collections.croft.infra.plugins.module_utils.devices import GIB, ExtraDisk, Nic, Shape
from ansible_collections.croft.infra.plugins.module_utils.domain import Wish
from ansible_collections.croft.infra.plugins.module_utils.domain_xml import (
    Disk,
    abilities,
    describe,
    domain_xml,
    edited,
)
from ansible_collections.croft.infra.plugins.module_utils.identity import vm_mac, vm_uuid
from ansible_collections.croft.infra.plugins.module_utils.seed import FirstBoot

FIRST = Nic("lan", vm_mac("web1"), "network", "lan")
SECOND = Nic("br0-10", "52:54:00:00:00:02", "bridge", "br0", vlan=10, inbound=1000, outbound=500)
TAP = Nic("eth1", "52:54:00:00:00:03", "macvtap", "eth1")
PLAIN = Wish(
    name="web1",
    uuid=vm_uuid("web1"),
    mac=vm_mac("web1"),
    vcpus=2,
    memory_mib=1024,
    image="base.qcow2",
    network="lan",
    first_boot=FirstBoot("web1", vm_uuid("web1"), vm_mac("web1")),
)
GROWS = replace(
    PLAIN,
    shape=Shape(
        max_vcpus=4,
        max_memory_mib=4096,
        disks=(ExtraDisk("data", GIB), ExtraDisk("log", GIB)),
        nics=(FIRST, SECOND, TAP),
        firmware="uefi",
        tpm=True,
        hugepages=True,
        numa_node=1,
        start_order=10,
        start_delay=5,
    ),
)
PLACES = {name: Disk(f"/p/web1.{name}.qcow2", "qcow2") for name in ("data", "log", "more")}


def made(wish: Wish) -> str:
    return domain_xml(wish, "x86_64", Disk("/p/web1.qcow2", "qcow2"), Disk("/p/web1-seed.iso", "raw"), PLACES)


@pytest.mark.parametrize(
    ("firmware", "features"),
    [
        ("bios", {}),
        # Without a word of Secure Boot libvirt takes what it finds first, often one that boots signed systems only.
        ("uefi", {"secure-boot": "no"}),
        ("uefi-secure", {"secure-boot": "yes", "enrolled-keys": "yes"}),
    ],
)
def test_firmware_is_said_to_libvirt_and_read_back(firmware: str, features: dict[str, str]) -> None:
    wish = replace(PLAIN, shape=Shape(firmware=firmware))
    root = ET.fromstring(made(wish))
    assert {str(f.get("name")): f.get("enabled") for f in root.iterfind("os/firmware/feature")} == features
    assert describe(made(wish)).fields.firmware == firmware


@pytest.mark.parametrize(
    ("system", "firmware"),
    [
        ("<os firmware='efi'><loader readonly='yes' secure='yes' type='pflash'>/f</loader></os>", "uefi-secure"),
        ("<os firmware='efi'><loader readonly='yes' type='pflash'>/f</loader></os>", "uefi"),
        ("<os><loader readonly='yes' type='pflash'>/f</loader></os>", "uefi"),
        ("<os><loader>/f</loader></os>", "bios"),
    ],
)
def test_firmware_that_libvirt_chose_is_known(system: str, firmware: str) -> None:
    assert hotplug.firmware(ET.fromstring(f"<domain>{system}</domain>")) == firmware


@pytest.mark.parametrize("wish", [PLAIN, GROWS])
def test_a_new_domain_says_what_was_wished(wish: Wish) -> None:
    assert describe(made(wish)).fields.differences(wish.fields()) == []


CHANGES = [
    replace(GROWS, memory_mib=2048),
    replace(GROWS, memory_mib=512),
    replace(GROWS, vcpus=4),
    replace(GROWS, shape=replace(GROWS.shape, max_vcpus=8, max_memory_mib=8192)),
    replace(GROWS, shape=replace(GROWS.shape, max_memory_mib=1024)),
    replace(GROWS, shape=replace(GROWS.shape, disks=(ExtraDisk("more", GIB),))),
    replace(GROWS, shape=replace(GROWS.shape, nics=(FIRST, replace(SECOND, vlan=None)))),
    replace(GROWS, shape=replace(GROWS.shape, hugepages=False, tpm=False, numa_node=0, start_order=None)),
    replace(GROWS, shape=replace(GROWS.shape, nics=(replace(TAP, mac=vm_mac("web1")),)), network=TAP.place),
]


@pytest.mark.parametrize("start", [PLAIN, GROWS])
@pytest.mark.parametrize("wish", CHANGES)
def test_an_edited_domain_says_what_is_wished(start: Wish, wish: Wish) -> None:
    # Firmware is decided when a VM is made.
    same = replace(wish, shape=replace(wish.shape, firmware=None))
    once = edited(made(start), same, PLACES)
    assert describe(once).fields.differences(same.fields()) == []
    assert describe(edited(once, same, PLACES)) == describe(once)


def test_memory_that_can_grow() -> None:
    about = describe(made(GROWS))
    assert about.memory_range == (1024, 4096)
    root = ET.fromstring(edited(made(GROWS), replace(GROWS, memory_mib=3072), PLACES))
    assert describe(ET.tostring(root, encoding="unicode")).fields.memory_mib == 3072
    cell = root.find("cpu/numa/cell")
    assert cell is not None
    # The base stays: a running guest has been given it at its start.
    assert (cell.get("memory"), cell.get("unit"), cell.get("cpus")) == ("1048576", "KiB", "0-3")
    assert root.findtext("devices/memory/target/requested") == str(2048 * 1024)
    assert hotplug.plugged_mib(root) == 0


def test_memory_that_shall_not_grow_any_more() -> None:
    root = ET.fromstring(edited(made(GROWS), PLAIN))
    # Nothing is wished about a maximum, so the one that is there stays.
    assert root.findtext("maxMemory") == "4096"
    less = ET.fromstring(edited(made(GROWS), replace(PLAIN, memory_mib=512)))
    assert less.find("maxMemory") is None
    assert less.find("cpu/numa") is None
    assert less.find("devices/memory") is None


def test_disks_keep_their_places() -> None:
    assert describe(made(GROWS)).extra == {"data": "vdc", "log": "vdd"}
    fewer = replace(GROWS, shape=replace(GROWS.shape, disks=(ExtraDisk("log", GIB), ExtraDisk("more", GIB))))
    assert describe(edited(made(GROWS), fewer, PLACES)).extra == {"log": "vdd", "more": "vdc"}
    disk = hotplug.by_alias(ET.fromstring(made(GROWS)), "ua-croft-disk-data")
    assert disk is not None
    assert disk.findtext("serial") == "data"


def test_devices_of_others_stay() -> None:
    card = "<interface type='bridge'><mac address='52:54:00:00:00:09'/><source bridge='theirs'/></interface>"
    after = edited(made(GROWS).replace("</devices>", f"{card}</devices>"), PLAIN)
    assert "theirs" in after
    assert "br0" not in after


def test_free_slots() -> None:
    xml = made(GROWS)
    assert describe(xml).free_slots == hotplug.ROOT_PORTS
    place = "<address type='pci' domain='0x0000' bus='0x02' slot='0x00' function='0x0'/>"
    assert describe(xml.replace("</rng>", f"{place}</rng>")).free_slots == hotplug.ROOT_PORTS - 1


def test_a_rate_that_people_gave_the_first_card_stays() -> None:
    slow = made(PLAIN).replace("</interface>", "<bandwidth><inbound average='100'/></bandwidth></interface>")
    assert describe(slow).fields.differences(PLAIN.fields()) == []
    assert "bandwidth" in edited(slow, replace(PLAIN, network="dmz"))
    listed = replace(PLAIN, shape=Shape(nics=(FIRST,)))
    assert [name for name, _here, _there in describe(slow).fields.differences(listed.fields())] == ["network_options"]
    assert "bandwidth" not in edited(slow, listed)


CAPABILITIES = """<domainCapabilities>
  <os supported='yes'><enum name='firmware'>{firmware}</enum>
    <loader supported='yes'><enum name='secure'>{secure}</enum></loader></os>
  <devices><tpm supported='{tpm}'><enum name='backendModel'>{backends}</enum></tpm></devices>
</domainCapabilities>"""


def values(*words: str) -> str:
    return "".join(f"<value>{word}</value>" for word in words)


@pytest.mark.parametrize(
    ("firmware", "secure", "tpm", "backends", "found"),
    [
        (("efi",), ("yes", "no"), "yes", ("passthrough", "emulator"), ({"bios", "uefi", "uefi-secure"}, True)),
        (("bios", "efi"), ("no",), "yes", ("passthrough",), ({"bios", "uefi"}, False)),
        (("efi",), ("yes",), "no", ("emulator",), ({"bios", "uefi-secure"}, False)),
        ((), ("no",), "yes", (), ({"bios"}, False)),
    ],
)
def test_what_a_host_can_give_is_what_libvirt_tells(
    firmware: tuple[str, ...],
    secure: tuple[str, ...],
    tpm: str,
    backends: tuple[str, ...],
    found: tuple[set[str], bool],
) -> None:
    told = CAPABILITIES.format(firmware=values(*firmware), secure=values(*secure), tpm=tpm, backends=values(*backends))
    assert abilities(told) == found
