# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""In which order snapshots are gone back to, made and removed."""

from __future__ import annotations

from typing import Any

from ansible_collections.croft.infra.plugins.module_utils.snapshots import Disk, Seen, Snapshot
from ansible_collections.croft.infra.plugins.modules.vm_snapshots import plan

DISK = Disk("vda", "/pool/web1.qcow2", "qcow2")
SEEN = {"web1": Seen("running", disks=(DISK,), snapshots=(Snapshot("croft-a", 1), Snapshot("croft-b", 2)))}
NOTHING: dict[str, Any] = {
    "virtual_machines": [],
    "create": True,
    "keep_last": None,
    "keep_days": None,
    "revert": [],
    "remove": [],
    "drop_checkpoints": False,
}


def test_the_new_one_is_made_before_old_ones_go() -> None:
    steps, problems = plan({**NOTHING, "virtual_machines": ["web1"], "keep_last": 2}, SEEN, "croft-c", 3)
    assert problems == []
    assert steps == [("create", "web1", "croft-c"), ("remove", "web1", "croft-a")]


def test_one_that_is_there_is_not_made_again() -> None:
    assert plan({**NOTHING, "virtual_machines": ["web1"]}, SEEN, "croft-b", 3) == ([], [])


def test_what_was_asked_by_name() -> None:
    given = {
        **NOTHING,
        "revert": [{"name": "web1", "snapshot": "croft-a"}],
        "remove": [{"name": "web1", "snapshot": "croft-b"}, {"name": "web1", "snapshot": "croft-z"}],
    }
    assert plan(given, SEEN, "croft-c", 3)[0] == [("revert", "web1", "croft-a"), ("remove", "web1", "croft-b")]


def test_a_vm_that_is_not_here_is_told() -> None:
    given = {**NOTHING, "virtual_machines": ["web1"], "create": False}
    assert plan(given, {"web1": Seen()}, "croft-c", 3)[1] == ["web1: there is no such VM on this host"]
