# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from ansible_collections.croft.infra.plugins.module_utils.domain import Fields, Image, Wish
from ansible_collections.croft.infra.plugins.module_utils.domain_xml import (
    Disk,
    backing_path,
    describe,
    disk_xml,
    domain_xml,
    edited,
    read_pool,
    read_rbd_pool,
    read_volume,
    volume_xml,
)
from ansible_collections.croft.infra.plugins.module_utils.identity import vm_mac, vm_uuid
from ansible_collections.croft.infra.plugins.module_utils.seed import FirstBoot
from ansible_collections.croft.infra.plugins.module_utils.store import Source

WISH = Wish(
    name="web1",
    uuid=vm_uuid("web1"),
    mac=vm_mac("web1"),
    vcpus=2,
    memory_mib=1024,
    image="base.qcow2",
    network="lan",
    first_boot=FirstBoot("web1", vm_uuid("web1"), vm_mac("web1")),
)
ROOT = Disk("/p/web1.qcow2", "qcow2")
SEED = Disk("/p/web1-seed.iso", "raw")
XML = domain_xml(WISH, "x86_64", ROOT, SEED)

# What libvirt says of a running domain: versioned machine, CPU spelled out, addresses, more devices.
LIVE = """<domain type='kvm' id='7' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>web1</name>
  <uuid>u</uuid>
  <metadata xmlns:croft="urn:croft:infra:vm:1">
    <croft:vm cpu_model="host-model" first_boot_data="abc"/>
  </metadata>
  <memory unit='KiB'>1048576</memory>
  <currentMemory unit='KiB'>1048576</currentMemory>
  <vcpu placement='static' current='2'>4</vcpu>
  <os><type arch='x86_64' machine='pc-q35-10.0'>hvm</type></os>
  <cpu mode='custom' match='exact'><model fallback='forbid'>EPYC</model></cpu>
  <devices>
    <disk type='file' device='disk'><source file='/p/web1.qcow2' index='1'/><target dev='vda'/></disk>
    <disk type='block' device='disk'><source dev='/dev/vg/data'/><target dev='vdc'/></disk>
    <disk type='network' device='disk'><source protocol='rbd' name='vms/x'/><target dev='vdd'/></disk>
    <disk type='file' device='cdrom'><source file='/tmp/x.iso'/><target dev='sda'/></disk>
    <disk type='file' device='disk'><source file='/p/web1-seed.iso'/><target dev='vdb'/><readonly/></disk>
    <interface type='network'>
      <mac address='52:54:00:AA:00:01'/><source network='lan' portid='p' bridge='br0'/>
      <address type='pci' slot='0x02'/>
    </interface>
    <interface type='bridge'><mac address='52:54:00:aa:00:02'/><source bridge='br1'/></interface>
    <serial type='pty'><log file='/log/web1' append='off'/></serial>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0' state='connected'/></channel>
  </devices>
  <qemu:commandline><qemu:arg value='-S'/></qemu:commandline>
</domain>"""
INACTIVE = LIVE.replace(" id='7'", "")


def test_a_new_domain_says_what_was_wished() -> None:
    about = describe(XML)
    assert about.fields.differences(WISH.fields()) == []
    assert (about.name, about.uuid, about.managed) == ("web1", WISH.uuid, True)
    assert about.disks == (("vda", ROOT.path, False), ("vdb", SEED.path, True))
    assert about.console_log == "/var/log/libvirt/qemu/web1-console.log"


def test_the_name_is_on_a_line_of_its_own() -> None:
    assert "  <name>web1</name>" in XML.splitlines()


@pytest.mark.parametrize(
    ("path", "attribute", "expected"),
    [
        (".", "type", "kvm"),
        ("os/type", "machine", "q35"),
        ("cpu", "mode", "host-model"),
        ("devices/disk/driver", "cache", "none"),
        ("devices/disk/driver", "io", "threads"),
        ("devices/disk/driver", "discard", "unmap"),
        ("devices/disk/target", "bus", "virtio"),
        ("devices/interface/model", "type", "virtio"),
        ("devices/channel/target", "name", "org.qemu.guest_agent.0"),
        ("devices/rng", "model", "virtio"),
        ("devices/memballoon", "model", "virtio"),
        ("devices/serial/log", "append", "off"),
    ],
)
def test_what_a_new_domain_is_made_of(path: str, attribute: str, expected: str) -> None:
    element = ET.fromstring(XML).find(path)
    assert element is not None
    assert element.get(attribute) == expected


