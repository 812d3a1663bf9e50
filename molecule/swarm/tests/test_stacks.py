# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Four replicas over three managers: traffic between nodes, updates that nobody notices, mistakes told beforehand."""

from __future__ import annotations

import json
import shlex
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

On = Callable[..., str]
Play = Callable[..., Any]
Tasks = Callable[..., list[dict[str, Any]]]
NODES = {"swarm1": "10.97.0.11", "swarm2": "10.97.0.12", "swarm3": "10.97.0.13"}
STACKS_ONLY = "--tags swarm_stacks_facts,swarm_stacks_deploy"


def ids(found: list[dict[str, Any]]) -> list[str]:
    return sorted(task["ID"] for task in found)


def test_three_managers_and_four_replicas_over_all_nodes(on: On, tasks: Tasks) -> None:
    assert on("swarm1", "docker node ls --format '{{.ManagerStatus}}'").split().count("Leader") == 1
    found = tasks()
    assert len(found) == 4
    assert {task["Node"] for task in found} == set(NODES)


def test_data_lie_on_a_real_file_system(on: On) -> None:
    for node in NODES:
        info = json.loads(on(node, "docker info --format '{{json .}}'"))
        assert info["Driver"] == "overlay2"
        assert ["Backing Filesystem", "extfs"] in info["DriverStatus"]
        assert on(node, "findmnt -no FSTYPE /var/lib/docker").strip() == "ext4"


def test_containers_of_other_nodes_answer_over_the_overlay_network(on: On, tasks: Tasks) -> None:
    # The name gives the addresses of all replicas, each time in another order.
    script = "for i in $(seq 40); do wget -q -T 3 -O - http://web/host; done"
    said = on("swarm1", f"docker run --rm --network backend croft-lab/web:1 sh -c {shlex.quote(script)}").split()
    assert len(said) == 40
    assert {name.rpartition("-")[0] for name in said} == set(NODES)


def test_the_door_answers_on_each_node_from_outside() -> None:
    for address in NODES.values():
        with urllib.request.urlopen(f"http://{address}:8080/version", timeout=10) as answer:
            assert answer.read() == b"1\n"


def test_a_container_s_port_stays_on_its_host(on: On) -> None:
    on("swarm2", "docker run -d --rm --name shy -p 8099:80 croft-lab/web:1 httpd -f -p 80 -h /etc")
    try:
        assert (
            on(
                "swarm2",
                'wget -q -O - http://127.0.0.1:8099/version || python3 -c "import urllib.request as u; '
                "print(u.urlopen('http://127.0.0.1:8099/version').read().decode())\"",
            ).strip()
            == "1"
        )
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen("http://10.97.0.12:8099/version", timeout=5)
        # Nor by a neighbour's route to the container's own address.
        own = on("swarm2", "docker inspect -f '{{.NetworkSettings.IPAddress}}' shy").strip()
        subprocess.run(["ip", "route", "add", f"{own}/32", "via", NODES["swarm2"]], check=True)
        try:
            with pytest.raises(urllib.error.URLError):
                urllib.request.urlopen(f"http://{own}/version", timeout=3)
        finally:
            subprocess.run(["ip", "route", "del", f"{own}/32"], check=True)
    finally:
        on("swarm2", "docker rm -f shy")


def test_another_run_restarts_nothing(swarm_play: Play, tasks: Tasks) -> None:
    before = ids(tasks())
    for cmdline in ("", "--check --diff"):
        run = swarm_play(cmdline=cmdline)
        assert run.rc == 0, run.output
        assert not run.changed
    assert ids(tasks()) == before


def test_a_rolling_update_fails_no_request(swarm_play: Play, tasks: Tasks, load: Any) -> None:
    before = ids(tasks())
    told = swarm_play(cmdline=f"{STACKS_ONLY} --check", shop_image="croft-lab/web:2")
    assert sum(told.changed.values()) == 1
    assert ids(tasks()) == before
    run = swarm_play(cmdline=STACKS_ONLY, shop_image="croft-lab/web:2")
    assert run.rc == 0, run.output
    assert {task["Image"] for task in tasks()} == {"croft-lab/web:2"}
    answers = load.stop()
    print("answers under the update:", dict(answers))
    assert answers["failed"] == 0
    assert min(answers["1"], answers["2"]) > 20


