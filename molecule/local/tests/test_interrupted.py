# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that ends in its middle - killed, or for lack of space - leaves nothing that the next run does not complete."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from on_lab import HOSTS, INVENTORY, fatal, node, slow, where

ROOT = Path(__file__).resolve().parents[3]
Play = Callable[..., Any]
VMS = "molecule/local/virtual_machines.yml"
POOL = "/var/lib/croft/pool"
NEW = [
    {"name": name, "vcpus": 1, "memory_mib": 64, "disk_gib": 1, "host": "kvm1", "state": "stopped"}
    for name in ("cut1", "cut2")
]
GONE = [{"name": vm["name"], "disks": True} for vm in NEW]
# How many boundaries between tasks are tried; `all`, or none without it, since each takes three runs.
BOUNDARIES = os.environ.get("CROFT_TEST_KILLED", "")


@pytest.fixture
def wished(lab_inventory: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [dict(vm) for vm in lab_inventory["virtual_machines"] if vm["name"] in where()]


def state() -> str:
    """All that there is of the new VMs: domains, volumes with their sizes, and what their first-boot data says."""
    names = " ".join(vm["name"] for vm in NEW)
    return node(
        HOSTS["kvm1"],
        f"for vm in {names}; do virsh dumpxml --inactive $vm; virsh dominfo $vm | grep -E 'State|Auto|Persist'; "
        f"qemu-img info {POOL}/$vm.qcow2 | grep -E '^virtual|^backing'; md5sum {POOL}/$vm-seed.iso; done 2>&1; "
        f"ls {POOL} | grep cut",
        check=False,
    )


@pytest.fixture
def without_new(play: Play, wished: list[dict[str, Any]]) -> Iterator[None]:
    yield
    let_go(play, wished)


def let_go(play: Play, wished: list[dict[str, Any]]) -> None:
    run = play(VMS, virtual_machines=wished, virtual_machines_absent=GONE)
    assert run.rc == 0, run.output
    assert "cut" not in node(HOSTS["kvm1"], f"ls {POOL}; virsh list --all --name")


def make(play: Play, wished: list[dict[str, Any]], **variables: Any) -> Any:
    return play(VMS, virtual_machines=[*wished, *NEW], **variables)


@slow
@pytest.mark.usefixtures("without_new")
def test_a_full_pool_leaves_nothing_half_made_and_the_next_run_completes(
    play: Play, wished: list[dict[str, Any]]
) -> None:
    host = HOSTS["kvm1"]
    # What is kept for root goes, too: libvirt is root. What cannot be had at once is filled up as far as it goes.
    node(host, f"fallocate -l $(($(stat -f -c '%f * %S' {POOL}))) {POOL}/filler || true")
    try:
        refused = make(play, wished, virtual_machines_clone="full")
        assert "No space left on device" in fatal(refused)
        assert "could not be removed" not in fatal(refused)
        assert "cut" not in node(host, f"ls {POOL}; virsh list --all --name")
    finally:
        node(host, f"rm {POOL}/filler")
    assert make(play, wished, virtual_machines_clone="full").rc == 0
    assert node(host, "virsh list --all --name").split().count("cut2") == 1
    assert not make(play, wished, virtual_machines_clone="full").changed


@pytest.mark.skipif(
    not BOUNDARIES, reason="takes minutes; CROFT_TEST_KILLED=all runs it, a number tries so many boundaries"
)
@pytest.mark.usefixtures("without_new")
def test_a_run_that_was_killed_between_two_tasks_is_completed_by_the_next(
    play: Play, wished: list[dict[str, Any]], tmp_path: Path
) -> None:
    assert killed(tmp_path, wished, 0) == 0
    undisturbed, tasks = state(), int((tmp_path / "count").read_text())
    assert undisturbed.count("<domain ") == len(NEW)
    tried = range(1, tasks + 1) if BOUNDARIES == "all" else range(tasks, 0, -max(1, tasks // int(BOUNDARIES)))
    for boundary in tried:
        let_go(play, wished)
        assert killed(tmp_path, wished, boundary) == -9
        done = make(play, wished)
        assert done.rc == 0, f"killed before task {boundary} of {tasks}: {done.output}"
        assert state() == undisturbed, f"killed before task {boundary} of {tasks}"


def killed(folder: Path, wished: list[dict[str, Any]], boundary: int) -> int:
    """Make the new VMs, and be killed before the task of this number; 0 lets all of them run. The return code."""
    variables = folder / "variables.json"
    variables.write_text(json.dumps({"virtual_machines": [*wished, *NEW]}))
    bin_ = Path(sys.executable).parent
    return subprocess.run(
        [
            bin_ / "ansible-playbook", "-i", INVENTORY, "-e", f"@{variables}", VMS,
        ],
        cwd=ROOT,
        check=False,
        capture_output=True,
        env={
            **os.environ,
            "PATH": f"{bin_}:/usr/sbin:/usr/bin:/sbin:/bin",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "molecule/callback"),
            "ANSIBLE_CALLBACKS_ENABLED": "croft_killed",
            "CROFT_KILLED_COUNT": str(folder / "count"),
            "CROFT_KILLED_AT": str(boundary),
        },
    ).returncode  # fmt: skip
