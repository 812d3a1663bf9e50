# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: what_if
short_description: The plan as it would be with a host less, a host more, or more VMs
description:
  - What the plan has placed stays where it is, except on hosts that are taken away; what is asked for is
    placed beside it.
options:
  _input:
    description: A plan as RV(croft.infra.plan#module:plan) returns it.
    type: dict
    required: true
  without:
    description: Hosts to take away. Their VMs are placed anew, also those that were pinned there.
    type: list
    elements: str
    default: []
  hosts:
    description: Hosts to add, each new name with the name of the known host that it is like.
    type: dict
    default: {}
  virtual_machines:
    description: VMs to add, as shapes - the fields of a VM without its name, and C(count), by default 1.
    type: list
    elements: dict
    default: []
author: the croft contributors
seealso:
  - module: croft.infra.plan
  - plugin: croft.infra.headroom
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Tell whether we could do without kvm3
  ansible.builtin.debug:
    msg: "{{ (croft_plan.plan | croft.infra.what_if(without=['kvm3'])).verdict }}"

- name: Tell what refuses twenty more web servers on a fourth host
  ansible.builtin.debug:
    msg: >-
      {{ croft_plan.plan
         | croft.infra.what_if(hosts={'kvm4': 'kvm1'},
                               virtual_machines=[{'vcpus': 2, 'memory_mib': 4096, 'disk_gib': 20, 'count': 20}])
         | croft.infra.sizing_findings('deny') | map(attribute='message') }}
"""

RETURN = r"""
_value:
  description: A plan, of the same shape as the one that was given.
  type: dict
"""

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.reading import NotAPlanError
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.whatif import what_if as changed


def what_if(plan: Any, without: Any = (), hosts: Any = None, virtual_machines: Any = ()) -> dict[str, Any]:
    """See the documentation above."""
    try:
        return changed(plan, without=without, hosts=hosts, virtual_machines=virtual_machines)
    except NotAPlanError as error:
        raise AnsibleFilterError(f"croft.infra.what_if: {error}") from error


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"what_if": what_if}
