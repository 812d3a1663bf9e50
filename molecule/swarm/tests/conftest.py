# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The swarm's own lab: plays with its inventory, and commands on its nodes."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
INVENTORY = Path(os.environ.get("CROFT_SWARM_INVENTORY", ROOT / "inventories/swarm"))
STATE = Path(yaml.safe_load((INVENTORY / "group_vars/all.yml").read_text())["lab_state_dir"])
NODES = {"swarm1": "10.97.0.11", "swarm2": "10.97.0.12", "swarm3": "10.97.0.13"}

On = Callable[..., str]


@pytest.fixture(scope="session")
def on() -> On:
    """Run a shell command on a node and return what it printed."""

    def run(node: str, command: str, check: bool = True) -> str:
        options = ["-o", f"UserKnownHostsFile={STATE}/known_hosts", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5"]
        done = subprocess.run(
            ["ssh", "-i", STATE / "ssh/id_ed25519", *options, f"root@{NODES[node]}", command],
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def inventory() -> Path:
    """The directory of the lab's inventory."""
    return INVENTORY


@pytest.fixture(scope="session")
def pki() -> Path:
    """Where the engines' authority and its client's certificate are."""
    return STATE / "pki/docker"


@pytest.fixture
def swarm_play(play: Callable[..., Any]) -> Callable[..., Any]:
    """Run the containers' playbook on the swarm's lab."""

    def run(playbook: str = "playbooks/containers.yml", **arguments: Any) -> Any:
        return play(playbook, inventory=(INVENTORY,), **arguments)

    return run


@pytest.fixture(scope="session")
def tasks(on: On) -> Callable[..., list[dict[str, Any]]]:
    """The tasks of a service that run and shall run, [{ID, Node, Image, ...}], by a manager's word."""

    def look(service: str = "shop_web", manager: str = "swarm1") -> list[dict[str, Any]]:
        out = on(
            manager, f"docker service ps {service} --no-trunc --filter desired-state=running --format '{{{{json .}}}}'"
        )
        return [task for line in out.splitlines() if (task := json.loads(line))["CurrentState"].startswith("Running")]

    return look


class Load:
    """Requests to the service from a container on the overlay network, one after the other, until it is stopped."""

    def __init__(self, on: On) -> None:
        self._on = on
        self.answers: Counter[str] = Counter()
        # Names are asked for anew with every request, as a client without a cache does.
        script = "while :; do wget -q -T 3 -O - http://web/version 2>/dev/null || echo failed; done"
        on("swarm1", f"docker run -d --name load --network backend croft-lab/web:1 sh -c '{script}'")

    def stop(self) -> Counter[str]:
        self.answers = Counter(self._on("swarm1", "docker logs load 2>&1").split())
        self._on("swarm1", "docker rm -f load")
        return self.answers


@pytest.fixture
def load(on: On) -> Iterator[Load]:
    on("swarm1", "docker rm -f load", check=False)
    running = Load(on)
    threading.Event().wait(2)
    yield running
    on("swarm1", "docker rm -f load", check=False)
