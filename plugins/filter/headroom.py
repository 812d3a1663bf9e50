# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: headroom
short_description: How many more VMs of a shape fit under every rule
description:
  - Adds VMs of the shape to the plan until a rule refuses one more. What the plan has placed stays where it is; every
    rule that denies holds for the others, also that every host's death is survived.
options:
  _input:
    description: A plan as RV(croft.infra.plan#module:plan) returns it.
    type: dict
    required: true
  shape:
    description:
      - The fields of a VM without its name. C(vcpus), C(memory_mib) and C(disk_gib) are needed; C(ha), C(workload),
        C(host) and the groups count when they are given.
    type: dict
    required: true
positional: shape
author: the croft contributors
seealso:
  - module: croft.infra.plan
  - plugin: croft.infra.what_if
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Tell how many more web servers there is room for
  ansible.builtin.debug:
    msg: "{{ croft_plan.plan | croft.infra.headroom({'vcpus': 2, 'memory_mib': 4096, 'disk_gib': 20, 'ha': true}) }}"
"""

RETURN = r"""
_value:
  description: >-
    C(count); C(exact), false when a search met its bound and more may fit; C(hosts), host to how many of them; and
    C(blocked), the rule that refuses one more.
  type: dict
"""

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.reading import NotAPlanError
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.whatif import headroom as room


def headroom(plan: Any, shape: Any) -> dict[str, Any]:
    """See the documentation above."""
    try:
        return room(plan, shape)
    except NotAPlanError as error:
        raise AnsibleFilterError(f"croft.infra.headroom: {error}") from error


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"headroom": headroom}
