# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: placed_on
short_description: The VMs that a plan puts on a host
description:
  - Gives the complete entries, defaults filled, of the VMs that the plan places on the host, sorted by name.
  - A plan keeps no user data, which may be secret. It is put back from O(wishes).
options:
  _input:
    description: A plan as RV(croft.infra.plan#module:plan) returns it.
    type: dict
    required: true
  host:
    description: The host's name in the inventory.
    type: str
    required: true
  wishes:
    description: The VMs of the inventory, a list or a mapping by name, for the C(user_data) in them.
    type: raw
positional: host, wishes
author: the croft contributors
seealso:
  - module: croft.infra.plan
  - plugin: croft.infra.placements
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Run the VMs of this host
  croft.infra.virtual_machines:
    virtual_machines: "{{ croft_plan.plan | croft.infra.placed_on(inventory_hostname, virtual_machines) }}"
"""

RETURN = r"""
_value:
  description: VM entries with every field; a field that neither the inventory nor a default fills is null.
  type: list
  elements: dict
"""

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.reading import NotAPlanError
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.reading import placed_on as placed
from ansible_collections.croft.infra.plugins.plugin_utils.user_data import given


def placed_on(plan: Any, host: str, wishes: Any = None) -> list[dict[str, Any]]:
    """See the documentation above."""
    try:
        return placed(plan, host, given(wishes))
    except NotAPlanError as error:
        raise AnsibleFilterError(f"croft.infra.placed_on: {error}") from error


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"placed_on": placed_on}
