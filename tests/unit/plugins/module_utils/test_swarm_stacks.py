# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils.swarm_stacks import (
    DIGEST_LABEL,
    Standing,
    candidates,
    differences,
    item_digest,
    missing_images,
    ports_of,
    progress,
    render,
    swarm_problems,
    wish_problems,
)

WEB = {"image": "app:1", "secrets": ["token"], "deploy": {"replicas": 4, "endpoint_mode": "dnsrr"}}
WISH: dict[str, Any] = {"name": "shop", "compose": {"services": {"web": WEB}}, "secrets": {"token": "s3cret"}}
NODE = {"ip_vs": True, "listeners": [], "images": ["app:1"]}


def digest(name: str, data: str) -> str:
    return item_digest("cluster", name, data)


def wish(**service: Any) -> dict[str, Any]:
    changed = copy.deepcopy(WISH)
    changed["compose"]["services"]["web"].update(service)
    return changed


def standing_of(one: dict[str, Any]) -> Standing:
    """The swarm after the wish was deployed."""
    stack = render(one, digest)
    services = {
        service.name: {
            "digest": service.digest,
            "image": service.image,
            "replicas": service.replicas,
            "stack": stack.name,
        }
        for service in stack.services
    }
    return Standing(services, {"secrets": {item.name: stack.name for item in stack.items}})


def names(todo: list[dict[str, str]]) -> list[str]:
    return [f"{step['action']} {step['kind']} {step['name']}" for step in todo]


def test_a_new_stack_is_created_with_its_secret_first() -> None:
    (secret,) = render(WISH, digest).items
    assert secret.name.startswith("shop_token_")
    assert "s3cret" not in repr(secret)
    assert names(differences(render(WISH, digest), Standing(), True)) == [
        f"create secret {secret.name}",
        "create service shop_web",
    ]


def test_what_stands_needs_nothing() -> None:
    assert differences(render(WISH, digest), standing_of(WISH), True) == []


def test_a_changed_secret_is_a_new_one_and_the_old_one_goes() -> None:
    changed = {**copy.deepcopy(WISH), "secrets": {"token": "other"}}
    actions = [
        step["action"] + " " + step["kind"] for step in differences(render(changed, digest), standing_of(WISH), True)
    ]
    assert actions == ["create secret", "update service", "remove secret"]


@pytest.mark.parametrize("change", [{"image": "app:2"}, {"environment": {"A": "b"}}, {"deploy": {"replicas": 5}}])
def test_what_tasks_depend_on_is_an_update(change: dict[str, Any]) -> None:
    assert names(differences(render(wish(**change), digest), standing_of(WISH), True)) == ["update service shop_web"]


def test_what_was_scaled_by_hand_is_put_right() -> None:
    there = standing_of(WISH)
    there.services["shop_web"]["replicas"] = 1  # type: ignore[index]
    assert names(differences(render(WISH, digest), there, True)) == ["update service shop_web"]


def test_a_service_that_is_no_more_goes_with_prune_alone() -> None:
    two = copy.deepcopy(WISH)
    two["compose"]["services"]["old"] = {"image": "app:1"}
    there = standing_of(two)
    there.services["shop_web"]["digest"] = render(WISH, digest).services[0].digest  # type: ignore[index]
    assert names(differences(render(WISH, digest), there, True)) == ["remove service shop_old"]
    assert differences(render(WISH, digest), there, False) == []


def test_other_peoples_services_are_left_alone() -> None:
    there = standing_of({**copy.deepcopy(WISH), "name": "other"})
    assert all(step["action"] == "create" for step in differences(render(WISH, digest), there, True))


def test_an_update_that_fails_is_rolled_back_unless_said_otherwise() -> None:
    service = render(WISH, digest).compose["services"]["web"]
    assert service["deploy"]["update_config"]["failure_action"] == "rollback"
    assert DIGEST_LABEL in service["deploy"]["labels"]
    paused = wish(deploy={"update_config": {"failure_action": "pause"}, "labels": ["a=b"]})
    deploy = render(paused, digest).compose["services"]["web"]["deploy"]
    assert deploy["update_config"]["failure_action"] == "pause"
    assert deploy["labels"]["a"] == "b"
    assert "deploy" not in WISH["compose"]["services"]["web"].get("labels", {})


def test_a_digest_does_not_travel_between_swarms() -> None:
    assert item_digest("c1", "n", "x") != item_digest("c2", "n", "x")


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        (["8080:80"], [(8080, "tcp", "ingress")]),
        (["53:53/udp"], [(53, "udp", "ingress")]),
        (["80"], []),
        ([{"target": 80, "published": 8080, "mode": "host"}], [(8080, "tcp", "host")]),
    ],
)
def test_ports(ports: list[Any], expected: list[tuple[Any, ...]]) -> None:
    assert [tuple(port.values()) for port in ports_of({"ports": ports}) or []] == expected


