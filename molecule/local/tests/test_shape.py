# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM of another shape: UEFI, an emulated TPM, a second card on a bridge. Nothing of it stays when it goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from on_lab import GUESTS, HOSTS, guest, node

Play = Callable[..., Any]
VMS = "molecule/local/virtual_machines.yml"
HOST = HOSTS["kvm3"]
GUESTS["shape1"] = "10.99.0.155"
SHAPE: dict[str, Any] = {
    "name": "shape1",
    "vcpus": 1,
    "memory_mib": 256,
    "disk_gib": 1,
    "host": "kvm3",
    "firmware": "uefi",
    "tpm": True,
    "networks": [
        {"address": "10.99.0.155/24"},
        {"name": "second", "bridge": "br-vms"},
    ],
}


def test_a_vm_with_uefi_a_tpm_and_a_second_card(play: Play, lab_inventory: Mapping[str, Any]) -> None:
    inventory = lab_inventory["virtual_machines"]
    run = play(VMS, virtual_machines=[*inventory, SHAPE], virtual_machines_ready_timeout=600)
    assert run.rc == 0, run.output
    assert "systab" in guest("shape1", "ls /sys/firmware/efi").split()
    assert guest("shape1", "cat /sys/class/tpm/tpm0/tpm_version_major").strip() == "2"
    assert guest("shape1", "ls /sys/class/net").split() == ["eth0", "eth1", "lo"]
    # The root is the last partition of the disk, and grew with it.
    assert int(guest("shape1", "df -m / | awk 'END { print $2 }'")) > 900
    assert play(VMS, virtual_machines=[*inventory, SHAPE]).changed == {}
    gone = play(VMS, virtual_machines=inventory, virtual_machines_absent=[{"name": "shape1", "disks": True}])
    assert gone.rc == 0, gone.output
    assert not node(HOST, "find /var/lib/libvirt/qemu/nvram /var/lib/croft/pool -name '*shape1*'").strip()
    assert not node(HOST, "ls /var/lib/libvirt/swtpm").strip()