def test_a_new_domain_has_no_screen() -> None:
    devices = ET.fromstring(XML).find("devices")
    assert devices is not None
    assert {"graphics", "video", "sound"}.isdisjoint(element.tag for element in devices)


def test_tcg() -> None:
    root = ET.fromstring(domain_xml(replace(WISH, accelerator="tcg", cpu_model="maximum"), "x86_64", ROOT, SEED))
    assert root.get("type") == "qemu"
    assert root.find("cpu").get("mode") == "maximum"  # type: ignore[union-attr]


def test_a_named_cpu_model() -> None:
    assert describe(domain_xml(replace(WISH, cpu_model="EPYC"), "x86_64", ROOT, SEED)).fields.cpu_model == "EPYC"


def test_block_devices() -> None:
    disk = ET.fromstring(domain_xml(WISH, "x86_64", Disk("/dev/vg/web1.raw", "raw", True), SEED)).find("devices/disk")
    assert disk is not None
    assert disk.get("type") == "block"
    assert disk.find("source").attrib == {"dev": "/dev/vg/web1.raw"}  # type: ignore[union-attr]
    assert disk.find("driver").get("io") == "native"  # type: ignore[union-attr]


def test_a_running_domain_is_read() -> None:
    about = describe(LIVE)
    # host-model is what it was started with, though libvirt shows the model that this was on this host.
    fields = Fields(2, 1024, "lan", "52:54:00:aa:00:01", "kvm", "host-model", "abc")
    assert about.fields == replace(
        fields,
        network_options="",
        max_vcpus=4,
        max_memory_mib=1024,
        firmware="bios",
        tpm=False,
        hugepages=False,
        start="",
    )
    assert describe(INACTIVE).fields.cpu_model == "EPYC"
    assert about.macs == ("52:54:00:aa:00:01", "52:54:00:aa:00:02")
    assert [disk[0] for disk in about.disks] == ["vda", "vdc", "vdd", "vdb"]
    assert about.disk_path("vda") == "/p/web1.qcow2"
    assert about.agent_connected


def test_a_domain_of_others_is_read() -> None:
    about = describe("<domain type='lxc'><name>x</name><memory unit='GiB'>2</memory><devices/></domain>")
    assert not about.managed
    fields = Fields(1, 2048, None, None, "lxc", None, None)
    assert about.fields == replace(
        fields, max_vcpus=1, max_memory_mib=2048, firmware="bios", tpm=False, hugepages=False, start=""
    )
    assert (about.disks, about.macs, about.console_log, about.agent_connected) == ((), (), None, False)


CHANGES = [
    replace(WISH, vcpus=8),
    replace(WISH, memory_mib=512),
    replace(WISH, network="dmz"),
    replace(WISH, mac="52:54:00:00:00:01"),
    replace(WISH, accelerator="tcg", cpu_model="maximum"),
    replace(WISH, cpu_model="host-passthrough"),
    replace(WISH, first_boot=replace(WISH.first_boot, address="10.0.0.5/24")),
]


@pytest.mark.parametrize("wish", CHANGES)
@pytest.mark.parametrize("xml", [XML, INACTIVE])
def test_an_edited_domain_says_what_is_wished(wish: Wish, xml: str) -> None:
    assert describe(edited(xml, wish)).fields.differences(wish.fields()) == []


def test_an_edited_domain_keeps_the_rest() -> None:
    after = edited(INACTIVE, replace(WISH, vcpus=8, network="dmz", memory_mib=512))
    for kept in ('machine="pc-q35-10.0"', 'slot="0x02"', "/dev/vg/data", "br1", "<qemu:arg value=", "/log/web1"):
        assert kept in after
    assert "portid" not in after
    root = ET.fromstring(after)
    assert root.findtext("currentMemory") == root.findtext("memory") == "512"


@pytest.mark.parametrize(
    "there",
    ["", "<watchdog model='itco' action='reset'/>", "<watchdog model='i6300esb' action='reset'/>"],
)
def test_a_watchdog_that_is_wished_does_nothing_by_itself(there: str) -> None:
    wish = replace(WISH, watchdog=True)
    xml = LIVE.replace("<devices>", f"<devices>{there}")
    assert not describe(xml).fields.watchdog
    changed = edited(xml, wish)
    assert describe(changed).fields.watchdog
    # QEMU knows one action for all that it has.
    dogs = [dog.attrib for dog in ET.fromstring(changed).iterfind("devices/watchdog")]
    assert {dog["action"] for dog in dogs} == {"none"}
    assert [dog["model"] for dog in dogs].count("i6300esb") == 1
    assert edited(changed, wish) == changed
    assert describe(domain_xml(wish, "x86_64", ROOT, SEED)).fields.watchdog


