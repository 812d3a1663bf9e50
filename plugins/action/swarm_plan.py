# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Its documentation is in plugins/modules/swarm_plan.py: ansible-doc has no documents for action plugins.
"""Adapter: the hosts' registered facts in, the swarm's plan out; what speaks against it stops the play."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.vars import transform_to_native_types
from ansible_collections.croft.infra.plugins.plugin_utils.swarm import make_plan

ARGUMENTS: dict[str, dict[str, Any]] = {
    "hosts": {"type": "list", "elements": "str", "required": True},
    "facts": {"type": "str", "default": "__docker_swarm_facts"},
    "removed": {"type": "list", "elements": "str", "default": []},
    "networks": {"type": "list", "elements": "dict", "default": []},
}


def facts_of(hosts: list[str], hostvars: Any, name: str) -> dict[str, dict[str, Any] | None]:
    """What each host registered under this name; None for a host that did not answer."""
    found: dict[str, dict[str, Any] | None] = {}
    for host in hosts:
        told = hostvars.get(host, {}).get(name)
        plain = transform_to_native_types(told) if told else None
        found[host] = plain if plain and "swarm" in plain else None
    return found


class ActionModule(ActionBase):  # type: ignore[misc]
    """Run the plan on the controller; no host is touched, in check mode and out of it."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(ARGUMENTS)
        arguments = transform_to_native_types(arguments)
        facts = facts_of(arguments["hosts"], (task_vars or {}).get("hostvars", {}), arguments["facts"])
        plan, problems = make_plan(facts, removed=arguments["removed"], networks=arguments["networks"])
        result["changed"] = False
        if problems:
            result.update(failed=True, msg="\n".join(["The swarm cannot be made so:", *problems]))
            return result
        result["plan"] = plan
        return result
