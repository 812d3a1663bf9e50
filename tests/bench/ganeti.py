# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One cluster for both sides: as our inventory says it, and as ganeti-htools read it (Debian's ganeti-htools 3.0).

Hosts of 96 GiB and 32 threads; VMs of 2, 4, 8 or 16 GiB (30, 30, 25 and 15 %) on shared storage. The peer counts no
QEMU overhead, lets four vCPUs share a thread, and has no limit on VMs per host: ours is told the same.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from ansible_collections.croft.infra.plugins.plugin_utils.sizing.plan import make_plan

MEMORY_MIB, THREADS, DISK_GIB, VM_DISK_GIB = 98304, 32, 4096, 40
SIZES = ((2048, 1), (4096, 2), (8192, 2), (16384, 4))
WEIGHTS = (30, 30, 25, 15)
RULES = {
    "vm-share": {"level": "off"},
    "consolidation": {"min": 0, "max": 1000},
    "cpu-overcommit": {"limit": 4.0},
    "host-overhead": {"qemu_overhead_mib": 0},
}
HAIL = Path("/usr/lib/ganeti/iallocators/hail")
# A peer's memory: the allocator was seen to take 21 GB for 1,000 VMs.
PEER_BYTES = 12 << 30


@dataclass(frozen=True)
class Vm:
    name: str
    memory_mib: int
    vcpus: int
    host: int


def cluster(hosts: int, fill: float = 0.65, seed: int = 7, per_host: int = 10) -> list[Vm]:
    """VMs of the cluster, each on a host whose memory is then filled to ``fill`` at most."""
    chance = random.Random(seed)
    left = [int(MEMORY_MIB * fill)] * hosts
    vms = []
    for number in range(hosts * per_host):
        memory, vcpus = chance.choices(SIZES, weights=WEIGHTS)[0]
        host = number % hosts
        if left[host] < memory:
            memory, vcpus = SIZES[0]
        if left[host] < memory:
            continue
        left[host] -= memory
        vms.append(Vm(f"vm{number:05}", memory, vcpus, host))
    return vms


# --- ours -------------------------------------------------------------------------------------------------------------


def ours(hosts: int, vms: list[Vm], *, placed: bool, survive: bool = True) -> tuple[float, dict[str, Any]]:
    """Seconds and plan: read, placed unless it is, every rule measured, every death proved when ``survive``."""
    running: dict[int, list[dict[str, Any]]] = {}
    if placed:
        for vm in vms:
            entry = {"name": vm.name, "vcpus": vm.vcpus, "memory_mib": vm.memory_mib, "disk_gib": VM_DISK_GIB}
            running.setdefault(vm.host, []).append({**entry, "uuid": "", "state": "running", "managed": True})
    names = [f"node{n:04}" for n in range(hosts)]
    variables: dict[str, dict[str, Any]] = {
        name: {
            "croft_capacity": {
                "sockets": 2,
                "cores": THREADS // 2,
                "threads": THREADS,
                "memory_mib": MEMORY_MIB,
                "disk_gib": DISK_GIB * hosts,
            },
            "host_reserved": {"cpus": 0, "memory_mib": 0},
            **({"croft_host_facts": {"virtual_machines": running.get(n, []), "capacity": {}}} if placed else {}),
        }
        for n, name in enumerate(names)
    }
    entries = [
        {"name": vm.name, "vcpus": vm.vcpus, "memory_mib": vm.memory_mib, "disk_gib": VM_DISK_GIB, "ha": survive}
        for vm in vms
    ]
    begin = time.perf_counter()
    plan, problems = make_plan(
        names, variables, entries, policy={"rules": RULES}, storage_layout="centralized", today=date(2026, 1, 1)
    )
    seconds = time.perf_counter() - begin
    assert not problems, problems[:3]
    assert plan["summary"]["placed"] == len(vms)
    return seconds, plan


# --- the peer's -------------------------------------------------------------------------------------------------------

LIMITS = "128,1,1024,1,1,1;65536,32,1048576,16,8,12|diskless,file,sharedfile,plain,blockdev,drbd,rbd,ext|4.0|1000.0"


