# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Beside ganeti-htools, on the same cluster in the same run: checking, every host's death, placing, room for more.

Trust the ratios, not the seconds. The peers are programs and their time has their start and reading a file in it; ours
is a call, with reading the inventory's variables in it. hail is made to place one VM, not a thousand: that row says
what a whole plan costs with it, not that it is slow at its own work.
"""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.whatif import headroom
from ganeti import DISK_GIB, HAIL, MEMORY_MIB, Vm, cluster, keys, ours, request_file, run, text_file

pytestmark = pytest.mark.skipif(shutil.which("hcheck") is None, reason="Debian's ganeti-htools is not installed")

PEER_SECONDS = 120.0


def said(what: str, mine: float, peer: float | None, wanted: float | None = None) -> None:
    """A row; with ``wanted`` the ratio is held to it."""
    ratio = (PEER_SECONDS if peer is None else peer) / mine
    shown = f"> {PEER_SECONDS:.0f} s" if peer is None else f"{peer:.2f} s"
    print(f"{what:<62} {mine:>8.3f} s {shown:>10} {'>' if peer is None else ' '}{ratio:>6.1f}x")
    assert wanted is None or ratio >= wanted, (what, ratio)


def head(title: str) -> None:
    print(f"\n{title:<62} {'croft':>10} {'ganeti':>10} {'ratio':>8}")


def best(hosts: int, vms: list[Vm], *, placed: bool, survive: bool) -> float:
    return min(ours(hosts, vms, placed=placed, survive=survive)[0] for _ in range(3))


def test_every_death(tmp_path: Path) -> None:
    head("Check, and every host's death (hcheck, global N+1)")
    for hosts, wanted in ((20, None), (100, 30.0)):
        vms = cluster(hosts)
        mine = best(hosts, vms, placed=True, survive=True)
        peer, _ = run(["hcheck", "-t", text_file(tmp_path, hosts, vms), "--no-simulation"], PEER_SECONDS)
        said(f"{hosts} hosts, {len(vms)} VMs", mine, peer, wanted)


def test_the_check_alone(tmp_path: Path) -> None:
    head("Check of what runs, 1,000 hosts and 10,000 VMs")
    vms = cluster(1000)
    alone = best(1000, vms, placed=True, survive=False)
    every = best(1000, vms, placed=True, survive=True)
    for words, template, options, mine, wanted in (
        ("rules alone; hcheck without capacity checks", "ext", ["--no-capacity-checks"], alone, None),
        ("rules alone; hcheck with N+1 by secondaries (DRBD)", "drbd", [], alone, 1.0),
        ("rules and every death; hcheck with N+1 by secondaries (DRBD)", "drbd", [], every, None),
    ):
        file = text_file(tmp_path, 1000, vms, template)
        runs = [run(["hcheck", "-t", file, "--no-simulation", *options], PEER_SECONDS)[0] for _ in range(2)]
        assert None not in runs
        said(words, mine, min(seconds for seconds in runs if seconds is not None), wanted)


def test_placing(tmp_path: Path) -> None:
    head("Place all VMs on empty hosts (hail, multi-allocate)")
    for hosts, options, survive, wanted in (
        (20, ["--no-capacity-checks"], False, None),
        (100, ["--no-capacity-checks"], False, 30.0),
        (20, [], True, 30.0),
        (100, [], True, 30.0),
    ):
        vms = cluster(hosts)
        mine = best(hosts, vms, placed=False, survive=survive)
        peer, answer = run([HAIL, *options, request_file(tmp_path, hosts, vms)], PEER_SECONDS)
        assert peer is None or f" {len(vms)} were allocated" in answer, answer[:200]
        words = "and every death survived; hail with N+1" if survive else "no N+1 on either side"
        said(f"{hosts} hosts, {len(vms)} VMs, {words}", mine, peer, wanted)


def test_room_for_more() -> None:
    head("How many more of 2 vCPUs and 4 GiB fit on empty hosts (hspace)")
    shape = {"vcpus": 2, "memory_mib": 4096, "disk_gib": 40}
    said_by = ["--machine-readable"]
    for hosts, options, survive, wanted in (
        (20, ["--no-capacity-checks"], False, None),
        (100, ["--no-capacity-checks"], False, 30.0),
        (20, [], True, 30.0),
    ):
        _, plan = ours(hosts, [], placed=True)
        timed = []
        for _ in range(3):
            begin = time.perf_counter()
            room = headroom(plan, {**shape, "ha": survive})
            timed.append(time.perf_counter() - begin)
        simulated = f"p,{hosts},{DISK_GIB // 1024}t,{MEMORY_MIB // 1024}g,32,1"
        peer, answer = run(
            [
                "hspace",
                f"--simulate={simulated}",
                "--disk-template=plain",
                "--standard-alloc=40g,4g,2",
                *said_by,
                *options,
            ],
            PEER_SECONDS,
        )
        theirs = keys(answer).get("HTS_FIN_INST_CNT", "?")
        counts = f"{room['count']}{'' if room['exact'] else ' or more'} and {theirs} VMs"
        said(f"{hosts} hosts, {'N+1' if survive else 'no N+1'}: {counts}", min(timed), peer, wanted)


def test_verdicts_on_shared_storage(tmp_path: Path) -> None:
    """What the peer calls N+1 safe is never refused; where it fails and ours survives, ours shows the arrangement."""
    counted: Counter[str] = Counter()
    for seed in range(60):
        chance = random.Random(seed)
        hosts = chance.randint(3, 12)
        vms = cluster(hosts, fill=chance.uniform(0.6, 0.98), seed=seed, per_host=chance.randint(4, 20))
        _, answer = run(
            ["hcheck", "-t", text_file(tmp_path, hosts, vms), "--no-simulation", "--machine-readable"], PEER_SECONDS
        )
        safe = keys(answer)["HCHECK_INIT_CLUSTER_GN1_FAIL"] == "0"
        _, plan = ours(hosts, vms, placed=True)
        survived = all(death["survives"] for death in plan["failover"])
        assert all(death["exact"] for death in plan["failover"]), seed
        assert survived or not safe, seed
        counted[f"ours {'survives' if survived else 'refuses'}, hcheck {'safe' if safe else 'not safe'}"] += 1
    print("\nVerdicts on 60 clusters of shared storage:")
    for words, count in sorted(counted.items()):
        print(f"{count:>5}  {words}")
