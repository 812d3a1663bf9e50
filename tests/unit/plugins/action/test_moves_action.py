# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin of moves: what it returns, says and refuses."""

from __future__ import annotations

from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleError
from ansible_collections.croft.infra.plugins.action import moves as action

CAPACITY = {"sockets": 2, "cores": 16, "threads": 32, "memory_mib": 65536, "disk_gib": 1000}
WANTED = [{"name": name, "vcpus": 1, "memory_mib": 1024, "disk_gib": 10} for name in ("app1", "web1", "web2")]


def facts(*names: str, **more: Any) -> dict[str, Any]:
    there = {"uuid": "x", "vcpus": 1, "memory_mib": 1024, "disk_gib": 10.0, "state": "running", "managed": True}
    running = {"virtual_machines": [{**there, "name": name} for name in names]}
    return {
        "croft_capacity": CAPACITY,
        "host_reserved": {"cpus": 1, "memory_mib": 1024},
        "croft_host_facts": running,
    } | more


HOSTVARS = {
    "kvm1": facts("web1", "web2", ansible_host="192.0.2.1"),
    "kvm2": facts("app1", ansible_host="192.0.2.2", kvm_host_address="10.0.0.12"),
    "kvm3": facts(),
}


def run(hostvars: Any = None, **arguments: Any) -> dict[str, Any]:
    task = MagicMock(async_val=0, check_mode=False, diff=False)
    task.args = {"hosts": ["kvm1", "kvm2", "kvm3"], "virtual_machines": WANTED, **arguments}
    plugin = action.ActionModule(task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock())
    result: dict[str, Any] = plugin.run(task_vars={"hostvars": HOSTVARS if hostvars is None else hostvars})
    return result


def test_waves_are_addressed_by_source() -> None:
    targets = {"web1": "kvm2", "app1": "kvm3", "web2": "kvm3"}
    result = run(move=[{"name": name, "target": target} for name, target in targets.items()])
    assert not result.get("failed")
    assert result["changed"] is False
    (wave,) = result["waves"]
    # What libvirt is reached by: the address that the host's certificate has, else Ansible's, else the name.
    assert wave == {
        "kvm1": [
            {"name": "web1", "target": "kvm2", "address": "10.0.0.12"},
            {"name": "web2", "target": "kvm3", "address": "kvm3"},
        ],
        "kvm2": [{"name": "app1", "target": "kvm3", "address": "kvm3"}],
    }
    assert (result["remarks"], result["problems"]) == ([], [])


@pytest.mark.parametrize(
    ("own", "address"),
    [
        ({"kvm_host_address": "10.0.0.1", "ansible_host": "192.0.2.1"}, "10.0.0.1"),
        ({"kvm_host_address": "", "ansible_host": "192.0.2.1"}, "192.0.2.1"),
        ({"ansible_host": "192.0.2.1"}, "192.0.2.1"),
        ({}, "kvm1"),
        (None, "kvm1"),
    ],
)
def test_the_address_of_a_target(own: dict[str, Any] | None, address: str) -> None:
    step = {"vm": "a", "from": "kvm2", "to": "kvm1"}
    (wave,) = action.addressed([[step]], {} if own is None else {"kvm1": own})
    assert wave == {"kvm2": [{"name": "a", "target": "kvm1", "address": address}]}


def test_waves_stay_in_order() -> None:
    steps = [{"vm": name, "from": "kvm1", "to": "kvm2"} for name in "abc"]
    waves = action.addressed([steps[:2], steps[2:]], {})
    assert [[move["name"] for move in wave["kvm1"]] for wave in waves] == [["a", "b"], ["c"]]
    assert action.addressed([], {}) == []


def test_a_host_is_emptied_and_what_stays_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    hostvars = {**HOSTVARS, "kvm1": facts("web1", "web2", ansible_host="192.0.2.1")}
    hostvars["kvm1"]["croft_host_facts"]["virtual_machines"][1]["state"] = "stopped"
    result = run(hostvars, drain="kvm1", storage_layout="centralized")
    assert [list(wave) for wave in result["waves"]] == [["kvm1"]]
    assert [move["name"] for move in result["waves"][0]["kvm1"]] == ["web1"]
    assert result["remarks"] == ["web2: is stopped and stays on kvm1"]
    assert "web2: is stopped and stays on kvm1" in capsys.readouterr().out


def test_nothing_to_move_is_no_failure() -> None:
    result = run(drain="kvm3")
    assert (result.get("failed"), result["waves"]) == (None, [])


@pytest.mark.parametrize(
    ("told", "clustered"), [({"clustered": False}, False), ({"clustered": True}, True), ({}, True)]
)
def test_a_cluster_is_asked_where_there_may_be_one(told: dict[str, bool], *, clustered: bool) -> None:
    host = facts()
    host["croft_host_facts"].update(told)
    assert run({**HOSTVARS, "kvm3": host}, drain="kvm3")["clustered"] is clustered


def test_problems_all_at_once() -> None:
    result = run(move=["nobody", {"name": "web1", "target": "kvm1"}, {"to": "kvm2"}])
    assert result["failed"]
    assert "waves" not in result
    assert [line.partition(":")[0] for line in result["problems"]] == ["move[2]", "nobody", "web1"]
    assert result["msg"].splitlines() == ["Nothing is moved:", *result["problems"]]


def test_an_empty_wish_is_a_problem() -> None:
    result = run(move=[])
    assert result["failed"]
    assert result["problems"] == ["move: names no VM; give a list of names, or of mappings with name and target"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "one of the following is required: move, drain"),
        ({"move": ["web1"], "drain": "kvm1"}, "mutually exclusive"),
    ],
)
def test_either_vms_or_a_host(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(AnsibleError, match=said):
        run(**arguments)
