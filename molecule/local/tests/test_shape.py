# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM of another shape: UEFI, an emulated TPM, more cards, a rate, huge pages. Nothing of it stays when it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from on_lab import GUESTS, HOSTS, SERVER, fatal, guest, node

Play = Callable[..., Any]
VMS = "molecule/local/virtual_machines.yml"
HOST = HOSTS["kvm3"]
RATE = {"inbound_kib_s": 512, "outbound_kib_s": 256}
GUESTS["shape1"] = "10.99.0.155"
SHAPE: dict[str, Any] = {
    "name": "shape1",
    "vcpus": 1,
    "memory_mib": 256,
    "disk_gib": 1,
    "host": "kvm3",
    "firmware": "uefi",
    "tpm": True,
    "hugepages": True,
    "networks": [
        {"address": "10.99.0.155/24"},
        {"name": "second", "bridge": "br-vms"},
        {"network": "inside", "address": "192.168.100.9/24"},
        {"macvtap": "host0", "address": "10.99.0.156/32"},
    ],
}
PAGES = 160


@pytest.fixture
def own_kernel_settings() -> Iterator[None]:
    """The nodes share this machine's kernel and may not change its settings; kvm3 may, meanwhile."""
    huge = Path("/proc/sys/vm/nr_hugepages")
    before = huge.read_text()
    node(HOST, "mount -o remount,rw,bind /proc/sys")
    yield
    node(HOST, "rm -f /etc/sysctl.d/60-croft-hugepages.conf; mount -o remount,ro,bind /proc/sys")
    huge.write_text(before)


def test_a_card_is_held_to_its_rate_or_the_host_says_that_it_cannot(
    play: Play, lab_inventory: Mapping[str, Any]
) -> None:
    inventory = lab_inventory["virtual_machines"]
    slow = {**SHAPE, "hugepages": False, "networks": [{**SHAPE["networks"][0], "bandwidth": RATE}]}
    run = play(VMS, virtual_machines=[*inventory, slow], virtual_machines_ready_timeout=600)
    if run.rc == 0:
        assert "512" in node(
            HOST, "virsh domiftune shape1 $(virsh domiflist shape1 | awk '$3 == \"vms\" { print $1 }')"
        )
        play(VMS, virtual_machines=inventory, virtual_machines_absent=[{"name": "shape1", "disks": True}])
    else:
        assert "shape1: bandwidth needs a kernel with sch_htb" in fatal(run)
        assert run.changed == {}
    assert "shape1" not in node(HOST, "virsh list --all --name; ls /var/lib/croft/pool")


def test_vlans_are_kept_apart_or_the_host_says_that_it_cannot(play: Play, lab_inventory: Mapping[str, Any]) -> None:
    inventory = lab_inventory["virtual_machines"]
    tagged = {**SHAPE, "networks": [SHAPE["networks"][0], {"bridge": "br-vms", "vlan": 10}]}
    refused = play(VMS, virtual_machines=[*inventory, {**tagged, "hugepages": False}])
    assert "shape1: VLAN 10 on the bridge br-vms, which does not filter VLANs" in fatal(refused)
    assert refused.changed == {}
    wrong = play("playbooks/hosts.yml", cmdline="--limit kvm3", kvm_host_bridge_vlans=["10", "4095"])
    assert "kvm3: VLAN 4095 is none" in fatal(wrong)
    run = play("playbooks/hosts.yml", cmdline="--limit kvm3", kvm_host_bridge_vlans=["10"])
    if run.rc == 0:
        assert "10" in node(HOST, "bridge vlan show dev vm0").split()
        assert play("playbooks/hosts.yml", cmdline="--limit kvm3").rc == 0
    else:
        assert "kvm3: kvm_host_bridge_vlans needs a kernel with CONFIG_BRIDGE_VLAN_FILTERING" in fatal(run)
        assert run.changed == {}


@pytest.mark.usefixtures("own_kernel_settings")
def test_a_vm_with_uefi_a_tpm_more_cards_and_huge_pages(play: Play, lab_inventory: Mapping[str, Any]) -> None:
    inventory = lab_inventory["virtual_machines"]
    refused = play(VMS, virtual_machines=[*inventory, {**SHAPE, "numa_node": 99}])
    assert "shape1: numa_node is 99, which this host does not have" in fatal(refused)
    assert "shape1: hugepages needs 256 MiB of free huge pages, this host has 0" in fatal(refused)
    assert refused.changed == {}
    made = play("playbooks/hosts.yml", cmdline="--limit kvm3", kvm_host_hugepages=PAGES)
    assert made.rc == 0, made.output
    assert made.changed == {"kvm3": 1}
    run = play(VMS, virtual_machines=[*inventory, SHAPE], virtual_machines_ready_timeout=600)
    assert run.rc == 0, run.output
    assert "systab" in guest("shape1", "ls /sys/firmware/efi").split()
    assert guest("shape1", "cat /sys/class/tpm/tpm0/tpm_version_major").strip() == "2"
    assert guest("shape1", "ls /sys/class/net").split() == ["eth0", "eth1", "eth2", "eth3", "lo"]
    assert int(node(HOST, "awk '/^HugePages_Free/ { print $2 }' /proc/meminfo")) == PAGES - 256 // 2
    # The storage's machine knows no way to that network, so it is the host that it answers.
    guest("shape1", f"ip route add {SERVER}/32 via 192.168.100.1 && ping -c 3 -W 5 {SERVER}")
    guest("shape1", f"ping -I eth3 -c 3 -W 5 {SERVER}")
    guest("shape1", "udhcpc -n -q -i eth2 -s /bin/true")
    assert "192.168.100." in node(HOST, "virsh net-dhcp-leases inside")
    # The root is the last partition of the disk, and grew with it.
    assert int(guest("shape1", "df -m / | awk 'END { print $2 }'")) > 900
    assert play(VMS, virtual_machines=[*inventory, SHAPE]).changed == {}
    gone = play(VMS, virtual_machines=inventory, virtual_machines_absent=[{"name": "shape1", "disks": True}])
    assert gone.rc == 0, gone.output
    assert not node(HOST, "find /var/lib/libvirt/qemu/nvram /var/lib/croft/pool -name '*shape1*'").strip()
    assert not node(HOST, "ls /var/lib/libvirt/swtpm").strip()
