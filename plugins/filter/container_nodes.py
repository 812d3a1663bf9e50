# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: container_nodes
short_description: The hosts of an inventory that run containers
description:
  - Gives the hosts of the groups C(docker_nodes), C(swarm_managers) and C(swarm_workers), each once, in this order. A
    group that the inventory does not have is no error.
options:
  _input:
    description: The variable C(groups).
    type: dict
    required: true
  known:
    description: Leave out the hosts of the groups C(kvm_hosts) and C(virtual_machines), of which a plan knows the size.
    type: bool
    default: true
author: the croft contributors
seealso:
  - module: croft.infra.plan
"""

EXAMPLES = r"""
- name: Make hosts that run containers
  hosts: "{{ groups | croft.infra.container_nodes }}"
"""

RETURN = r"""
_value:
  description: Names of hosts.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

GROUPS = ("docker_nodes", "swarm_managers", "swarm_workers")
SIZED = ("kvm_hosts", "virtual_machines")


def container_nodes(groups: Any, known: bool = True) -> list[str]:
    """See the documentation above."""
    if not isinstance(groups, Mapping):
        raise AnsibleFilterError("croft.infra.container_nodes: takes the variable groups, a mapping of group to hosts")
    sized = set() if known else {host for group in SIZED for host in groups.get(group, ())}
    return list(dict.fromkeys(host for group in GROUPS for host in groups.get(group, ()) if host not in sized))


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"container_nodes": container_nodes}
