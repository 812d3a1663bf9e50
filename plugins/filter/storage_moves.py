# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter of plugin_utils/storage_moves.py."""

from __future__ import annotations

DOCUMENTATION = r"""
name: storage_moves
author: the croft contributors (@croft)
version_added: "0.1.0"
short_description: Sort disks that shall move by the hosts that their VMs are on
description:
  - Fails with one line for each entry that is wrong and each VM that is on no host.
positional: _input, hosts, hostvars
options:
  _input:
    description: The VMs, each with C(name) and the C(pool) that its disks shall be in.
    type: list
    elements: dict
    required: true
  hosts:
    description: The hosts of VMs.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variables of all hosts; C(croft_host_facts) is read.
    type: dict
    required: true
"""

EXAMPLES = r"""
moves: "{{ [{'name': 'web1', 'pool': 'shared'}] | croft.infra.storage_moves(groups['kvm_hosts'], hostvars) }}"
# => {"kvm1": [{"name": "web1", "pool": "shared"}]}
"""

RETURN = r"""
_value:
  description: Of each host what M(croft.infra.storage_migration) has to move there.
  type: dict
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.croft.infra.plugins.plugin_utils import storage_moves as pure


def storage_moves(asked: Any, hosts: Sequence[str], hostvars: Mapping[str, Any]) -> dict[str, list[dict[str, str]]]:
    facts = {host: hostvars[host].get("croft_host_facts") or {} for host in hosts}
    found, problems = pure.storage_moves(asked, facts)
    if problems:
        raise AnsibleFilterError("Nothing is moved:\n" + "\n".join(problems))
    return found


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"storage_moves": storage_moves}
