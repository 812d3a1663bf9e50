# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How soon a VM is back when its host loses its power: run on a lab with a cluster on it.

    CROFT_BENCH_FAILOVERS=20 .venv/bin/python -m pytest tests/bench/test_failover_speed.py -s

Each round cuts the power of a host that runs a VM, as its BMC would, and counts the seconds until the VM takes
connections again, less what the guest needs to boot when nothing is wrong (the median of resets). Meanwhile the guest
writes, and every write that its disk acknowledged is looked for afterwards; and no VM may ever run on two hosts.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "molecule"))
from on_lab import GUESTS, HOSTS, KNOWN, SSH, STATE, Watch, Writer, node, places

ROUNDS = int(os.environ.get("CROFT_BENCH_FAILOVERS", "3"))
VM = os.environ.get("CROFT_BENCH_VM", "app1")
MEDIAN, WORST = 20, 40


def answers(name: str) -> bool:
    """Whether the guest's userland takes connections."""
    try:
        with socket.create_connection((GUESTS[name], 22), timeout=0.5) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def wait(what: Callable[[], bool], seconds: int, pause: float = 0.1) -> float:
    """Seconds until it is so."""
    begun = time.monotonic()
    while not what():
        assert time.monotonic() - begun < seconds, what
        time.sleep(pause)
    return time.monotonic() - begun


def whole() -> bool:
    """All hosts are in the cluster again and the storage has all its copies."""
    command = (
        'crm_mon -1 --output-as=xml | grep -c \'online="true".*pending="false"\'; timeout 20 ceph health; '
        "crm_mon -1 -r | grep -c -i stopped"
    )
    done = subprocess.run(
        [*SSH, KNOWN, f"root@{HOSTS['kvm1']}", command], capture_output=True, text=True, check=False, timeout=60
    )
    return done.stdout.split() == [str(len(HOSTS)), "HEALTH_OK", "0"]


def boot_seconds() -> float:
    """What the guest needs to boot when nothing is wrong."""
    taken = []
    for _reset in range(3):
        (host,) = places()[VM]
        node(HOSTS[host], f"virsh reset {VM}")
        begun = time.monotonic()
        wait(lambda: not answers(VM), 30)
        wait(lambda: answers(VM), 120)
        taken.append(time.monotonic() - begun)
        time.sleep(5)
    return statistics.median(taken)


def test_failover_speed() -> None:
    if not (STATE / "bmc/power").exists() or len(places().get(VM, [])) != 1:
        pytest.skip(f"no lab with a cluster that runs {VM}; see playbooks/lab.yml and site.yml")
    boot = boot_seconds()
    taken: list[float] = []
    lost: list[str] = []
    written = 0
    watch = Watch()
    watch.start()
    for number in range(ROUNDS):
        wait(whole, 600, 2)
        (victim,) = places()[VM]
        writer = Writer(VM, file_bytes=4096)
        writer.wait(10)
        begun = time.monotonic()
        subprocess.run([STATE / "bmc/power", victim, "set", "power", "0"], check=True)
        wait(lambda gone=victim: places().get(VM, [gone]) != [gone] and answers(VM), 300)  # type: ignore[misc]
        taken.append(time.monotonic() - begun)
        writer.stop()
        lost += writer.lost()
        written += len(writer.said)
        (now,) = places()[VM]
        print(
            f"{number + 1:3}: {victim} > {now}: back after {taken[-1]:.1f} s, {taken[-1] - boot:.1f} s without the boot"
        )
    watch.over.set()
    wait(whole, 600, 2)
    less = sorted(max(0.0, one - boot) for one in taken)
    median, p95 = statistics.median(less), less[min(len(less) - 1, int(0.95 * len(less)))]
    print(
        f"{ROUNDS} power cuts: median {median:.1f} s, p95 {p95:.1f} s, worst {less[-1]:.1f} s, less {boot:.1f} s of "
        f"boot; {len(lost)} of {written} acknowledged writes lost, {len(watch.twice)} times on two hosts"
    )
    assert lost == []
    assert watch.twice == []
    assert median <= MEDIAN
    assert less[-1] <= WORST
