# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The drill's action plugins: what they hand on, and that nothing is broken where that was not wanted."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.croft.infra.plugins.action import drill_mark, drill_report, drill_request, drill_watch
from sizing_cases import cluster, plan, vm

DATA = Path(__file__).resolve().parents[1] / "plugin_utils/drill/data"
FOLLOW = [
    {"name": "vm1", "from": "kvm2", "planned": "kvm1", "restarts": True, "address": None},
    {"name": "vm2", "from": "kvm1", "planned": None, "restarts": False, "address": None},
]


def action(module: Any, arguments: dict[str, Any], *, check: bool = False) -> Any:
    task = MagicMock(async_val=0, check_mode=check)
    task.args = arguments
    return module.ActionModule(task, MagicMock(), MagicMock(check_mode=check), MagicMock(), MagicMock(), MagicMock())


# --- request ----------------------------------------------------------------------------------------------------------


def requested(allowed: dict[str, Any]) -> dict[str, Any]:
    wished = [vm(f"vm{n}", ha=True, host=f"kvm{n}") for n in (1, 2, 3)]
    policy = {"rules": {"consolidation": {"min": 1, "max": 10}}}
    arguments = {
        "kind": "host_kill",
        "host": "kvm2",
        "lab_nodes": [{"name": "kvm2", "address": "10.99.0.12"}],
        "hosts": ["kvm1", "kvm2", "kvm3"],
        "plan": plan(cluster(3), wished, policy, storage_layout="centralized"),
        "status": (DATA / "crm_mon-ok-pacemaker3.xml").read_text(),
    }
    hostvars: dict[str, Any] = {name: {} for name in ("kvm1", "kvm2", "kvm3")}
    hostvars["kvm2"] = allowed
    outcome: dict[str, Any] = action(drill_request, arguments).run(task_vars={"hostvars": hostvars})
    return outcome


@pytest.mark.parametrize("allowed", [{}, {"drill_allowed": False}, {"drill_allowed": "maybe"}, {"drill_allowed": None}])
def test_a_host_that_is_not_marked_stops_the_play(allowed: dict[str, Any]) -> None:
    outcome = requested(allowed)
    assert outcome["failed"]
    assert outcome["msg"].splitlines()[0] == "The drill does not begin, and nothing was broken:"
    assert outcome["msg"].splitlines()[1].startswith("kvm2: is not marked for drills")
    assert "follow" not in outcome


@pytest.mark.parametrize("allowed", [True, "true"])
def test_a_host_that_is_marked(allowed: Any) -> None:
    outcome = requested({"drill_allowed": allowed})
    assert not outcome.get("failed"), outcome
    assert outcome["victim"] == "kvm2"
    assert [one["name"] for one in outcome["follow"] if one["restarts"]] == ["vm2"]
    assert outcome["lab_nodes"] == [{"name": "kvm2", "address": "10.99.0.12", "state": "powered_off"}]


# --- mark -------------------------------------------------------------------------------------------------------------


def test_the_moment_is_as_exact_as_it_is_known() -> None:
    before = action(drill_mark, {}).run()
    assert before["at"] == before["began"]
    time.sleep(0.02)
    known = action(drill_mark, {"after": before["at"], "finished": before["at"] + 0.01}).run()
    assert known["began"] == pytest.approx(before["at"] + 0.01)
    assert known["inexact"] <= drill_mark.FINISHED_SECONDS
    # One of an earlier drill, and none.
    for finished in ({"finished": before["at"] - 100}, {}):
        unknown = action(drill_mark, {"after": before["at"], **finished}).run()
        assert unknown["began"] == before["at"]
        assert unknown["inexact"] == pytest.approx(unknown["at"] - before["at"])


# --- watch ------------------------------------------------------------------------------------------------------------


