# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fourth host, which joins what three are and leaves it again."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# On top of a scenario's inventories.
LAYER = ROOT / "molecule/distributed/grown"
NAME, ADDRESS = "kvm4", "10.99.0.15"
_DISKS = [{"name": "disk0", "size_gib": 20}, {"name": "disk1", "size_gib": 18}]
KVM4 = {"name": NAME, "address": ADDRESS, "disks": _DISKS, "bmc": {"address": "10.99.0.25"}}


def command(playbook: str, *more: str, layers: Sequence[Path]) -> list[str]:
    inventories = [word for path in layers for word in ("-i", str(path))]
    return [str(ROOT / ".venv/bin/ansible-playbook"), *inventories, str(ROOT / "playbooks" / playbook), *more]


def environment() -> dict[str, str]:
    return {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}


def _run(playbook: str, *more: str, layers: Sequence[Path]) -> None:
    words = command(playbook, *more, layers=layers)
    done = subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@contextmanager
def a_machine_more(all_nodes: Sequence[Mapping[str, Any]], layers: Sequence[Path]) -> Iterator[None]:
    """It is in the lab meanwhile; afterwards it is gone, and the hosts of these inventories know nothing of it."""
    grown = (*layers, LAYER)
    _run("lab.yml", "-e", f"{{lab_nodes: {[*all_nodes, KVM4]}}}", layers=grown)
    yield
    _run("lab.yml", "-e", f"{{lab_nodes: {[*all_nodes, {**KVM4, 'state': 'absent'}]}}}", layers=grown)
    _run("hosts.yml", layers=layers)
