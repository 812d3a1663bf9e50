# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin of live migrations: runs the module, and tells how far it is when that takes longer."""

from __future__ import annotations

from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible_collections.croft.infra.plugins.action import live_migration

MOVES = [
    {"name": "web1", "target": "kvm2", "address": "10.0.0.12"},
    {"name": "app1", "target": "kvm2", "address": "10.0.0.12"},
]
STARTED = {"changed": True, "job_file": "/run/croft/jobs/j.json"}
DONE = {
    "state": "done",
    "source": "kvm1",
    "target": "kvm2",
    "total_ms": 2000,
    "downtime_ms": 100,
    "transferred_mib": 50,
}
MODULE, PROGRESS = "croft.infra.live_migration", "croft.infra.migration_progress"


class Call:
    """The action with modules in place that answer what they are told; what was shown, asked and waited."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: dict[str, Any], check: bool = False) -> None:
        self.shown: list[str] = []
        self.warned: list[str] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._answers = list(answers)
        self.task = MagicMock(async_val=0, check_mode=check)
        self.task.args = {"moves": MOVES, "timeout": 30}
        connection = MagicMock()
        self.action = live_migration.ActionModule(
            self.task, connection, MagicMock(check_mode=check), MagicMock(), MagicMock(), MagicMock()
        )
        monkeypatch.setattr(live_migration.Display, "display", lambda _display, text: self.shown.append(text))
        monkeypatch.setattr(live_migration.Display, "warning", lambda _display, text: self.warned.append(text))
        monkeypatch.setattr(self.action, "_execute_module", self._module)

    def _module(self, name: str, module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        assert task_vars == {"inventory_hostname": "kvm1"}
        self.asked.append((name, dict(module_args)))
        return self._answers.pop(0)

    def run(self, **arguments: Any) -> dict[str, Any]:
        self.task.args = {**self.task.args, **arguments}
        outcome: dict[str, Any] = self.action.run(task_vars={"inventory_hostname": "kvm1"})
        assert self._answers == []
        return outcome


def left(mib: int, total: int = 100) -> dict[str, Any]:
    return {"result": None, "progress": [{"name": "web1", "remaining_mib": mib, "total_mib": total, "iteration": 1}]}


def over(**result: Any) -> dict[str, Any]:
    return {"result": result, "progress": []}


@pytest.mark.parametrize("check", [True, False])
def test_without_moves_nothing_is_called(monkeypatch: pytest.MonkeyPatch, check: bool) -> None:
    call = Call(monkeypatch, check=check)
    outcome = call.run(moves=[])
    assert (outcome["changed"], outcome["migrations"]) == (False, [])
    assert (call.asked, call.shown) == ([], [])


def test_check_mode_asks_the_module_and_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    call = Call(monkeypatch, {"changed": True, "migrations": []}, check=True)
    assert call.run()["changed"]
    ((name, arguments),) = call.asked
    assert (name, arguments["moves"]) == (MODULE, MOVES)


def test_what_ends_soon_is_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    migrations = [{"name": "web1", **DONE, "remark": "its disk was left"}]
    call = Call(monkeypatch, {"changed": True, "migrations": migrations})
    assert call.run(bandwidth_mib=50) == {"changed": True, "migrations": migrations}
    assert call.shown == ["web1: kvm1 > kvm2 in 2.0 s, down for 100 ms, 50 MiB"]
    assert call.warned == ["web1: its disk was left"]
    ((_name, arguments),) = call.asked
    assert (arguments["bandwidth_mib"], arguments["mode"], arguments["copy_disks"]) == (50, "precopy", False)
    assert "uri" not in arguments


def test_what_takes_longer_says_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    migrations = [{"name": "web1", **DONE}, {"name": "app1", **DONE}]
    # A migration that has not begun has no size yet.
    call = Call(monkeypatch, STARTED, left(0, 0), left(70), left(20), over(changed=True, migrations=migrations))
    outcome = call.run(progress_interval=3)
    assert outcome == {"changed": True, "migrations": migrations}
    assert call.shown == [
        "kvm1: web1: 70 of 100 MiB left",
        "kvm1: web1: 20 of 100 MiB left",
        "web1: kvm1 > kvm2 in 2.0 s, down for 100 ms, 50 MiB",
        "app1: kvm1 > kvm2 in 2.0 s, down for 100 ms, 50 MiB",
    ]
    assert [name for name, _asked in call.asked] == [MODULE] + [PROGRESS] * 4
    for _name, asked in call.asked[1:]:
        assert asked == {"names": ["web1", "app1"], "job_file": STARTED["job_file"], "wait": 3}


def test_the_connection_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    call = Call(monkeypatch, STARTED, over(changed=False, migrations=[]))
    call.run(uri="test:///default")
    assert [asked["uri"] for _name, asked in call.asked] == ["test:///default"] * 2


def test_how_a_failed_one_ended_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = {"name": "app1", "state": "failed", "source": "kvm1", "target": "kvm2", "reason": "canceled"}
    msg = "app1: still on kvm1: canceled"
    result = {"failed": True, "msg": msg, "changed": True, "migrations": [{"name": "web1", **DONE}, failed]}
    call = Call(monkeypatch, STARTED, over(**result))
    assert call.run() == result
    assert call.shown[-1] == msg


@pytest.mark.parametrize(
    "answers",
    [
        [{"failed": True, "msg": "no connection"}],
        [{"msg": "no connection"}],
        [STARTED, {"failed": True, "msg": "no connection"}],
        [STARTED, {"unreachable": True, "msg": "no connection"}],
        [STARTED, over(failed=True, msg="no connection")],
    ],
)
def test_what_fails_on_the_way_fails_the_task(monkeypatch: pytest.MonkeyPatch, answers: list[dict[str, Any]]) -> None:
    call = Call(monkeypatch, *answers)
    outcome = call.run()
    assert outcome["failed"]
    assert outcome["msg"] == "no connection"


def test_refusals_come_through(monkeypatch: pytest.MonkeyPatch) -> None:
    problems = ["web1 to kvm2: there is no such VM on this host"]
    call = Call(monkeypatch, STARTED, over(failed=True, msg="Nothing was moved:", problems=problems))
    outcome = call.run()
    assert outcome["problems"] == problems
    assert call.shown == []
