# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Its documentation is in plugins/modules/plan.py: ansible-doc has no documents for action plugins.
"""Adapter of the sizing library: variables in, plan out, files written, a refused plan stops the play."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible.utils.vars import transform_to_native_types
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.artifacts import files
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.container_input import NODE_VARIABLES
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.parse import HOST_VARIABLES
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.plan import make_plan
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.reading import outline
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.terminal import render_terminal
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.text import finding_line
from ansible_collections.croft.infra.plugins.plugin_utils.user_data import prepare

ARGUMENTS: dict[str, dict[str, Any]] = {
    "hosts": {"type": "list", "elements": "str", "required": True},
    # raw: the library says what is wrong with an entry, better than a type conversion would.
    "virtual_machines": {"type": "raw", "required": True},
    "policy": {"type": "raw"},
    "storage_layout": {"type": "raw", "default": "local"},
    "containers": {"type": "raw", "default": []},
    "container_nodes": {"type": "list", "elements": "str", "default": []},
    "directory": {"type": "path"},
    "gate": {"type": "bool", "default": True},
    "today": {"type": "str"},
}


class ActionModule(ActionBase):  # type: ignore[misc]
    """Run the plan on the controller; no host is touched, in check mode and out of it."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, given = self.validate_argument_spec(ARGUMENTS)
        arguments = transform_to_native_types(given)
        hosts: list[str] = arguments["hosts"]
        hostvars = (task_vars or {}).get("hostvars", {})
        plan, problems = make_plan(
            hosts,
            host_variables(hosts, hostvars),
            arguments["virtual_machines"],
            policy=arguments["policy"],
            storage_layout=arguments["storage_layout"],
            today=judged_on(arguments["today"]),
            containers=arguments["containers"],
            nodes=host_variables(arguments["container_nodes"], hostvars, NODE_VARIABLES),
        )
        problems = [
            *problems,
            *user_data_problems(given["virtual_machines"], hosts, (task_vars or {}).get("hostvars", {})),
        ]
        fails = bool(problems) or (arguments["gate"] and plan["verdict"] == "refused")
        Display().display(render_terminal(plan, refusals=not fails))
        if arguments["directory"]:
            write_files(Path(arguments["directory"]), files(plan))
        result["changed"] = False
        # Input that cannot be read gives no plan to go on with, so it fails without a gate as well.
        if problems:
            return _failed(result, f"The plan cannot be made, {_count(problems, 'problem')}", problems)
        if fails:
            refusals = [finding_line(finding) for finding in plan["findings"] if finding["level"] == "deny"]
            return _failed(result, f"The plan is refused, {_count(refusals, 'reason')}", refusals)
        result["plan"] = plan
        # As a statistic of the run its outline is also among the artifacts that ansible-runner and AWX hand on.
        result["ansible_stats"] = {"data": {"croft_plan": outline(plan)}, "per_host": False, "aggregate": False}
        return result


def user_data_problems(entries: Any, hosts: list[str], hostvars: Mapping[str, Any]) -> list[str]:
    """What is wrong with the user data of the VMs, whichever host's defaults it goes over."""
    entries = transform_to_native_types(entries, redact=False)
    defaults: list[Any] = []
    for host in hosts:
        own = transform_to_native_types(hostvars.get(host, {}).get("virtual_machines_user_data"), redact=False)
        defaults += [] if own in defaults else [own]
    return list(dict.fromkeys(line for one in defaults for line in prepare(entries, one).problems))


def _failed(result: dict[str, Any], head: str, lines: list[str]) -> dict[str, Any]:
    """The result without the plan: a callback prints all of a failed result, and would bury the lines under it."""
    result.update(failed=True, msg="\n".join([f"{head}:", *lines]))
    return result


def _count(lines: list[str], thing: str) -> str:
    return f"{len(lines)} {thing}{'' if len(lines) == 1 else 's'}"


def judged_on(given: str | None) -> date:
    try:
        return date.fromisoformat(given) if given else date.today()
    except ValueError:
        raise AnsibleActionFail(f"today: is '{given}', not a date; give it as YYYY-MM-DD") from None


def host_variables(
    hosts: list[str], hostvars: Mapping[str, Any], names: tuple[str, ...] = HOST_VARIABLES
) -> dict[str, dict[str, Any]]:
    """The variables of each host that the plan reads, templated and as plain Python; unknown hosts have none."""
    found: dict[str, dict[str, Any]] = {}
    for host in hosts:
        own = hostvars.get(host, {})
        found[host] = {}
        for name in names:
            if name in own:
                try:
                    found[host][name] = transform_to_native_types(own[name])
                except AnsibleError as error:
                    raise AnsibleActionFail(f"hosts[{host}].{name}: cannot be read: {error}") from error
    return found


def write_files(directory: Path, contents: Mapping[str, str]) -> None:
    """Write each file whole or not at all, mode 0644: a reader beside us never sees half a plan."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            handle, temporary = tempfile.mkstemp(dir=directory, prefix=f".{name}.")
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(content)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(directory / name)
    except OSError as error:
        raise AnsibleActionFail(f"directory: cannot write the plan to {directory}: {error.strerror}") from error
