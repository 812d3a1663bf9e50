# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls the module of the same name in turns, and shows after each how far the cluster is."""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.croft.infra.plugins.module_utils.ceph_health import (
    ARGUMENTS,
    complaint,
    getting_on,
    progress,
)

REPEAT = 60
display = Display()


class ActionModule(ActionBase):  # type: ignore[misc]
    """See modules/ceph_health.py for the documentation."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, given = self.validate_argument_spec(ARGUMENTS)
        arguments = {name: given[name] for name in ("until", "mons", "osds", "before")}
        waited = idle = told_at = 0
        said = ""
        before: dict[str, Any] | None = None
        while True:
            seen = self._execute_module("croft.infra.ceph_health", module_args=arguments, task_vars=task_vars)
            if seen.get("failed") or "missing" not in seen:
                return {**result, **seen, "failed": True}
            now, lines = seen["seen"], seen["missing"]
            told = {**result, "changed": False, "seen": now, "missing": lines, "waited": waited}
            words = progress(now, lines) if now else f"ceph: {lines[0]}"
            # Silence looks like a hang, and the same line twelve times a minute hides the others.
            if words != said or waited - told_at >= REPEAT:
                display.display(f"{words} ({waited} s)")
                said, told_at = words, waited
            if not lines or self._task.check_mode:
                return told
            if getting_on(before, now):
                idle = 0
            if idle >= given["timeout"]:
                return {**told, "failed": True, "msg": complaint(lines, waited)}
            before = now
            # Turns are counted: the clock of a machine that was paused jumps.
            turn = max(1, given["wait"])
            time.sleep(turn)
            waited += turn
            idle += turn
