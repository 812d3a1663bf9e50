# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Its documentation is in plugins/modules/live_migration.py.
"""Runs the module of the same name in the background of the host, and shows how many MiB are left.

A module cannot speak while it runs, and a migration takes as long as it takes.
"""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.croft.infra.plugins.module_utils.migration import sentence
from ansible_collections.croft.infra.plugins.module_utils.migration_arguments import ARGUMENTS

# Seconds between two tellings. The host waits, which costs it less than to be asked often, and its end is seen at once.
PAUSE = 10
# Beyond the time-outs of all migrations one after the other, for what comes before and after them.
MARGIN = 120


class ActionModule(ActionBase):  # type: ignore[misc]
    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, given = self.validate_argument_spec({**ARGUMENTS, "uri": {"type": "str"}})
        variables = task_vars or {}
        arguments = {key: value for key, value in given.items() if value is not None}
        if not given["moves"]:
            return {**result, "changed": False, "migrations": []}
        if self._task.check_mode:
            done = self._execute_module("croft.infra.live_migration", module_args=arguments, task_vars=variables)
            return {**result, **done}
        return {**result, **self._watched(arguments, given, variables)}

    def _watched(self, arguments: dict[str, Any], given: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        host = variables.get("inventory_hostname", "this host")
        self._task.async_val = given["timeout"] * len(given["moves"]) + MARGIN
        started = self._execute_module(
            "croft.infra.live_migration", module_args=arguments, task_vars=variables, wrap_async=True
        )
        self._task.async_val = 0
        if "results_file" not in started:
            return {**started, "failed": True}
        asked = {"names": [move["name"] for move in given["moves"]], "job_file": started["results_file"], "wait": PAUSE}
        if given.get("uri"):
            asked["uri"] = given["uri"]
        while True:
            seen = self._execute_module("croft.infra.migration_progress", module_args=asked, task_vars=variables)
            if seen.get("failed") or "result" not in seen:
                return {**seen, "failed": True}
            if seen["result"] is not None:
                break
            for one in (one for one in seen["progress"] if one["total_mib"]):
                Display().display(f"{host}: {one['name']}: {one['remaining_mib']} of {one['total_mib']} MiB left")
        done: dict[str, Any] = seen["result"]
        self._remove_tmp_path(None)
        for one in done.get("migrations") or []:
            Display().display(sentence(one))
        return {
            key: value
            for key, value in done.items()
            if key not in ("started", "finished", "ansible_job_id", "results_file")
        }
