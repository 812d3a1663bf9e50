# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a plan takes, how that and its memory grow, and what a task costs beside the empty play."""

from __future__ import annotations

import gc
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ganeti import MEMORY_MIB, THREADS, cluster, ours

PLAY = """\
- hosts: hypervisors
  gather_facts: false
  tasks:
    - name: Plan
      croft.infra.plan:
        hosts: "{{ groups['hypervisors'] }}"
        virtual_machines: "{{ lookup('ansible.builtin.file', machines) | ansible.builtin.from_json }}"
        policy: "{{ sizing_policy }}"
        storage_layout: centralized
      run_once: true
      delegate_to: localhost
"""
EMPTY = "- hosts: hypervisors\n  gather_facts: false\n  tasks: []\n"


def test_how_a_plan_grows() -> None:
    print(f"\n{'hosts':>6} {'VMs':>7} {'check + every death':>20} {'place as well':>14} {'peak MiB':>9}  verdict")
    for hosts in (100, 1000, 5000):
        vms = cluster(hosts)
        runs = 3 if hosts <= 1000 else 1
        checked, plan = min((ours(hosts, vms, placed=True) for _ in range(runs)), key=lambda run: run[0])
        verdict = plan["verdict"]
        del plan
        gc.collect()
        placed = min(ours(hosts, vms, placed=False)[0] for _ in range(runs))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{hosts:>6} {len(vms):>7} {checked:>18.2f} s {placed:>12.2f} s {peak:>9}  {verdict}")


@pytest.mark.parametrize("hosts", [100, 1000])
def test_a_plan_as_a_task(tmp_path: Path, hosts: int) -> None:
    """The inventory in JSON (as a script would give it), the VMs in a file; beside a play without a task."""
    vms = [
        {"name": vm.name, "vcpus": vm.vcpus, "memory_mib": vm.memory_mib, "disk_gib": 40, "ha": True}
        for vm in cluster(hosts)
    ]
    capacity = {"sockets": 2, "cores": THREADS // 2, "threads": THREADS, "memory_mib": MEMORY_MIB, "disk_gib": 10**6}
    own = {"croft_capacity": capacity, "host_reserved": {"cpus": 0, "memory_mib": 0}}
    inventory = {
        "hypervisors": {
            "hosts": [f"node{n:04}" for n in range(hosts)],
            "vars": {
                **own,
                "sizing_policy": {"rules": {"consolidation": {"min": 0, "max": 30}}},
                "machines": str(tmp_path / "machines.json"),
            },
        },
        "_meta": {"hostvars": {}},
    }
    (tmp_path / "machines.json").write_text(json.dumps(vms))
    (tmp_path / "inventory.json").write_text(json.dumps(inventory))
    script = tmp_path / "inventory.sh"
    script.write_text(f"#!/bin/sh\ncat {tmp_path / 'inventory.json'}\n")
    script.chmod(0o755)
    for name, play in (("empty", EMPTY), ("plan", PLAY)):
        (tmp_path / f"{name}.yml").write_text(play)
    walls: dict[str, list[float]] = {"empty": [], "plan": []}
    cpus: dict[str, list[float]] = {"empty": [], "plan": []}
    # In turn, so that what else the machine does falls on both.
    for name in ("empty", "plan") * 3:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begin = time.perf_counter()
        done = subprocess.run(
            [Path(sys.executable).parent / "ansible-playbook", "-i", script, tmp_path / f"{name}.yml"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(Path(__file__).parents[2] / "collections")},
        )
        walls[name].append(time.perf_counter() - begin)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpus[name].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    wall, cpu = ({name: min(runs) for name, runs in each.items()} for each in (walls, cpus))
    print(
        f"\n{hosts} hosts, {len(vms)} VMs: empty play {wall['empty']:.2f} s ({cpu['empty']:.2f} s CPU), with the plan "
        f"{wall['plan']:.2f} s ({cpu['plan']:.2f} s CPU): the task {wall['plan'] - wall['empty']:.2f} s"
    )
