# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backup comes next, which sets are kept, and what the tools' words mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils.backups import (
    Seen,
    Set,
    failure,
    frozen,
    next_backup,
    outdated,
    problems,
    restore_problems,
    sets_of,
)
from ansible_collections.croft.infra.plugins.module_utils.image_backups import find, is_whole
from ansible_collections.croft.infra.plugins.module_utils.vm_backups import read_sets

QCOW2 = {"vda": "qcow2"}
POINTS = ("virtnbdbackup.0", "virtnbdbackup.1")
LAST = Set("20261125T170000Z", POINTS)


@pytest.mark.parametrize(
    ("seen", "options", "level", "into"),
    [
        (Seen("running", formats=QCOW2), {}, "full", None),
        (Seen("running", formats=QCOW2, sets=(LAST,)), {}, "inc", LAST.name),
        (Seen("running", formats=QCOW2, sets=(LAST,)), {"full": True}, "full", None),
        (Seen("running", formats=QCOW2, sets=(LAST,)), {"full_after": 1}, "full", None),
        (Seen("running", formats=QCOW2, sets=(Set(LAST.name, POINTS, cut_off=True),)), {}, "full", None),
        (Seen("running", formats=QCOW2, sets=(LAST, Set("20261126T170000Z"))), {}, "full", None),
        (Seen("stopped", formats=QCOW2, sets=(LAST,)), {}, "copy", None),
        (Seen("running", formats=QCOW2, sets=(LAST,), snapshots=1), {}, "copy", None),
        (Seen("running", formats={"vda": "rbd"}), {}, "copy", None),
    ],
)
def test_what_comes_next(seen: Seen, options: dict[str, Any], level: str, into: str | None) -> None:
    upcoming = next_backup(seen, **{"full_after": 6, **options})
    assert (upcoming.level, upcoming.set) == (level, into)
    assert bool(upcoming.reason) is (level != "inc")


def test_old_sets_go_and_others_things_are_not_ours() -> None:
    names = ["20261125T170000Z", "20261124T170000Z", "20261126T170000Z.partial", "notes", "x.partial"]
    assert sets_of(names) == (["20261124T170000Z", "20261125T170000Z"], ["20261126T170000Z.partial"])
    assert outdated(["c", "a", "b"], 2) == ["a"]
    assert outdated(["a"], 0) == outdated(["a"], 3) == []


def test_what_forbids_to_begin() -> None:
    seen = {
        "gone": Seen(),
        "theirs": Seen("running", managed=False),
        "empty": Seen("running", formats={}),
        "waits": Seen("paused", formats=QCOW2),
        "mixed": Seen("running", formats={"vda": "rbd", "vdb": "qcow2"}),
        "well": Seen("running", formats=QCOW2),
    }
    lines = problems(seen, seen)
    assert [line.partition(":")[0] for line in lines] == ["gone", "theirs", "empty", "waits", "mixed"]
    assert lines[-1] == "mixed: has RBD images beside other disks, vda (rbd), vdb (qcow2); move them to one pool"


def test_a_damaged_file_of_an_image_is_found(tmp_path: Path) -> None:
    assert find(tmp_path, "vda") is None
    file = tmp_path / "vda.image.qcow2"
    file.write_text("content")
    assert find(tmp_path, "vda") == file
    assert not is_whole(file)
    sha256 = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
    (tmp_path / "vda.image.qcow2.sha256").write_text(f"{sha256}  vda.image.qcow2\n")
    assert is_whole(file)
    file.write_text("contents")
    assert not is_whole(file)


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("[x] INFO fs fs - freeze [main]: Freezed [1] filesystems.", None),
        ("[x] WARNING fs fs - freeze [main]: Guest agent is not responding", "Guest agent is not responding"),
        ("[x] INFO nothing", "it was not asked"),
        ("[x] INFO fs fs - freeze [main]: Freezed [0] filesystems.", "Freezed [0] filesystems."),
    ],
)
def test_whether_the_guest_was_frozen(log: str, said: str | None) -> None:
    assert frozen(log) == said


def test_a_failure_is_its_last_error() -> None:
    log = "[t] INFO a - b [main]: fine\n[t] ERROR a - b [main]: No space left on device\n[t] INFO a - b [main]: end"
    assert failure(log) == "No space left on device"
    assert failure("it broke") == "it broke"


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({}, None),
        ({"set": LAST.name, "until": "virtnbdbackup.0"}, None),
        ({"set": "20200101T000000Z"}, f"there are {LAST.name}"),
        ({"until": "virtnbdbackup.7"}, "it has virtnbdbackup.0, virtnbdbackup.1"),
        ({"name": "app1"}, "there is no backup in /b/app1 here; pin web9"),
    ],
)
def test_what_cannot_be_restored(entry: dict[str, str], says: str | None) -> None:
    lines = restore_problems([{"name": "web1", "as": "web9", **entry}], {"web1": [LAST], "app1": []}, "/b")
    assert [says in line for line in lines] == ([] if says is None else [True])


def test_sets_are_read_from_the_disk(tmp_path: Path) -> None:
    for name in ("20261125T170000Z", "20261126T170000Z", "20261127T170000Z.partial"):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
    for number in (0, 1, 10):
        (tmp_path / f"20261125T170000Z/checkpoints/virtnbdbackup.{number}.xml").touch()
    (tmp_path / "20261126T170000Z/vda.copy.data").touch()
    (tmp_path / "20261126T170000Z/cut-off.partial").touch()
    sets, half_made = read_sets(tmp_path)
    assert sets[0] == Set("20261125T170000Z", ("virtnbdbackup.0", "virtnbdbackup.1", "virtnbdbackup.10"))
    assert sets[1] == Set("20261126T170000Z", (), cut_off=True)
    assert half_made == ["20261127T170000Z.partial"]
    assert read_sets(tmp_path / "nothing") == ([], [])
