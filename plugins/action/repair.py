# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Its documentation is in plugins/modules/repair.py: ansible-doc has no documents for action plugins.
"""Adapter of the sizing library's repair: variables and facts in, live migrations in order out."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible.utils.vars import transform_to_native_types
from ansible_collections.croft.infra.plugins.action.moves import addressed
from ansible_collections.croft.infra.plugins.action.plan import ARGUMENTS as PLAN_ARGUMENTS
from ansible_collections.croft.infra.plugins.action.plan import host_variables, judged_on
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.repair_plan import make_repair, render

ARGUMENTS = {key: value for key, value in PLAN_ARGUMENTS.items() if key not in ("directory", "gate")}


class ActionModule(ActionBase):  # type: ignore[misc]
    """Run on the controller; no host is touched, in check mode and out of it."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(ARGUMENTS)
        arguments = transform_to_native_types(arguments)
        hosts: list[str] = arguments["hosts"]
        made, problems = make_repair(
            hosts,
            host_variables(hosts, (task_vars or {}).get("hostvars", {})),
            arguments["virtual_machines"],
            policy=arguments["policy"],
            storage_layout=arguments["storage_layout"],
            today=judged_on(arguments["today"]),
        )
        result["changed"] = False
        if made is None:
            count = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
            result.update(failed=True, msg="\n".join([f"The repair cannot be made, {count}:", *problems]))
            return result
        Display().display(render(made))
        result["repair"] = made
        result["waves"] = addressed(made["waves"], (task_vars or {}).get("hostvars", {}))
        return result
