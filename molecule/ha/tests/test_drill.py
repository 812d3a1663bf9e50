# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drills: each kind of failure, on purpose, measured, and held against the plan's failover table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from on_lab import BOOT, HOSTS, guest, node, where

Play = Callable[..., Any]
Cluster = Any
Drill = Callable[..., dict[str, Any]]


@pytest.fixture
def drill(play_here: Play, cluster: Cluster, tmp_path: Path, whole_again: None) -> Drill:
    """Run one where it is allowed, see it pass, and return what it wrote."""

    def run(kind: str, **about: Any) -> dict[str, Any]:
        cluster.asked = next(host for host in HOSTS if host != about.get("drill_host"))
        done = play_here("playbooks/drill.yml", drill_kind=kind, drill_dir=str(tmp_path / "drill"), **about)
        assert done.rc == 0, done.output
        assert "<title>Drill passed</title>" in (tmp_path / "drill/drill.html").read_text()
        report: dict[str, Any] = json.loads((tmp_path / "drill/drill.json").read_text())
        assert report["kind"] == kind
        print(kind, about, [(vm["name"], vm["up"]) for vm in report["virtual_machines"]])
        return report

    return run


def test_nothing_is_broken_where_it_is_not_allowed(play_here: Play, cluster: Cluster) -> None:
    before = cluster.where()
    run = play_here("playbooks/drill.yml", drill_kind="host_kill", drill_host=before["app1"], drill_allowed=False)
    assert run.rc != 0
    assert f"{before['app1']}: is not marked for drills" in " ".join(run.output.split())
    assert not run.changed
    assert cluster.where() == before


def test_a_qemu_that_is_killed_is_started_anew(drill: Drill) -> None:
    assert drill("vm_kill", drill_vm="web2")["verdict"] == "passed"


def test_a_guest_that_hangs_is_booted_anew(drill: Drill, cluster: Cluster) -> None:
    host = cluster.where()["app1"]
    run = node(HOSTS[host], "virsh domid app1")
    assert drill("vm_hang", drill_vm="app1")["verdict"] == "passed"
    # By whoever watches the guest; the cluster sees the same QEMU.
    assert node(HOSTS[host], "virsh domid app1") == run
    assert guest("app1", "hostname").strip() == "app1"


def test_a_storage_daemon_that_stops_stops_no_vm(drill: Drill, cluster: Cluster) -> None:
    before = where()
    host = before["web1"]
    unit = node(HOSTS[host], "systemctl list-units --plain --no-legend 'ceph-osd@*' | cut -d' ' -f1").split()[0]
    report = drill("storage_stop", drill_host=host, drill_storage_unit=unit, drill_watch_seconds=60)
    assert report["verdict"] == "passed"
    assert where() == before


@pytest.mark.parametrize("power", ["lab", "fencing"])
def test_a_host_that_dies_is_fenced_and_its_vms_are_back(power: str, drill: Drill, cluster: Cluster) -> None:
    report = drill("host_kill", drill_host=cluster.where()["web1"], drill_power=power)
    assert report["verdict"] == "passed"


def test_a_host_that_is_cut_off_is_fenced_and_its_vms_are_back(drill: Drill, cluster: Cluster) -> None:
    assert drill("host_isolate", drill_host=cluster.where()["web2"])["verdict"] == "passed"


def test_each_host_is_really_fenced_on_demand(play_here: Play, cluster: Cluster) -> None:
    host = cluster.where()["app1"]
    cluster.asked = next(peer for peer in HOSTS if peer != host)
    boot = node(HOSTS[host], BOOT)
    run = play_here("playbooks/ha_fence_test.yml", ha_fence_test=host)
    assert run.rc == 0, run.output
    assert node(HOSTS[host], BOOT) != boot
    assert "croft-test" in cluster.call(f"stonith_admin --history {host} --verbose")
    cluster.wait(cluster.whole)
