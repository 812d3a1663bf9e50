# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter of plugin_utils/verify.py."""

from __future__ import annotations

DOCUMENTATION = r"""
name: verified
author: the croft contributors (@croft)
version_added: "0.1.0"
short_description: Hold what runs against what the inventory wishes
description:
  - Gives one line for each VM that is missing, runs twice, is in another state than wished, is paused by its storage,
    hangs too often or does not answer, for each storage server that is silent, and for what is wrong with the storage
    cluster and its network. An empty list says that all is well.
positional: _input, hosts, hostvars
options:
  _input:
    description: The VMs of the inventory, a list, or a mapping by name.
    type: raw
    required: true
  hosts:
    description: The hosts of VMs.
    type: list
    elements: str
    required: true
  hostvars:
    description: >-
      The variables of all hosts. Read are C(croft_health), the result of M(croft.infra.vm_health), and where they are
      set C(croft_cluster_health) of M(croft.infra.ceph_health) and C(network_check_measured) of
      M(croft.infra.network_probe).
    type: dict
    required: true
  absent:
    description: The VMs that shall leave, as in C(virtual_machines_absent).
    type: list
    default: []
"""

EXAMPLES = r"""
lines: "{{ virtual_machines | croft.infra.verified(groups['kvm_hosts'], hostvars) }}"
# => ["VM web1 on kvm1: its agent does not answer: not connected"]
"""

RETURN = r"""
_value:
  description: What is not as it should be, one line each.
  type: list
  elements: str
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils.departure import read_leaving
from ansible_collections.croft.infra.plugins.plugin_utils.verify import verify


def verified(wished: Any, hosts: Sequence[str], hostvars: Mapping[str, Any], absent: Sequence[Any] = ()) -> list[str]:
    entries = [{"name": name, **vm} for name, vm in wished.items()] if isinstance(wished, Mapping) else list(wished)
    health: dict[str, Any] = {}
    for host in hosts:
        about = hostvars[host].get("croft_health")
        usable = isinstance(about, Mapping) and not about.get("unreachable") and not about.get("failed")
        health[host] = about if usable else None
    cluster = _lines(hosts, hostvars, "croft_cluster_health", "missing")
    network = _lines(hosts, hostvars, "network_check_measured", "problems")
    leaving, _problems = read_leaving(absent)
    return verify(entries, health, cluster, network, leaving=[one.name for one in leaving])


def _lines(hosts: Sequence[str], hostvars: Mapping[str, Any], variable: str, key: str) -> list[str]:
    """What the results of a task say on all hosts."""
    return [line for host in hosts for line in (hostvars[host].get(variable) or {}).get(key) or ()]


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"verified": verified}
