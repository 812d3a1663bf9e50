# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run again, run in check mode, called from other automation: nothing changes, and the plan is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Play = Callable[..., Any]


def test_a_check_predicts_no_change_and_its_calls_do_not_grow_with_the_vms(
    play: Play, lab_inventory: Mapping[str, Any]
) -> None:
    few = [vm for vm in lab_inventory["virtual_machines"] if vm["name"] in ("web1", "web2", "web3")]
    all_of_them = play("site.yml", cmdline="--check --diff")
    some_of_them = play("site.yml", cmdline="--check --diff", virtual_machines=few)
    for run in (all_of_them, some_of_them):
        assert run.rc == 0, run.output
        assert not run.changed
        calls = run.results("croft.infra.virtual_machines")
        assert sorted(call["host"] for call in calls) == ["kvm1", "kvm2", "kvm3"]
    assert all_of_them.module_calls() == some_of_them.module_calls()


def test_the_plan_alone_touches_no_host_and_writes_its_files(play: Play, tmp_path: Path) -> None:
    run = play("playbooks/plan.yml", croft_plan_dir=str(tmp_path / "plan"))
    assert run.rc == 0, run.output
    assert set(run.module_calls()) == {"localhost"}
    names = {path.name for path in (tmp_path / "plan").iterdir()}
    assert names == {"plan.json", "plan.junit.xml", "plan.sarif", "report.html"}
    plan = json.loads((tmp_path / "plan/plan.json").read_text())
    assert plan["verdict"] == "admitted"
    (result,) = run.results("croft.infra.plan")
    assert result["res"]["plan"] == plan


def test_the_plan_is_among_the_artifacts_of_a_runner(play: Play, tmp_path: Path) -> None:
    run = play("playbooks/plan.yml")
    assert run.rc == 0
    (stats,) = [event["event_data"] for event in run.events if event["event"] == "playbook_on_stats"]
    assert stats["artifact_data"]["croft_plan"]["verdict"] == "admitted"
    on_disk = [path for path in (tmp_path / "runs").rglob("*.json") if '"croft_plan"' in path.read_text()]
    assert on_disk
