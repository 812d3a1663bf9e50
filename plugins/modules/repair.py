#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: repair
short_description: Live migrations that repair a cluster which breaks a rule, in an order in which no step breaks one
description:
  - Measures the sizing rules on the VMs that run, and finds the fewest live migrations it can after which no rule
    refuses. No step breaks a rule that denies, or breaks one worse that is broken already.
  - Runs on the controller and touches no host. It plans; it moves nothing.
  - What is on the hosts is read from C(croft_host_facts), the registered result of M(croft.infra.host_capacity), which
    every host must have. What was declared as C(croft_capacity) wins over what was read.
  - A VM that is not in O(virtual_machines), one that does not run, and one that is where its pin wants it
    are not moved.
  - That every host's death is survived is kept for single hosts; sets of hosts are not looked at.
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
  policy:
    description: As in M(croft.infra.plan).
    type: dict
  storage_layout:
    description: Where the disks are. In the local layout a migration copies the VM's disk as well.
    type: str
    choices: [local, centralized, distributed]
    default: local
  today:
    description: The day by which waivers are judged, as YYYY-MM-DD; the controller's date when left out.
    type: str
attributes:
  check_mode:
    description: Decides the same in check mode; no host is changed in either.
    support: full
  diff_mode:
    description: There is nothing that changes.
    support: none
author: the croft contributors
seealso:
  - module: croft.infra.plan
"""

EXAMPLES = r"""
- name: Show how to repair what is broken
  croft.infra.repair:
    hosts: "{{ groups['kvm_hosts'] }}"
    virtual_machines: "{{ virtual_machines }}"
    storage_layout: centralized
  register: croft_repair
"""

RETURN = r"""
waves:
  description: The steps, as RV(croft.infra.moves#module:waves).
  returned: success
  type: list
  elements: dict
repair:
  description: What to move, in order.
  returned: success
  type: dict
  contains:
    verdict:
      description:
        - V(legal), nothing is broken; V(complete), the steps repair all; V(partial), they repair what they can;
          V(none), there is no step that repairs anything.
      type: str
      returned: always
    proved:
      description: >-
        Of a complete repair that no shorter one exists, of the others that no complete one exists. False when the
        search met its bound.
      type: bool
      returned: always
    steps:
      description: Each with vm, from, to, memory_mib, disk_gib (0 on shared storage) and bytes, to be done one by one.
      type: list
      elements: dict
      returned: always
    waves:
      description: The same steps in waves; those of one wave may run at once.
      type: list
      elements: list
      returned: always
    bytes:
      description: >-
        What all steps move over the network; memory that a guest writes meanwhile is sent again and not counted.
      type: int
      returned: always
    broken:
      description: The refusals of today, as in RV(croft.infra.plan#module:plan).
      type: list
      elements: dict
      returned: always
    remaining:
      description: The refusals after all steps.
      type: list
      elements: dict
      returned: always
    blocked:
      description: For each that remains one line that says what is in its way.
      type: list
      elements: str
      returned: always
"""
