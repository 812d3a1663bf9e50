# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host without power, and hosts that do not hear each other: each VM runs once, and no write is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from on_lab import HOSTS, Watch, Writer, bring, guest

Play = Callable[..., Any]
Cluster = Any


def test_the_vms_of_a_host_without_power_restart_elsewhere(
    play: Play, play_here: Play, all_nodes: list[dict[str, Any]], cluster: Cluster, whole_again: None
) -> None:
    victim = cluster.where()["app1"]
    lost = {name for name, host in cluster.where().items() if host == victim}
    guest("app1", "echo kept > /root/kept; sync")
    cluster.asked = next(host for host in HOSTS if host != victim)
    bring(play, all_nodes, victim, "powered_off")
    cluster.wait(lambda: all(cluster.where().get(name, victim) != victim for name in lost))
    # The cluster's fencing has switched the host on again by itself.
    cluster.wait(lambda: cluster.online() == set(HOSTS))
    cluster.wait(cluster.whole)
    assert guest("app1", "cat /root/kept").strip() == "kept"
    history = cluster.call(f"stonith_admin --history {victim}")
    assert "was able to" in history
    run = play_here("site.yml")
    assert run.rc == 0, run.output
    assert not run.changed


@pytest.mark.parametrize("alone", HOSTS)
def test_hosts_that_do_not_hear_each_other_never_run_one_vm(
    alone: str, play: Play, all_nodes: list[dict[str, Any]], cluster: Cluster, whole_again: None
) -> None:
    """Of three nodes one is alone, whichever way the network is cut. All guests write meanwhile, to shared storage."""
    before = cluster.where()
    lost = {name for name, host in before.items() if host == alone}
    writers = {name: Writer(name) for name in before}
    for writer in writers.values():
        writer.wait(3)
    watch = Watch()
    watch.start()
    cluster.asked = next(host for host in HOSTS if host != alone)
    bring(play, all_nodes, alone, "isolated")
    cluster.wait(lambda: all(cluster.where().get(name, alone) != alone for name in lost))
    cluster.wait(lambda: cluster.online() == set(HOSTS))
    cluster.wait(cluster.whole)
    watch.over.set()
    assert watch.twice == []
    for name, writer in writers.items():
        if name not in lost:
            writer.wait(3)
        writer.stop()
        # A second one that writes would have spoilt the file system of the first.
        assert guest(name, "dmesg | grep -ci 'ext4.*error' || true").strip() == "0"
        assert writer.lost() == [], name
    assert 'status="success"' in cluster.call(f"stonith_admin --history {alone} --output-as=xml")
