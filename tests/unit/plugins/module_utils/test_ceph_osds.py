# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils.ceph_osds import Action, decide, prepare_command

FSID = "5d3f0b2e-5f0e-4c52-9b2f-6f2f3a1d7c11"
MADE = {"osd_uuid": "u1", "ceph_fsid": FSID, "whoami": "1", "mkfs_done": "yes"}
HALF = {"osd_uuid": "u1", "ceph_fsid": FSID, "whoami": "1"}
RAW = ["ceph-volume", "raw", "prepare", "--bluestore", "--data", "/dev/sda"]
GIVEN = {"method": "raw", "encrypted": False, "device_class": "", "replace": None}


def disk(**change: Any) -> dict[str, Any]:
    standard = {"path": "/dev/a", "real": "/dev/sda", "block": True, "signatures": [], "mounted_at": "", "held_by": []}
    return {**standard, "osd": None, **change}


@pytest.mark.parametrize(
    ("one", "wipe", "known", "kinds", "says"),
    [
        pytest.param(disk(), [], None, ["prepare"], "", id="empty"),
        pytest.param(disk(osd=MADE), [], None, [], "", id="made, no cluster to ask"),
        pytest.param(disk(osd=MADE), ["/dev/a"], ["u1"], [], "", id="made, and never wiped"),
        pytest.param(disk(osd=MADE), [], ["u2"], [], "is not empty", id="taken out"),
        pytest.param(disk(osd=MADE), ["/dev/a"], ["u2"], ["wipe", "prepare"], "", id="taken out, may be wiped"),
        pytest.param(disk(osd=HALF), [], None, ["forget", "wipe", "prepare"], "", id="half made by us"),
        pytest.param(disk(osd={**MADE, "ceph_fsid": "x"}), [], None, [], "is not empty", id="another cluster's"),
        pytest.param(disk(signatures=["ext4"]), [], None, [], "is not empty", id="data"),
        pytest.param(disk(signatures=["ext4"]), ["/dev/b"], None, [], "is not empty", id="another may be wiped"),
        pytest.param(disk(signatures=["ext4"]), ["/dev/a"], None, ["wipe", "prepare"], "", id="this may be wiped"),
        pytest.param(disk(mounted_at="/srv", signatures=["ext4"]), ["/dev/a"], None, [], "is in use", id="in use"),
        pytest.param(disk(block=False), [], None, [], "is not a block device", id="no disk"),
    ],
)
def test_what_is_done_with_a_disk(one: Any, wipe: list[str], known: Any, kinds: list[str], says: str) -> None:
    todo, lines = decide([one], FSID, wipe, known)
    assert [action.kind for action in todo] == kinds
    assert bool(lines) is bool(says)
    assert says in "".join(lines)


@pytest.mark.parametrize(
    ("change", "command"),
    [
        ({}, RAW),
        (
            {"method": "lvm", "encrypted": True},
            ["ceph-volume", "lvm", "prepare", "--bluestore", "--data", "/dev/sda", "--dmcrypt"],
        ),
        (
            {"device_class": "ssd", "replace": 0},
            [
                "ceph-volume",
                "raw",
                "prepare",
                "--bluestore",
                "--data",
                "/dev/sda",
                "--crush-device-class",
                "ssd",
                "--osd-id",
                "0",
            ],
        ),
    ],
)
def test_the_command(change: dict[str, Any], command: list[str]) -> None:
    assert prepare_command(Action("prepare", "/dev/a", "/dev/sda"), {**GIVEN, **change}) == command
