# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run again, refused, cut off, repaired: the storage cluster in operation."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Play = Callable[..., Any]
Ask = Callable[..., Any]
Nodes = list[dict[str, Any]]
Lab = Any


def test_a_check_predicts_no_change(play_here: Play) -> None:
    run = play_here("playbooks/ceph.yml", cmdline="--check --diff")
    assert run.rc == 0, run.output
    assert not run.changed


def test_all_that_is_wrong_is_told_at_once_and_nothing_is_changed(
    play_here: Play, lab: Lab, somebodys_data: str, tmp_path: Path
) -> None:
    before = lab.ceph("osd dump")["osds"]
    wrong = {
        "ceph_mon_hosts": lab.names[:2],
        "ceph_osd_devices": ["/dev/croft/disk1", "/dev/croft/disk0", "/dev/nowhere"],
        "ceph_wipe_devices": ["/dev/croft/disk9"],
        "ceph_cluster_network": "192.0.2.0/24",
        "ceph_identity_dir": str(tmp_path / "another"),
    }
    run = play_here("playbooks/ceph.yml", **wrong)
    assert run.rc != 0
    assert not run.changed
    (failed,) = run.results("croft.infra.ceph_preflight", "runner_on_failed")
    said = failed["res"]["msg"]
    for text in (
        "ceph_mon_hosts: names 2 mons and an even number",
        "disk /dev/nowhere is not there",
        "ceph_wipe_devices names /dev/croft/disk9",
        "has no address in ceph_cluster_network 192.0.2.0/24",
        f"{somebodys_data}: disk /dev/croft/disk0 is",
        "(by /etc/ceph/ceph.conf and",
        "cluster: the one that answers is",
    ):
        assert text in said
    assert lab.ceph("osd dump")["osds"] == before
    assert not (tmp_path / "another").exists()


def test_two_hosts_are_refused(play_here: Play, nodes: Nodes) -> None:
    two = [node["name"] for node in nodes[:2]]
    run = play_here("playbooks/ceph.yml", cmdline=f"--limit {','.join(two)}", ceph_hosts=two)
    assert run.rc != 0
    (failed,) = run.results("croft.infra.ceph_preflight", "runner_on_failed")
    assert "cluster: has 2 hosts, Ceph needs 3" in failed["res"]["msg"]


def test_the_last_three_hosts_stay(play_here: Play, nodes: Nodes, ceph: Ask) -> None:
    last = nodes[-1]["name"]
    run = play_here("playbooks/ceph_remove_host.yml", ceph_remove_host=last)
    assert run.rc != 0
    (failed,) = run.results("croft.infra.ceph_departure", "runner_on_failed")
    assert f"{last}: without it 2 hosts have OSDs" in failed["res"]["msg"]
    assert all(osd["in"] for osd in ceph("osd dump")["osds"])


def test_the_network_is_measured_between_all_pairs(play_here: Play, nodes: Nodes) -> None:
    run = play_here("playbooks/network.yml")
    assert run.rc == 0, run.output
    pairs = [pair for call in run.results("croft.infra.network_probe") for pair in call["res"]["pairs"]]
    names = [node["name"] for node in nodes]
    assert {(pair["host"], pair["peer"]) for pair in pairs} == {(a, b) for a in names for b in names if a != b}
    for pair in pairs:
        assert pair["mtu"] == pair["wanted_mtu"] == 1500
        assert pair["loss"] == 0
    bad = play_here("playbooks/network.yml", network_check_mtu=9000)
    assert bad.rc != 0
    assert "packets of 9000 bytes do not get through, 1500 do" in bad.output


def test_a_dead_disk_is_replaced_and_a_second_run_does_nothing(
    play: Play,
    play_here: Play,
    lab: Lab,
) -> None:
    host = lab.names[1]
    (number,) = next(node["children"] for node in lab.ceph("osd tree")["nodes"] if node["name"] == host)
    lab.shell(lab.names[0], "rbd create vms/kept --size 64M && rbd bench --io-type write --io-total 16M vms/kept")
    digest = lab.shell(lab.names[0], "rbd export vms/kept - 2>/dev/null | sha256sum")
    wanted = {"ceph_replace_host": host, "ceph_replace_osd": number}

    refused = play_here("playbooks/ceph_replace_disk.yml", **wanted)
    assert refused.rc == 0
    assert not refused.changed

    lab.shell(
        host, f"systemctl kill -s KILL ceph-osd@{number}; systemctl stop ceph-osd@{number} croft-ceph-osd@{number}"
    )
    lab.shell(host, "dd if=/dev/zero of=/dev/croft/disk1 bs=1M count=100 conv=fsync 2>/dev/null")
    time.sleep(3)
    run = play_here("playbooks/ceph_replace_disk.yml", **wanted)
    assert run.rc == 0, run.output
    lab.wait_healthy()
    assert next(node["children"] for node in lab.ceph("osd tree")["nodes"] if node["name"] == host) == [number]
    assert lab.shell(lab.names[0], "rbd export vms/kept - 2>/dev/null | sha256sum") == digest
    lab.shell(lab.names[0], "rbd rm --no-progress vms/kept")

    again = play_here("playbooks/ceph_replace_disk.yml", **wanted)
    assert again.rc == 0, again.output
    assert not again.changed
