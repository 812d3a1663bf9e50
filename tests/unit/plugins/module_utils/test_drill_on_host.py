# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from ansible_collections.croft.infra.plugins.module_utils import drill

# As systemd's journal prints it (journalctl --output=json), with fewer fields.
JOURNAL = "\n".join(
    json.dumps(entry)
    for entry in (
        {"__MONOTONIC_TIMESTAMP": "99000000", "SYSLOG_IDENTIFIER": "corosync", "MESSAGE": "old"},
        {
            "__MONOTONIC_TIMESTAMP": "100500000",
            "__REALTIME_TIMESTAMP": "1764090000000000",
            "SYSLOG_IDENTIFIER": "pacemaker-controld",
            "MESSAGE": " notice: Node kvm2 state is now lost",
        },
        # What is not text is an array of bytes.
        {"__MONOTONIC_TIMESTAMP": "100600000", "SYSLOG_IDENTIFIER": "corosync", "MESSAGE": [7, 8]},
        {"SYSLOG_IDENTIFIER": "corosync", "MESSAGE": "without a time"},
    )
)


def test_lines_of_the_journal_by_the_monotonic_clock() -> None:
    assert drill.journal(JOURNAL + "\nnot json\n\n[]", 100.0) == [
        {"at": 100.5, "who": "pacemaker-controld", "text": " notice: Node kvm2 state is now lost"}
    ]


@pytest.mark.parametrize("name", ["qemu-system-x86", "a) b (c", ") 1 2 3"])
def test_a_process_may_have_any_name(name: str) -> None:
    fields = " ".join(str(number) for number in range(3, 53))
    assert drill.started_ticks(f"4711 ({name}) {fields}") == 22


def test_when_a_process_began_is_read_from_the_kernel(tmp_path: Path) -> None:
    before = time.monotonic()
    with subprocess.Popen(["sleep", "60"]) as process:
        (tmp_path / "web1.pid").write_text(f"{process.pid}\n")
        (tmp_path / "gone.pid").write_text("999999999\n")
        (tmp_path / "new.pid").write_text("")
        # Of libvirt itself.
        (tmp_path / "driver.pid").write_text(f"{process.pid}\n")
        (found,) = drill.qemus(tmp_path)
        process.kill()
    after = time.monotonic()
    tick = 1 / os.sysconf("SC_CLK_TCK")
    assert (found["name"], found["pid"]) == ("web1", process.pid)
    assert before - 2 * tick <= found["started"] <= after


def test_only_the_clusters_daemons_are_read() -> None:
    command = drill.journal_command(500)
    assert command[:4] == ["journalctl", "--boot", "--output=json", "--lines=500"]
    assert "--identifier=pacemaker-controld" in command