@pytest.mark.parametrize(
    ("wishes", "says"),
    [
        pytest.param([wish(image="")], "stack shop: service web: has no image; name one", id="no image"),
        pytest.param([wish(image=None, build=".")], "Swarm does not build", id="build"),
        pytest.param([WISH, WISH], "stack shop: is there twice", id="twice"),
        pytest.param([{**WISH, "name": "Shop!"}], "the name has to be", id="name"),
        pytest.param([{"name": "shop", "compose": {}}], "compose has no services", id="empty"),
        pytest.param([{**WISH, "secrets": {}}], "uses secret token, which the stack does not have", id="secret"),
        pytest.param([wish(ports=["80-90:80-90"])], "cannot be read", id="port range"),
        pytest.param([wish(deploy={"replicas": "many"})], "replicas is 'many'", id="replicas"),
        pytest.param([{"name": "shop", "compose": {"services": {"web": "x"}}}], "give a mapping", id="no mapping"),
    ],
)
def test_what_is_wrong_with_a_stack(wishes: list[dict[str, Any]], says: str) -> None:
    lines = wish_problems(wishes)
    assert len(lines) == 1, lines
    assert says in lines[0]


def test_a_stack_that_goes_needs_no_compose() -> None:
    assert wish_problems([{"name": "shop", "state": "absent"}]) == []


HOST_PORT = {"target": 80, "published": 8080, "mode": "host"}
OTHER = {"name": "x_y", "stack": "x", "ports": [{"published": 8080, "protocol": "tcp", "mode": "ingress"}]}


@pytest.mark.parametrize(
    ("one", "node", "others", "says"),
    [
        pytest.param(wish(ports=["8080:80"]), {"ip_vs": False}, [], "set mode: host", id="ingress without IP_VS"),
        pytest.param(wish(deploy={}), {"ip_vs": False}, [], "endpoint_mode: dnsrr", id="VIP without IP_VS"),
        pytest.param(wish(ports=[HOST_PORT]), {}, [OTHER], "is published by service x_y", id="another service's"),
        pytest.param(
            wish(ports=[HOST_PORT]),
            {"listeners": [{"port": 8080, "protocol": "tcp", "process": "nginx"}]},
            [],
            "is held by nginx on n1",
            id="a process's",
        ),
    ],
)
def test_what_in_the_swarm_speaks_against_a_stack(one: Any, node: Any, others: Any, says: str) -> None:
    lines = swarm_problems([one], {"n1": {**NODE, **node}}, others)
    assert len(lines) == 1, lines
    assert says in lines[0]


def test_a_stacks_own_port_is_no_obstacle() -> None:
    own = {**OTHER, "stack": "shop"}
    assert swarm_problems([wish(ports=[HOST_PORT])], {"n1": NODE}, [own]) == []


def test_images_that_some_node_lacks() -> None:
    nodes = {"n1": NODE, "n2": {**NODE, "images": []}, "n3": {**NODE, "images": ["busybox:latest"]}}
    assert missing_images([WISH], nodes) == {"app:1": ("stack shop: service web", ["n2", "n3"])}
    assert missing_images([wish(image="busybox")], {"n3": nodes["n3"]}) == {}


@pytest.mark.parametrize(
    ("update", "running", "state", "says"),
    [
        ("", 4, "ready", "4 of 4 tasks run"),
        ("completed", 4, "ready", "4 of 4"),
        ("", 3, "waiting", "3 of 4 tasks run; a task said: no such image"),
        ("updating", 4, "waiting", "4 of 4"),
        ("rollback_started", 4, "waiting", "4 of 4"),
        ("rollback_completed", 4, "failed", "rolled back; the earlier version runs on (4 of 4 tasks run)"),
        ("paused", 3, "failed", "the update was paused"),
        ("rollback_paused", 3, "failed", "so did its rollback"),
    ],
)
def test_progress(update: str, running: int, state: str, says: str) -> None:
    service = {"update": update, "running": running, "desired": 4}
    got, text = progress(service, [{"state": "running", "error": ""}, {"state": "failed", "error": "no such image"}])
    assert got == state
    assert says in text


PLACES: dict[str, Any] = {
    "n1": {**NODE, "id": "x1", "role": "manager", "labels": {"disk": "ssd"}},
    "n2": {**NODE, "id": "x2", "role": "worker", "labels": {}, "images": []},
}


@pytest.mark.parametrize(
    ("constraints", "nodes"),
    [
        ([], ["n1", "n2"]),
        (["node.hostname == n2"], ["n2"]),
        (["node.role==manager"], ["n1"]),
        (["node.role != manager"], ["n2"]),
        (["node.labels.disk == SSD"], ["n1"]),
        (["node.labels.disk != ssd"], ["n2"]),
        (["node.id == x1", "node.role == worker"], []),
        (["engine.labels.os == x", "what is this"], ["n1", "n2"]),
    ],
)
def test_constraints_say_where_a_service_may_run(constraints: list[str], nodes: list[str]) -> None:
    assert list(candidates({"deploy": {"placement": {"constraints": constraints}}}, PLACES)) == nodes


def test_an_image_is_needed_only_where_the_service_may_run() -> None:
    bound = {"placement": {"constraints": ["node.role == manager"]}}
    assert missing_images([wish(deploy=bound)], PLACES) == {}
    assert missing_images([wish()], PLACES) == {"app:1": ("stack shop: service web", ["n2"])}
