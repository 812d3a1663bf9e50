#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_nodes
short_description: Bring up or take away a lab of machines on this one
description:
  - Each node is a C(systemd-nspawn) machine that boots its own systemd, with an address on the lab's bridge, a second
    port for its guests (C(vm0)), disks of its own (sparse files behind loop devices) and a way out through the machine.
  - Runs with and without systemd as the machine's PID 1, with cgroup v1 and v2.
  - What stands is read from the machine itself, so a lab whose owner crashed is taken away as thoroughly as any other.
options:
  state_dir:
    description: Where the lab keeps its nodes. Must lie on a real file system, not on an overlay.
    type: path
    default: /var/lib/croft-lab
  image:
    description: Directory with the nodes' root file system. It is not written to. Needed unless every node is absent.
    type: path
  bridge:
    description: Name of the bridge.
    type: str
    default: br-croft
  address:
    description: The machine's address on the bridge, with the length of the prefix.
    type: str
    default: 10.99.0.1/24
  public_key:
    description: The SSH public key that may log in to the nodes as root.
    type: str
  copy_settings:
    description:
      - Whether nodes get the machine's own settings for apt, pip, name resolution and trusted certificates,
        each time they start.
    type: bool
    default: true
  suite:
    description: The Debian suite of the image, for the nodes' apt sources.
    type: str
    default: trixie
  recreate:
    description: Names of nodes that may be made anew, and lose their disks, when they were made from something else.
    type: list
    elements: str
    default: []
  nodes:
    description: The nodes. When all are absent, the network and nodes that are not named go too.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the node, 12 characters at most.
        type: str
        required: true
      address:
        description: Its IPv4 address on the bridge.
        type: str
        required: true
      state:
        description:
          - V(present) is up and connected, V(isolated) is up with its network cut, V(powered_off) keeps its disks and
            runs not (the power is cut, nothing is shut down), V(absent) is gone with its disks.
        type: str
        choices: [present, isolated, powered_off, absent]
        default: present
      disks:
        description: The node's disks. In the node they are C(/dev/croft/<name>).
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description: Name of the disk.
            type: str
            required: true
          size_gib:
            description: Its size in GiB; the file behind it is sparse.
            type: int
            required: true
      bmc:
        description:
          - A simulated baseboard management controller (OpenIPMI's C(ipmi_sim)), which cuts the node's power and
            starts it when it is told to over IPMI. Its user is C(admin), the password is made once for each lab and
            kept in C(bmc/password) below O(state_dir). Role lab puts the program that it calls there, too.
        type: dict
        suboptions:
          address:
            description: The IPv4 address on the bridge at which it answers.
            type: str
            required: true
attributes:
  check_mode:
    description: Tells what would be done and does nothing.
    support: full
  diff_mode:
    description: Shows the steps.
    support: full
author: the croft contributors
"""

EXAMPLES = r"""
- name: Bring three nodes up
  croft.infra.lab_nodes:
    image: /var/cache/croft/images/lab-node-0123456789ab
    public_key: "{{ lookup('file', '/var/lib/croft-lab/ssh/id_ed25519.pub') }}"
    nodes:
      - {name: kvm1, address: 10.99.0.11, disks: [{name: disk0, size_gib: 20}]}
      - {name: kvm2, address: 10.99.0.12, disks: [{name: disk0, size_gib: 20}]}
      - {name: kvm3, address: 10.99.0.13, disks: [{name: disk0, size_gib: 20}]}

- name: Cut the power of one
  croft.infra.lab_nodes:
    image: /var/cache/croft/images/lab-node-0123456789ab
    nodes:
      - {name: kvm2, address: 10.99.0.12, disks: [{name: disk0, size_gib: 20}], state: powered_off}
"""

RETURN = r"""
steps:
  description: What was done (in check mode, would be done), in order.
  returned: always
  type: list
  elements: str
  sample: [create bridge, create kvm1, start kvm1]
finished:
  description: When the last step was done, in seconds of this machine's monotonic clock.
  returned: always
  type: float
  sample: 1234.56
"""

import ipaddress
import os
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import lab
from ansible_collections.croft.infra.plugins.module_utils.lab_machine import LabError, LabMachine
from ansible_collections.croft.infra.plugins.module_utils.machine_settings import node_settings

DISK = {"name": {"type": "str", "required": True}, "size_gib": {"type": "int", "required": True}}
NODE = {
    "name": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
    "state": {"type": "str", "choices": list(lab.STATES), "default": "present"},
    "disks": {"type": "list", "elements": "dict", "default": [], "options": DISK},
    "bmc": {"type": "dict", "options": {"address": {"type": "str", "required": True}}},
}
ARGUMENTS = {
    "state_dir": {"type": "path", "default": "/var/lib/croft-lab"},
    "image": {"type": "path"},
    "bridge": {"type": "str", "default": "br-croft"},
    "address": {"type": "str", "default": "10.99.0.1/24"},
    "public_key": {"type": "str", "no_log": False},
    "copy_settings": {"type": "bool", "default": True},
    "suite": {"type": "str", "default": "trixie"},
    "recreate": {"type": "list", "elements": "str", "default": []},
    "nodes": {"type": "list", "elements": "dict", "required": True, "options": NODE},
}


def problems_of(params: dict[str, Any], nodes: list[lab.Node]) -> list[str]:
    """Tell what is wrong with the call, one line each, before anything is looked at."""
    lines = []
    if os.geteuid() != 0:
        lines.append("the lab needs root on this machine; run as root or with become")
    if all(node.state == "absent" for node in nodes):
        return lines
    if not params["image"] or not Path(params["image"], "usr/lib/systemd/systemd").exists():
        lines.append(
            f"image: {params['image']} holds no root file system with systemd in it; build it first (role lab does)"
        )
    if not params["public_key"]:
        lines.append("public_key: is missing; without it nobody can log in to the nodes")
    return lines


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params
    try:
        network = lab.Network(params["bridge"], ipaddress.IPv4Interface(params["address"]))
    except ValueError as error:
        module.fail_json(msg=f"address: {error}; give the machine's address on the bridge like 10.99.0.1/24")
    nodes, problems = lab.parse_nodes(params["nodes"], network)
    problems += problems_of(params, nodes)
    if problems:
        module.fail_json(msg="\n".join(problems))
    # A link to the image's directory and the directory itself are one image.
    image = str(Path(params["image"]).resolve()) if params["image"] else ""
    try:
        files = node_settings(params["suite"]) if params["copy_settings"] else {}
        machine = LabMachine(params["state_dir"], image, network, files, params["public_key"] or "")
        found = machine.look()
        lines = lab.stale(nodes, found, image, params["recreate"])
        if lines:
            module.fail_json(msg="\n".join(lines))
        todo = lab.steps(nodes, found, image, params["recreate"])
        if todo and not module.check_mode:
            machine.carry_out(todo, nodes)
    except LabError as error:
        module.fail_json(msg=str(error))
    finished = time.monotonic()
    done = [str(step) for step in todo]
    module.exit_json(
        changed=bool(todo),
        steps=done,
        finished=finished,
        diff={"before": "", "after": "".join(f"{step}\n" for step in done)},
    )


if __name__ == "__main__":
    main()
