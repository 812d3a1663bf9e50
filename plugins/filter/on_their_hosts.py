# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter of plugin_utils/storage_moves.py."""

from __future__ import annotations

DOCUMENTATION = r"""
name: on_their_hosts
author: the croft contributors (@croft)
version_added: "0.1.0"
short_description: Sort what shall be done with VMs by the hosts that these are on
description:
  - Fails with one line for each entry that is wrong and each VM that is on no host.
positional: _input, hosts, hostvars
options:
  _input:
    description: Names of VMs, or mappings with C(name) and O(keys).
    type: list
    elements: raw
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
  keys:
    description: What a mapping has beside C(name), all of it text. Without keys the entries are names.
    type: list
    elements: str
    default: []
  also:
    description: The key of another name that the VM may bear by now, when a run was cut off.
    type: str
    default: ""
"""

EXAMPLES = r"""
by_host: "{{ ['web1', 'app1'] | croft.infra.on_their_hosts(groups['kvm_hosts'], hostvars) }}"
# => {"kvm1": ["web1"], "kvm2": ["app1"]}
back: "{{ snapshot_revert | croft.infra.on_their_hosts(groups['kvm_hosts'], hostvars, keys=['snapshot']) }}"
# => {"kvm1": [{"name": "web1", "snapshot": "croft-x"}]}
"""

RETURN = r"""
_value:
  description: Of each host its entries, in order.
  type: dict
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.croft.infra.plugins.plugin_utils import storage_moves as pure


def on_their_hosts(
    asked: Any, hosts: Sequence[str], hostvars: Mapping[str, Any], keys: Sequence[str] = (), also: str = ""
) -> dict[str, list[Any]]:
    facts = {host: hostvars[host].get("croft_host_facts") or {} for host in hosts}
    found, problems = pure.on_their_hosts(asked, facts, keys, also)
    if problems:
        raise AnsibleFilterError("Nothing is done:\n" + "\n".join(problems))
    return found


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"on_their_hosts": on_their_hosts}
