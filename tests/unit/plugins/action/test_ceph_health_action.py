# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.action import ceph_health

SEEN = {
    "status": "HEALTH_WARN", "checks": {}, "quorum": ["a"], "pgs": 2, "clean": 1, "degraded": 0.5, "misplaced": 0,
    "recovery_bytes_per_second": 0, "osds": {}, "unsafe": [],
}  # fmt: skip


class Task:
    check_mode = False
    async_val = 0


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[dict[str, Any], list[str]]]:
    """Run the action with the looks that the module would have; the last one repeats itself."""

    def run(*looks: dict[str, Any], check: bool = False, timeout: int = 20) -> tuple[dict[str, Any], list[str]]:
        said: list[str] = []
        left = list(looks)
        action = object.__new__(ceph_health.ActionModule)
        action._task = Task()
        action._task.check_mode = check
        given = {"until": "healthy", "mons": [], "osds": [], "before": None, "timeout": timeout, "wait": 5}
        monkeypatch.setattr(ceph_health.ActionBase, "run", lambda _self, _tmp, _vars: {})
        monkeypatch.setattr(action, "validate_argument_spec", lambda _spec: (None, given), raising=False)
        monkeypatch.setattr(
            action, "_execute_module", lambda *_a, **_k: left.pop(0) if len(left) > 1 else left[0], raising=False
        )
        monkeypatch.setattr(ceph_health.display, "display", said.append)
        monkeypatch.setattr(ceph_health.time, "sleep", lambda _seconds: None)
        return action.run(None, {}), said

    return run


BAD = {"seen": SEEN, "missing": ["A: x"]}
GOOD = {"seen": {**SEEN, "status": "HEALTH_OK", "clean": 2, "degraded": 0}, "missing": []}


def test_it_waits_and_says_so_once(wait: Any) -> None:
    outcome, said = wait(BAD, BAD, GOOD)
    assert not outcome.get("failed")
    assert outcome["waited"] == 10
    assert [line.split(",")[0] for line in said] == ["ceph: HEALTH_WARN", "ceph: HEALTH_OK"]


def test_it_gives_up_with_what_is_missing(wait: Any) -> None:
    outcome, _said = wait(BAD)
    assert outcome["failed"]
    assert outcome["msg"].endswith("- A: x")
    assert outcome["waited"] == 20


def test_recovery_that_gets_on_is_given_time(wait: Any) -> None:
    looks = [{"seen": {**SEEN, "degraded": 0.5 - 0.01 * turn}, "missing": ["A"]} for turn in range(20)]
    outcome, _said = wait(*looks, GOOD)
    assert not outcome.get("failed")
    assert outcome["waited"] == 100


def test_a_check_looks_once(wait: Any) -> None:
    outcome, said = wait(BAD, check=True)
    assert not outcome.get("failed")
    assert len(said) == 1


def test_what_the_module_says_is_passed_on(wait: Any) -> None:
    outcome, _said = wait({"failed": True, "msg": "no cluster"})
    assert (outcome["failed"], outcome["msg"]) == (True, "no cluster")
