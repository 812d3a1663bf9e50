# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module makes of what it sees and of how migrations end; libvirt has no driver for tests that migrates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils import maintenance
from ansible_collections.croft.infra.plugins.module_utils.migration import Seen
from ansible_collections.croft.infra.plugins.modules import live_migration

pytest.importorskip("libvirt", reason="Debian package python3-libvirt")
URI = "test:///default"
RunModule = Callable[..., dict[str, Any]]
WEB1 = {"name": "web1", "target": "kvm2", "address": "10.0.0.12"}
APP1 = {"name": "app1", "target": "kvm3", "address": "10.0.0.13"}
DONE = {"source": "kvm1", "target": "kvm2", "state": "done", "total_ms": 100, "downtime_ms": 9, "transferred_mib": 5}
FAILED = {"source": "kvm1", "target": "kvm3", "state": "failed", "reason": "canceled by client"}


class Hands:
    """In place of the Migrator: sees and ends what it is told, and remembers what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: dict[str, Seen] = {}
        self.ends: dict[str, dict[str, Any]] = {}
        self.limits: Any = None
        self.carried: list[tuple[list[str], int]] = []

        def make(_conn: Any, limits: Any, _stack: Any) -> Hands:
            self.limits = limits
            return self

        monkeypatch.setattr(live_migration, "Migrator", make)
        # What the hands remember would be lost with another process.
        results: list[dict[str, Any]] = []
        monkeypatch.setattr(live_migration.background, "start", lambda work: results.append(work()))
        monkeypatch.setattr(live_migration.background, "result", lambda _job, _seconds: results.pop())

    def look(self, moves: Any) -> dict[str, Seen]:
        return {move.name: self.seen.get(move.name, Seen("running")) for move in moves}

    def carry_out(self, moves: Any, _seen: Any, parallel: int) -> list[dict[str, Any]]:
        self.carried.append(([move.name for move in moves], parallel))
        return [{"name": move.name, **self.ends.get(move.name, DONE)} for move in moves]


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    return Hands(monkeypatch)


def test_vms_are_moved(conn: Any, hands: Hands, run_module: RunModule) -> None:
    found = run_module(live_migration, {"moves": [WEB1, APP1], "uri": URI, "parallel": 3})
    assert found["changed"]
    assert [one["name"] for one in found["migrations"]] == ["web1", "app1"]
    assert hands.carried == [(["web1", "app1"], 3)]


@pytest.mark.parametrize("check", [True, False])
def test_all_refusals_at_once_and_nothing_moves(conn: Any, hands: Hands, run_module: RunModule, check: bool) -> None:
    hands.seen = {"web1": Seen("paused", managed=False), "app1": Seen()}
    failed = run_module(live_migration, {"moves": [WEB1, APP1], "uri": URI}, check=check)
    assert failed["failed"]
    assert failed["problems"] == [
        "web1 to kvm2: it was not made by croft; move it by hand",
        "web1 to kvm2: it is paused; only a running VM migrates live",
        "app1 to kvm3: there is no such VM on this host",
    ]
    assert failed["msg"].splitlines() == ["Nothing was moved:", *failed["problems"]]
    assert hands.carried == []


@pytest.mark.parametrize(("moves", "changed"), [([WEB1], True), ([], False)])
def test_check_mode_moves_nothing(
    conn: Any, hands: Hands, run_module: RunModule, moves: list[Any], changed: bool
) -> None:
    found = run_module(live_migration, {"moves": moves, "uri": URI}, check=True)
    assert (found["changed"], found["migrations"]) == (changed, [])
    assert hands.carried == []


def test_one_that_fails_fails_the_task_when_all_are_over(conn: Any, hands: Hands, run_module: RunModule) -> None:
    hands.ends = {"app1": FAILED}
    found = run_module(live_migration, {"moves": [APP1, WEB1], "uri": URI})
    assert found["failed"]
    assert found["changed"]
    assert found["msg"] == "app1: still on kvm1: canceled by client"
    assert [one["state"] for one in found["migrations"]] == ["failed", "done"]
    hands.ends = {"app1": FAILED, "web1": FAILED}
    found = run_module(live_migration, {"moves": [APP1, WEB1], "uri": URI})
    assert not found["changed"]
    assert len(found["msg"].splitlines()) == 2


def test_what_takes_longer_is_left_to_the_background(
    conn: Any, hands: Hands, run_module: RunModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, Any]] = []
    monkeypatch.setattr(live_migration.background, "start", lambda _work: Path("/run/croft/jobs/j.json"))
    monkeypatch.setattr(live_migration.background, "result", lambda *given: asked.append(given))
    found = run_module(live_migration, {"moves": [WEB1], "uri": URI, "progress_interval": 3})
    assert (found["changed"], found["job_file"]) == (True, "/run/croft/jobs/j.json")
    assert asked == [(Path("/run/croft/jobs/j.json"), 3)]


def test_without_a_place_for_the_result_nothing_moves(
    conn: Any, hands: Hands, run_module: RunModule, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def start(_work: Any) -> Path:
        raise OSError("no space left")

    monkeypatch.setattr(live_migration.background, "start", start)
    found = run_module(live_migration, {"moves": [WEB1], "uri": URI})
    assert found["msg"] == "Nothing was moved: no space left"
    assert hands.carried == []


@pytest.mark.parametrize(
    ("given", "limits"),
    [
        ({}, (None, None, 600, "precopy")),
        ({"bandwidth_mib": 0, "downtime_ms": 0}, (None, None, 600, "precopy")),
        (
            {"bandwidth_mib": 50, "downtime_ms": 100, "timeout": 7, "mode": "post_copy"},
            (50, 100, 7, "post_copy"),
        ),
    ],
)
def test_nothing_said_is_no_limit(
    conn: Any, hands: Hands, run_module: RunModule, given: dict[str, Any], limits: tuple[Any, ...]
) -> None:
    run_module(live_migration, {"moves": [WEB1], "uri": URI, **given})
    told = hands.limits
    assert (told.bandwidth_mib, told.downtime_ms, told.timeout, told.mode) == limits


def test_without_libvirt_it_says_so(hands: Hands, run_module: RunModule) -> None:
    found = run_module(live_migration, {"moves": [WEB1], "uri": "test:///no/such/file.xml"})
    assert found["failed"]
    assert found["msg"].startswith("no connection to")
    assert found["msg"].endswith("; look at what runs where before you go on")


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = tmp_path / "croft/maintenance.json"
    monkeypatch.setattr(maintenance, "MARK", path)
    return path


@pytest.mark.usefixtures("conn", "mark")
@pytest.mark.parametrize(
    ("given", "seen", "about"),
    [
        ({"maintenance": "fans"}, Seen("running"), {"reason": "fans"}),
        ({"maintenance": "fans"}, Seen(), None),
        ({}, Seen("running"), None),
    ],
)
def test_a_host_that_is_emptied_is_marked_when_nothing_speaks_against_the_moves(
    hands: Hands, run_module: RunModule, given: dict[str, Any], seen: Seen, about: Any
) -> None:
    hands.seen = {"web1": seen}
    run_module(live_migration, {"moves": [WEB1], "uri": URI, **given}, check=True)
    assert maintenance.read_maintenance() is None
    run_module(live_migration, {"moves": [WEB1], "uri": URI, **given})
    assert maintenance.read_maintenance() == about


def test_nothing_moves_off_a_host_that_cannot_be_marked(
    conn: Any, hands: Hands, run_module: RunModule, mark: Path
) -> None:
    mark.parent.write_text("no directory")
    found = run_module(live_migration, {"moves": [WEB1], "uri": URI, "maintenance": "fans"})
    assert found["msg"].startswith("Nothing was moved: the host cannot be marked: ")
    assert hands.carried == []
