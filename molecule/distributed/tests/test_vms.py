# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs whose disks are in the cluster: clones, moves, growth, and one host at a time for each."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from on_lab import HOSTS, addresses, fatal, guest, node, start_twice, where, writing

Play = Callable[..., Any]
Ask = Callable[..., Any]

OVERLAY = Path(__file__).resolve().parents[1] / "inventory"
MACHINES = yaml.safe_load((OVERLAY / "group_vars/all.yml").read_text())["virtual_machines"]
GUESTS = addresses(OVERLAY / "group_vars/all.yml")


def rbd(command: str) -> Any:
    return json.loads(node(HOSTS["kvm1"], f"rbd {command} --format json"))


def test_every_vm_runs_once_from_the_cluster_and_answers(play_here: Play) -> None:
    assert sorted(where()) == sorted(GUESTS)
    for name, host in where().items():
        xml = node(HOSTS[host], f"virsh dumpxml {name}")
        assert f"name='vms/{name}.raw'" in xml
        assert "discard='unmap'" in xml
    run = play_here("playbooks/verify.yml")
    assert run.rc == 0, run.output


def test_disks_are_clones_of_a_protected_snapshot() -> None:
    (golden,) = [name for name in rbd("ls vms") if name.startswith("croft-guest-")]
    (snapshot,) = rbd(f"snap ls vms/{golden}")
    assert (snapshot["name"], snapshot["protected"]) == ("golden", "true")
    children = {child["image"] for child in rbd(f"children vms/{golden}@golden")}
    assert {f"{name}.raw" for name in GUESTS} <= children
    # A clone has only what its guest wrote.
    used = {image["name"]: image["used_size"] for image in rbd("du --pool vms")["images"] if "snapshot" not in image}
    assert all(used[f"{name}.raw"] < 400 * 2**20 for name in GUESTS)


def test_the_pool_is_known_to_libvirt() -> None:
    for address in HOSTS.values():
        assert "vms" in node(address, "virsh pool-list --autostart --name").split()
    # Also when libvirt was restarted, after which it takes such a pool for inactive.
    assert "vms" in node(HOSTS["kvm1"], "systemctl restart libvirtd && virsh pool-list --name").split()


def test_what_a_guest_gives_back_leaves_the_cluster() -> None:
    def stored() -> int:
        pools = json.loads(node(HOSTS["kvm1"], "ceph df --format json"))["pools"]
        return next(int(pool["stats"]["stored"]) for pool in pools if pool["name"] == "vms")

    def at_rest() -> int:
        # The cluster counts every few seconds.
        before = stored()
        for _look in range(20):
            time.sleep(8)
            now = stored()
            if now == before:
                return now
            before = now
        raise AssertionError("something goes on writing")

    guest("app2", "sync; fstrim /")
    before = at_rest()
    guest("app2", "head -c 100000000 /dev/urandom > /root/big; sync")
    full = at_rest()
    assert full > before + 60e6
    guest("app2", "rm /root/big; sync; fstrim /")
    assert at_rest() < full - 60e6


def test_a_second_start_of_the_same_disk_is_refused() -> None:
    start_twice()


def test_migration_keeps_what_the_guest_writes_and_changes_nothing_for_site(play_here: Play) -> None:
    source = where()["app1"]
    with writing("app1") as count:
        run = play_here("playbooks/migrate.yml", migrate=["app1"])
        assert run.rc == 0, run.output
        (done,) = [
            one for call in run.results("croft.infra.live_migration") for one in call["res"].get("migrations") or []
        ]
        assert done["state"] == "done"
        assert where()["app1"] == done["target"] != source
        assert count() > 5
    again = play_here("site.yml")
    assert again.rc == 0, again.output
    assert not again.changed


@pytest.mark.parametrize("pool", ["croft", "shared"])
def test_disks_move_to_another_storage_and_back_while_the_guest_writes(play_here: Play, pool: str) -> None:
    host = where()["app1"]
    with writing("app1") as count:
        for target in (pool, "vms"):
            run = play_here("playbooks/migrate_storage.yml", migrate_storage=[{"name": "app1", "pool": target}])
            assert run.rc == 0, run.output
        assert count() > 5
    assert where()["app1"] == host
    assert "name='vms/app1.raw'" in node(HOSTS[host], "virsh dumpxml app1")
    assert "app1" not in node(HOSTS[host], "virsh vol-list croft")


# The last one: what grew stays so.
def test_a_disk_grows_while_its_guest_runs(play_here: Play) -> None:
    larger = [{**vm, "disk_gib": 2} if vm["name"] == "web1" else vm for vm in MACHINES]
    run = play_here("molecule/distributed/machines.yml", virtual_machines=larger)
    assert run.rc == 0, run.output
    (image,) = rbd("du vms/web1.raw")["images"]
    assert image["provisioned_size"] == 2 * 2**30
    assert int(guest("web1", "cat /sys/block/vda/size")) * 512 == 2 * 2**30
    # Never back.
    assert "a disk is never made smaller" in fatal(play_here("molecule/distributed/machines.yml"))
