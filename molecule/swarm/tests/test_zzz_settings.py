# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What changes the nodes themselves: new settings, new certificates, nodes that leave, engines that go."""

from __future__ import annotations

import json
import ssl
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

On = Callable[..., str]
Play = Callable[..., Any]
Tasks = Callable[..., list[dict[str, Any]]]
NODES = {"swarm1": "10.97.0.11", "swarm2": "10.97.0.12", "swarm3": "10.97.0.13"}
METRICS = (
    """python3 -c 'import urllib.request as u; print(u.urlopen("http://127.0.0.1:9323/metrics").read().decode())'"""
)


def door(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}:8080/version", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def doors() -> Iterator[list[int]]:
    """How many nodes let requests in, asked all the while."""
    seen: list[int] = []
    over = threading.Event()

    def ask() -> None:
        while not over.wait(0.2):
            seen.append(sum(door(address) for address in NODES.values()))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield seen
    finally:
        over.set()
        asking.join()


def api(address: str, pki: Path, *, known: bool) -> Any:
    """What the engine tells over TLS, to a client with a certificate or without one."""
    context = ssl.create_default_context(cafile=str(pki / "ca.pem"))
    if known:
        context.load_cert_chain(pki / "client.pem", pki / "client.key")
    with urllib.request.urlopen(f"https://{address}:2376/info", timeout=10, context=context) as answer:
        return json.loads(answer.read())


def test_engines_with_new_settings_are_restarted_one_after_the_other(
    swarm_play: Play, on: On, tasks: Tasks, pki: Path
) -> None:
    settings = {
        "docker_engine_metrics_address": "127.0.0.1:9323",
        "docker_engine_tls_address": "{{ ansible_host }}:2376",
    }
    with doors() as open_doors:
        run = swarm_play(**settings)
    assert run.rc == 0, run.output
    print("open doors meanwhile, at least:", min(open_doors))
    assert min(open_doors) > 0
    # All of them are managers of a locked swarm, and none waits for its key.
    states = on("swarm1", "docker node ls --format '{{.Status}} {{.ManagerStatus}}'").splitlines()
    assert sorted(states) == ["Ready Leader", "Ready Reachable", "Ready Reachable"]
    for node, address in NODES.items():
        assert "engine_daemon_engine_info" in on(node, METRICS)
        assert api(address, pki, known=True)["Name"] == node
        with pytest.raises(OSError, match=r"(?i)ssl|certificate|reset"):
            api(address, pki, known=False)
    assert not swarm_play(**settings).changed
    assert swarm_play().rc == 0
    with pytest.raises(OSError, match="refused"):
        api(NODES["swarm1"], pki, known=True)
    assert len(tasks()) == 4


def test_a_new_authority_restarts_no_task(swarm_play: Play, on: On, tasks: Tasks) -> None:
    before, authority = sorted(task["ID"] for task in tasks()), on("swarm1", "docker swarm ca")
    run = swarm_play(docker_swarm_ca_rotation=1)
    assert run.rc == 0, run.output
    assert run.changed == {"swarm1": 1}
    assert on("swarm1", "docker swarm ca") != authority
    assert not swarm_play(docker_swarm_ca_rotation=1).changed
    assert sorted(task["ID"] for task in tasks()) == before


def test_nodes_that_leave_are_drained_and_gone(swarm_play: Play, on: On, tasks: Tasks) -> None:
    run = swarm_play(docker_swarm_removed=["swarm2", "swarm3"])
    assert run.rc == 0, run.output
    assert on("swarm1", "docker node ls --format '{{.Hostname}}'").split() == ["swarm1"]
    for node in ("swarm2", "swarm3"):
        assert on(node, "docker info --format '{{.Swarm.LocalNodeState}}'").strip() == "inactive"
    assert {task["Node"] for task in tasks()} == {"swarm1"}
    assert not swarm_play(docker_swarm_removed=["swarm2", "swarm3"]).changed


def test_root_of_a_container_is_nobody_on_the_host(swarm_play: Play, on: On) -> None:
    run = swarm_play("molecule/swarm/engine.yml", engine_host="swarm2", docker_engine_userns_remap="default")
    assert run.rc == 0, run.output
    assert "name=userns" in on("swarm2", "docker info --format '{{.SecurityOptions}}'")
    on("swarm2", 'docker import --change \'CMD ["sleep","600"]\' /var/lib/docker/container.tar.gz croft-lab/base')
    on("swarm2", "docker run -d --name mapped croft-lab/base")
    first = on("swarm2", "awk -F: '$1 == \"dockremap\" { print $2 }' /etc/subuid").strip()
    pid = on("swarm2", "docker inspect -f '{{.State.Pid}}' mapped").strip()
    assert on("swarm2", f"stat -c %u /proc/{pid}").strip() == first
    on("swarm2", "docker rm -f mapped")


def test_an_engine_goes_and_its_data_only_when_they_are_named(swarm_play: Play, on: On) -> None:
    refused = swarm_play("molecule/swarm/engine.yml", engine_host="swarm1", docker_engine_state="absent")
    assert refused.rc != 0
    assert "swarm1: is in a swarm; take it out first" in " ".join(refused.output.split())
    for remove in (False, True):
        gone = {"engine_host": "swarm3", "docker_engine_state": "absent", "docker_engine_remove_data": remove}
        run = swarm_play("molecule/swarm/engine.yml", **gone)
        assert run.rc == 0, run.output
        assert on("swarm3", "command -v dockerd || echo none").strip() == "none"
        assert on("swarm3", "test -e /var/lib/docker/image && echo kept || echo gone").strip() == (
            "gone" if remove else "kept"
        )
        assert not swarm_play("molecule/swarm/engine.yml", **gone).changed
    tables = on("swarm3", "nft list tables")
    assert "croft_docker" not in tables
