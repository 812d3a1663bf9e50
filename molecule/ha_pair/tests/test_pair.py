# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two hosts with a third vote: one dies, they lose sight of each other, and the one that breaks the tie is away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from on_cluster import Cluster, all_write_and_none_runs_twice, deaf
from on_lab import BOOT, HOSTS, SERVER, Watch, bring, guest, node

Play = Callable[..., Any]
HERE = Path(__file__).resolve().parents[1]
PAIR = ("kvm1", "kvm2")
VMS = ("web1", "web2")


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    return Cluster(PAIR, VMS, ceph=False)


@pytest.fixture
def play_pair(play: Play) -> Play:
    def run(playbook: str, **about: Any) -> Any:
        return play(playbook, inventory=(HERE / "hosts", HERE / "inventory"), **about)

    return run


def votes(cluster: Cluster, host: str) -> str:
    return cluster.call("corosync-quorumtool -s", on=host, check=False)


def test_three_votes_are_there_over_connections_of_known_parties(cluster: Cluster) -> None:
    for host in PAIR:
        said = votes(cluster, host)
        assert "Expected votes:   3" in said, said
        assert "Quorate Qdevice" in said, said
        assert "A,V," in said, said
    served = node(SERVER, "corosync-qnetd-tool -l -v")
    assert served.count("TLS active:") == len(PAIR), served
    assert served.count("(client certificate verified)") == len(PAIR), served


def test_one_dies_and_the_other_runs_its_vms(
    play: Play, play_pair: Play, all_nodes: list[dict[str, Any]], cluster: Cluster, whole_again: None
) -> None:
    victim = cluster.where()["web1"]
    lost = {name for name, host in cluster.where().items() if host == victim}
    guest("web1", "echo kept > /root/kept; sync")
    cluster.asked = next(host for host in PAIR if host != victim)
    watch = Watch()
    watch.start()
    bring(play, all_nodes, victim, "powered_off")
    cluster.wait(lambda: all(cluster.where().get(name, victim) != victim for name in lost))
    cluster.wait(cluster.whole)
    watch.over.set()
    assert watch.twice == []
    assert guest("web1", "cat /root/kept").strip() == "kept"
    run = play_pair("site.yml")
    assert run.rc == 0, run.output
    assert not run.changed


def test_of_two_that_do_not_hear_each_other_one_goes_on(cluster: Cluster, whole_again: None) -> None:
    boots = {host: node(HOSTS[host], BOOT) for host in PAIR}

    def one_began_anew() -> bool:
        return any(node(HOSTS[host], BOOT) != boots[host] for host in PAIR)

    with all_write_and_none_runs_twice(cluster):
        with deaf(*PAIR):
            cluster.wait(one_began_anew)
        cluster.wait(cluster.whole)
    began = [host for host in PAIR if node(HOSTS[host], BOOT) != boots[host]]
    assert len(began) == 1, began


def test_while_the_third_vote_is_away_all_goes_on(cluster: Cluster) -> None:
    before = cluster.where()
    node(SERVER, "systemctl stop corosync-qnetd")
    try:
        cluster.wait(lambda: all("A,V," not in votes(cluster, host) for host in PAIR))
        assert all("Quorate:          Yes" in votes(cluster, host) for host in PAIR)
        assert cluster.where() == before
    finally:
        node(SERVER, "systemctl start corosync-qnetd")
    cluster.wait(lambda: all("A,V," in votes(cluster, host) for host in PAIR))


def test_a_server_that_was_made_anew_is_known_again(play_pair: Play, cluster: Cluster) -> None:
    node(SERVER, "systemctl stop corosync-qnetd; rm -rf /etc/corosync/qnetd/nssdb; dpkg-reconfigure corosync-qnetd")
    run = play_pair("site.yml")
    assert run.rc == 0, run.output
    cluster.wait(lambda: all("A,V," in votes(cluster, host) for host in PAIR))
