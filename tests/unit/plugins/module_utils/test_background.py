# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work that outlives the module: real processes, since that is all there is to it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils import background


@pytest.fixture(autouse=True)
def jobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(background, "JOBS", tmp_path / "croft/jobs")
    return tmp_path / "croft/jobs"


def waits_for(path: Path) -> dict[str, Any]:
    while not path.exists():
        time.sleep(0.01)
    return {"changed": True, "session": os.getsid(0)}


def test_the_result_is_there_when_the_work_is_done_and_not_before(tmp_path: Path, capfd: Any) -> None:
    def work() -> dict[str, Any]:
        os.write(1, b"whoever waits for the module's output would wait for this, too")
        return waits_for(tmp_path / "go")

    job = background.start(work)
    assert background.result(job, 0.2) is None
    (tmp_path / "go").touch()
    found = background.result(job, 60)
    assert found is not None
    assert found["changed"]
    # A connection that ends does not take it along.
    assert found["session"] != os.getsid(0)
    assert background.result(job, 0) == found
    assert capfd.readouterr().out == ""


def test_an_error_is_a_result() -> None:
    def work() -> dict[str, Any]:
        raise RuntimeError("no more")

    found = background.result(background.start(work), 60)
    assert found is not None
    assert (found["failed"], found["msg"]) == (True, "RuntimeError('no more')")


def test_nobody_waits_for_one_that_was_killed_or_a_file_that_is_gone(jobs: Path) -> None:
    def work() -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGKILL)
        return {}

    killed = background.result(background.start(work), 60)
    gone = background.result(jobs / "gone.json", 60)
    for found, why in ((killed, "it was killed"), (gone, "No such file")):
        assert found is not None
        assert found["failed"]
        assert why in found["msg"]
        assert found["msg"].endswith("look at what runs where before you go on")


def test_the_wait_is_counted_by_looks(tmp_path: Path) -> None:
    slept: list[float] = []
    job = background.start(lambda: waits_for(tmp_path / "go"))
    assert background.result(job, 2, slept.append) is None
    assert sum(slept) == pytest.approx(2)
    (tmp_path / "go").touch()
    assert background.result(job, 60) is not None


def test_old_results_go_and_work_that_goes_on_stays(tmp_path: Path, jobs: Path) -> None:
    old, busy = background.start(dict), background.start(lambda: waits_for(tmp_path / "go"))
    assert background.result(old, 60) == {}
    for path in (old, busy):
        os.utime(path, (0, 0))
    new = background.start(dict)
    assert sorted(jobs.iterdir()) == sorted([busy, new])
    (tmp_path / "go").touch()
    assert background.result(busy, 60) is not None
