# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter of plugin_utils/drift.py."""

from __future__ import annotations

DOCUMENTATION = r"""
name: drift
author: the croft contributors (@croft)
version_added: "0.1.0"
short_description: Show VMs beside what the inventory wishes, field by field
description:
  - Gives C(lines), one for each field that differs and each device that somebody attached by hand, and C(table), every
    field of every VM.
positional: _input, hostvars
options:
  _input:
    description: The hosts of VMs.
    type: list
    elements: str
    required: true
  hostvars:
    description: >-
      The variables of all hosts. Read is C(croft_drift), the result of M(croft.infra.virtual_machines) in check mode
      with O(croft.infra.virtual_machines#module:compare).
    type: dict
    required: true
"""

EXAMPLES = r"""
drift: "{{ groups['kvm_hosts'] | croft.infra.drift(hostvars) }}"
# => {"lines": ["VM web1 on kvm1: memory_mib: wished 2048, real 2048 now, 4096 from its next start on"], "table": {...}}
"""

RETURN = r"""
_value:
  description: The lines and the table.
  type: dict
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.croft.infra.plugins.plugin_utils import drift as pure


def drift(hosts: Sequence[str], hostvars: Mapping[str, Any]) -> dict[str, Any]:
    results = {host: hostvars[host].get("croft_drift") for host in hosts}
    return pure.drift({host: one if isinstance(one, Mapping) else None for host, one in results.items()})


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"drift": drift}
