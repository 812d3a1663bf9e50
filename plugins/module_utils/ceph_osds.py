# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From disks to OSDs: what is done with each disk (pure), and the doing."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils.ceph import BOOTSTRAP_KEYRING
from ansible_collections.croft.infra.plugins.module_utils.ceph_connection import CephFailedError
from ansible_collections.croft.infra.plugins.module_utils.ceph_host import run

MIB = 1024 * 1024
GIB = 1024 * MIB
# Where BlueStore keeps copies of its label: Squid and later write some beyond the first.
_LABELS_AT = (0, GIB, 10 * GIB, 100 * GIB, 1000 * GIB)


@dataclass(frozen=True)
class Action:
    """One thing to do with one disk: `forget` an OSD that was half made, `wipe`, or `prepare`."""

    kind: str
    device: str
    real: str
    osd: int = -1

    @property
    def text(self) -> str:
        if self.kind == "forget":
            return f"forget osd.{self.osd}, which was half made on {self.device}"
        return f"wipe {self.device}" if self.kind == "wipe" else f"make an OSD on {self.device}"


def decide(
    disks: Iterable[Mapping[str, Any]], fsid: str, wipe: Collection[str], known: Collection[str] | None = None
) -> tuple[list[Action], list[str]]:
    """What is done with the disks, and one line for each that is refused. Disks as ceph_host.disk() shows them.

    `known` are the UUIDs of the OSDs that the cluster has, None where there is no cluster to ask. A disk of an OSD that
    was taken out holds data like any other.
    """
    todo: list[Action] = []
    lines: list[str] = []
    for disk in disks:
        path, real, label = disk["path"], disk["real"], disk["osd"]
        ours = bool(label) and label.get("ceph_fsid") == fsid
        made = ours and label.get("mkfs_done") == "yes"
        if made and (known is None or label["osd_uuid"] in known):
            continue
        if disk["mounted_at"] or disk["held_by"]:
            lines.append(f"disk {path} is in use; name another disk")
            continue
        if ours and not made:
            # The label is written first and this mark last: the run before was cut off, and nothing was ever stored.
            if "whoami" in label:
                todo.append(Action("forget", path, real, int(label["whoami"])))
            todo.append(Action("wipe", path, real))
        elif disk["signatures"] or label:
            if path not in wipe:
                lines.append(f"disk {path} is not empty; name another disk, or name this one in ceph_wipe_devices")
                continue
            todo.append(Action("wipe", path, real))
        elif not disk["block"]:
            lines.append(f"disk {path} is not a block device that is there; look at the names with lsblk")
            continue
        todo.append(Action("prepare", path, real))
    return todo, lines


def prepare_command(action: Action, given: Mapping[str, Any]) -> list[str]:
    """The command that makes an OSD. `given` has method, encrypted, device_class and replace."""
    command = ["ceph-volume", given["method"], "prepare", "--bluestore", "--data", action.real]
    if given["encrypted"]:
        command.append("--dmcrypt")
    if given["device_class"]:
        command += ["--crush-device-class", given["device_class"]]
    if given["replace"] is not None:
        command += ["--osd-id", str(given["replace"])]
    return command


def carry_out(todo: Sequence[Action], given: Mapping[str, Any]) -> None:
    """Do it, in order. Raises CephFailedError with the tool's last words."""
    for action in todo:
        if action.kind == "forget":
            forget(action.osd)
        elif action.kind == "wipe":
            wipe_disk(action.real)
        else:
            run(*prepare_command(action, given))


def forget(osd: int) -> None:
    """Take an OSD that never started out of the cluster; the bootstrap key may do that and no more."""
    run(
        "ceph", "--name", "client.bootstrap-osd", "--keyring", BOOTSTRAP_KEYRING, "--connect-timeout", "10",
        "osd", "purge-new", f"osd.{osd}", "--yes-i-really-mean-it",
    )  # fmt: skip


def wipe_disk(real: str) -> None:
    """Destroy what a disk holds, as far as anything would recognize it: signatures, both ends, BlueStore's labels."""
    for part in sorted(Path("/sys/class/block", Path(real).name).glob(f"{Path(real).name}*")):
        run("wipefs", "--all", "--force", f"/dev/{part.name}")
    run("wipefs", "--all", "--force", real)
    try:
        with Path(real).open("r+b", buffering=0) as disk:
            size = disk.seek(0, os.SEEK_END)
            for start in (*_LABELS_AT, max(0, size - 10 * MIB)):
                if start < size:
                    disk.seek(start)
                    disk.write(bytes(min(10 * MIB, size - start)))
            os.fsync(disk.fileno())
    except OSError as error:
        raise CephFailedError(f"{real}: cannot be wiped: {error}") from error
