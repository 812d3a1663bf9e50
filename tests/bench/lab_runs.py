# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmarks on the lab share: commands on its machines, playbooks with their time, small VMs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "molecule"))
from on_lab import HOSTS, SERVER, node

__all__ = ["HOSTS", "SERVER", "machines", "node", "playbook", "remove_domains"]
ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{BIN}:{os.environ['PATH']}",
    "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
}


def playbook(*names: str, **variables: Any) -> tuple[float, str]:
    """Seconds that ansible-playbook took, and what it printed."""
    command = ["ansible-playbook", "-i", "inventories/lab", "-i", "tests/bench/inventory", *names]
    command += ["-e", json.dumps(variables)]
    began = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    return time.monotonic() - began, done.stdout


def machines(count: int, pins: Sequence[str | None], memory_mib: int = 192) -> list[dict[str, Any]]:
    """Small VMs, each with a pin of the list in turn."""
    entries: list[dict[str, Any]] = []
    for number in range(count):
        about: Mapping[str, Any] = {"vcpus": 1, "memory_mib": memory_mib, "disk_gib": 1}
        host = pins[number % len(pins)]
        entries.append({"name": f"bench{number:02}", **about, **({"host": host} if host else {})})
    return entries


def remove_domains() -> None:
    """Take all VMs away and leave their disks."""
    for address in HOSTS.values():
        node(
            address, "for vm in $(virsh list --all --name); do virsh destroy $vm || true; virsh undefine $vm; done 2>&1"
        )
