# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mark of a host in maintenance: read, written and taken away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils import maintenance
from ansible_collections.croft.infra.plugins.modules import host_maintenance

RunModule = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("text", "about"),
    [
        (None, None),
        ('{"reason": "new memory"}', {"reason": "new memory"}),
        ('{"reason": 7, "since": "x"}', {"reason": "7"}),
        ("{}", {"reason": ""}),
        ("[]", {"reason": ""}),
        ("{", {"reason": "{path} cannot be read"}),
    ],
)
def test_a_host_in_maintenance_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None, about: Any
) -> None:
    path = tmp_path / "maintenance.json"
    if text is not None:
        path.write_text(text)
    monkeypatch.setattr(maintenance, "MARK", path)
    if about:
        about = {"reason": about["reason"].replace("{path}", str(path))}
    assert maintenance.read_maintenance() == about


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = tmp_path / "croft/maintenance.json"
    monkeypatch.setattr(maintenance, "MARK", path)
    return path


def test_a_host_is_marked_once_and_taken_back_once(run_module: RunModule, mark: Path) -> None:
    def told(**given: str) -> tuple[bool, Any]:
        said = run_module(host_maintenance, given)
        return said["changed"], said["before"]

    assert told(reason="new memory") == (True, None)
    assert maintenance.read_maintenance() == {"reason": "new memory"}
    assert mark.stat().st_mode & 0o777 == 0o644
    assert told(reason="new memory") == (False, {"reason": "new memory"})
    assert told(reason="fans") == (True, {"reason": "new memory"})
    assert told(state="absent") == (True, {"reason": "fans"})
    assert told(state="absent") == (False, None)
    assert not list(mark.parent.iterdir())


def test_check_mode_tells_and_changes_nothing(run_module: RunModule, mark: Path) -> None:
    assert run_module(host_maintenance, {}, check=True)["changed"]
    assert not mark.exists()
    run_module(host_maintenance, {})
    assert run_module(host_maintenance, {"state": "absent"}, check=True)["changed"]
    assert mark.exists()


def test_a_mark_that_cannot_be_written_is_said(run_module: RunModule, mark: Path) -> None:
    mark.parent.write_text("a file where the directory should be")
    said = run_module(host_maintenance, {})
    assert said["failed"]
    assert said["msg"].startswith("the mark cannot be changed: ")
