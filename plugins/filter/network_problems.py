# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: network_problems
short_description: Say what is wrong with the networks that a host shall have
description:
  - Looks at nothing but the entries, so it can be asked before anything is changed.
options:
  _input:
    description: The networks, as M(croft.infra.libvirt_networks) takes them.
    type: list
    elements: dict
    required: true
  vlans:
    description: The VLANs that the host's bridge shall carry, each a number or a range like V(100-199).
    type: list
    elements: str
    default: []
author: the croft contributors
"""

EXAMPLES = r"""
- name: Refuse networks that cannot be
  ansible.builtin.assert:
    that: kvm_host_networks | croft.infra.network_problems(vlans=kvm_host_bridge_vlans) | length == 0
"""

RETURN = r"""
_value:
  description: One line each; nothing when all is well.
  type: list
  elements: str
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils.host_networks import (
    network_of,
    problems,
    vlan_problems,
)


def network_problems(networks: Iterable[Mapping[str, Any]], vlans: Iterable[str] = ()) -> list[str]:
    """Return what is wrong with ``networks`` and ``vlans``, one line each."""
    return [*problems(network_of(one) for one in networks), *vlan_problems(vlans)]


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"network_problems": network_problems}
