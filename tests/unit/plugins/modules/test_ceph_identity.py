# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.croft.infra.plugins.modules import ceph_identity

RunModule = Callable[..., dict[str, Any]]


def test_an_identity_is_made_once_for_its_owner_alone(run_module: RunModule, tmp_path: Path) -> None:
    here = {"directory": str(tmp_path / "ceph")}
    made = run_module(ceph_identity, here)
    again = run_module(ceph_identity, here)
    assert (made["changed"], again["changed"]) == (True, False)
    assert {**made, "changed": False} == again
    file = tmp_path / "ceph/identity.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert made["mon_key"] != made["admin_key"]


def test_check_mode_writes_nothing(run_module: RunModule, tmp_path: Path) -> None:
    assert run_module(ceph_identity, {"directory": str(tmp_path / "ceph")}, check=True)["changed"]
    assert not (tmp_path / "ceph").exists()


def test_a_spoilt_identity_is_not_made_anew(run_module: RunModule, tmp_path: Path) -> None:
    (tmp_path / "identity.json").write_text('{"fsid": "what')
    outcome = run_module(ceph_identity, {"directory": str(tmp_path)})
    assert outcome["failed"]
    assert "bring it back from a backup" in outcome["msg"]
