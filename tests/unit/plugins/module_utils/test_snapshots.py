# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which snapshots can be made, and which are kept."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils.snapshots import (
    DAY,
    Disk,
    Seen,
    Snapshot,
    create_problems,
    expired,
    full_name,
    kind_of,
    known_problems,
    name_problem,
)

NOW = 100 * DAY
MINE = [Snapshot(f"croft-{age}", NOW - age * DAY) for age in (1, 2, 3, 10)]
THEIRS = Snapshot("by-hand", 0)
QCOW2 = Disk("vda", "/pool/web1.qcow2", "qcow2", free=2**30)


@pytest.mark.parametrize(
    ("rules", "gone"),
    [
        ({}, []),
        ({"keep_last": 2}, ["croft-3", "croft-10"]),
        ({"keep_last": 0}, ["croft-1", "croft-2", "croft-3", "croft-10"]),
        ({"keep_days": 2.5}, ["croft-3", "croft-10"]),
        ({"keep_last": 3, "keep_days": 1.5}, ["croft-10"]),
        ({"keep_last": 1, "keep_days": 30}, []),
    ],
)
def test_one_stays_when_any_rule_keeps_it(rules: dict[str, Any], gone: list[str]) -> None:
    given = {"keep_last": None, "keep_days": None, **rules}
    assert [one.name for one in expired([THEIRS, *MINE], now=NOW, **given)] == gone


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (Seen(), "there is no such VM"),
        (Seen("running", managed=False, disks=(QCOW2,)), "was not made by croft"),
        (Seen("running", disks=(QCOW2,)), None),
        (Seen("stopped", disks=(QCOW2,), memory_bytes=2**40), None),
        (Seen("running", disks=(QCOW2,), memory_bytes=2**31), "its pool has 1.0 GiB left"),
        (Seen("running", disks=(QCOW2,), checkpoints=2), "2 checkpoints"),
        (Seen("running", disks=(Disk("vda", "/dev/vg/web1", "raw"),)), "vda (raw)"),
        (Seen("running", disks=(QCOW2, Disk("vdc", "rbd:///vms/d", "rbd"))), "vdc (rbd)"),
        (Seen("running"), "it has none"),
        (Seen("running", disks=(Disk("vda", "rbd:///vms/web1.raw", "rbd"),)), None),
        (Seen("stopped", disks=(Disk("vda", "nfs://s/p/web1.qcow2", "qcow2"),)), "start it first"),
        (Seen("running", disks=(QCOW2,), checkpoints=2, snapshots=(Snapshot("croft-x", 0),)), None),
    ],
)
def test_what_forbids_a_snapshot(seen: Seen, says: str | None) -> None:
    lines = create_problems("web1", seen, "croft-x", drop_checkpoints=False)
    assert [says in line for line in lines] == ([] if says is None else [True])


def test_checkpoints_go_when_that_is_said() -> None:
    assert (
        create_problems("web1", Seen("running", disks=(QCOW2,), checkpoints=2), "croft-x", drop_checkpoints=True) == []
    )


def test_what_cannot_be_gone_back_to_or_removed() -> None:
    seen = {"web1": Seen("running", disks=(QCOW2,), snapshots=(THEIRS, *MINE))}
    back = known_problems([{"name": "web1", "snapshot": "croft-9"}], seen, "revert")
    assert back == ["web1: has no snapshot croft-9; it has croft-1, croft-2, croft-3, croft-10"]
    assert known_problems([{"name": "web1", "snapshot": "croft-9"}], seen, "remove") == []
    assert "was not made by croft" in known_problems([{"name": "web1", "snapshot": "by-hand"}], seen, "remove")[0]


def test_names() -> None:
    assert full_name("x") == full_name("croft-x") == "croft-x"
    assert name_problem("a.b-c_1") is None
    assert name_problem("a b") is not None
    assert kind_of("rbd:///vms/a.raw", "raw") == "rbd"
    assert kind_of("/pool/a.qcow2", None) == kind_of("/pool/a.img", "qcow2") == "qcow2"
