# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin of a repair: what it returns, says and refuses."""

from __future__ import annotations

from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible_collections.croft.infra.plugins.action import repair as action

CAPACITY = {"sockets": 2, "cores": 16, "threads": 32, "memory_mib": 65536, "disk_gib": 1000}
NAMES = [f"web{i:02}" for i in range(11)]
WANTED = [{"name": name, "vcpus": 1, "memory_mib": 1024, "disk_gib": 10} for name in NAMES]


def facts(names: list[str]) -> dict[str, Any]:
    there = {"uuid": "x", "vcpus": 1, "memory_mib": 1024, "disk_gib": 10.0, "state": "running", "managed": True}
    own = {"croft_capacity": CAPACITY, "host_reserved": {"cpus": 1, "memory_mib": 1024}}
    return {**own, "croft_host_facts": {"virtual_machines": [{**there, "name": name} for name in names]}}


def run(hostvars: Any, **arguments: Any) -> dict[str, Any]:
    task = MagicMock(async_val=0, check_mode=False, diff=False)
    task.args = {"hosts": ["kvm1", "kvm2"], "virtual_machines": WANTED, **arguments}
    plugin = action.ActionModule(task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock())
    return plugin.run(task_vars={"hostvars": hostvars})


def test_the_steps_are_returned_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    result = run({"kvm1": facts(NAMES), "kvm2": facts([])})
    assert not result.get("failed")
    assert result["changed"] is False
    moved = (1024 + 10240) << 20
    step = {"vm": "web00", "from": "kvm1", "to": "kvm2", "memory_mib": 1024, "disk_gib": 10.0, "bytes": moved}
    assert result["repair"]["steps"] == [step]
    assert (result["repair"]["bytes"], result["repair"]["proved"]) == (moved, True)
    said = capsys.readouterr().out
    assert "Repair of 1 refusal: 1 live migration, no fewer would do; 11 GiB to move" in said
    assert "1. web00: kvm1 > kvm2  (1024 MiB and 10 GiB of disk)" in said


def test_a_legal_cluster_and_one_without_a_repair(capsys: pytest.CaptureFixture[str]) -> None:
    assert run({"kvm1": facts(NAMES[:5]), "kvm2": facts(NAMES[5:])})["repair"]["verdict"] == "legal"
    assert "nothing is broken" in capsys.readouterr().out
    made = run({"kvm1": facts(NAMES)}, hosts=["kvm1"])["repair"]
    assert (made["verdict"], made["proved"]) == ("none", True)
    said = capsys.readouterr().out
    assert "there is no legal order of live migrations" in said
    assert "there is no other host" in said


def test_problems_all_at_once() -> None:
    hostvars = {"kvm1": facts([]), "kvm2": {"croft_capacity": CAPACITY}}
    result = run(hostvars)
    assert result["failed"]
    assert "host kvm2: was not read" in result["msg"]
    result = run(hostvars, virtual_machines=[{"name": "x"}], storage_layout="nfs")
    assert len(result["msg"].splitlines()) == 1 + 4


def test_the_waves_are_addressed() -> None:
    hostvars = {"kvm1": facts(NAMES), "kvm2": facts([]) | {"ansible_host": "192.0.2.2"}}
    result = run(hostvars)
    assert result["waves"] == [{"kvm1": [{"name": "web00", "target": "kvm2", "address": "192.0.2.2"}]}]
    assert [[step["vm"] for step in wave] for wave in result["repair"]["waves"]] == [["web00"]]
    assert run({"kvm1": facts(NAMES[:5]), "kvm2": facts(NAMES[5:])})["waves"] == []
