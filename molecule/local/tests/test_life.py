# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM's life: snapshots, backups that boot again, clones, and its end, which no other VM notices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from on_lab import HOSTS, actions, fatal, guest, new_vm, node, slow, where

Play = Callable[..., Any]
VMS = "molecule/local/virtual_machines.yml"
POOL = "/var/lib/croft/pool"


@pytest.fixture
def wished(lab_inventory: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The VMs of the inventory that run on this lab, each kept where it is."""
    return [dict(vm) for vm in lab_inventory["virtual_machines"] if vm["name"] in where()]


def on_host(name: str, command: str, *, check: bool = True) -> str:
    """Run a command on the host of a VM."""
    return node(HOSTS[where()[name]], command, check=check)


def let_go(play: Play, wished: list[dict[str, Any]], entry: Any) -> Any:
    """The part of site.yml that is about VMs."""
    run = play(VMS, virtual_machines=wished, virtual_machines_absent=[entry])
    assert run.rc == 0, run.output
    return run


def test_a_vm_goes_back_to_its_snapshot_and_old_ones_go(play: Play) -> None:
    made = play("playbooks/snapshot.yml", snapshot=["cache1"], snapshot_name="before")
    assert made.rc == 0, made.output
    assert actions(made, "croft.infra.vm_snapshots") == {"cache1": ["create"]}
    assert not play("playbooks/snapshot.yml", snapshot=["cache1"], snapshot_name="before").changed
    guest("cache1", "echo lost > /root/after; sync")
    back = play("playbooks/snapshot.yml", snapshot_revert=[{"name": "cache1", "snapshot": "croft-before"}])
    assert back.rc == 0, back.output
    assert guest("cache1", "ls /root/after 2>/dev/null || echo gone").strip() == "gone"
    # A drain would be refused by libvirt in its middle; it is told before.
    refused = play("playbooks/migrate.yml", migrate=["cache1"])
    assert "snapshots, with which libvirt moves no VM" in fatal(refused)
    gone = play("playbooks/snapshot.yml", snapshot=["cache1"], snapshot_create=False, snapshot_keep_last=0)
    assert actions(gone, "croft.infra.vm_snapshots") == {"cache1": ["remove"]}
    assert not on_host("cache1", "virsh snapshot-list --name cache1").strip()


def test_a_backup_of_a_running_vm_boots_as_another_and_holds_its_data(play: Play, wished: list[dict[str, Any]]) -> None:
    guest("web2", "echo full > /root/data; sync")
    full = play("playbooks/backup.yml", backup=["web2"])
    assert full.rc == 0, full.output
    guest("web2", "echo incremental >> /root/data; sync")
    more = play("playbooks/backup.yml", backup=["web2"])
    (first,), (second,) = (
        [vm for one in run.results("croft.infra.vm_backup") for vm in one["res"]["virtual_machines"]]
        for run in (full, more)
    )
    assert (first["level"], second["level"]) == ("full", "inc")
    assert first["agent"] is second["agent"] is None
    assert second["bytes"] < first["bytes"] / 10
    host = where()["web2"]
    vms = [*wished, new_vm("back1", host)]
    as_another = {"restore": [{"name": "web2", "as": "back1"}], "virtual_machines": vms}
    restored = play("playbooks/restore.yml", virtual_machines_ready_timeout=600, **as_another)
    assert restored.rc == 0, restored.output
    assert guest("back1", "cat /root/data; hostname").split() == ["full", "incremental", "back1"]
    assert guest("web2", "hostname").strip() == "web2"
    again = play("playbooks/restore.yml", **as_another)
    assert "back1: there is such a VM already" in fatal(again)


@slow
def test_a_snapshot_beside_backups_ends_their_chain_when_that_is_said(play: Play) -> None:
    """web2 of the test before."""
    assert "checkpoints of its incremental backups" in fatal(play("playbooks/snapshot.yml", snapshot=["web2"]))
    made = play("playbooks/snapshot.yml", snapshot=["web2"], snapshot_drop_checkpoints=True)
    assert made.rc == 0, made.output
    foretold = play("playbooks/backup.yml", cmdline="--check", backup=["web2"])
    (vm,) = [vm for one in foretold.results("croft.infra.vm_backup") for vm in one["res"]["virtual_machines"]]
    assert (vm["level"], "snapshots" in vm["reason"]) == ("copy", True)
    assert play("playbooks/snapshot.yml", snapshot=["web2"], snapshot_create=False, snapshot_keep_last=0).rc == 0
    assert not on_host("web2", "virsh snapshot-list --name web2; virsh checkpoint-list --name web2").strip()


def test_what_people_did_by_hand_is_told_and_not_touched(play: Play, wished: list[dict[str, Any]]) -> None:
    """back1 of the test before is in no list; web2 gets another size and a disk."""
    vms = [vm for vm in wished if vm["name"] != "back1"]
    by_hand = "virsh setmaxmem web2 256M --config; virsh setmem web2 256M --config; truncate -s 1M /srv/hand.img"
    on_host("web2", f"{by_hand}; virsh attach-disk web2 /srv/hand.img vdq --driver qemu --subdriver raw --live")
    said = fatal(play("playbooks/verify.yml", virtual_machines=vms))
    on_host(
        "web2",
        "virsh detach-disk web2 vdq --live; virsh setmaxmem web2 192M --config; virsh setmem web2 192M --config; "
        "rm -r /srv/hand.img /var/backups/croft/web2; "
        "for one in $(virsh checkpoint-list --name web2); do virsh checkpoint-delete web2 $one; done",
    )
    assert "VM back1: is on " in said
    assert "in no list" in said
    assert "memory_mib: wished 192, real 192 now, 256 from its next start on" in said
    assert "has a disk that was attached by hand, until it stops: vdq (/srv/hand.img)" in said
    assert "back1" in where()


def test_a_vm_that_leaves_takes_its_disks_along_when_that_is_said(play: Play, wished: list[dict[str, Any]]) -> None:
    both = play("playbooks/plan.yml", virtual_machines=wished, virtual_machines_absent=["web2"])
    assert "web2: is in virtual_machines and in virtual_machines_absent" in fatal(both)
    host = HOSTS[where()["back1"]]
    before = where()
    run = let_go(play, wished, "back1")
    assert run.rc == 0, run.output
    assert actions(run, "croft.infra.virtual_machines_absent")["back1"] == ["stop", "undefine"]
    assert where() == {name: at for name, at in before.items() if name != "back1"}
    assert node(host, f"ls {POOL}").split().count("back1.qcow2") == 1
    # Later on its disk may go, too.
    run = let_go(play, wished, {"name": "back1", "disks": True})
    assert actions(run, "croft.infra.virtual_machines_absent")["back1"] == ["delete_disk", "delete_disk"]
    assert "back1" not in node(host, f"ls {POOL}")
    assert not let_go(play, wished, {"name": "back1", "disks": True}).changed


@slow
def test_a_clone_is_a_machine_of_its_own_and_may_get_another_name(play: Play, wished: list[dict[str, Any]]) -> None:
    guest("web1", "echo copied > /root/clone; sync")
    vm = new_vm("clone1", where()["web1"])
    asked = {"clone": [{"name": "web1", "as": "clone1"}], "virtual_machines_ready_timeout": 600}
    made = play("playbooks/clone.yml", virtual_machines=[*wished, vm], **asked)
    assert made.rc == 0, made.output
    (cloned,) = [one for run in made.results("croft.infra.vm_clone") for one in run["res"]["cloned"]]
    assert cloned["agent"] is None
    assert guest("clone1", "cat /root/clone; hostname").split() == ["copied", "clone1"]
    assert guest("web1", "hostname").strip() == "web1"
    host = HOSTS[where()["clone1"]]
    asked_to = {"rename": [{"name": "clone1", "to": "clone2"}]}
    assert "only a stopped VM is renamed" in fatal(play("playbooks/rename.yml", **asked_to))
    assert play(VMS, virtual_machines=[*wished, vm | {"state": "stopped"}]).rc == 0
    named = play("playbooks/rename.yml", **asked_to)
    assert named.rc == 0, named.output
    (fields,) = [one for run in named.results("croft.infra.vm_rename") for one in run["res"]["renamed"]]
    assert node(host, f"ls {POOL} | grep clone").split() == ["clone2-seed.iso", "clone2.qcow2"]
    assert not play("playbooks/rename.yml", **asked_to).changed
    # With what it showed in the inventory it is the same machine, under its new name.
    again = play(VMS, virtual_machines=[*wished, vm | fields | {"state": "stopped"}])
    assert again.rc == 0, again.output
    let_go(play, wished, {"disks": True, "name": "clone2", "uuid": fields["uuid"]})
    assert "clone" not in node(host, f"ls {POOL}; virsh list --all --name")
