# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM grows while its guest writes on: memory, disks and their file systems, network cards, vCPUs.

The last tests of the scenario: disks do not shrink, so the VM is not what the inventory says after them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from on_lab import HOSTS, guest, node, where, writing

Play = Callable[..., Any]
VM = "app1"
ROOM = {"max_vcpus": 2, "max_memory_mib": 320}
SIZES = {**ROOM, "vcpus": 2, "memory_mib": 256, "disk_gib": 2}
MEMORY = "awk '/MemTotal/ { print $2 }' /proc/meminfo"


def wished(inventory: Mapping[str, Any], change: Mapping[str, Any], *, more: bool = False) -> list[dict[str, Any]]:
    vms = [dict(vm) for vm in inventory["virtual_machines"]]
    for vm in vms:
        if vm["name"] == VM:
            vm.update(change)
            if more:
                vm["disks"] = [{"name": "data", "size_gib": 1}]
                vm["networks"] = [{"address": vm.pop("address")}, {"name": "second"}]
    return vms


def told(run: Any) -> tuple[list[str], list[Any]]:
    """The steps of the VM, and what waits for a restart."""
    assert run.rc == 0, run.output
    calls = run.results("croft.infra.virtual_machines")
    (machine,) = [vm for call in calls for vm in call["res"]["virtual_machines"]]
    return [step["action"] for step in machine["actions"]], machine["needs_restart"]


def test_a_vm_grows_while_it_runs(play: Play, lab_inventory: Mapping[str, Any]) -> None:
    resize = {"resize": [VM], "virtual_machines_stop_timeout": 300, "virtual_machines_ready_timeout": 600}
    # Room to grow into is there from a start on.
    room = wished(lab_inventory, ROOM)
    made = told(play("playbooks/resize.yml", virtual_machines=room, virtual_machines_allow_restart=[VM], **resize))
    assert made == (["redefine", "restart"], [])
    before, host = int(guest(VM, MEMORY)), HOSTS[where()[VM]]

    with writing(VM) as count:
        grown = wished(lab_inventory, SIZES, more=True)
        predicted = told(play("playbooks/resize.yml", cmdline="--check", virtual_machines=grown, **resize))
        steps, waits = told(play("playbooks/resize.yml", virtual_machines=grown, **resize))
        assert (steps, waits) == predicted
        assert waits == []
        assert {"grow_disk", "grow_file_system", "set_vcpus", "set_memory", "attach_disk", "attach_nic"} <= set(steps)
        assert int(guest(VM, MEMORY)) >= before + 60 * 1024
        assert int(guest(VM, "df -m / | awk 'END { print $2 }'")) > 1.7 * 1024
        assert guest(VM, "cat /sys/block/*/serial 2>/dev/null").split() == ["data"]
        assert guest(VM, "ls /sys/class/net").split() == ["eth0", "eth1", "lo"]
        # The kernel of an emulated guest takes no CPU that is plugged; libvirt and QEMU have it.
        assert node(host, f"virsh vcpucount {VM} --live --current").strip() == "2"
        assert not play("playbooks/resize.yml", virtual_machines=grown, **resize).changed

        fewer = wished(lab_inventory, SIZES)
        steps, waits = told(play("playbooks/resize.yml", virtual_machines=fewer, **resize))
        assert (steps, waits) == (["redefine", "detach_disk", "detach_nic"], [])
        assert guest(VM, "ls /sys/class/net").split() == ["eth0", "lo"]
        assert count()
    # Detached, not deleted.
    node(host, f"virsh vol-delete --pool croft {VM}.data.qcow2")
