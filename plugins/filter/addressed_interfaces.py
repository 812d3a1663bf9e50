# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: addressed_interfaces
short_description: Name the network interfaces of a host that carry an IP address
description:
  - Reads the facts of M(ansible.builtin.setup). Link-local IPv6 addresses do not count, every interface has one.
options:
  _input:
    description: The host's facts, with the subset C(network) in them.
    type: dict
    required: true
author: the croft contributors
"""

EXAMPLES = r"""
- name: Refuse to plug the host's own interface into a bridge
  ansible.builtin.assert:
    that: "{{ bridge_port not in (ansible_facts | croft.infra.addressed_interfaces) }}"
"""

RETURN = r"""
_value:
  description: Names of the interfaces, sorted.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def addressed_interfaces(facts: Mapping[str, Any]) -> list[str]:
    """Return the names of the interfaces in ``facts`` that carry an IPv4 or a routable IPv6 address."""
    if not isinstance(facts, Mapping):
        raise AnsibleFilterError("croft.infra.addressed_interfaces takes a host's facts, a mapping")
    # Facts keep an interface's details under its name with what Python forbids in names replaced by `_`.
    details = {
        name: facts.get(name.replace("-", "_").replace(".", "_").replace(":", "_"), {})
        for name in facts.get("interfaces", ())
    }
    return sorted(name for name, detail in details.items() if _carries_address(detail))


def _carries_address(detail: Mapping[str, Any]) -> bool:
    return bool(detail.get("ipv4")) or any(entry.get("scope") != "link" for entry in detail.get("ipv6", ()))


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"addressed_interfaces": addressed_interfaces}
