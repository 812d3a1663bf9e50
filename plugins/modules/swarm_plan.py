#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: swarm_plan
short_description: Decide what must be done so that a swarm is as the inventory wants it
description:
  - Compares what M(croft.infra.swarm_facts) registered on each host with what the host shall be, on the controller.
  - Fails with one line for each thing that speaks against it - an even number of managers, a node of another swarm,
    an address that a host does not have, a swarm without quorum, a kernel without what a network needs - before
    anything is changed.
  - Changes nothing itself; role croft.infra.docker_swarm carries the plan out.
options:
  hosts:
    description: The hosts of the swarm, those to be removed too.
    type: list
    elements: str
    required: true
  facts:
    description: Name of the variable with the hosts' facts.
    type: str
    default: __docker_swarm_facts
  removed:
    description: Names of nodes that shall be in the swarm no more.
    type: list
    elements: str
    default: []
  networks:
    description: Overlay networks, as role croft.infra.docker_swarm takes them.
    type: list
    elements: dict
    default: []
attributes:
  check_mode:
    description: Decides the same in check mode.
    support: full
author: the croft contributors
"""

EXAMPLES = r"""
- name: Plan the swarm
  croft.infra.swarm_plan:
    hosts: "{{ ansible_play_hosts_all }}"
    networks:
      - {name: backend, attachable: true}
  register: __docker_swarm_plan
  run_once: true
"""

RETURN = r"""
plan:
  description: What to do, in the order of its C(steps), and C(remarks) on what works but not wholly.
  returned: success
  type: dict
  contains:
    manager:
      description: The host whose engine speaks for the swarm.
      type: str
      returned: always
    init:
      description: Whether that host makes the swarm first.
      type: bool
      returned: always
    join:
      description: Hosts that join, each with role and address.
      type: list
      elements: dict
      returned: always
    stale:
      description: Entries that a host left behind when it was made anew.
      type: list
      elements: dict
      returned: always
    nodes:
      description: Role, availability and labels of each host.
      type: list
      elements: dict
      returned: always
    networks:
      description: Networks to make.
      type: list
      elements: dict
      returned: always
    leave:
      description: Hosts that leave.
      type: list
      elements: str
      returned: always
    remove:
      description: Entries to take out of the swarm.
      type: list
      elements: dict
      returned: always
    steps:
      description: The steps, for people.
      type: list
      elements: str
      returned: always
    remarks:
      description: What works but not wholly, for people.
      type: list
      elements: str
      returned: always
"""
