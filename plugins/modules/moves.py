#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: moves
short_description: Judge live migrations that somebody asked for, and put them into waves
version_added: "0.1.0"
description:
  - Takes VMs that shall move, or a host that shall be emptied, and finds a target for each under the rules that deny,
    or says in one line for each what speaks against it.
  - The migrations of one wave may run at once and end in any order. A wave begins when the one before it is done.
  - A migration after which a host's death would not be survived any more is refused; to empty a host is not, since the
    cluster is one host short by intention then.
  - Runs on the controller and touches no host; M(croft.infra.live_migration) moves. What is on the hosts is read from
    C(croft_host_facts), the registered result of M(croft.infra.host_capacity).
options:
  hosts:
    description: The hosts, by their names in the inventory.
    type: list
    elements: str
    required: true
  virtual_machines:
    description: The VMs of the inventory, as in M(croft.infra.plan).
    type: raw
    required: true
  move:
    description:
      - The VMs to move - names, or mappings with C(name) and C(target). Without a target a VM goes to the host with the
        most room.
    type: raw
  drain:
    description: The host to empty, in place of O(move).
    type: str
  facts:
    description: >-
      The results of M(croft.infra.host_capacity) in a loop over the hosts, in place of their C(croft_host_facts).
    type: list
    elements: dict
  policy:
    description: As in M(croft.infra.plan).
    type: dict
  storage_layout:
    description: Where the disks are.
    type: str
    choices: [local, centralized, distributed]
    default: local
  today:
    description: The day by which waivers are judged, as YYYY-MM-DD; the controller's date when left out.
    type: str
attributes:
  check_mode: {support: full, description: Decides the same in check mode.}
author: the croft contributors
seealso:
  - module: croft.infra.live_migration
  - module: croft.infra.repair
"""

EXAMPLES = r"""
- name: Find a place for what runs on kvm2
  croft.infra.moves:
    hosts: "{{ groups['kvm_hosts'] }}"
    virtual_machines: "{{ virtual_machines }}"
    storage_layout: centralized
    drain: kvm2
  register: croft_moves
"""

RETURN = r"""
waves:
  description: Of each wave what every source host has to move, as M(croft.infra.live_migration) takes it.
  returned: success
  type: list
  elements: dict
  sample: [{kvm2: [{name: web2, target: kvm1, address: 10.0.0.11}]}]
clustered:
  description: Whether the host of O(drain) is in a Pacemaker cluster.
  returned: success, with O(drain)
  type: bool
remarks:
  description: What stays where it is, one line each.
  returned: success
  type: list
  elements: str
problems:
  description: What speaks against it, one line each.
  returned: failure
  type: list
  elements: str
"""
