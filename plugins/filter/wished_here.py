# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter of plugin_utils/drift.py."""

from __future__ import annotations

DOCUMENTATION = r"""
name: wished_here
author: the croft contributors (@croft)
version_added: "0.1.0"
short_description: The wished VMs that a host has
description:
  - Gives the entries of the inventory whose VM was seen on a host, wherever the plan would put it.
positional: _input, health
options:
  _input:
    description: The VMs of the inventory, a list, or a mapping by name.
    type: raw
    required: true
  health:
    description: What M(croft.infra.vm_health) returned on the host.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Hold them against what is wished
  croft.infra.virtual_machines:
    virtual_machines: "{{ virtual_machines | croft.infra.wished_here(croft_health) }}"
    compare: true
  check_mode: true
"""

RETURN = r"""
_value:
  description: The entries.
  type: list
  elements: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible_collections.croft.infra.plugins.plugin_utils.drift import here
from ansible_collections.croft.infra.plugins.plugin_utils.vm_inventory import entries_of


def wished_here(wished: Any, health: Mapping[str, Any]) -> list[Any]:
    return here(entries_of(wished), health)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"wished_here": wished_here}
