# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster as site.yml made it, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from on_lab import HOSTS, guest, node, where

Play = Callable[..., Any]
Cluster = Any
HA = {"app1", "web1", "web2"}


def test_the_vms_run_once_and_answer(cluster: Cluster) -> None:
    places = where()
    assert set(places) == {*HA, "app2"}
    assert cluster.where() == {name: host for name, host in places.items() if name in HA}
    assert places["web1"] != places["web2"]
    for name in places:
        assert guest(name, "hostname").strip() == name


def test_links_are_encrypted_and_the_key_is_of_this_lab() -> None:
    keys = set()
    for address in HOSTS.values():
        assert "totem.crypto_cipher (str) = aes256" in node(address, "corosync-cmapctl totem.")
        assert node(address, "stat -c '%a %U' /etc/corosync/authkey") == "400 root\n"
        keys.add(node(address, "sha256sum < /etc/corosync/authkey"))
        assert node(address, "systemctl is-active pcsd", check=False).startswith("inactive")
    assert len(keys) == 1


def test_no_password_is_in_the_configuration_or_on_a_command_line(cluster: Cluster) -> None:
    password = open("/var/lib/croft-lab/bmc/password").read().strip()  # noqa: SIM115
    assert password not in cluster.call("cibadmin --query")
    for address in HOSTS.values():
        assert node(address, "stat -c %a /etc/croft/ha/fence/*").split() == ["700"] * 3
        assert password not in node(address, "ps axww -o args")


def test_every_host_has_the_same_definitions_and_libvirt_has_none(cluster: Cluster) -> None:
    sums = {node(address, "cd /etc/croft/ha && sha256sum *.xml") for address in HOSTS.values()}
    assert len(sums) == 1
    assert {line.split()[1] for line in sums.pop().splitlines()} == {f"{name}.xml" for name in HA}
    for address in HOSTS.values():
        assert node(address, "stat -c %a /etc/croft/ha/*.xml").split() == ["600"] * 3
        assert not HA & set(node(address, "virsh list --all --persistent --name").split())


def test_each_fence_device_answers_and_not_on_its_own_host(cluster: Cluster) -> None:
    for resource in cluster.monitor().iterfind("resources/resource"):
        if str(resource.get("resource_agent")).startswith("stonith:"):
            (at,) = (n.get("name") for n in resource.iterfind("node"))
            assert resource.get("role") == "Started"
            assert not str(resource.get("id")).endswith(str(at))


def test_a_check_predicts_no_change(play_here: Play) -> None:
    run = play_here("site.yml", cmdline="--check --diff")
    assert run.rc == 0, run.output
    assert not run.changed


def test_without_fencing_there_is_no_cluster(play_here: Play) -> None:
    run = play_here(
        "site.yml",
        cmdline="--start-at-task='Preflight | Refuse what no cluster can be made of'",
        ha_cluster_fence_devices=[],
    )
    said = run.output
    assert run.rc != 0
    for host in HOSTS:
        assert f"{host}: has no fence device" in said
    assert not run.changed


def test_ha_on_local_storage_is_refused(play_here: Play) -> None:
    run = play_here("playbooks/plan.yml", storage_layout="local", croft_pool="croft")
    assert run.rc != 0
    assert "use storage_layout centralized or distributed" in run.output


def test_a_vm_does_not_start_twice_by_hand(cluster: Cluster) -> None:
    name, host = next(iter(cluster.where().items()))
    other = next(peer for peer in HOSTS if peer != host)
    said = node(HOSTS[other], f"virsh create /etc/croft/ha/{name}.xml", check=False)
    assert f"{name} runs on {host}" in said
    assert where()[name] == host


def test_moves_go_through_the_cluster(play_here: Play, cluster: Cluster) -> None:
    before = cluster.where()
    free = next(host for host in HOSTS if host not in (before["web2"], before["web1"]))
    run = play_here("playbooks/migrate.yml", migrate=[{"name": "web1", "target": free}])
    assert run.rc == 0, run.output
    (done,) = (one for call in run.results("croft.infra.live_migration") for one in call["res"].get("migrations", []))
    assert (done["name"], done["target"], done["state"]) == ("web1", free, "done")
    assert cluster.where() == {**before, "web1": free}
    assert "cli-" not in cluster.call("cibadmin --query --scope constraints")
    assert guest("web1", "hostname").strip() == "web1"


def test_a_drained_host_runs_nothing_until_it_may_again(play_here: Play, cluster: Cluster) -> None:
    victim = cluster.where()["app1"]
    try:
        run = play_here("playbooks/drain.yml", drain_host=victim)
        assert run.rc == 0, run.output
        assert victim not in where().values()
        assert set(where()) == {*HA, "app2"}
        # What the cluster counts for each host and VM follows from the plan without that host; the VMs stay.
        places = where()
        for changes in (1, 0):
            again = play_here("site.yml")
            assert again.rc == 0, again.output
            assert sum(again.changed.values()) <= changes
        assert where() == places
    finally:
        assert play_here("playbooks/undrain.yml", drain_host=victim).rc == 0
    standby = [n.get("name") for n in cluster.monitor().iterfind("nodes/node") if n.get("standby") == "true"]
    assert standby == []
