# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Its documentation is in plugins/modules/swarm_stacks.py: ansible-doc has no documents for action plugins.
"""Adapter: hands the facts of all nodes to the module, and runs it on the one manager that speaks for the swarm."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.vars import transform_to_native_types
from ansible_collections.croft.infra.plugins.action.swarm_plan import facts_of
from ansible_collections.croft.infra.plugins.plugin_utils.swarm import cluster_host, task_nodes

NO_SPEAKER = (
    "swarm: no host of this run is a manager of a swarm that has its quorum; run role docker_swarm, or run on its "
    "managers too"
)


class ActionModule(ActionBase):  # type: ignore[misc]
    """Skip every host but the manager that speaks for the swarm."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        task_vars = task_vars or {}
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        hosts = transform_to_native_types(arguments.pop("hosts", []))
        facts = facts_of(hosts, task_vars["hostvars"], arguments.pop("facts", "__swarm_stacks_facts"))
        speaker = cluster_host(facts)
        if not speaker:
            result.update(failed=True, changed=False, msg=NO_SPEAKER)
            return result
        if task_vars["inventory_hostname"] != speaker:
            result.update(skipped=True, changed=False)
            return result
        # Apart, for a module to keep them out of logs and results.
        arguments["stacks"] = [dict(stack) for stack in transform_to_native_types(arguments.get("stacks", []))]
        arguments["secrets"] = {stack.get("name"): stack.pop("secrets", None) or {} for stack in arguments["stacks"]}
        arguments["nodes"] = task_nodes(facts, facts[speaker] or {})
        told: dict[str, Any] = self._execute_module(module_args=arguments, task_vars=task_vars)
        result.update(told)
        return result
