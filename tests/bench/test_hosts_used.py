# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How few hosts the packer needs, held against CP-SAT, and against the L1 bound where CP-SAT is too slow."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from packing_cases import case, fewest, hosts_used, planned

# CP-SAT's time for one case. Where it proves nothing in it, what it did prove is the bound.
SECONDS = 10.0
CASES = 200
SPARE = 12


def test_hosts_used_beside_the_optimum() -> None:
    """At most one host more than the optimum; and as many hosts as CP-SAT needs are enough for all VMs."""
    pytest.importorskip("ortools", reason="CP-SAT is not installed")
    said: Counter[str] = Counter()
    ours = theirs = 0.0
    for seed in range(CASES):
        one = case(seed)
        begin = time.perf_counter()
        plan = planned(one, one.least + SPARE, "pack")
        ours += time.perf_counter() - begin
        assert plan["summary"]["placed"] == len(one.sizes), seed
        used = hosts_used(plan)
        begin = time.perf_counter()
        best, bound = fewest(one, used, SECONDS)
        theirs += time.perf_counter() - begin
        assert bound <= used, seed
        if best == bound:
            said[f"CP-SAT proved the optimum; ours is {used - best} above it"] += 1
            assert used <= best + 1, (seed, used, best)
        else:
            said[f"CP-SAT proved a bound only; ours is {used - bound} above it"] += 1
            assert used <= best, (seed, used, best, bound)
        # What a solver solves must never be called impossible.
        for placement in ("spread", "pack"):
            tight = planned(one, min(used, best), placement)
            assert tight["summary"]["placed"] == len(one.sizes), (seed, placement)
    print(
        f"\n{CASES} cases of 40 to 200 VMs; ours {ours:.1f} s, CP-SAT {theirs:.1f} s (1 worker, {SECONDS:.0f} s a case)"
    )
    for words, count in sorted(said.items()):
        print(f"{count:>5}  {words}")


@pytest.mark.parametrize(("vms", "shapes"), [(1_000, 40), (10_000, 40), (10_000, 10_000)])
def test_hosts_used_over_the_bound(vms: int, shapes: int) -> None:
    print(f"\n{'VMs':>7} {'shapes':>7} {'bound':>6} {'used':>6} {'over':>7} {'whole plan':>11}")
    for seed in (0, 1, 2):
        one = case(seed, vms=vms, shapes=shapes)
        begin = time.perf_counter()
        plan = planned(one, one.least * 11 // 10 + SPARE, "pack")
        seconds = time.perf_counter() - begin
        used = hosts_used(plan)
        over = used / one.least - 1
        print(f"{vms:>7} {len(one.wanted):>7} {one.least:>6} {used:>6} {over:>7.1%} {seconds:>9.2f} s")
        assert plan["summary"]["placed"] == vms
        assert plan["packing"]["least_hosts"] == one.least
        assert over <= 0.04
