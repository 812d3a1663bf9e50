# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.modules import migration_progress

libvirt = pytest.importorskip("libvirt", reason="Debian package python3-libvirt")
URI = "test:///default"
MIB = 1 << 20
RunModule = Callable[..., dict[str, Any]]
XML = "<domain type='test'><name>{name}</name><memory unit='MiB'>16</memory><os><type>hvm</type></os></domain>"
RUNNING = '{"started": 1, "finished": 0, "ansible_job_id": "j1.2"}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("", None),
        ('{"changed": tr', None),
        (RUNNING, None),
        ('{"changed": true}', {"changed": True}),
        ('{"failed": true, "msg": "no"}', {"failed": True, "msg": "no"}),
        ('{"started": 1, "finished": 1, "changed": false}', {"started": 1, "finished": 1, "changed": False}),
    ],
)
def test_the_result_of_a_task_in_the_background(tmp_path: Path, text: str | None, expected: Any) -> None:
    if text is not None:
        (tmp_path / "job").write_text(text)
    assert migration_progress.read_result(tmp_path / "job") == expected


def test_the_end_is_waited_for_so_long_and_seen_when_it_comes(tmp_path: Path) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            (tmp_path / "job").write_text('{"changed": true}')

    assert migration_progress.await_result(tmp_path / "none", 2, slept.append) is None
    assert sum(slept) == 2
    slept.clear()
    assert migration_progress.await_result(tmp_path / "job", 2, sleep) == {"changed": True}
    assert sum(slept) == 0.75


@pytest.fixture
def jobs(conn: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Three VMs, and the migrations of two of them."""
    for name in ("a", "b", "c"):
        conn.defineXML(XML.format(name=name))
    stats: dict[str, Any] = {"a": {"type": 2, "memory_remaining": 5 * MIB, "memory_total": 16 * MIB}, "b": {"type": 0}}

    def job_stats(domain: Any, _flags: int = 0) -> dict[str, Any]:
        if domain.name() not in stats:
            raise libvirt.libvirtError("no job")
        return dict(stats[domain.name()])

    monkeypatch.setattr(libvirt.virDomain, "jobStats", job_stats)
    return stats


def test_what_is_left_of_each_migration(jobs: Any, run_module: RunModule, tmp_path: Path) -> None:
    (tmp_path / "job").write_text(RUNNING)
    given = {"names": ["a", "b", "c", "gone"], "job_file": str(tmp_path / "job"), "uri": URI}
    found = run_module(migration_progress, given, check=True)
    assert found["result"] is None
    assert found["progress"] == [{"name": "a", "remaining_mib": 5, "total_mib": 16, "iteration": 0}]
    assert not found["changed"]


def test_when_it_is_over_libvirt_is_not_asked(run_module: RunModule, tmp_path: Path) -> None:
    (tmp_path / "job").write_text('{"changed": true, "migrations": []}')
    given = {"names": ["a"], "job_file": str(tmp_path / "job"), "uri": "test:///no/such/file.xml"}
    found = run_module(migration_progress, given)
    assert (found["result"], found["progress"]) == ({"changed": True, "migrations": []}, [])
    assert not found["changed"]


def test_libvirt_away_for_a_moment_ends_nothing(run_module: RunModule, tmp_path: Path) -> None:
    # The migrations go on, and their own task tells what became of them.
    (tmp_path / "job").write_text(RUNNING)
    given = {"names": ["a"], "job_file": str(tmp_path / "job"), "uri": "test:///no/such/file.xml"}
    found = run_module(migration_progress, given)
    assert (found.get("failed"), found["result"], found["progress"]) == (None, None, [])
