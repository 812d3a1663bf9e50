# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter of plugin_utils/drill: what the hosts watched is judged, and written as drill.json and drill.html."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.vars import transform_to_native_types
from ansible_collections.croft.infra.plugins.action.plan import write_files
from ansible_collections.croft.infra.plugins.plugin_utils.drill.page import render
from ansible_collections.croft.infra.plugins.plugin_utils.drill.verdict import gather, judge

ARGUMENTS: dict[str, dict[str, Any]] = {
    "kind": {"type": "str", "required": True},
    "host": {"type": "str", "default": ""},
    "vm": {"type": "str", "default": ""},
    "target": {"type": "int", "required": True},
    "follow": {"type": "list", "elements": "dict", "required": True},
    "hosts": {"type": "list", "elements": "str", "required": True},
    "began": {"type": "float", "required": True},
    "inexact": {"type": "float", "default": 0.0},
    "broken_at": {"type": "float"},
    "directory": {"type": "path", "required": True},
}


class ActionModule(ActionBase):  # type: ignore[misc]
    """See modules/drill_report.py for the documentation."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, given = self.validate_argument_spec(ARGUMENTS)
        if self._task.check_mode:
            return {**result, "changed": False, "skipped": True, "msg": "check mode: nothing was broken"}
        given = transform_to_native_types(given)
        hostvars = (task_vars or {}).get("hostvars", {})
        seen = {name: hostvars[name].get("drill_watched") for name in given["hosts"] if name in hostvars}
        watched = {name: transform_to_native_types(own) for name, own in seen.items() if own and "samples" in own}
        if not watched:
            text = "no host told what it saw, so that nothing can be judged; register drill_watch as drill_watched"
            return {**result, "changed": False, "failed": True, "msg": text}
        broken = None if given["broken_at"] is None else (given["host"], given["broken_at"])
        report = judge(given, gather(watched, given["began"], given["inexact"], broken))
        contents = {"drill.json": json.dumps(report, indent=2) + "\n", "drill.html": render(report)}
        write_files(Path(given["directory"]), contents)
        return {**result, "changed": True, "report": report}
