# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a plan takes, how it grows, and how that compares to ganeti-htools on the same cluster in the same run.

The cluster: hosts of 96 GiB and 32 threads, ten VMs each of 2, 4, 8 or 16 GiB (30, 30, 25 and 15 %), all restarted
when their host dies, on shared storage. Both sides are asked the same: is this sound, and does every single host's
death leave room for its VMs? The peer has no limit on VMs per host, so ours is set out of the way.
"""

from __future__ import annotations

import random
import resource
import shutil
import subprocess
import time
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.plan import make_plan

MEMORY_MIB, THREADS, DISK_GIB = 98304, 32, 4096
SIZES = ((2048, 1), (4096, 2), (8192, 2), (16384, 4))
POLICY = {"rules": {"consolidation": {"min": 1, "max": 30}}}
PEER_SECONDS = 120


def cluster(hosts: int, seed: int = 7) -> list[dict[str, Any]]:
    """VMs of the cluster, each on a host that has room for it even with 35 % kept free."""
    chance = random.Random(seed)
    left = [int(MEMORY_MIB * 0.65)] * hosts
    vms = []
    for number in range(hosts * 10):
        memory, vcpus = chance.choices(SIZES, weights=(30, 30, 25, 15))[0]
        host = number % hosts
        if left[host] < memory:
            memory, vcpus = SIZES[0]
        left[host] -= memory
        vms.append({"name": f"vm{number}", "vcpus": vcpus, "memory_mib": memory, "disk_gib": 40, "host": host})
    return vms


def ours(hosts: int, vms: list[dict[str, Any]], placed: bool) -> tuple[float, str]:
    """Seconds and verdict of a whole plan: parsed, placed unless it is, every rule measured, every death proved."""
    names = [f"node{n}" for n in range(hosts)]
    running: dict[int, list[dict[str, Any]]] = {}
    for vm in vms:
        entry = {key: vm[key] for key in ("name", "vcpus", "memory_mib", "disk_gib")}
        running.setdefault(vm["host"], []).append({**entry, "uuid": "", "state": "running", "managed": True})
    variables = {
        name: {
            "croft_capacity": {
                "sockets": 2,
                "cores": 16,
                "threads": THREADS,
                "memory_mib": MEMORY_MIB,
                # One pool for all of them, with room.
                "disk_gib": len(vms) * 50,
            },
            "host_reserved": {"cpus": 0, "memory_mib": 0},
            **({"croft_host_facts": {"virtual_machines": running.get(n, []), "capacity": {}}} if placed else {}),
        }
        for n, name in enumerate(names)
    }
    entries = [{**{k: v for k, v in vm.items() if k != "host"}, "ha": True} for vm in vms]
    begin = time.perf_counter()
    plan, problems = make_plan(
        names, variables, entries, policy=POLICY, storage_layout="centralized", today=date(2026, 1, 1)
    )
    seconds = time.perf_counter() - begin
    assert not problems, problems[:3]
    assert plan["summary"]["placed"] == len(vms)
    return seconds, plan["verdict"]


def ganeti(hosts: int, vms: list[dict[str, Any]], folder: Path) -> float | None:
    """Seconds of hcheck with its global N+1 check, None when it was stopped."""
    free = [MEMORY_MIB] * hosts
    for vm in vms:
        free[vm["host"]] -= vm["memory_mib"]
    disk = DISK_GIB * 1024
    nodes = [f"node{n}|{MEMORY_MIB}|0|{free[n]}|{disk}|{disk}|{THREADS}|M|uuid-1|1" for n in range(hosts)]
    instances = [
        f"{vm['name']}|{vm['memory_mib']}|{vm['disk_gib'] * 1024}|{vm['vcpus']}|running|Y|node{vm['host']}||ext||1"
        for vm in vms
    ]
    limits = "128,1,1024,1,1,1;65536,32,1048576,16,8,12|diskless,file,sharedfile,plain,blockdev,drbd,rbd,ext|4.0|1000.0"
    policies = [f"{owner}|4096,2,40960,1,1,1|{limits}" for owner in ("", "g1")]
    sections = ["g1|uuid-1|preferred||", "\n".join(nodes), "\n".join(instances), "", "\n".join(policies)]
    file = folder / f"cluster-{hosts}"
    file.write_text("\n\n".join(sections) + "\n")
    begin = time.perf_counter()
    try:
        subprocess.run(
            ["hcheck", "-t", file, "--no-simulation"], capture_output=True, timeout=PEER_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    return time.perf_counter() - begin


def test_how_a_plan_grows() -> None:
    print(f"\n{'hosts':>6} {'VMs':>7} {'check + every death':>20} {'place as well':>14} {'peak MiB':>9}  verdict")
    for hosts in (100, 1000, 5000):
        vms = cluster(hosts)
        checked, verdict = ours(hosts, vms, placed=True)
        placed, _verdict = ours(hosts, vms, placed=False)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{hosts:>6} {len(vms):>7} {checked:>18.2f} s {placed:>12.2f} s {peak:>9}  {verdict}")


@pytest.mark.skipif(shutil.which("hcheck") is None, reason="Debian's ganeti-htools is not installed")
def test_beside_ganeti(tmp_path: Path) -> None:
    print(f"\n{'hosts':>6} {'VMs':>7} {'croft':>9} {'hcheck, global N+1':>19} {'ratio':>7}")
    for hosts in (20, 100):
        vms = cluster(hosts)
        mine, _verdict = min(ours(hosts, vms, placed=True) for _ in range(3))
        peer = ganeti(hosts, vms, tmp_path)
        said = f"> {PEER_SECONDS} s" if peer is None else f"{peer:.2f} s"
        ratio = (PEER_SECONDS if peer is None else peer) / mine
        print(f"{hosts:>6} {len(vms):>7} {mine:>7.3f} s {said:>19} {ratio:>6.0f}x")
