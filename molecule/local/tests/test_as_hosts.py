# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The VMs of the inventory as hosts: one run makes them, and works on them by the groups that they are in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

INVENTORY = Path(__file__).resolve().parents[3] / "inventories/lab"
# The small guests have no Python, so no module but raw runs in them.
REACH = """\
---
- import_playbook: {root}/playbooks/plan.yml
- import_playbook: {root}/playbooks/virtual_machines.yml
- hosts: swarm_managers
  gather_facts: false
  tasks:
    - ansible.builtin.raw: hostname
      changed_when: false
"""


def test_one_run_makes_vms_and_reaches_them_as_hosts(
    play: Callable[..., Any], tmp_path: Path, lab_inventory: Any
) -> None:
    vms = [vm for vm in lab_inventory["virtual_machines"] if vm["workload"] == "web"]
    reached = {
        "plugin": "croft.infra.virtual_machines",
        "virtual_machines": vms,
        "groups": {"swarm_managers": "vm_name in ['web1', 'web2']", "swarm_workers": "vm_name == 'web3'"},
        "compose": {
            "ansible_user": "'root'",
            "ansible_ssh_private_key_file": "'/var/lib/croft-lab/ssh/id_ed25519'",
            "ansible_ssh_common_args": "'-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null'",
        },
    }
    source = tmp_path / "zz.virtual_machines.yml"
    source.write_text(json.dumps(reached))
    book = tmp_path / "reach.yml"
    book.write_text(REACH.format(root=INVENTORY.parents[1]))
    run = play(str(book), inventory=(INVENTORY, source))
    assert run.rc == 0, run.output
    said = {one["host"]: one["res"]["stdout"].strip() for one in run.results("ansible.builtin.raw")}
    assert said == {"web1": "web1", "web2": "web2"}
