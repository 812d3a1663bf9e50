# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls the module of the same name in short turns, and shows after each how far the guests are.

A module cannot speak while it runs; an hour of silence is what people stop with Ctrl-C.
"""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.croft.infra.plugins.module_utils.guests import WAYS, complaint, progress

display = Display()
_LONGEST_TURN = 30


class ActionModule(ActionBase):  # type: ignore[misc]
    """See modules/guests_ready.py for the documentation."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, given = self.validate_argument_spec(
            {
                "names": {"type": "list", "elements": "str", "required": True},
                "ready": {"type": "str", "choices": list(WAYS), "default": "either"},
                "timeout": {"type": "int", "default": 180},
                "wait": {"type": "int", "default": 10},
                "uri": {"type": "str"},
            }
        )
        if self._task.check_mode:
            text = "check mode: nothing was started, so nothing is waited for"
            return {**result, "changed": False, "skipped": True, "msg": text}
        if not given["names"]:
            return {**result, "changed": False, "ready": [], "waiting": [], "waited": 0}
        host = (task_vars or {}).get("inventory_hostname", "this host")
        return {**result, **self._wait(host, given, task_vars or {})}

    def _wait(self, host: str, given: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        arguments = {key: given[key] for key in ("names", "ready", "uri") if given.get(key) is not None}
        timeout, turn = given["timeout"], max(1, given["wait"])
        waited = 0
        while True:
            arguments["wait"] = max(0, min(turn, timeout - waited))
            seen = self._execute_module("croft.infra.guests_ready", module_args=arguments, task_vars=task_vars)
            if seen.get("failed") or "waiting" not in seen:
                return {**seen, "failed": True}
            # A turn that ended early counts as one second at least: time-outs are counted, the clock is not asked.
            waited += max(1, seen["waited"])
            # Each turn costs the host a start of the module, which guests that boot on the same CPUs wait for.
            turn = max(turn, min(_LONGEST_TURN, turn + turn // 2 + 1))
            result = {"changed": False, "ready": seen["ready"], "waiting": seen["waiting"], "waited": waited}
            display.display(progress(host, len(given["names"]), seen["waiting"], waited))
            if not seen["waiting"]:
                return result
            if waited >= timeout or not any(guest["running"] for guest in seen["waiting"]):
                return {**result, "failed": True, "msg": complaint(seen["waiting"], waited)}
