# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter of module_utils/departure.py."""

from __future__ import annotations

DOCUMENTATION = r"""
name: leaving_problems
author: the croft contributors (@croft)
version_added: "0.1.0"
short_description: What is wrong with the list of VMs that shall leave
description:
  - Gives one line for each mistake, and for each VM that is wished and shall leave.
positional: _input, wished
options:
  _input:
    description: The VMs that shall leave, as in C(virtual_machines_absent).
    type: list
    elements: raw
    required: true
  wished:
    description: The VMs of the inventory, a list, or a mapping by name.
    type: raw
    required: true
"""

EXAMPLES = r"""
lines: "{{ virtual_machines_absent | croft.infra.leaving_problems(virtual_machines) }}"
# => ["web1: is in virtual_machines and in virtual_machines_absent; take it out of one"]
"""

RETURN = r"""
_value:
  description: The lines; an empty list says that all is well.
  type: list
  elements: str
"""

from collections.abc import Mapping
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils.departure import read_leaving
from ansible_collections.croft.infra.plugins.plugin_utils.vm_inventory import entries_of


def leaving_problems(entries: Any, wished: Any) -> list[str]:
    if isinstance(entries, str | Mapping):
        return [f"virtual_machines_absent: is {entries!r}; give a list of names, or of mappings with name and disks"]
    # What is wrong with an entry of the wished ones the plan tells.
    names = [entry.get("name") for entry in entries_of(wished) if isinstance(entry, Mapping)]
    return read_leaving(entries, [str(name) for name in names if name])[1]


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"leaving_problems": leaving_problems}
