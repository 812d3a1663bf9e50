# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM grows while its guest writes on: memory, disks and their file systems, network cards, vCPUs.

The last tests of the scenario: disks do not shrink, so the VMs are not what the inventory says after them, and no
`site.yml` with that inventory is admitted any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from on_lab import HOSTS, guest, node, where, writing

Play = Callable[..., Any]
OnHosts = Callable[[str], dict[str, str]]
VM = "app1"
ROOM = {"max_vcpus": 2, "max_memory_mib": 320}
SIZES = {**ROOM, "vcpus": 2, "memory_mib": 256, "disk_gib": 2}
MEMORY = "awk '/MemTotal/ { print $2 }' /proc/meminfo"


def wished(
    inventory: Mapping[str, Any], change: Mapping[str, Any], *, name: str = VM, more: bool = False
) -> list[dict[str, Any]]:
    vms = [dict(vm) for vm in inventory["virtual_machines"]]
    for vm in vms:
        if vm["name"] == name:
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


def test_a_changed_vm_is_applied_or_told_and_check_mode_predicts_it(
    play: Play, on_hosts: OnHosts, lab_inventory: Mapping[str, Any]
) -> None:
    vms = wished(lab_inventory, {"memory_mib": 224, "disk_gib": 2}, name="web1")
    predicted = play("site.yml", cmdline="--check --diff", virtual_machines=vms)
    real = play("site.yml", virtual_machines=vms)
    assert predicted.rc == real.rc == 0, real.output
    assert predicted.changed == real.changed
    foretold, done = (
        {
            call["host"]: [(vm["name"], vm["actions"], vm["needs_restart"]) for vm in call["res"]["virtual_machines"]]
            for call in run.results("croft.infra.virtual_machines")
        }
        for run in (predicted, real)
    )
    assert foretold == done
    (web1,) = [
        vm
        for call in real.results("croft.infra.virtual_machines")
        for vm in call["res"]["virtual_machines"]
        if vm["name"] == "web1"
    ]
    assert [entry["field"] for entry in web1["needs_restart"]] == ["memory_mib"]
    host = next(host for host, text in on_hosts("virsh list --name").items() if "web1" in text.split())
    assert "2.00 GiB" in on_hosts("virsh vol-info --pool croft web1.qcow2 || true")[host]
    # It is told again as long as it is so, and is no change.
    again = play("site.yml", virtual_machines=vms)
    assert not again.changed
    again_web1 = [
        vm
        for call in again.results("croft.infra.virtual_machines")
        for vm in call["res"]["virtual_machines"]
        if vm["name"] == "web1"
    ]
    assert again_web1[0]["needs_restart"] == web1["needs_restart"]


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
