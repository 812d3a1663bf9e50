# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What live_migration takes, for the module and the action plugin of that name."""

from __future__ import annotations

from typing import Any

from ansible_collections.croft.infra.plugins.module_utils.migration import MODES

ARGUMENTS: dict[str, dict[str, Any]] = {
    "moves": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {key: {"type": "str", "required": True} for key in ("name", "target", "address")},
    },
    "copy_disks": {"type": "bool", "default": False},
    "parallel": {"type": "int", "default": 2},
    "connections": {"type": "int", "default": 2},
    "bandwidth_mib": {"type": "int", "default": 0},
    "downtime_ms": {"type": "int", "default": 0},
    "mode": {"type": "str", "choices": list(MODES), "default": "precopy"},
    "timeout": {"type": "int", "default": 600},
    "progress_interval": {"type": "int", "default": 10},
    "maintenance": {"type": "str"},
}
