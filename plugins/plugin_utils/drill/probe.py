# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does a guest answer? Asked again and again beside everything else, with the moment of each change."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

_SECONDS = 1.0
_EVERY = 0.5


def answers(address: str, port: int, timeout: float = _SECONDS) -> bool:
    """Whether a service says something: a kernel may still take connections when nobody is behind them.

    SSH greets whoever connects.
    """
    try:
        with socket.create_connection((address, port), timeout) as opened:
            opened.settimeout(timeout)
            return bool(opened.recv(1))
    except OSError:
        return False


class Prober:
    """Asks each guest in a thread of its own until it is stopped.

    ``changes`` has pairs of clock and whether it answered. The first pair is what was seen at first. A change counts
    from the moment at which the answer was there, or at which it was asked for in vain.
    """

    def __init__(
        self,
        addresses: Mapping[str, str],
        port: int,
        ask: Callable[[str, int], bool] = answers,
        every: float = _EVERY,
    ) -> None:
        self.changes: dict[str, list[list[Any]]] = {name: [] for name in addresses}
        self._ask, self._port, self._every = ask, port, every
        self._end = threading.Event()
        self._threads = [
            threading.Thread(target=self._follow, args=(name, address), daemon=True)
            for name, address in addresses.items()
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(2 * _SECONDS + self._every)

    def _follow(self, name: str, address: str) -> None:
        while not self._end.is_set():
            asked = time.monotonic()
            up = self._ask(address, self._port)
            note(self.changes[name], time.monotonic() if up else asked, up)
            self._end.wait(self._every)


def note(changes: list[list[Any]], at: float, up: bool) -> None:
    """Add what was seen, when it differs from before."""
    if not changes or changes[-1][1] != up:
        changes.append([at, up])


def waiting(follow: Iterable[Mapping[str, Any]], guests: Mapping[str, Sequence[Sequence[Any]]]) -> list[str]:
    """The VMs that are to come back and do not answer now. When the watching begins all that was broken is broken.

    A guest that only its agent tells of is seen by the host that starts it alone; the others wait until the time is up.
    """
    to_come = [str(vm["name"]) for vm in follow if vm["restarts"]]
    return [name for name in to_come if not guests.get(name) or not guests[name][-1][1]]
