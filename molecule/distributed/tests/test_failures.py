# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host without its network, and one without power, while guests write: nothing runs twice and nothing is lost."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

from on_lab import GUESTS, SSH, bring, guest, where

Play = Callable[..., Any]
Lab = Any

# Writes a file, syncs it, and only then says so: number and checksum of what the disk has acknowledged.
_WRITER = (
    "rm -rf /root/a; mkdir /root/a; i=0; while :; do i=$((i+1)); head -c 65536 /dev/urandom > /root/a/$i; "
    "s=$(sha256sum < /root/a/$i); sync; echo $i $s; done"
)


class Writer:
    """What a guest's disk has acknowledged, and when."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.said: list[tuple[float, str, str]] = []
        options = ["-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null"]
        # The connection has to outlast a network that is cut for a minute.
        command = [*SSH, *options, "-oServerAliveInterval=0", f"root@{GUESTS[name]}", _WRITER]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            number, checksum, *_rest = line.split()
            self.said.append((time.monotonic(), number, checksum))

    def wait(self, count: int) -> None:
        """Until so many more writes are acknowledged."""
        wanted = len(self.said) + count
        for _look in range(300):
            if len(self.said) >= wanted:
                return
            time.sleep(0.5)
        raise AssertionError(f"{self.name} has stopped writing")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._thread.join(10)

    def stall(self) -> float:
        """The longest time in seconds without an acknowledged write."""
        times = [at for at, _number, _checksum in self.said]
        return max(b - a for a, b in pairwise(times))

    def lost(self) -> list[str]:
        """The acknowledged writes that are not on the disk as they were."""
        said = guest(self.name, "sync; cd /root/a; find . -type f -exec sha256sum {} +; rm -rf /root/a")
        there = {line.split()[1].removeprefix("./"): line.split()[0] for line in said.splitlines()}
        return [number for _at, number, checksum in self.said if there.get(number) != checksum]


@contextmanager
def writers(names: Sequence[str]) -> Iterator[list[Writer]]:
    made = [Writer(name) for name in names]
    try:
        for writer in made:
            writer.wait(3)
        yield made
    finally:
        for writer in made:
            writer.stop()


def apart(play_here: Play) -> tuple[str, str, str]:
    """(a VM on a host, that host, a VM on another one)."""
    places = where()
    victim = places["app2"]
    if places["app1"] == victim:
        assert play_here("playbooks/migrate.yml", migrate=["app1"]).rc == 0
    return "app2", victim, "app1"


def test_a_host_without_its_network(play: Play, play_here: Play, lab: Lab, whole_again: None) -> None:
    inside, victim, outside = apart(play_here)
    before = where()
    with writers([inside, outside]) as (cut_off, free):
        bring(play, lab.all_nodes, victim, "isolated")
        time.sleep(60)
        # The others go on meanwhile.
        free.wait(5)
        assert cut_off.said[-1][0] < time.monotonic() - 50
        bring(play, lab.all_nodes, victim, "present")
        cut_off.wait(5)
        lab.wait_healthy()
    assert where() == before
    assert (cut_off.lost(), free.lost()) == ([], [])
    print(f"network of {victim} cut: others stood still {free.stall():.1f} s, its own VMs {cut_off.stall():.1f} s")


def test_a_host_without_power(play: Play, play_here: Play, lab: Lab, whole_again: None) -> None:
    inside, victim, outside = apart(play_here)
    with writers([inside, outside]) as (died, free):
        bring(play, lab.all_nodes, victim, "powered_off")
        free.wait(20)
        bring(play, lab.all_nodes, victim, "present")
        free.wait(5)
    lab.wait_healthy()
    run = play_here("site.yml")
    assert run.rc == 0, run.output
    assert {inside, outside} <= set(where())
    assert (died.lost(), free.lost()) == ([], [])
    print(
        f"power of {victim} cut: others stood still {free.stall():.1f} s; "
        f"0 of {len(died.said) + len(free.said)} acknowledged writes lost"
    )
