# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two actions of a swarm: which facts they read, on which host they work, and that secrets go apart."""

from __future__ import annotations

from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible_collections.croft.infra.plugins.action import swarm_plan, swarm_stacks

NODE = {"id": "n1", "hostname": "a", "role": "manager", "availability": "active", "labels": {}, "ready": True}
CLUSTER = {
    "id": "c",
    "nodes": [{**NODE, "leader": True, "reachable": True, "address": ""}],
    "networks": [],
    "error": "",
}
FACTS = {
    "available": True,
    "reason": "",
    "hostname": "a",
    "addresses": ["10.0.0.1"],
    "kernel": {"vxlan": True, "ip_vs": True, "esp": True},
    "listeners": [],
    "images": ["app:1"],
    "swarm": {"state": "active", "node_id": "n1", "manager": True, "cluster_id": "c", "error": ""},
    "cluster": CLUSTER,
    "wished": {"role": "manager", "address": "10.0.0.1", "availability": "active", "labels": {}},
}
UNREACHABLE = {"unreachable": True, "msg": "no route"}


def run(kind: Any, arguments: dict[str, Any], hostvars: dict[str, Any], host: str = "a") -> tuple[dict[str, Any], Any]:
    task = MagicMock(async_val=0, check_mode=False, diff=False, args=arguments)
    plugin = kind.ActionModule(task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock())
    plugin._execute_module = MagicMock(return_value={"changed": True, "steps": ["x"]})
    return plugin.run(task_vars={"hostvars": hostvars, "inventory_hostname": host}), plugin._execute_module


def test_a_standing_swarm_has_a_plan_without_steps() -> None:
    hostvars = {"a": {"__docker_swarm_facts": FACTS}, "b": {"__docker_swarm_facts": UNREACHABLE}}
    result, _ = run(swarm_plan, {"hosts": ["a", "b"]}, hostvars)
    assert result["changed"] is False
    assert (result["plan"]["manager"], result["plan"]["steps"]) == ("a", [])
    assert result["plan"]["remarks"] == ["b: did not answer and stays as it is"]


def test_problems_fail_with_a_line_each() -> None:
    bad = {**FACTS, "addresses": ["10.0.0.9"]}
    result, _ = run(swarm_plan, {"hosts": ["a"]}, {"a": {"__docker_swarm_facts": bad}})
    assert result["failed"]
    assert result["msg"].splitlines()[1].startswith("a: docker_swarm_address is '10.0.0.1'")


STACKS = [{"name": "shop", "compose": {}, "secrets": {"token": "s3cret"}}]
HOSTVARS = {"a": {"__swarm_stacks_facts": FACTS}, "b": {}}


def test_stacks_go_to_the_manager_with_their_secrets_apart() -> None:
    result, execute = run(swarm_stacks, {"hosts": ["a", "b"], "stacks": STACKS}, HOSTVARS)
    assert result["changed"] is True
    arguments = execute.call_args.kwargs["module_args"]
    assert arguments["secrets"] == {"shop": {"token": "s3cret"}}
    assert "s3cret" not in str(arguments["stacks"])
    asked = {"id": "n1", "role": "manager", "labels": {}}
    assert arguments["nodes"] == {"a": {"ip_vs": True, "listeners": [], "images": ["app:1"], **asked}}
    assert STACKS[0]["secrets"] == {"token": "s3cret"}


def test_other_hosts_are_skipped() -> None:
    result, execute = run(swarm_stacks, {"hosts": ["a", "b"], "stacks": STACKS}, HOSTVARS, host="b")
    assert result["skipped"] is True
    execute.assert_not_called()


@pytest.mark.parametrize(
    "facts", [{}, {"__swarm_stacks_facts": {**FACTS, "cluster": {**CLUSTER, "error": "no leader"}}}]
)
def test_without_a_manager_it_says_so(facts: dict[str, Any]) -> None:
    result, _ = run(swarm_stacks, {"hosts": ["a"], "stacks": STACKS}, {"a": facts})
    assert result["failed"]
    assert "no host of this run is a manager" in result["msg"]
