# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plugin as Ansible runs it: beside the inventory's other files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[4]
BIN = Path(sys.executable).parent
CONFIG = """\
plugin: croft.infra.virtual_machines
groups:
  swarm_managers: vm_name in ['node1']
keyed_groups:
  - {key: vm_host, prefix: 'on'}
"""
VARIABLES = """\
net: 10.0.0
virtual_machines:
  - {name: node1, vcpus: 1, memory_mib: 512, workload: ci, host: kvm1, address: "{{ net }}.5/24"}
  - {name: node2, vcpus: 1, memory_mib: 512, workload: web, state: stopped}
"""


def listed(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [BIN / "ansible-inventory", "-i", folder, "--list"]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars/all.yml").write_text(VARIABLES)
    (tmp_path / "hosts.yml").write_text("all: {children: {kvm_hosts: {hosts: {kvm1: {}}}}}\n")
    (tmp_path / "zz.virtual_machines.yml").write_text(CONFIG)
    return tmp_path


def test_vms_of_the_inventory_are_hosts(folder: Path) -> None:
    told: dict[str, Any] = json.loads(listed(folder).stdout)
    assert told["virtual_machines"]["hosts"] == ["node1"]
    assert told["swarm_managers"]["hosts"] == ["node1"]
    assert told["on_kvm1"]["hosts"] == ["node1"]
    # That is how values that are no templates are listed.
    assert told["_meta"]["hostvars"]["node1"]["ansible_host"] == {"__ansible_unsafe": "10.0.0.5"}


def test_a_plan_says_where_they_are(folder: Path) -> None:
    (folder / "plan.json").write_text('{"placements": {"node1": "kvm7"}}')
    (folder / "zz.virtual_machines.yml").write_text(f"{CONFIG}plan: {folder}/plan.json\n")
    assert json.loads(listed(folder).stdout)["on_kvm7"]["hosts"] == ["node1"]


def test_a_mistake_is_told_with_its_file(folder: Path) -> None:
    (folder / "zz.virtual_machines.yml").write_text(f"{CONFIG}virtual_machines: [x]\n")
    assert "virtual_machines[0]: is 'x'" in listed(folder).stderr
