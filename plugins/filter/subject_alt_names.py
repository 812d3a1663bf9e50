# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: subject_alt_names
short_description: Write names and addresses as a certificate's subject alternative names
description:
  - Gives each entry the kind that it is of, C(DNS) or C(IP), and leaves out what is there twice.
options:
  _input:
    description: Host names and IP addresses, version 4 or 6.
    type: list
    elements: str
    required: true
author: the croft contributors
"""

EXAMPLES = r"""
- name: Name a host and its address
  ansible.builtin.debug:
    msg: "{{ ['kvm1', '10.99.0.11'] | croft.infra.subject_alt_names }}"
  # ['DNS:kvm1', 'IP:10.99.0.11']
"""

RETURN = r"""
_value:
  description: The alternative names as community.crypto takes them.
  type: list
  elements: str
"""

import ipaddress
from collections.abc import Callable, Iterable
from typing import Any

from ansible.errors import AnsibleFilterError


def subject_alt_names(names: Iterable[str]) -> list[str]:
    """Return ``DNS:`` and ``IP:`` entries in the order given, without doubles."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise AnsibleFilterError(f"croft.infra.subject_alt_names takes a list of names and addresses, not {names!r}")
    return list(dict.fromkeys(_entry(str(name)) for name in names))


def _entry(name: str) -> str:
    try:
        return f"IP:{ipaddress.ip_address(name)}"
    except ValueError:
        return f"DNS:{name}"


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"subject_alt_names": subject_alt_names}