def test_an_edit_to_what_is_there_changes_nothing() -> None:
    about, again = ET.canonicalize(XML, strip_text=True), ET.canonicalize(edited(XML, WISH), strip_text=True)
    assert about == again


def test_volumes() -> None:
    image = Image("/p/base.qcow2", "qcow2", 5)
    root = ET.fromstring(volume_xml("a.qcow2", 1024, "qcow2", image))
    assert (root.findtext("name"), root.findtext("capacity")) == ("a.qcow2", "1024")
    assert root.findtext("backingStore/path") == "/p/base.qcow2"
    assert root.find("backingStore/format").get("type") == "qcow2"  # type: ignore[union-attr]
    assert ET.fromstring(volume_xml("a.raw", 1, None)).find("target/format") is None


def test_a_volume_and_a_pool_are_read() -> None:
    xml = "<volume><capacity unit='KiB'>2</capacity><target><path>/p/a</path><format type='qcow2'/></target></volume>"
    assert read_volume(xml) == Image("/p/a", "qcow2", 2048)
    assert read_volume("<volume><capacity>7</capacity><target><path>/d</path></target></volume>") == Image(
        "/d", "raw", 7
    )
    assert read_pool("<pool type='dir'><target><path>/p</path></target></pool>") == ("dir", "/p")


# --- disks that QEMU reaches over the network -------------------------------------------------------------------------

SOURCE = Source("nfs", "10.0.0.9", "/srv/vms", 64055)
BASE_NFS = Disk("/srv/vms/base.qcow2", "qcow2", source=SOURCE)
ROOT_NFS = Disk("/srv/vms/web1.qcow2", "qcow2", source=SOURCE, backing=BASE_NFS)
SEED_NFS = Disk("/srv/vms/web1-seed.iso", "raw", source=SOURCE)


def test_a_disk_on_a_server_is_described_by_its_url() -> None:
    about = describe(domain_xml(WISH, "x86_64", ROOT_NFS, SEED_NFS))
    assert about.disks == (
        ("vda", "nfs://10.0.0.9/srv/vms/web1.qcow2", False),
        ("vdb", "nfs://10.0.0.9/srv/vms/web1-seed.iso", True),
    )
    assert about.disk_path("vda") == SOURCE.location("web1.qcow2")


def test_a_network_disk_names_the_whole_chain() -> None:
    disk = ET.fromstring(disk_xml(ROOT_NFS, "vda"))
    assert (disk.get("type"), disk.get("device")) == ("network", "disk")
    # No way of I/O of the host's kernel: QEMU's client has its own.
    assert disk.find("driver").attrib == {"name": "qemu", "type": "qcow2", "cache": "none", "discard": "unmap"}  # type: ignore[union-attr]
    (source,) = disk.findall("source")
    assert source.attrib == {"protocol": "nfs", "name": "/srv/vms/web1.qcow2"}
    assert source.find("host").attrib == {"name": "10.0.0.9"}  # type: ignore[union-attr]
    (backing,) = disk.findall("backingStore")
    assert backing.get("type") == "network"
    assert backing.find("format").get("type") == "qcow2"  # type: ignore[union-attr]
    assert backing.find("source").get("name") == "/srv/vms/base.qcow2"  # type: ignore[union-attr]
    assert backing.find("source/host").get("name") == "10.0.0.9"  # type: ignore[union-attr]
    # An empty element ends the chain: QEMU looks for nothing in the header then.
    end = backing.find("backingStore")
    assert end is not None
    assert (end.attrib, list(end)) == ({}, [])
    assert [child.tag for child in disk] == ["driver", "source", "backingStore", "target"]


