# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ha_configuration
short_description: The configuration of a Pacemaker cluster that keeps a plan's HA VMs running
description:
  - Gives the configuration section of Pacemaker's CIB for the VMs with C(ha=true) of an admitted plan. Every ceiling of
    a sizing rule that denies becomes a capacity of a node, so that no restart breaks a rule;
    see docs/adr/0013-the-cluster-keeps-the-rules.md.
  - Passwords of fence devices are not part of it; P(croft.infra.ha_fence_secrets#filter) gives the scripts that tell
    them.
options:
  _input:
    description: A plan as RV(croft.infra.plan#module:plan) returns it.
    type: dict
    required: true
  virtual_machines:
    description: The VMs of the inventory, as the plan was made from. A pin (C(host)) becomes a preference.
    type: raw
    required: true
  hosts:
    description: Each host of the plan with its variables, of which C(ha_cluster_fence_devices) is read.
    type: dict
    required: true
  settings:
    description: The variables C(ha_cluster_*) of the cluster; what is not given has its default.
    type: dict
    default: {}
author: the croft contributors
seealso:
  - module: croft.infra.plan
  - plugin: croft.infra.ha_fence_secrets
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Tell what speaks against the cluster
  ansible.builtin.assert:
    that: wanted.problems | length == 0
    fail_msg: "{{ wanted.problems | join('\n') }}"
  vars:
    hosts: "{{ dict(groups.kvm_hosts | zip(groups.kvm_hosts | map('extract', hostvars))) }}"
    settings: {ha_cluster_migration_limit: 4}
    wanted: "{{ croft_plan.plan | croft.infra.ha_configuration(virtual_machines, hosts, settings) }}"
"""

RETURN = r"""
_value:
  description: >-
    C(xml), the element C(configuration) as text, the same for the same input, or empty when there are problems;
    C(sbd), the hosts that a watchdog turns off, each with the disks of SBD or none; and C(problems), one line each.
  type: dict
"""

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.croft.infra.plugins.plugin_utils.ha.cib import configuration
from ansible_collections.croft.infra.plugins.plugin_utils.ha.fencing import sbd_disks
from ansible_collections.croft.infra.plugins.plugin_utils.ha.parse import read_cluster
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.reading import NotAPlanError


def ha_configuration(plan: Any, virtual_machines: Any, hosts: Any, settings: Any = None) -> dict[str, Any]:
    """See the documentation above."""
    try:
        cluster, problems = read_cluster(plan, virtual_machines, hosts, settings)
    except NotAPlanError as error:
        raise AnsibleFilterError(f"croft.infra.ha_configuration: {error}") from error
    return {
        "xml": "" if cluster is None else configuration(cluster),
        "sbd": {} if cluster is None else sbd_disks(cluster.devices),
        "problems": problems,
    }


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"ha_configuration": ha_configuration}