def text_file(folder: Path, hosts: int, vms: list[Vm], template: str = "ext") -> Path:
    """The cluster in the text format of htools(1). ``template``: ext is shared storage, drbd has a secondary node."""
    free = [MEMORY_MIB] * hosts
    for vm in vms:
        free[vm.host] -= vm.memory_mib
    disk = DISK_GIB * 1024
    nodes = [f"node{n}|{MEMORY_MIB}|0|{free[n]}|{disk}|{disk}|{THREADS}|M|uuid-1|1" for n in range(hosts)]
    instances = []
    for vm in vms:
        second = f"node{(vm.host + 1 + len(instances) % (hosts - 1)) % hosts}" if template == "drbd" else ""
        size = f"{vm.memory_mib}|{VM_DISK_GIB * 1024}|{vm.vcpus}"
        instances.append(f"{vm.name}|{size}|running|Y|node{vm.host}|{second}|{template}||1")
    policies = [f"{owner}|4096,2,40960,1,1,1|{LIMITS}" for owner in ("", "g1")]
    sections = ["g1|uuid-1|preferred||", "\n".join(nodes), "\n".join(instances), "", "\n".join(policies)]
    file = folder / f"cluster-{hosts}-{template}"
    file.write_text("\n\n".join(sections) + "\n")
    return file


def request_file(folder: Path, hosts: int, vms: list[Vm]) -> Path:
    """The request to hail that allocates all VMs on empty hosts."""
    bounds = ("memory-size", "cpu-count", "disk-size", "disk-count", "nic-count", "spindle-use")
    policy = {
        "minmax": [
            {
                "min": dict(zip(bounds, (128, 1, 1024, 1, 1, 1), strict=True)),
                "max": dict(zip(bounds, (65536, 32, 1048576, 16, 8, 12), strict=True)),
            }
        ],
        "std": dict(zip(bounds, (4096, 2, 40960, 1, 1, 1), strict=True)),
        "disk-templates": ["diskless", "file", "sharedfile", "plain", "blockdev", "drbd", "rbd", "ext"],
        "vcpu-ratio": 4.0,
        "spindle-ratio": 1000.0,
    }
    disk = DISK_GIB * 1024
    node = {
        **{"total_disk": disk, "free_disk": disk, "total_memory": MEMORY_MIB, "free_memory": MEMORY_MIB},
        **{"reserved_memory": 0, "total_cpus": THREADS, "reserved_cpus": 0, "group": "uuid-1", "tags": []},
        **{"primary_ip": "192.0.2.1", "secondary_ip": "192.0.2.1", "i_pri_memory": 0, "i_pri_up_memory": 0},
        **{"offline": False, "drained": False, "vm_capable": True, "master_candidate": True, "master_capable": True},
        **{"free_spindles": 1, "total_spindles": 1},
        "ndparams": {"spindle_count": 1, "exclusive_storage": False, "cpu_speed": 1.0, "oob_program": "", "ovs": False},
    }
    size = VM_DISK_GIB * 1024
    instances = [
        {
            **{"name": vm.name, "memory": vm.memory_mib, "vcpus": vm.vcpus, "disk_template": "plain"},
            **{"disks": [{"size": size, "mode": "w"}], "disk_space_total": size, "os": "none", "hypervisor": "kvm"},
            **{"tags": [], "nics": [{}], "required_nodes": 1, "spindle_use": 1},
        }
        for vm in vms
    ]
    request = {
        **{"version": 2, "cluster_name": "bench", "cluster_tags": [], "enabled_hypervisors": ["kvm"]},
        "ipolicy": policy,
        "nodegroups": {
            "uuid-1": {"name": "g1", "alloc_policy": "preferred", "networks": [], "tags": [], "ipolicy": policy}
        },
        "nodes": {f"node{n}": node for n in range(hosts)},
        "instances": {},
        "request": {"type": "multi-allocate", "instances": instances},
    }
    file = folder / f"request-{hosts}.json"
    file.write_text(json.dumps(request))
    return file


def run(command: list[str | Path], most: float) -> tuple[float | None, str]:
    """Seconds and output of a peer; None when it was stopped after ``most`` seconds."""
    begin = time.perf_counter()
    try:
        done = subprocess.run(
            list(map(str, command)),
            capture_output=True,
            text=True,
            timeout=most,
            check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (PEER_BYTES, PEER_BYTES)),
        )
    except subprocess.TimeoutExpired:
        return None, ""
    return time.perf_counter() - begin, done.stdout


def keys(output: str) -> dict[str, str]:
    """What --machine-readable prints."""
    pairs = (line.split("=", 1) for line in output.splitlines() if "=" in line)
    return {key: value.strip("'") for key, value in pairs}
