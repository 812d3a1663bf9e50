# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action of virtual_machines: user data goes to the module apart, merged, or not at all."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import MagicMock

from ansible_collections.croft.infra.plugins.action import virtual_machines

WEB: dict[str, Any] = {"name": "web1", "vcpus": 1, "memory_mib": 128}


def run(**arguments: Any) -> tuple[dict[str, Any], Any]:
    task = MagicMock(async_val=0, check_mode=False, diff=False, args=arguments)
    plugin = virtual_machines.ActionModule(task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock())
    plugin._execute_module = MagicMock(return_value={"changed": True})
    return plugin.run(task_vars={}), plugin._execute_module


def test_user_data_goes_apart_and_as_one_text() -> None:
    entry = {**WEB, "user_data": {"runcmd": ["true"]}}
    result, execute = run(virtual_machines=[entry], user_data={"packages": ["vim"]}, pool="x")
    assert result["changed"]
    arguments = execute.call_args.kwargs["module_args"]
    assert arguments["virtual_machines"] == [WEB]
    assert json.loads(arguments["user_data"]) == {"web1": {"packages": ["vim"], "runcmd": ["true"]}}
    assert arguments["pool"] == "x"


def test_without_user_data_there_is_nothing_more() -> None:
    _result, execute = run(virtual_machines=[WEB], user_data={})
    assert execute.call_args.kwargs["module_args"] == {"virtual_machines": [WEB]}


def test_what_is_wrong_is_told_before_the_host_is_touched() -> None:
    result, execute = run(virtual_machines=[{**WEB, "user_data": {"runcmd": 1, "password": "x"}}])
    assert result["failed"]
    assert result["msg"].splitlines()[0] == "2 problems, nothing was changed:"
    assert execute.call_count == 0
