# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter of plugin_utils/drill/asking.py: tells all that speaks against a drill, or what is to be watched."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.vars import transform_to_native_types
from ansible_collections.croft.infra.plugins.plugin_utils.drill.asking import prepare
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.values import MISSING, Problems, as_flag

ARGUMENTS: dict[str, dict[str, Any]] = {
    "kind": {"type": "str", "required": True},
    "host": {"type": "str", "default": ""},
    "vm": {"type": "str", "default": ""},
    "unit": {"type": "str", "default": ""},
    "power": {"type": "str", "choices": ["lab", "fencing"], "default": "lab"},
    "lab_nodes": {"type": "list", "elements": "dict", "default": []},
    "hosts": {"type": "list", "elements": "str", "required": True},
    "plan": {"type": "dict", "required": True},
    "status": {"type": "str", "required": True},
}


class ActionModule(ActionBase):  # type: ignore[misc]
    """See modules/drill_request.py for the documentation."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, given = self.validate_argument_spec(ARGUMENTS)
        given = transform_to_native_types(given)
        hostvars = (task_vars or {}).get("hostvars", {})
        touchable = {*given["hosts"], given["host"]} & set(hostvars)
        allowed = {name: _allowed(hostvars[name].get("drill_allowed", MISSING)) for name in touchable}
        found = prepare(given, allowed, given["plan"], given["status"])
        if found["problems"]:
            lines = "\n".join(["The drill does not begin, and nothing was broken:", *found["problems"]])
            return {**result, "changed": False, "failed": True, "msg": lines}
        told = {key: found[key] for key in ("follow", "victim", "lab_nodes")}
        return {**result, "changed": False, **told, "lab_nodes_after": given["lab_nodes"]}


def _allowed(value: Any) -> bool:
    """Only a clear yes is one."""
    return value is not MISSING and as_flag(value, "drill_allowed", Problems()) is True
