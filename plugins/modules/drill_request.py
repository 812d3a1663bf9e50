#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: drill_request
short_description: Whether a drill may begin, and what is to be watched
version_added: "0.1.0"
author: [the croft contributors (@croft)]
description:
  - Fails with everything that speaks against a drill, before anything is broken. That is a host without
    C(drill_allowed=true) among its variables, a cluster that is not healthy, a VM that the plan has no place for.
  - Runs on the controller.
options:
  kind:
    description: What is to be broken, see role croft.infra.drill.
    type: str
    required: true
  host:
    description: The host, for what is broken on a host.
    type: str
    default: ""
  vm:
    description: The VM, for what is broken of a VM.
    type: str
    default: ""
  unit:
    description: The unit of the storage daemon.
    type: str
    default: ""
  power:
    description: Whether a host is a node of the lab on the controller, or fenced by the cluster.
    type: str
    choices: [lab, fencing]
    default: lab
  lab_nodes:
    description: The lab's nodes.
    type: list
    elements: dict
    default: []
  hosts:
    description: All hosts of VMs.
    type: list
    elements: str
    required: true
  plan:
    description: A plan of what runs now.
    type: dict
    required: true
  status:
    description: What M(croft.infra.drill_sample) has as RV(croft.infra.drill_sample#module:status).
    type: str
    required: true
attributes:
  check_mode: {support: full, description: It only decides.}
"""

EXAMPLES = r"""
- name: Refuse, or begin
  croft.infra.drill_request:
    kind: host_kill
    host: kvm2
    lab_nodes: "{{ lab_nodes }}"
    hosts: "{{ groups['kvm_hosts'] }}"
    plan: "{{ croft_plan.plan }}"
    status: "{{ cluster.status }}"
"""

RETURN = r"""
follow:
  description: The VMs to watch, for M(croft.infra.drill_watch).
  returned: success
  type: list
  elements: dict
  sample: [{name: web1, from: kvm2, planned: kvm3, restarts: true, address: 10.99.0.101}]
victim:
  description: The host that is touched.
  returned: success
  type: str
lab_nodes:
  description: The nodes of the lab as they are to be.
  returned: success
  type: list
  elements: dict
lab_nodes_after:
  description: The nodes of the lab as they are to be when it is over.
  returned: success
  type: list
  elements: dict
"""