class Watch:
    """The action with a host in place that answers what it is told; no guest is asked but by its agent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answers: list[Any], **arguments: Any) -> None:
        self.asked: list[dict[str, Any]] = []
        self._answers = answers
        monkeypatch.setattr(drill_watch, "LEAST_TURN", 0.0)
        given = {"began": time.monotonic() - 1, "follow": FOLLOW, "port": 0, **arguments}
        self.action = action(drill_watch, given, check=arguments.get("check", False))
        monkeypatch.setattr(self.action, "_execute_module", self._module)

    def _module(self, name: str, module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        assert name == "croft.infra.drill_sample"
        self.asked.append(module_args)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    def run(self) -> dict[str, Any]:
        outcome: dict[str, Any] = self.action.run(task_vars={"inventory_hostname": "kvm1"})
        return outcome


def host(agents: dict[str, bool], journal: Any = ()) -> dict[str, Any]:
    return {"now": time.monotonic(), "qemu": [], "journal": list(journal), "agents": agents}


def test_it_watches_until_all_are_back(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = AnsibleConnectionFailure("no route to host")
    said = [{"at": 1.0, "who": "x", "text": "y"}]
    away: Any = {"failed": True, "msg": "no journal"}
    watch = Watch(monkeypatch, [host({"vm2": True}, said), lost, away, host({"vm1": False}), host({"vm1": True}, said)])
    outcome = watch.run()
    assert (outcome["waiting"], outcome["missed"], len(outcome["samples"])) == ([], 2, 3)
    assert [up for _, up in outcome["guests"]["vm1"]] == [False, True]
    assert [up for _, up in outcome["guests"]["vm2"]] == [True]
    # The last sample's journal has all.
    assert [len(sample["journal"]) for sample in outcome["samples"]] == [0, 0, 1]
    assert watch.asked[0]["agents"] == ["vm1", "vm2"]
    assert watch.asked[0]["seconds"] >= 1 + drill_watch.EARLIER


def test_it_gives_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = Watch(monkeypatch, [host({})], timeout=1).run()
    assert outcome["waiting"] == ["vm1"]
    assert not outcome.get("failed")


def test_it_watches_for_the_whole_time_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(monkeypatch, [host({})], follow=FOLLOW[1:], full=True, timeout=2)
    assert watch.run()["waiting"] == []
    assert len(watch.asked) > 1


# --- report -----------------------------------------------------------------------------------------------------------


def reported(tmp_path: Path, watched: Any, *, check: bool = False) -> dict[str, Any]:
    arguments = {
        "kind": "vm_kill",
        "host": "kvm2",
        "vm": "vm1",
        "target": 60,
        "follow": FOLLOW[:1],
        "hosts": ["kvm1", "kvm2", "kvm9"],
        "began": 100.0,
        "directory": str(tmp_path / "new"),
    }
    hostvars = {"kvm1": {"drill_watched": watched}, "kvm2": {}}
    outcome: dict[str, Any] = action(drill_report, arguments, check=check).run(task_vars={"hostvars": hostvars})
    return outcome


def test_the_report_is_written(tmp_path: Path) -> None:
    sample = {"before": 130.0, "after": 131.0, "now": 130.5, "journal": []}
    sample["qemu"] = [{"name": "vm1", "pid": 7, "started": 110.0}]
    guests = {"vm1": [[101.0, False], [120.0, True]]}
    outcome = reported(tmp_path, {"samples": [sample], "guests": guests, "ended": 131.0})
    assert outcome["changed"]
    assert (outcome["report"]["verdict"], outcome["report"]["lines"]) == ("passed", [])
    assert json.loads((tmp_path / "new/drill.json").read_text()) == outcome["report"]
    assert (tmp_path / "new/drill.html").read_text().startswith("<!DOCTYPE html>")


def test_a_drill_that_nobody_saw_is_told(tmp_path: Path) -> None:
    for watched in (None, {"failed": True}, {"skipped": True}):
        outcome = reported(tmp_path, watched)
        assert outcome["failed"]
        assert "no host told what it saw" in outcome["msg"]


def test_check_mode_writes_nothing(tmp_path: Path) -> None:
    assert reported(tmp_path, None, check=True)["skipped"]
    assert list(tmp_path.iterdir()) == []
