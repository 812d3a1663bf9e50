# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible_collections.croft.infra.plugins.action import guests_ready

WAITS = {"name": "b", "running": True, "why": "agent: not connected", "last_line": "Booting"}
OFF = {"name": "b", "running": False, "why": "is stopped", "last_line": None}


class Call:
    """The action with a module in place that answers what it is told, and what was shown and asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answers: list[dict[str, Any]], *, check: bool = False) -> None:
        self.shown: list[str] = []
        self.asked: list[dict[str, Any]] = []
        self._answers = answers
        task = MagicMock(async_val=0, check_mode=check)
        task.args = {"names": ["a", "b"], "timeout": 20, "wait": 5}
        play = MagicMock(check_mode=check)
        self.action = guests_ready.ActionModule(task, MagicMock(), play, MagicMock(), MagicMock(), MagicMock())
        monkeypatch.setattr(guests_ready.display, "display", self.shown.append)
        monkeypatch.setattr(self.action, "_execute_module", self._module)

    def _module(self, name: str, module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        assert name == "croft.infra.guests_ready"
        self.asked.append(dict(module_args))
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    def run(self) -> dict[str, Any]:
        outcome: dict[str, Any] = self.action.run(task_vars={"inventory_hostname": "kvm1"})
        return outcome


def turn(ready: list[str], *waiting: dict[str, Any], waited: int = 5) -> dict[str, Any]:
    return {"ready": ready, "waiting": list(waiting), "waited": waited}


def test_it_asks_until_all_are_up(monkeypatch: pytest.MonkeyPatch) -> None:
    call = Call(monkeypatch, [turn(["a"], WAITS, waited=2), turn(["a"], WAITS), turn(["a", "b"], waited=3)])
    outcome = call.run()
    assert not outcome.get("failed")
    assert not outcome["changed"]
    assert call.shown == [
        "kvm1: 1 of 2 guests are up, waiting for b (2 s)",
        "kvm1: 1 of 2 guests are up, waiting for b (7 s)",
        "kvm1: 2 of 2 guests are up (10 s)",
    ]
    assert [asked["wait"] for asked in call.asked] == [5, 8, 13]


def test_it_gives_up_in_the_end_and_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    call = Call(monkeypatch, [turn(["a"], WAITS)])
    outcome = call.run()
    assert outcome["failed"]
    assert len(call.asked) == 4
    assert outcome["msg"] == (
        "1 guest is not up after 20 s:\n"
        "- b: agent: not connected; its console said last: \"Booting\"; look with 'virsh console b'"
    )


def test_turns_that_end_at_once_are_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    call = Call(monkeypatch, [turn(["a"], WAITS, waited=0)])
    assert call.run()["failed"]
    assert len(call.asked) == 20


def test_it_does_not_wait_for_what_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    call = Call(monkeypatch, [turn(["a"], OFF, waited=0)])
    assert call.run()["failed"]
    assert len(call.asked) == 1


def test_a_module_that_fails_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = Call(monkeypatch, [{"failed": True, "msg": "no connection"}]).run()
    assert outcome["failed"]
    assert outcome["msg"] == "no connection"


def test_check_mode_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    call = Call(monkeypatch, [turn([])], check=True)
    outcome = call.run()
    assert outcome["skipped"]
    assert "nothing is waited for" in outcome["msg"]
    assert call.asked == []


def test_no_guests_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    call = Call(monkeypatch, [turn([])])
    call.action._task.args = {"names": []}
    outcome = call.run()
    assert (outcome["ready"], call.asked, call.shown) == ([], [], [])
