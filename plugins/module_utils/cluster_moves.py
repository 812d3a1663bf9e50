# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Live migrations of VMs that a Pacemaker cluster runs: the cluster is asked, and does it as it does its own.

libvirt must not be asked behind its back, since the cluster would take a VM that turns up elsewhere for one that runs
twice, and stop it.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CONF = Path("/etc/corosync/corosync.conf")
NO_SUCH_RESOURCE = 105
# Looks at a cluster that has nothing to do, and at a VM that stays: it is not going to move.
IDLE_LOOKS = 15


class ClusterMoveError(Exception):
    """The cluster did not move the VM; the text says why."""


def clustered() -> bool:
    """Whether this host is in a Pacemaker cluster."""
    return CONF.exists() and shutil.which("crm_standby") is not None


def _crm_resource(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["crm_resource", *arguments], capture_output=True, text=True, check=False)


def runs_in_cluster(name: str) -> bool:
    """Whether a cluster runs the VM. Raises ClusterMoveError when there is one and it does not answer."""
    if shutil.which("crm_resource") is None:
        return False
    done = _crm_resource("--locate", "--resource", name)
    if done.returncode not in (0, NO_SUCH_RESOURCE):
        said = (done.stderr or done.stdout).strip().splitlines() or ["no answer"]
        raise ClusterMoveError(f"the cluster does not tell whether it runs {name}: {said[-1]}")
    return done.returncode == 0


@contextmanager
def _asked(name: str, node: str, seconds: int) -> Any:
    """The cluster prefers the node; the wish goes afterwards, and the VM stays where it is by its stickiness."""
    done = _crm_resource("--move", "--resource", name, "--node", node, "--lifetime", f"PT{seconds}S")
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise ClusterMoveError(said[-1])
    try:
        yield
    finally:
        _crm_resource("--clear", "--resource", name)


def move(name: str, node: str, seconds: int, arrived: Callable[[], bool], sleep: Callable[[float], None]) -> None:
    """Have the cluster move the VM to the node; ``arrived`` looks whether it runs there and not here any more.

    Raises ClusterMoveError when it does not within so many seconds, counted by looks.
    """
    with _asked(name, node, seconds):
        idle = 0
        for _look in range(seconds):
            if arrived():
                return
            idle = idle + 1 if _crm_resource("--wait", "--timeout", "1s").returncode == 0 else 0
            if idle >= IDLE_LOOKS:
                raise ClusterMoveError(
                    f"the cluster does not move it to {node}: no room there, or it failed there before"
                )
            sleep(1)
    raise ClusterMoveError(f"the cluster has not moved it to {node} within {seconds} s")
