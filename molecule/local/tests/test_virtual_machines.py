# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The VMs of the lab's inventory really run, once each, where the plan put them, and answer."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

KEY = Path("/var/lib/croft-lab/ssh/id_ed25519")
OPTIONS = ("BatchMode=yes", "StrictHostKeyChecking=accept-new", "ConnectTimeout=20")
OnHosts = Callable[[str], dict[str, str]]


def test_each_vm_runs_on_one_host(on_hosts: OnHosts, lab_inventory: Mapping[str, Any]) -> None:
    running = [name for text in on_hosts("virsh list --name").values() for name in text.split()]
    assert sorted(running) == sorted(vm["name"] for vm in lab_inventory["virtual_machines"])


def test_vms_that_avoid_each_other_are_apart(on_hosts: OnHosts) -> None:
    for text in on_hosts("virsh list --name").values():
        assert len([name for name in text.split() if name.startswith("web")]) == 1


def test_vms_start_with_their_hosts(on_hosts: OnHosts) -> None:
    for host, text in on_hosts("virsh list --all --autostart --name").items():
        assert sorted(text.split()) == sorted(on_hosts("virsh list --all --name")[host].split())


def test_disks_are_linked_clones_of_one_image(on_hosts: OnHosts) -> None:
    backing = on_hosts(
        "for vm in $(virsh list --name); do virsh vol-dumpxml --pool croft $vm.qcow2 | grep -A1 '<backingStore>'; done"
    )
    for text in backing.values():
        images = {line.strip() for line in text.splitlines() if "<path>" in line}
        assert len(images) == 1
        assert "croft-guest" in images.pop()


def test_guests_answer_by_name_on_their_addresses(lab_inventory: Mapping[str, Any], tmp_path: Path) -> None:
    for vm in lab_inventory["virtual_machines"]:
        options = [f"-o{option}" for option in (*OPTIONS, f"UserKnownHostsFile={tmp_path}/known_hosts")]
        guest = f"root@{vm['address'].split('/')[0]}"
        done = subprocess.run(
            ["ssh", "-i", KEY, *options, guest, "hostname; df -m / | tail -1"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{vm['name']}: {done.stderr}"
        name, disk = done.stdout.splitlines()
        assert name == vm["name"]
        # The file system grew to the disk that the inventory asks for, less what ext4 keeps for itself.
        assert int(disk.split()[1]) > vm["disk_gib"] * 1024 * 0.85


def test_guests_answer_through_their_agents(on_hosts: OnHosts) -> None:
    answers = on_hosts(
        'for vm in $(virsh list --name); do virsh qemu-agent-command $vm \'{"execute": "guest-ping"}\' && echo up; done'
    )
    vms = on_hosts("virsh list --name")
    for host, text in answers.items():
        assert text.count("up") == len(vms[host].split())
