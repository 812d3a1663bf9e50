# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Its documentation is in plugins/modules/moves.py: ansible-doc has no documents for action plugins.
"""Adapter of the sizing library's moves: what somebody asked for in, legal live migrations in waves out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible.utils.vars import transform_to_native_types
from ansible_collections.croft.infra.plugins.action.plan import ARGUMENTS as PLAN_ARGUMENTS
from ansible_collections.croft.infra.plugins.action.plan import host_variables, judged_on
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.moves import Asked, make_moves, read_asked

ARGUMENTS: dict[str, dict[str, Any]] = {
    **{key: value for key, value in PLAN_ARGUMENTS.items() if key not in ("directory", "gate")},
    "move": {"type": "raw"},
    "drain": {"type": "str"},
    "facts": {"type": "list", "elements": "dict"},
}


class ActionModule(ActionBase):  # type: ignore[misc]
    """Run on the controller; no host is touched, in check mode and out of it."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            ARGUMENTS, mutually_exclusive=[("move", "drain")], required_one_of=[("move", "drain")]
        )
        arguments = transform_to_native_types(arguments)
        result["changed"] = False
        hosts: list[str] = arguments["hosts"]
        variables = (task_vars or {}).get("hostvars", {})
        own = host_variables(hosts, variables)
        for read in arguments["facts"] or []:
            own.setdefault(str(read.get("item")), {})["croft_host_facts"] = read
        asked: list[Asked] = []
        problems: list[str] = []
        if arguments["drain"] is None:
            asked, problems = read_asked(arguments["move"])
        made = make_moves(
            hosts,
            own,
            arguments["virtual_machines"],
            asked=asked,
            drained=arguments["drain"],
            policy=arguments["policy"],
            storage_layout=arguments["storage_layout"],
            today_is=judged_on(arguments["today"]),
        )
        problems += made["problems"]
        if problems:
            return {**result, "failed": True, "msg": "\n".join(["Nothing is moved:", *problems]), "problems": problems}
        for line in made["remarks"]:
            Display().display(line)
        if arguments["drain"] is not None:
            facts = own.get(arguments["drain"], {}).get("croft_host_facts", {})
            result["clustered"] = bool(facts.get("clustered", True))
        return {**result, **made, "waves": addressed(made["waves"], variables)}


def addressed(waves: Sequence[Sequence[Mapping[str, Any]]], variables: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each wave by source host: what M(croft.infra.live_migration) takes there."""
    found: list[dict[str, Any]] = []
    for wave in waves:
        by_source: dict[str, Any] = {}
        for step in wave:
            own = variables.get(step["to"], {})
            address = own.get("kvm_host_address") or own.get("ansible_host") or step["to"]
            move = {"name": step["vm"], "target": step["to"], "address": str(address)}
            by_source.setdefault(step["from"], []).append(move)
        found.append(by_source)
    return found
