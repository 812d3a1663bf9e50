# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.croft.infra.plugins.module_utils.guests import (
    Sight,
    clean,
    complaint,
    judge,
    last_line,
    progress,
    read_console,
    says_up,
)

UP = "Booting\r\n[    1.0] x\r\ncroft: up web1\r\n"


@pytest.mark.parametrize(
    ("console", "expected"),
    [
        (UP, True),
        ("\x1b[0;32mcroft: up web1\x1b[0m", True),
        ("[  2.1] croft: up web1 (10.0.0.5)", True),
        ("croft: up web12", False),
        ("croft: up web1-a", False),
        ("croft: up web", False),
        ("", False),
    ],
)
def test_says_up(console: str, expected: bool) -> None:
    assert says_up("web1", console) is expected


def test_control_sequences_do_not_reach_a_persons_terminal() -> None:
    assert clean("\x1b[2J\x1b[1;1H\x07one\r\n\r\n\x1b]0;title\x07two\x1bc\n") == ["one", "two"]


@pytest.mark.parametrize(("console", "expected"), [(None, None), ("", None), ("a\nb\n\n", "b"), ("x" * 300, "x" * 200)])
def test_last_line(console: str | None, expected: str | None) -> None:
    assert last_line(console) == expected


JUDGEMENTS = [
    (Sight("running", None), "agent", None),
    (Sight("running", None), "either", None),
    (Sight("running", None), "console", "console: there is no log of it"),
    (Sight("running", "no", UP), "console", None),
    (Sight("running", "no", UP), "either", None),
    (Sight("running", "no", UP), "agent", "agent: no"),
    (Sight("running", "no", ""), "either", "agent: no; console: no word from it yet"),
    (Sight("running", "no", "", said_before=True), "console", None),
    (Sight("stopped", console=UP), "either", "is stopped"),
    (Sight(None), "either", "is not defined on this host"),
]


@pytest.mark.parametrize(("sight", "ready", "expected"), JUDGEMENTS)
def test_judge(sight: Sight, ready: str, expected: str | None) -> None:
    found = judge("web1", sight, ready)
    assert (found and found["why"]) == expected
    if found:
        assert found["running"] is (sight.state == "running")


@pytest.mark.parametrize(
    ("total", "names", "expected"),
    [
        (4, ["web2"], "kvm1: 3 of 4 guests are up, waiting for web2 (24 s)"),
        (4, [], "kvm1: 4 of 4 guests are up (24 s)"),
        (9, list("abcdefg"), "kvm1: 2 of 9 guests are up, waiting for a, b, c, d, e and 2 more (24 s)"),
    ],
)
def test_progress(total: int, names: list[str], expected: str) -> None:
    assert progress("kvm1", total, [{"name": name} for name in names], 24) == expected


def test_complaint() -> None:
    guests = [
        {"name": "web2", "running": True, "why": "agent: not connected", "last_line": "Kernel panic"},
        {"name": "web3", "running": False, "why": "is stopped", "last_line": None},
    ]
    assert complaint(guests, 180) == (
        "2 guests are not up after 180 s:\n"
        "- web2: agent: not connected; its console said last: \"Kernel panic\"; look with 'virsh console web2'\n"
        "- web3: is stopped; its console is empty; look with 'virsh domstate --reason web3'"
    )


def test_read_console(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert read_console(None) is None
    assert read_console(str(log)) is None
    log.write_bytes(b"a\xff\n")
    assert read_console(str(log)) == "a\ufffd\n"
