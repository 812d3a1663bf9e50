# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the storage cluster share."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from on_lab import HOSTS, INVENTORY, node


@pytest.fixture(scope="session")
def variables() -> dict[str, Any]:
    """What the lab's inventory says of all hosts."""
    return dict(yaml.safe_load((INVENTORY / "group_vars/all.yml").read_text()))


@pytest.fixture(scope="session")
def nodes(all_nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lab's nodes that are in the cluster."""
    return [one for one in all_nodes if one["name"] in HOSTS]


@pytest.fixture(scope="session")
def shell() -> Callable[..., str]:
    """Run a command on one node, whether the others are there or not."""

    def run(name: str, command: str, *, check: bool = True) -> str:
        return node(HOSTS[name], command, check=check)

    return run


@pytest.fixture(scope="session")
def ceph(shell: Callable[..., str], nodes: list[dict[str, Any]]) -> Callable[..., Any]:
    """Ask the cluster, from the first node or another."""

    def ask(command: str, *, of: str = "") -> Any:
        return json.loads(shell(of or nodes[0]["name"], f"timeout 20 ceph {command} -f json"))

    return ask


@pytest.fixture(scope="session")
def wait_healthy(ceph: Callable[..., Any]) -> Callable[..., None]:
    """Wait for HEALTH_OK, by looks: the clock of a machine that was paused jumps."""

    def wait(looks: int = 60, *, of: str = "") -> None:
        seen: Mapping[str, Any] = {}
        for _ in range(looks):
            seen = ceph("health detail", of=of)
            if seen["status"] == "HEALTH_OK":
                return
            time.sleep(3)
        pytest.fail(f"not healthy: {seen}")

    return wait


@dataclass(frozen=True)
class Lab:
    """What tests that take nodes away need at once."""

    names: list[str]
    all_nodes: list[dict[str, Any]]
    shell: Callable[..., str]
    ceph: Callable[..., Any]
    wait_healthy: Callable[..., None]


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest) -> Lab:
    """The lab and its cluster."""
    given = {name: request.getfixturevalue(name) for name in ("all_nodes", "shell", "ceph", "wait_healthy")}
    return Lab([node["name"] for node in request.getfixturevalue("nodes")], **given)


@pytest.fixture
def somebodys_data(lab: Lab) -> Iterator[str]:
    """The name of a node whose disk0 holds something; what was there before stays."""
    name = lab.names[-1]
    lab.shell(name, "wipefs /dev/croft/disk0 | grep -q . || mkfs.ext4 -q -L of-a-test /dev/croft/disk0")
    yield name
    lab.shell(name, 'if [ "$(e2label /dev/croft/disk0)" = of-a-test ]; then wipefs -qa /dev/croft/disk0; fi')


@pytest.fixture
def whole_again(play: Callable[..., Any], all_nodes: list[dict[str, Any]]) -> Iterator[None]:
    """Have all nodes up again, whatever the test did."""
    yield
    assert play("playbooks/lab.yml", lab_nodes=all_nodes).rc == 0
