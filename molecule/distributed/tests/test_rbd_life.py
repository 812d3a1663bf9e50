# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots, backups and clones of VMs whose disks are images of the storage cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from on_lab import HOSTS, actions, fatal, guest, new_vm, node, where

Play = Callable[..., Any]
Lab = Any
VMS = "molecule/distributed/machines.yml"
OVERLAY = Path(__file__).resolve().parents[1] / "inventory"


@pytest.fixture
def wished() -> list[dict[str, Any]]:
    """The VMs of the scenario's inventory."""
    return list(yaml.safe_load((OVERLAY / "group_vars/all.yml").read_text())["virtual_machines"])


def leave(play_here: Play, wished: list[dict[str, Any]], name: str) -> None:
    run = play_here(VMS, virtual_machines=wished, virtual_machines_absent=[{"name": name, "disks": True}])
    assert run.rc == 0, run.output


def images(lab: Lab) -> set[str]:
    return set(lab.shell(lab.names[0], "rbd ls vms").split())


def snapshots(lab: Lab, image: str) -> list[str]:
    return lab.shell(
        lab.names[0], f'rbd snap ls vms/{image} --format json | grep -o \'"name":"[^"]*"\' || true'
    ).split()


def test_a_vm_goes_back_to_its_snapshot_and_old_ones_go(play_here: Play, lab: Lab) -> None:
    guest("web2", "echo before > /root/note; sync")
    made = play_here("playbooks/snapshot.yml", snapshot=["web2"], snapshot_name="before")
    assert made.rc == 0, made.output
    assert actions(made, "croft.infra.vm_snapshots") == {"web2": ["create"]}
    assert snapshots(lab, "web2.raw") == ['"name":"croft-before"']
    assert not play_here("playbooks/snapshot.yml", snapshot=["web2"], snapshot_name="before").changed
    guest("web2", "echo after > /root/note; sync")
    # A snapshot in the cluster hinders no migration.
    host = where()["web2"]
    assert play_here("playbooks/migrate.yml", migrate=["web2"]).rc == 0
    assert where()["web2"] != host
    back = play_here("playbooks/snapshot.yml", snapshot_revert=[{"name": "web2", "snapshot": "croft-before"}])
    assert back.rc == 0, back.output
    assert guest("web2", "cat /root/note").strip() == "before"
    gone = play_here("playbooks/snapshot.yml", snapshot=["web2"], snapshot_create=False, snapshot_keep_last=0)
    assert actions(gone, "croft.infra.vm_snapshots") == {"web2": ["remove"]}
    assert snapshots(lab, "web2.raw") == []


def test_a_backup_of_a_running_vm_boots_as_another(play_here: Play, wished: list[dict[str, Any]], lab: Lab) -> None:
    guest("web2", "echo saved > /root/data; sync")
    full = play_here("playbooks/backup.yml", backup=["web2"])
    assert full.rc == 0, full.output
    (saved,) = [vm for one in full.results("croft.infra.vm_backup") for vm in one["res"]["virtual_machines"]]
    assert saved["level"] == "copy"
    host = where()["web2"]
    vms = [*wished, new_vm("back1", host)]
    as_another = {"restore": [{"name": "web2", "as": "back1"}], "virtual_machines": vms}
    restored = play_here("playbooks/restore.yml", virtual_machines_ready_timeout=600, **as_another)
    assert restored.rc == 0, restored.output
    assert guest("back1", "cat /root/data; hostname").split() == ["saved", "back1"]
    assert guest("web2", "hostname").strip() == "web2"
    assert "back1.raw" in images(lab)
    assert "back1: there is such a VM already" in fatal(play_here("playbooks/restore.yml", **as_another))
    leave(play_here, wished, "back1")
    assert not any(name.startswith("back1") for name in images(lab))
    node(HOSTS[host], "rm -r /var/backups/croft/web2")


def test_a_clone_is_a_machine_of_its_own(play_here: Play, wished: list[dict[str, Any]], lab: Lab) -> None:
    guest("app1", "echo copied > /root/clone; sync")
    vm = new_vm("clone1", where()["app1"])
    asked = {"clone": [{"name": "app1", "as": "clone1"}], "virtual_machines_ready_timeout": 600}
    made = play_here("playbooks/clone.yml", virtual_machines=[*wished, vm], **asked)
    assert made.rc == 0, made.output
    assert guest("clone1", "cat /root/clone; hostname").split() == ["copied", "clone1"]
    assert guest("app1", "hostname").strip() == "app1"
    assert "clone1.raw" in images(lab)
    leave(play_here, wished, "clone1")
    assert not any(name.startswith("clone1") for name in images(lab))