def test_an_update_that_fails_is_rolled_back_and_told(swarm_play: Play, tasks: Tasks, load: Any) -> None:
    swarm_play(cmdline=STACKS_ONLY)
    run = swarm_play(cmdline=STACKS_ONLY, shop_image="croft-lab/web:broken")
    assert run.rc != 0
    assert "service shop_web: the update failed and was rolled back; the earlier version runs on (4 of 4" in run.output
    assert {task["Image"] for task in tasks()} == {"croft-lab/web:1"}
    answers = load.stop()
    print("answers under the rollback:", dict(answers))
    assert answers["failed"] == 0
    assert swarm_play(cmdline=STACKS_ONLY).rc == 0


def test_a_changed_secret_is_a_new_one_and_never_shown(swarm_play: Play, on: On, load: Any) -> None:
    run = swarm_play(cmdline=f"{STACKS_ONLY} -vvv --diff", shop_token="another-secret-of-the-lab")
    assert run.rc == 0, run.output
    assert load.stop()["failed"] == 0
    (name,) = on("swarm1", "docker secret ls --format '{{.Name}}'").split()
    assert name.startswith("shop_token_")
    container = on("swarm1", "docker ps -q --filter label=com.docker.swarm.service.name=shop_web").split()[0]
    assert on("swarm1", f"docker exec {container} cat /run/secrets/token") == "another-secret-of-the-lab"
    results = [event for event in run.events if event["event"] == "runner_on_ok"]
    assert "another-secret-of-the-lab" not in json.dumps(results)
    assert swarm_play(cmdline=STACKS_ONLY).rc == 0


def stack(**service: Any) -> dict[str, Any]:
    whole = {"image": "croft-lab/web:1", "command": ["sleep", "1000"], "deploy": {"endpoint_mode": "dnsrr"}, **service}
    return {"name": "bad", "compose": {"services": {"one": {k: v for k, v in whole.items() if v is not None}}}}


HOST_PORT = {"target": 80, "mode": "host"}


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        pytest.param(stack(image=None), "stack bad: service one: has no image", id="no image"),
        pytest.param(
            stack(image="nowhere/app:1"), "image nowhere/app:1 is not on swarm1, swarm2, swarm3", id="registry"
        ),
        pytest.param(
            stack(ports=[{**HOST_PORT, "published": 22}]), "port 22/tcp is held by sshd", id="port of a process"
        ),
        pytest.param(
            stack(ports=[{**HOST_PORT, "published": 8080}]), "8080/tcp is published by", id="port of a service"
        ),
        pytest.param(stack(ports=["9000:80"]), "has no IP_VS", id="ingress without IP_VS"),
        pytest.param(stack(secrets=["gone"]), "uses secret gone", id="no such secret"),
    ],
)
def test_a_bad_stack_stops_before_anything(bad: Any, says: str, swarm_play: Play, tasks: Tasks) -> None:
    before = ids(tasks())
    run = swarm_play(cmdline=STACKS_ONLY, more_stacks=[bad], shop_image="croft-lab/web:2")
    assert run.rc != 0
    assert says in " ".join(run.output.split())
    assert "Traceback" not in run.output
    assert not run.changed
    assert ids(tasks()) == before


def test_containers_that_do_not_fit_are_refused_by_the_plan(swarm_play: Play) -> None:
    db = {"name": "db", "cpus": 1, "memory_mib": 64, "workload": "database"}
    run = swarm_play(containers=[db, {"name": "big", "cpus": 1, "memory_mib": 10**7, "replicas": 2}])
    assert run.rc != 0
    assert "container-capacity: 2 of 2 replicas of big have no node" in run.refusal
    assert "container-workload: db is a database" in run.refusal
    assert not run.changed


def test_bad_nodes_are_all_told_at_once(swarm_play: Play, tasks: Tasks) -> None:
    before = ids(tasks())
    run = swarm_play(
        docker_swarm_removed=["swarm3"],
        docker_swarm_address="10.97.0.99",
        docker_swarm_networks=[{"name": "backend", "attachable": True, "encrypted": True}],
    )
    assert run.rc != 0
    said = " ".join(run.output.split())
    for text in (
        "managers: are 2 (swarm1, swarm2)",
        "which the host does not have",
        "no ESP with AES-GCM",
        "encrypted is False",
    ):
        assert text in said
    assert not run.changed
    assert ids(tasks()) == before
