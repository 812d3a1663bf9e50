#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: plan
short_description: Decide where each VM goes, and whether it may
description:
  - Places the VMs, measures every sizing rule on every host and VM, and lets every host die once on paper.
  - Runs on the controller and touches no host. What the hosts have is read from their variables - C(croft_capacity) as
    declared, C(host_reserved), and C(croft_host_facts), the registered result of M(croft.infra.host_capacity). What was
    declared wins over what was read. In the distributed layout the disks in C(ceph_osd_devices) are counted as OSDs.
  - A VM that runs somewhere stays there, whatever its pin says.
  - The rules, their formulas and the options of the policy are on the page C(docs/rules.md).
options:
  hosts:
    description: The hosts that may carry VMs, by their names in the inventory.
    type: list
    elements: str
    required: true
  virtual_machines:
    description:
      - The VMs that are wanted, a list of entries or a mapping by name.
      - An entry has C(name), C(vcpus), C(memory_mib) and C(disk_gib); it may have C(workload), C(host) (a pin),
        C(anti_affinity), C(affinity), C(ha), C(autostart), C(state), C(image), C(network), C(address), C(gateway),
        C(nameservers), C(uuid) and C(mac).
      - Its C(user_data) is merged over the hosts' C(virtual_machines_user_data), as M(croft.infra.virtual_machines)
        says, and held against cloud-init's schema. The plan does not keep it.
    type: raw
    required: true
  policy:
    description: >-
      Levels and limits that differ from the defaults, under C(rules); exceptions that end, under C(waivers); and
      C(placement), V(spread) or V(pack).
    type: dict
  storage_layout:
    description: Where the disks are.
    type: str
    choices: [local, centralized, distributed]
    default: local
  containers:
    description:
      - The containers that are wanted, a list of entries or a mapping by name, judged on O(container_nodes).
      - An entry has C(name), C(cpus) and C(memory_mib), which each replica has reserved; it may have C(replicas),
        C(workload), C(nodes) (the only ones that it may run on) and C(per_machine) (replicas on one machine).
    type: raw
    default: []
  container_nodes:
    description:
      - The nodes that run containers, by their names in the inventory. One that is a VM of O(virtual_machines) has the
        VM's size, one of O(hosts) has what its VMs leave; others have what C(container_node) or C(croft_capacity) says,
        or C(croft_node_facts), the registered result of M(ansible.builtin.setup).
      - C(container_node) of a node may have C(cpus), C(memory_mib), C(local_disk) (V(hdd), V(ssd) or V(nvme)) and
        C(machine), the name of what dies in one piece.
    type: list
    elements: str
    default: []
  directory:
    description: Write plan.json, plan.junit.xml, plan.sarif and report.html there. It is created when it is not there.
    type: path
  gate:
    description:
      - Fail when the plan is refused, with one line for each refusal. The files are written all the same.
      - Input that cannot be read fails in any case, with one line for each problem.
    type: bool
    default: true
  today:
    description: The day by which waivers are judged, as YYYY-MM-DD; the controller's date when left out.
    type: str
attributes:
  check_mode:
    description: Decides the same and writes the same files in check mode; no host is changed in either.
    support: full
  diff_mode:
    description: There is nothing that changes.
    support: none
author: the croft contributors
"""

EXAMPLES = r"""
- name: Refuse what breaks a rule, before anything is built
  croft.infra.plan:
    hosts: "{{ groups['kvm_hosts'] }}"
    virtual_machines: "{{ virtual_machines }}"
    policy:
      rules:
        cpu-overcommit: {limit: 1.5, cpu_unit: core}
        consolidation: {min: 2, max: 12}
      waivers:
        - {rule: vm-share, vm: big1, reason: moves to new hardware, owner: ops, until: 2027-01-31}
    directory: build/plan
  register: croft_plan

- name: Look without refusing
  croft.infra.plan:
    hosts: "{{ groups['kvm_hosts'] }}"
    virtual_machines: "{{ virtual_machines }}"
    storage_layout: centralized
    gate: false
"""

RETURN = r"""
plan:
  description:
    - What plan.json holds; its JSON Schema is plugins/plugin_utils/sizing/schema/plan.schema.json.
    - A refused plan is in the files, or here with O(gate=false); a task that fails returns its lines only.
  returned: success
  type: dict
  contains:
    verdict:
      description: V(admitted) or V(refused).
      type: str
      returned: always
    placements:
      description: VM to host, null for a VM that has no place.
      type: dict
      returned: always
    findings:
      description: Broken rules and remarks, worst first, with value, limit, margin and the smallest fix.
      type: list
      elements: dict
      returned: always
    failover:
      description: For each host that dies, where each of its VMs goes or why it does not.
      type: list
      elements: dict
      returned: always
    failover_sets:
      description: What the deaths of several hosts at once come to, and how that is proved.
      type: dict
      returned: when the policy tolerates two host failures or more
    packing:
      description: On how many hosts the VMs are, and how many at least are needed.
      type: dict
      returned: when the policy packs and every VM has a place
    hosts:
      description: For each host its capacity, what is reserved, what is used, and the ratios.
      type: dict
      returned: always
"""
