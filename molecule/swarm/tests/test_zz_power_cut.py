# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's power is cut: its tasks run elsewhere. It comes back locked and is unlocked; made anew, it joins again."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

On = Callable[..., str]
Play = Callable[..., Any]
Tasks = Callable[..., list[dict[str, Any]]]


def lab(play: Play, inventory: Path, state: str) -> None:
    nodes = yaml.safe_load((inventory / "group_vars/lab.yml").read_text())["lab_nodes"]
    for node in nodes:
        if node["name"] == "swarm3":
            node["state"] = state
    assert play("playbooks/lab.yml", lab_nodes=nodes).rc == 0


def wait_for(what: Callable[[], bool], seconds: float) -> float:
    begun = time.monotonic()
    while not what():
        assert time.monotonic() - begun < seconds
        time.sleep(0.5)
    return time.monotonic() - begun


def test_tasks_of_a_dead_node_run_elsewhere(swarm_play: Play, tasks: Tasks, inventory: Path) -> None:
    kept = {task["ID"] for task in tasks() if task["Node"] != "swarm3"}
    lab(swarm_play, inventory, "powered_off")
    took = wait_for(lambda: len([task for task in tasks() if task["Node"] != "swarm3"]) == 4, 120)
    print(f"four tasks on two nodes {took:.1f} s after the power cut returned")
    assert kept <= {task["ID"] for task in tasks()}
    run = swarm_play()
    assert "swarm3: did not answer and stays as it is" in " ".join(run.output.split())
    assert not [host for host, count in run.changed.items() if count and host != "swarm3"]


def test_it_comes_back_locked_and_is_unlocked(swarm_play: Play, on: On, inventory: Path) -> None:
    lab(swarm_play, inventory, "present")
    wait_for(
        lambda: on("swarm3", "docker info --format '{{.Swarm.LocalNodeState}}'", check=False).strip() == "locked", 90
    )
    run = swarm_play()
    assert run.rc == 0, run.output
    assert run.changed == {"swarm3": 1}
    assert not swarm_play().changed


def test_made_anew_it_takes_its_old_place(swarm_play: Play, on: On, inventory: Path) -> None:
    lab(swarm_play, inventory, "absent")
    lab(swarm_play, inventory, "present")
    assert swarm_play("molecule/swarm/converge.yml").rc == 0
    assert (
        on("swarm1", "docker node ls --format '{{.Hostname}} {{.Status}} {{.ManagerStatus}}'").count("swarm3 Ready")
        == 1
    )
    assert "Down" not in on("swarm1", "docker node ls")
    assert not swarm_play().changed
