# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work that goes on when the module that began it has ended, and its result in a file.

Ansible's own asynchronous tasks copy their module to the host first, which costs as much as moving a small VM does;
here the module forks. Whoever does the work holds a lock on the file as long as it lives: nobody waits for one that was
killed.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

JOBS = Path("/run/croft/jobs")
_LOOKS = 20  # in a second
_KEPT_SECONDS = 24 * 3600


def start(work: Callable[[], dict[str, Any]]) -> Path:
    """Begin the work in a process of its own, and return the file that will have its result. Raises OSError.

    What ``work`` imports must have been imported: the module's own code goes away with the module.
    """
    JOBS.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_old()
    descriptor, name = tempfile.mkstemp(suffix=".json", dir=JOBS)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    if os.fork() == 0:
        _work(work, descriptor)
    # The lock is the other's now.
    os.close(descriptor)
    return Path(name)


def _work(work: Callable[[], dict[str, Any]], descriptor: int) -> None:
    """In the new process; never returns."""
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(nothing, standard)
        try:
            result = work()
        except Exception as error:
            result = {"failed": True, "msg": f"{error!r}", "exception": traceback.format_exc()}
        os.write(descriptor, json.dumps(result).encode())
    finally:
        # Nothing of what the module would do at its end.
        os._exit(0)


def _remove_old() -> None:
    for path in JOBS.glob("*.json"):
        if time.time() - path.stat().st_mtime > _KEPT_SECONDS and _read(path) is not None:
            path.unlink()


def _read(path: Path) -> dict[str, Any] | None:
    """The result; None while somebody works on it."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            text = file.read()
    except BlockingIOError:
        return None
    except OSError as error:
        return _lost(str(error))
    try:
        result: dict[str, Any] = json.loads(text)
    except ValueError:
        return _lost("it was killed")
    return result


def _lost(why: str) -> dict[str, Any]:
    return {"failed": True, "msg": f"nobody tells how it ended ({why}); look at what runs where before you go on"}


def result(path: Path, seconds: float, sleep: Callable[[float], None] = time.sleep) -> dict[str, Any] | None:
    """The result as soon as it is there; None after so many seconds without.

    They are counted by looks: the wall clock may jump.
    """
    for _look in range(round(seconds * _LOOKS)):
        found = _read(path)
        if found is not None:
            return found
        sleep(1 / _LOOKS)
    return _read(path)