@pytest.mark.parametrize(
    ("place", "kind", "source", "io", "chain"),
    [
        (Disk("/p/a.qcow2", "qcow2"), "file", {"file": "/p/a.qcow2"}, "threads", False),
        (Disk("/dev/vg/a", "raw", block=True), "block", {"dev": "/dev/vg/a"}, "native", False),
        (SEED_NFS, "network", {"protocol": "nfs", "name": "/srv/vms/web1-seed.iso"}, None, True),
    ],
)
def test_one_disk(place: Disk, kind: str, source: dict[str, str], io: str | None, chain: bool) -> None:
    disk = ET.fromstring(disk_xml(place, "vdc"))
    assert disk.get("type") == kind
    assert disk.find("source").attrib == source  # type: ignore[union-attr]
    assert disk.find("driver").get("io") == io  # type: ignore[union-attr]
    assert disk.find("driver").get("cache") == "none"  # type: ignore[union-attr]
    assert (disk.find("backingStore") is not None) == chain
    assert disk.find("target").attrib == {"dev": "vdc", "bus": "virtio"}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("<source protocol='nfs' name='/srv/a'><host name='10.0.0.9'/></source>", "nfs://10.0.0.9/srv/a"),
        ("<source protocol='nfs' name='srv/a'><host name='10.0.0.9'/></source>", "nfs://10.0.0.9/srv/a"),
        ("<source protocol='rbd' name='vms/a'/>", "rbd:///vms/a"),
        ("<source file='/p/a'/>", "/p/a"),
        ("<source dev='/dev/vg/a'/>", "/dev/vg/a"),
        ("<source/>", None),
        ("", None),
    ],
)
def test_where_a_disk_is(source: str, place: str | None) -> None:
    xml = f"<domain><devices><disk>{source}<target dev='vda'/></disk></devices></domain>"
    assert describe(xml).disk_path("vda") == place


def test_a_volume_with_an_owner_belongs_to_nobody_else() -> None:
    rights = ET.fromstring(volume_xml("a", 1, "raw", owner=64055)).find("target/permissions")
    assert rights is not None
    assert {child.tag: child.text for child in rights} == {"mode": "0600", "owner": "64055", "group": "64055"}
    assert ET.fromstring(volume_xml("a", 1, "raw", owner=0)).findtext("target/permissions/owner") == "0"
    assert ET.fromstring(volume_xml("a", 1, "raw")).find("target/permissions") is None


@pytest.mark.parametrize(
    ("told", "fmt"),
    [("qcow2", "qcow2"), ("vmdk", "vmdk"), ("raw", "raw"), ("iso", "raw"), ("bochs", "raw"), ("unknown", "raw")],
)
def test_the_format_of_a_volume_is_one_that_qemu_has(told: str, fmt: str) -> None:
    xml = f"<volume><capacity>7</capacity><target><path>/p/a</path><format type='{told}'/></target></volume>"
    assert read_volume(xml) == Image("/p/a", fmt, 7)


def test_what_a_volume_is_a_clone_of() -> None:
    assert backing_path(volume_xml("a", 1, "qcow2", Image("base.qcow2", "qcow2", 5))) == "base.qcow2"
    assert backing_path(volume_xml("a", 1, "qcow2")) is None


RBD_POOL = """<pool type='rbd'><name>vms</name><source><host name='10.0.0.1' port='3300'/><name>disks</name>
<auth type='ceph' username='libvirt'><secret uuid='5a3a'/></auth></source></pool>"""
RBD = Source("rbd", "", "disks", user="libvirt", secret="5a3a")


def test_a_pool_of_rbd_images_tells_how_qemu_opens_them() -> None:
    assert read_rbd_pool(RBD_POOL) == RBD
    assert read_rbd_pool("<pool type='dir'><source><name>disks</name></source></pool>") is None
    bare = "<pool type='rbd'><source><name>disks</name></source></pool>"
    assert read_rbd_pool(bare) == Source("rbd", "", "disks")


def test_a_disk_that_is_an_rbd_image() -> None:
    xml = disk_xml(Disk(RBD.path("web1.raw"), "raw", source=RBD), "vda")
    disk = ET.fromstring(xml)
    source = disk.find("source")
    assert source is not None
    assert (disk.get("type"), source.get("protocol"), source.get("name")) == ("network", "rbd", "disks/web1.raw")
    # The mons are those of the host's ceph.conf.
    assert source.find("host") is None
    auth, secret = source.find("auth"), source.find("auth/secret")
    assert auth is not None
    assert secret is not None
    assert (auth.get("username"), secret.attrib) == ("libvirt", {"type": "ceph", "uuid": "5a3a"})
    # What was written is what is read again.
    described = describe(f"<domain><devices>{xml}</devices></domain>").disk_path("vda")
    assert described == RBD.location("web1.raw") == "rbd:///disks/web1.raw"
