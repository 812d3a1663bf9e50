# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fourth host joins the storage cluster and leaves it again, while guests write; each cut off once on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from fourth_host import ADDRESS, LAYER, NAME, ROOT, a_machine_more, command, environment
from on_lab import Writer, guest, node

Play = Callable[..., Any]
Lab = Any
THREE = (ROOT / "inventories/lab", ROOT / "molecule/distributed/inventory")
FOUR = (*THREE, LAYER)


@pytest.fixture(scope="module")
def grown(all_nodes: list[dict[str, Any]]) -> Iterator[None]:
    with a_machine_more(all_nodes, THREE):
        yield


@pytest.fixture
def play_grown(play: Play) -> Play:
    """A playbook with the fourth host in the inventory."""
    return partial(play, inventory=FOUR)


def cut_off(playbook: str, *more: str, when: Callable[[], bool]) -> None:
    """Begin a playbook and kill all of it here as soon as something is seen."""
    process = subprocess.Popen(
        command(playbook, *more, layers=FOUR),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _look in range(600):
            if when():
                break
            assert process.poll() is None, f"{playbook} ended before it was cut off"
            time.sleep(0.3)
        else:
            pytest.fail(f"{playbook} never came to where it is to be cut off")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def osds_of(lab: Lab, host: str) -> list[int]:
    return next((list(one["children"]) for one in lab.ceph("osd tree")["nodes"] if one["name"] == host), [])


def completed(play_grown: Play, writer: Writer, did: str, playbook: str, **variables: Any) -> None:
    """Run again what was cut off, and see the guest write on afterwards."""
    begun = time.monotonic()
    run = play_grown(playbook, **variables)
    assert run.rc == 0, run.output
    print(f"{NAME} {did} in {time.monotonic() - begun:.0f} s, guests stood still {writer.stall():.1f} s at most")
    writer.wait(3)


def test_a_host_joins(grown: None, play_grown: Play, lab: Lab) -> None:
    before = {osd["osd"] for osd in lab.ceph("osd dump")["osds"]}
    assert play_grown("playbooks/hosts.yml").rc == 0
    writer = Writer("app1")
    try:
        writer.wait(3)
        # The number of its OSD is taken, and nothing of it runs yet.
        cut_off("ceph.yml", when=lambda: {osd["osd"] for osd in lab.ceph("osd dump")["osds"]} != before)
        completed(play_grown, writer, "joined", "playbooks/ceph.yml")
    finally:
        writer.stop()
    assert writer.lost() == []
    lab.wait_healthy()
    (new,) = osds_of(lab, NAME)
    assert {osd["osd"] for osd in lab.ceph("osd dump")["osds"]} == before | {new}
    held = next(osd for osd in lab.ceph("osd df")["nodes"] if osd["id"] == new)
    assert held["pgs"] > 0
    # The mons stay the three that they were.
    assert sorted(lab.ceph("quorum_status")["quorum_names"]) == lab.names
    again = play_grown("playbooks/ceph.yml")
    assert again.rc == 0, again.output
    assert not again.changed


def test_it_runs_vms(grown: None, play_grown: Play) -> None:
    assert play_grown("site.yml").rc == 0
    run = play_grown("playbooks/migrate.yml", migrate=[{"name": "app2", "target": NAME}])
    assert run.rc == 0, run.output
    assert node(ADDRESS, "virsh list --name").split() == ["app2"]
    again = play_grown("site.yml")
    assert again.rc == 0, again.output
    assert not again.changed
    run = play_grown("playbooks/drain.yml", drain_host=NAME)
    assert run.rc == 0, run.output
    assert node(ADDRESS, "virsh list --name").split() == []
    assert guest("app2", "hostname").strip() == "app2"


def test_it_leaves(grown: None, play_grown: Play, lab: Lab) -> None:
    (leaving,) = osds_of(lab, NAME)
    writer = Writer("app1")
    try:
        writer.wait(3)
        cut_off(
            "ceph_remove_host.yml",
            "-e",
            f"ceph_remove_host={NAME}",
            when=lambda: not next(osd for osd in lab.ceph("osd dump")["osds"] if osd["osd"] == leaving)["in"],
        )
        completed(play_grown, writer, "left", "playbooks/ceph_remove_host.yml", ceph_remove_host=NAME)
    finally:
        writer.stop()
    assert writer.lost() == []
    lab.wait_healthy()
    assert leaving not in {osd["osd"] for osd in lab.ceph("osd dump")["osds"]}
    assert NAME not in {one["name"] for one in lab.ceph("osd tree")["nodes"]}
    assert "ceph-osd" not in node(ADDRESS, "ps -e -o comm=")
    again = play_grown("playbooks/ceph_remove_host.yml", ceph_remove_host=NAME)
    assert again.rc == 0, again.output
    assert not again.changed
