# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""On the lab: emptying a host of 8 VMs beside a shell loop of virsh, and linked clones beside full copies.

The lab is brought up when it is not there; what runs on it is replaced by the benchmark's VMs.
"""

from __future__ import annotations

import json
import shlex
import statistics
import time
from collections.abc import Sequence

import pytest
from lab_runs import HOSTS, SERVER, machines, node, playbook, remove_domains

# One run differs from the next by a third where guests, hosts and Ansible share two cores.
ROUNDS = 4


def remove_all() -> None:
    remove_domains()
    node(SERVER, "rm -f /srv/croft/bench* /srv/croft/*.lease; virsh pool-refresh shared")


@pytest.fixture(scope="module")
def lab() -> None:
    playbook("playbooks/lab.yml")
    playbook("site.yml", virtual_machines=[])
    playbook("playbooks/undrain.yml", drain_host="kvm1")
    remove_all()


def cpu_seconds(host: str) -> float:
    """CPU time of all guests of a host so far."""
    times = [
        line.partition("=")[2]
        for line in node(HOSTS[host], "virsh domstats --cpu-total").splitlines()
        if "cpu.time" in line
    ]
    return sum(map(int, times)) / 1e9


def settle(host: str) -> None:
    """Wait until the guests idle: one that boots still writes much memory, and takes longer to move."""
    for _look in range(60):
        before = cpu_seconds(host)
        time.sleep(5)
        if cpu_seconds(host) - before < 1:
            return
    pytest.fail(f"the guests of {host} do not come to rest")


def loop_of_virsh(names: Sequence[str]) -> float:
    """Seconds that a shell loop takes to move the VMs off kvm1, one after another."""
    moves = " && ".join(
        f"virsh migrate --live --p2p --tls --persistent --undefinesource {name} qemu+tls://{HOSTS[target]}/system"
        for name, target in zip(names, ["kvm2", "kvm3"] * 4, strict=True)
    )
    began = time.monotonic()
    node(HOSTS["kvm1"], moves)
    return time.monotonic() - began


def fill(name: str, mib: int) -> None:
    """Have the guest use memory, as one does that has run for a day; what is zero is hardly sent."""
    script = f"mount -o remount,size=90% /dev/shm; head -c {mib << 20} /dev/urandom > /dev/shm/used"
    command = {"execute": "guest-exec", "arguments": {"path": "/bin/sh", "arg": ["-c", script]}}
    node(HOSTS["kvm1"], f"virsh qemu-agent-command {name} {shlex.quote(json.dumps(command))}")


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize(("memory_mib", "used_mib"), [(192, 0), (368, 224)])
def test_a_host_of_eight_vms_is_emptied(memory_mib: int, used_mib: int) -> None:
    pinned = machines(8, ["kvm1"], memory_mib)
    free = machines(8, [None], memory_mib)
    playbook("playbooks/plan.yml", "playbooks/virtual_machines.yml", virtual_machines=pinned)
    for vm in pinned if used_mib else ():
        fill(vm["name"], used_mib)
    back = [{"name": vm["name"], "target": "kvm1"} for vm in free]
    loops, drains = [], []
    for _round in range(ROUNDS):
        settle("kvm1")
        loops.append(loop_of_virsh([vm["name"] for vm in pinned]))
        playbook("playbooks/migrate.yml", virtual_machines=free, migrate=back)
        settle("kvm1")
        drain, said = playbook(
            "playbooks/drain.yml", virtual_machines=free, drain_host="kvm1", live_migration_parallel=4
        )
        drains.append(drain)
        downtimes = [line for line in said.splitlines() if "down for" in line]
        assert len(downtimes) == 8
        assert not node(HOSTS["kvm1"], "virsh list --name").split()
        print("\n" + "\n".join(downtimes))
        playbook("playbooks/undrain.yml", drain_host="kvm1")
        playbook("playbooks/migrate.yml", virtual_machines=free, migrate=back)
    told = [" ".join(f"{seconds:.1f}" for seconds in side) for side in (loops, drains)]
    print(f"8 VMs of {memory_mib} MiB, {used_mib} MiB of it filled, off one host")
    print(f"seconds: virsh in a loop {told[0]}; drain.yml with all around it {told[1]}")
    best, middle = min(drains) / min(loops), statistics.median(drains) / statistics.median(loops)
    print(f"ratio {best:.2f} of the best, {middle:.2f} of the medians")
    remove_all()


@pytest.mark.usefixtures("lab")
def test_twenty_linked_clones_beside_full_copies() -> None:
    taken, used = {}, {}
    for clone in ("linked", "full"):
        seconds, _said = playbook(
            "playbooks/plan.yml",
            "playbooks/virtual_machines.yml",
            virtual_machines=machines(20, [None]),
            virtual_machines_clone=clone,
            # More is promised than the lab's server has; the guests use little of it.
            sizing_policy={"rules": {"storage-capacity": {"limit": 1.5}}},
            virtual_machines_ready_timeout=900,
        )
        taken[clone] = seconds
        used[clone] = sum(int(line.split()[0]) for line in node(SERVER, "du -m /srv/croft/bench*.qcow2").splitlines())
        remove_all()
    print(f"\n20 VMs on NFS until all guests are up: linked {taken['linked']:.0f} s, full {taken['full']:.0f} s")
    print(f"ratio {taken['linked'] / taken['full']:.2f}; MiB on the server: {used['linked']} and {used['full']}")
