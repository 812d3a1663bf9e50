# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host can tell of a failover, on its monotonic clock: when each QEMU began, and what the journal says."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# libvirt writes the id of each VM's QEMU into a file named by the VM.
PID_FILES = Path("/run/libvirt/qemu")
# It keeps its own among them.
LIBVIRTS_OWN = "driver"
PROC = Path("/proc")
# Those of which the journal is read.
SPEAKERS = ("corosync", "pacemaker-controld", "pacemaker-fenced", "pacemaker-schedulerd", "pacemaker-execd")
# proc_pid_stat(5): starttime is field 22; after the command, which may hold anything, it is the 20th.
_START = 19
_MICRO = 1_000_000


def qemus(pid_files: Path = PID_FILES, proc: Path = PROC) -> list[dict[str, Any]]:
    """Each VM that runs here: name, pid, and when its QEMU began, in seconds of CLOCK_MONOTONIC."""
    # The kernel counts from the boot, suspended time as well; the monotonic clock stands still meanwhile.
    suspended = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
    ticks = os.sysconf("SC_CLK_TCK")
    found = []
    for file in sorted(pid_files.glob("*.pid")):
        if file.stem == LIBVIRTS_OWN:
            continue
        try:
            pid = int(file.read_text())
            began = started_ticks((proc / str(pid) / "stat").read_text())
        except (OSError, ValueError):
            # Gone since, or just about to come.
            continue
        found.append({"name": file.stem, "pid": pid, "started": began / ticks - suspended})
    return found


def started_ticks(stat: str) -> int:
    """When a process began, in clock ticks after the boot, from its line in /proc."""
    return int(stat.rpartition(")")[2].split()[_START])


def journal(text: str, since: float) -> list[dict[str, Any]]:
    """Lines of ``journalctl --output=json`` that are not older than ``since``: at, who and text."""
    found = []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
            at = int(entry["__MONOTONIC_TIMESTAMP"]) / _MICRO
        except (ValueError, KeyError, TypeError):
            continue
        message = entry.get("MESSAGE")
        if at >= since and isinstance(message, str):
            found.append({"at": at, "who": str(entry.get("SYSLOG_IDENTIFIER", "")), "text": message})
    return found


def journal_command(lines: int, speakers: Iterable[str] = SPEAKERS) -> list[str]:
    """The command that gives the newest lines of the cluster's daemons since this host's boot."""
    named = [f"--identifier={name}" for name in speakers]
    return ["journalctl", "--boot", "--output=json", f"--lines={lines}", "--no-pager", *named]
