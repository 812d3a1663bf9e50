# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter of plugin_utils/copies.py."""

from __future__ import annotations

DOCUMENTATION = r"""
name: copies
author: the croft contributors (@croft)
version_added: "0.1.0"
short_description: Sort disks that are made of backups or of other VMs by the hosts that make them
description:
  - Fails with one line for each entry that is wrong and each VM that is not in the plan or cannot be made there.
positional: _input, plan
options:
  _input:
    description: Mappings with C(name) (of the source) and C(as) (a VM of the plan), and perhaps keys of O(optional).
    type: list
    elements: dict
    required: true
  plan:
    description: The plan that M(croft.infra.plan) returns.
    type: dict
    required: true
  hosts:
    description: The hosts on which the sources are looked for; none where they need not be on a host.
    type: list
    elements: str
    default: []
  hostvars:
    description: The variables of all hosts; C(croft_host_facts) is read.
    type: dict
    default: {}
  shared:
    description: Whether all hosts share the storage.
    type: bool
    default: false
  optional:
    description: What else a mapping may have.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
by_host: "{{ [{'name': 'web1', 'as': 'web9'}] | croft.infra.copies(croft_plan.plan) }}"
# => {"kvm1": [{"name": "web1", "as": "web9", "uuid": "..."}]}
"""

RETURN = r"""
_value:
  description: Of each host what it makes.
  type: dict
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.croft.infra.plugins.plugin_utils import copies as pure
from ansible_collections.croft.infra.plugins.plugin_utils.storage_moves import homes


def copies(  # noqa: PLR0913, PLR0917
    asked: Any,
    plan: Mapping[str, Any],
    hosts: Sequence[str] = (),
    hostvars: Mapping[str, Any] | None = None,
    shared: bool = False,
    optional: Sequence[str] = (),
) -> dict[str, list[dict[str, str]]]:
    facts = {host: (hostvars or {})[host].get("croft_host_facts") or {} for host in hosts}
    found, problems = pure.copies(asked, plan, homes(facts) if hosts else None, shared=shared, optional=optional)
    if problems:
        raise AnsibleFilterError("Nothing is made:\n" + "\n".join(problems))
    return found


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"copies": copies}
