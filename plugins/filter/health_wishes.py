# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: which VMs ask to be watched."""

from __future__ import annotations

DOCUMENTATION = r"""
name: health_wishes
author: the croft contributors (@croft)
version_added: "0.1.0"
short_description: The VMs that ask role guest_health to watch them
description:
  - Gives for each VM with C(health) what it wishes to be judged by.
options:
  _input:
    description: The VMs of the inventory, a list, or a mapping by name.
    type: raw
    required: true
"""

EXAMPLES = r"""
asked: "{{ virtual_machines | croft.infra.health_wishes }}"
# => {"web1": ["agent", "watchdog"]}
"""

RETURN = r"""
_value:
  description: VM to its signals, in the order agent, watchdog.
  type: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils.guest_health import SIGNALS
from ansible_collections.croft.infra.plugins.plugin_utils.vm_inventory import entries_of


def health_wishes(wished: Any) -> dict[str, list[str]]:
    entries = [entry for entry in entries_of(wished) if isinstance(entry, Mapping) and entry.get("health")]
    return {str(entry["name"]): [signal for signal in SIGNALS if signal in entry["health"]] for entry in entries}


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"health_wishes": health_wishes}
