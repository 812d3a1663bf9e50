# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: placements
short_description: Where a plan puts each VM
description:
  - Gives the VMs that have a host, as VM to host, or the other way round.
options:
  _input:
    description: A plan as RV(croft.infra.plan#module:plan) returns it.
    type: dict
    required: true
  by_host:
    description: Give each host with the names of its VMs instead; a host without VMs has an empty list.
    type: bool
    default: false
author: the croft contributors
seealso:
  - module: croft.infra.plan
  - plugin: croft.infra.placed_on
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show where web1 goes
  ansible.builtin.debug:
    msg: "{{ (croft_plan.plan | croft.infra.placements)['web1'] }}"
  # kvm2

- name: Show what each host carries
  ansible.builtin.debug:
    msg: "{{ croft_plan.plan | croft.infra.placements(by_host=true) }}"
  # {kvm1: [app1], kvm2: [web1, web2], kvm3: []}
"""

RETURN = r"""
_value:
  description: VM to host, or host to a list of VMs, sorted by name.
  type: dict
"""

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.reading import NotAPlanError
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.reading import placements as placed


def placements(plan: Any, by_host: bool = False) -> dict[str, Any]:
    """See the documentation above."""
    try:
        return placed(plan, by_host=by_host)
    except NotAPlanError as error:
        raise AnsibleFilterError(f"croft.infra.placements: {error}") from error


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"placements": placements}
