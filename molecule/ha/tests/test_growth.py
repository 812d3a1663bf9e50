# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fourth host joins the cluster that keeps VMs running, and leaves it; nobody is fenced by that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from fourth_host import ADDRESS, LAYER, NAME, ROOT, a_machine_more
from on_cluster import Cluster
from on_lab import HOSTS, fatal, guest, node

Play = Callable[..., Any]
THREE = (ROOT / "inventories/lab", ROOT / "molecule/ha/inventory")
LEAVE = "playbooks/ha_cluster_remove_host.yml"


@pytest.fixture(scope="module")
def four(all_nodes: list[dict[str, Any]], cluster: Cluster) -> Iterator[Cluster]:
    with a_machine_more(all_nodes, THREE):
        yield Cluster({**HOSTS, NAME: ADDRESS}, cluster.vms, ceph=False)


@pytest.fixture
def play_grown(play: Play) -> Play:
    """A playbook with the fourth host in the inventory."""
    return partial(play, inventory=(*THREE, LAYER))


def fencings(cluster: Cluster) -> int:
    return sum(cluster.fenced(host) for host in cluster.hosts)


def test_a_host_joins_and_runs_the_clusters_vms(four: Cluster, play_grown: Play) -> None:
    before = fencings(four)
    run = play_grown("site.yml")
    assert run.rc == 0, run.output
    assert four.online() == four.hosts
    assert "Expected votes:   4" in four.call("corosync-quorumtool -s", check=False)
    run = play_grown("playbooks/migrate.yml", migrate=[{"name": "app1", "target": NAME}])
    assert run.rc == 0, run.output
    assert four.where()["app1"] == NAME
    again = play_grown("site.yml")
    assert again.rc == 0, again.output
    assert not again.changed
    assert fencings(four) == before


def test_it_is_not_left_out_of_the_inventory_and_does_not_leave_with_vms(
    four: Cluster, play_grown: Play, play_here: Play
) -> None:
    said = fatal(play_here("site.yml"))
    assert f"{NAME}: is in the cluster and not in the inventory" in said
    said = fatal(play_grown(LEAVE, ha_cluster_remove_host=NAME))
    assert f"{NAME}: runs app1; drain it first" in said
    assert "kvm9: is neither in the cluster" in fatal(play_grown(LEAVE, ha_cluster_remove_host="kvm9"))
    assert four.online() == four.hosts


def test_it_leaves(four: Cluster, cluster: Cluster, play_grown: Play, play_here: Play) -> None:
    before = fencings(four)
    run = play_grown("playbooks/drain.yml", drain_host=NAME)
    assert run.rc == 0, run.output
    run = play_grown(LEAVE, ha_cluster_remove_host=NAME)
    assert run.rc == 0, run.output
    assert "Expected votes:   3" in cluster.call("corosync-quorumtool -s", check=False)
    assert {n.get("name") for n in cluster.monitor().iterfind("nodes/node")} == set(HOSTS)
    assert not {"corosync", "pacemakerd"} & set(node(ADDRESS, "ps -e -o comm=").split())
    assert not node(ADDRESS, "ls -d /etc/corosync/authkey /etc/croft/ha || true").strip()
    again = play_grown(LEAVE, ha_cluster_remove_host=NAME)
    assert again.rc == 0, again.output
    assert not again.changed
    # Its disks leave the storage, and the three are what they were.
    run = play_grown("playbooks/ceph_remove_host.yml", ceph_remove_host=NAME)
    assert run.rc == 0, run.output
    run = play_here("site.yml")
    assert run.rc == 0, run.output
    assert not play_here("site.yml").changed
    cluster.wait(cluster.whole)
    # Nobody looks at its fence device any more.
    assert NAME not in cluster.call("crm_mon -1 -r")
    assert guest("app1", "hostname").strip() == "app1"
    assert fencings(cluster) == before
