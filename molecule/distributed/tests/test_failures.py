# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host without its network, and one without power, while guests write: nothing runs twice and nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from on_lab import Writer, bring, where

Play = Callable[..., Any]
Lab = Any


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
