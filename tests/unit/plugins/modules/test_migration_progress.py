# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.modules import migration_progress

libvirt = pytest.importorskip("libvirt", reason="Debian package python3-libvirt")
URI = "test:///default"
MIB = 1 << 20
RunModule = Callable[..., dict[str, Any]]
XML = "<domain type='test'><name>{name}</name><memory unit='MiB'>16</memory><os><type>hvm</type></os></domain>"


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Path]:
    """The file of somebody who is at work."""
    path = tmp_path / "job.json"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield path


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


def test_what_is_left_of_each_migration(jobs: Any, run_module: RunModule, job: Path) -> None:
    given = {"names": ["a", "b", "c", "gone"], "job_file": str(job), "uri": URI}
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


def test_libvirt_away_for_a_moment_ends_nothing(run_module: RunModule, job: Path) -> None:
    # The migrations go on, and whoever moves them tells what became of them.
    given = {"names": ["a"], "job_file": str(job), "uri": "test:///no/such/file.xml"}
    found = run_module(migration_progress, given)
    assert (found.get("failed"), found["result"], found["progress"]) == (None, None, [])
