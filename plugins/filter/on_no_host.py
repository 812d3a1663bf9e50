# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter of module_utils/departure.py."""

from __future__ import annotations

DOCUMENTATION = r"""
name: on_no_host
author: the croft contributors (@croft)
version_added: "0.1.0"
short_description: The VMs that shall leave and are on no host
description:
  - Gives those entries whose VM no host had. An empty list as long as a host was not asked, since the VM may be there.
positional: _input, hosts, hostvars
options:
  _input:
    description: The VMs that shall leave, as in C(virtual_machines_absent).
    type: list
    elements: raw
    required: true
  hosts:
    description: All hosts of VMs.
    type: list
    elements: str
    required: true
  hostvars:
    description: >-
      The variables of all hosts. Read is C(virtual_machines_absent_result), the result of
      M(croft.infra.virtual_machines_absent).
    type: dict
    required: true
"""

EXAMPLES = r"""
left: "{{ virtual_machines_absent | croft.infra.on_no_host(groups['kvm_hosts'], hostvars) }}"
# => [{"name": "web9", "disks": true}]
"""

RETURN = r"""
_value:
  description: The entries as they were given.
  type: list
  elements: raw
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils import departure


def on_no_host(entries: Sequence[Any], hosts: Sequence[str], hostvars: Mapping[str, Any]) -> list[Any]:
    results = [(hostvars[host].get("virtual_machines_absent_result") or {}).get("virtual_machines") for host in hosts]
    return departure.on_no_host(entries, results)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"on_no_host": on_no_host}
