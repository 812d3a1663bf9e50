# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host without power, and hosts that do not hear each other: each VM runs once, and no write is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from on_cluster import all_write_and_none_runs_twice, deaf
from on_lab import HOSTS, bring, guest

Play = Callable[..., Any]
Cluster = Any


def test_the_vms_of_a_host_without_power_restart_elsewhere(
    play: Play, play_here: Play, all_nodes: list[dict[str, Any]], cluster: Cluster, whole_again: None
) -> None:
    victim = cluster.where()["app1"]
    guest("app1", "echo kept > /root/kept; sync")
    cluster.asked = next(host for host in HOSTS if host != victim)
    before = cluster.fenced(victim)
    bring(play, all_nodes, victim, "powered_off")
    # The cluster's fencing has switched the host on again by itself; what starts late may come back to it.
    cluster.wait(lambda: cluster.fenced(victim) > before)
    cluster.wait(lambda: cluster.where().get("app1", victim) != victim)
    cluster.wait(cluster.whole)
    assert guest("app1", "cat /root/kept").strip() == "kept"
    run = play_here("site.yml")
    assert run.rc == 0, run.output
    assert not run.changed


@pytest.mark.parametrize("alone", HOSTS)
def test_a_host_that_nobody_hears_is_fenced(
    alone: str, play: Play, all_nodes: list[dict[str, Any]], cluster: Cluster, whole_again: None
) -> None:
    before = cluster.where()
    lost = {name for name, host in before.items() if host == alone}
    cluster.asked = next(host for host in HOSTS if host != alone)
    fenced = cluster.fenced(alone)
    with all_write_and_none_runs_twice(cluster) as writers:
        bring(play, all_nodes, alone, "isolated")
        cluster.wait(lambda: cluster.fenced(alone) > fenced)
        cluster.wait(cluster.whole)
        for name in set(before) - lost:
            writers[name].wait(3)


def test_two_hosts_that_do_not_hear_each_other_run_nothing_twice(cluster: Cluster, whole_again: None) -> None:
    """Either one of them is fenced, or corosync's membership never settles and nothing is moved (README, limits)."""
    with all_write_and_none_runs_twice(cluster):
        with deaf(*list(HOSTS)[1:]):
            time.sleep(60)
        cluster.wait(cluster.whole)


def test_three_hosts_of_which_none_hears_another_run_nothing_twice(
    play: Play, all_nodes: list[dict[str, Any]], cluster: Cluster, whole_again: None
) -> None:
    cut = [{**one, "state": "isolated"} if one["name"] in HOSTS else one for one in all_nodes]
    with all_write_and_none_runs_twice(cluster):
        assert play("playbooks/lab.yml", lab_nodes=cut).rc == 0
        time.sleep(60)
        assert play("playbooks/lab.yml", lab_nodes=all_nodes).rc == 0
        cluster.wait(cluster.whole)
