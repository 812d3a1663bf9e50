# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Its documentation is in plugins/modules/live_migration.py.
"""Runs the module of the same name, and shows how many MiB are left.

A module cannot speak while it runs, so that it leaves migrations that take longer to the background of its host.
"""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.croft.infra.plugins.module_utils.migration import sentence
from ansible_collections.croft.infra.plugins.module_utils.migration_arguments import ARGUMENTS


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
        done: dict[str, Any] = self._execute_module(
            "croft.infra.live_migration", module_args=arguments, task_vars=variables
        )
        if "job_file" in done:
            done = self._followed(done["job_file"], given, variables)
        for one in done.get("migrations") or []:
            Display().display(sentence(one))
            if one.get("remark"):
                Display().warning(f"{one['name']}: {one['remark']}")
        if "migrations" not in done:
            return {**result, **done, "failed": True}
        return {**result, **done}

    def _followed(self, job_file: str, given: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """What became of migrations in the background."""
        host = variables.get("inventory_hostname", "this host")
        asked = {
            "names": [move["name"] for move in given["moves"]],
            "job_file": job_file,
            "wait": given["progress_interval"],
            **({"uri": given["uri"]} if given.get("uri") else {}),
        }
        while True:
            seen: dict[str, Any] = self._execute_module(
                "croft.infra.migration_progress", module_args=asked, task_vars=variables
            )
            if seen.get("failed") or "result" not in seen:
                return seen
            if seen["result"] is not None:
                done: dict[str, Any] = seen["result"]
                return done
            for one in (one for one in seen["progress"] if one["total_mib"]):
                Display().display(f"{host}: {one['name']}: {one['remaining_mib']} of {one['total_mib']} MiB left")
