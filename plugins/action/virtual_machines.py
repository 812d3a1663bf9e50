# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Its documentation is in plugins/modules/virtual_machines.py: ansible-doc has no documents for action plugins.
"""Adapter: checks and merges the VMs' user data on the controller, and hands it to the module where no log sees it."""

from __future__ import annotations

import json
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.vars import transform_to_native_types
from ansible_collections.croft.infra.plugins.plugin_utils.user_data import prepare


class ActionModule(ActionBase):  # type: ignore[misc]
    """Run the module with the user data apart."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        # What was in a vault must reach the guest as it is.
        arguments = transform_to_native_types(dict(self._task.args), redact=False)
        prepared = prepare(arguments.get("virtual_machines"), arguments.pop("user_data", None))
        if prepared.problems:
            count = "1 problem" if len(prepared.problems) == 1 else f"{len(prepared.problems)} problems"
            lines = "\n".join(f"- {problem}" for problem in prepared.problems)
            result.update(failed=True, changed=False, msg=f"{count}, nothing was changed:\n{lines}")
            return result
        if isinstance(arguments.get("virtual_machines"), list):
            arguments["virtual_machines"] = prepared.entries
        if prepared.user_data:
            arguments["user_data"] = json.dumps(prepared.user_data)
        told: dict[str, Any] = self._execute_module(module_args=arguments, task_vars=task_vars)
        result.update(told)
        return result
