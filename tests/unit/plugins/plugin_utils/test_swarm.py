# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.plugin_utils.swarm import make_plan

KERNEL = {"vxlan": True, "ip_vs": True, "esp": True}
INACTIVE = {"state": "inactive", "node_id": "", "manager": False, "cluster_id": "", "address": "", "error": ""}
NAMES = ("a", "b", "c")


def fact(name: str, role: str = "manager", **change: Any) -> dict[str, Any]:
    """A host with an engine that is in no swarm."""
    address = f"10.0.0.{ord(name[0])}"
    return {
        "available": True,
        "reason": "",
        "hostname": name,
        "addresses": ["127.0.0.1", address],
        "kernel": KERNEL,
        "swarm": INACTIVE,
        "cluster": None,
        "wished": {"role": role, "address": address, "availability": "active", "labels": {}},
        **change,
    }


def node(name: str, role: str = "manager", **change: Any) -> dict[str, Any]:
    return {
        "id": f"id-{name}",
        "hostname": name,
        "role": role,
        "availability": "active",
        "labels": {},
        "ready": True,
        "leader": False,
        "reachable": role == "manager",
        "address": "",
        **change,
    }


def cluster(*nodes: dict[str, Any], **change: Any) -> dict[str, Any]:
    return {"id": "c1", "autolock": False, "nodes": list(nodes), "networks": [], "services": [], "error": "", **change}


def member(name: str, whole: Mapping[str, Any] | None, role: str = "manager", **change: Any) -> dict[str, Any]:
    """A host that is in the swarm; a worker sees no cluster."""
    manager = role == "manager"
    swarm = {**INACTIVE, "state": "active", "node_id": f"id-{name}", "manager": manager, "cluster_id": "c1"}
    return fact(name, role, **{"swarm": swarm, "cluster": whole if manager else None, **change})


STANDING = cluster(node("a", leader=True), node("b"), node("c"))


def standing(**change: Any) -> dict[str, Any]:
    return {**{name: member(name, STANDING) for name in NAMES}, **change}


def test_an_empty_field_gets_a_swarm() -> None:
    plan, problems = make_plan({**{n: fact(n) for n in NAMES}, "d": fact("d", "worker")}, networks=[{"name": "net"}])
    assert problems == []
    assert (plan["manager"], plan["init"]) == ("a", True)
    assert [(entry["host"], entry["role"]) for entry in plan["join"]] == [
        ("b", "manager"),
        ("c", "manager"),
        ("d", "worker"),
    ]
    assert plan["steps"][0] == "make the swarm on a"
    assert plan["networks"] == [{"name": "net"}]


def test_a_standing_swarm_needs_nothing() -> None:
    plan, problems = make_plan(standing())
    assert (problems, plan["steps"], plan["remarks"], plan["init"]) == ([], [], [], False)


def test_the_leader_speaks_for_the_swarm() -> None:
    whole = cluster(node("a"), node("b", leader=True), node("c"))
    plan, _ = make_plan({name: member(name, whole) for name in NAMES})
    assert plan["manager"] == "b"


def test_a_host_that_does_not_answer_stays_as_it_is() -> None:
    plan, problems = make_plan(standing(b=None))
    assert (problems, plan["steps"]) == ([], [])
    assert plan["remarks"] == ["b: did not answer and stays as it is"]


def test_a_machine_made_anew_takes_the_place_of_the_dead_one() -> None:
    whole = cluster(node("a"), node("b", ready=False), node("c"))
    plan, problems = make_plan({"a": member("a", whole), "b": fact("b"), "c": member("c", whole)})
    assert problems == []
    assert plan["stale"] == [{"id": "id-b", "hostname": "b", "role": "manager"}]
    assert plan["steps"] == [
        "take the dead entry of b out (manager id-b)",
        "join b as manager at 10.0.0.98",
    ]


def test_labels_and_availability_that_differ_are_steps() -> None:
    hosts = standing()
    hosts["c"]["wished"] = {**hosts["c"]["wished"], "labels": {"disk": "ssd", "n": 1}, "availability": "drain"}
    plan, _ = make_plan(hosts)
    assert plan["steps"] == ["set c to manager, drain, labels {'disk': 'ssd', 'n': '1'}"]


def test_a_manager_that_stays_commands_while_the_leader_leaves() -> None:
    hosts = {name: member(name, STANDING) for name in NAMES} | {"w": fact("w")}
    # Three are left: w takes the place of a, which leads.
    plan, problems = make_plan(hosts, removed=["a"])
    assert problems == []
    assert plan["manager"] == "b"
    assert [entry["hostname"] for entry in plan["remove"]] == ["a"]


def test_a_removed_node_leaves_and_its_entry_goes() -> None:
    whole = cluster(node("a"), node("d", "worker"), node("e", "worker", ready=False))
    hosts = {"a": member("a", whole), "d": member("d", whole, "worker")}
    plan, problems = make_plan(hosts, removed=["d", "e"])
    assert problems == []
    assert plan["leave"] == ["d"]
    assert [entry["hostname"] for entry in plan["remove"]] == ["d", "e"]
    assert [entry["host"] for entry in plan["nodes"]] == ["a"]


def test_what_is_in_the_swarm_and_not_in_the_inventory_is_remarked() -> None:
    whole = cluster(node("a"), node("old", "worker"))
    plan, problems = make_plan({"a": member("a", whole)})
    assert problems == []
    assert plan["remarks"] == [
        "old: is in the swarm and not in the inventory; it stays, unless docker_swarm_removed names it"
    ]


def test_a_kernel_without_ip_vs_is_remarked_with_what_works() -> None:
    plan, problems = make_plan({"a": fact("a", kernel={**KERNEL, "ip_vs": False})})
    assert problems == []
    assert "dnsrr" in plan["remarks"][0]


NET = {"name": "net", "encrypted": False, "attachable": True, "internal": False, "subnet": "10.9.0.0/24"}


@pytest.mark.parametrize(
    ("hosts", "options", "says"),
    [
        pytest.param({"a": fact("a"), "b": fact("b")}, {}, "are 2 (a, b)", id="even managers"),
        pytest.param({"a": fact("a", "worker")}, {}, "no host that answers has docker_swarm_role manager", id="none"),
        pytest.param({"a": fact("a", addresses=["10.0.0.1"])}, {}, "give one of 10.0.0.1", id="address"),
        pytest.param({"a": fact("a", available=False, reason="no socket")}, {}, "no socket", id="no engine"),
        pytest.param(
            {"a": fact("a", swarm={**INACTIVE, "state": "locked"})}, {}, "docker_swarm_unlock_file", id="locked"
        ),
        pytest.param(
            {"a": fact("a", swarm={**INACTIVE, "state": "error", "error": "bad disk"})}, {}, "bad disk", id="error"
        ),
        pytest.param({"a": fact("a"), "b": fact("b", "worker", hostname="a")}, {}, "same host name a", id="twins"),
        pytest.param(
            {"a": fact("a", kernel={**KERNEL, "vxlan": False})}, {"networks": [{"name": "n"}]}, "no vxlan", id="vxlan"
        ),
        pytest.param(
            {"a": fact("a", kernel={**KERNEL, "esp": False})},
            {"networks": [{"name": "n", "encrypted": True}]},
            "no ESP with AES-GCM",
            id="esp",
        ),
        pytest.param(
            standing(d=member("d", None, "worker")), {}, "d: is a node of another swarm (c1)", id="another swarm"
        ),
        pytest.param({"a": fact("a"), "d": member("d", None, "worker")}, {}, "no host of this run", id="no manager"),
        pytest.param(
            {"a": member("a", cluster(error="The swarm does not have a leader."))}, {}, "lost its quorum", id="quorum"
        ),
        pytest.param(
            {"a": member("a", cluster(node("a"), networks=[NET]))},
            {"networks": [{"name": "net", "attachable": True, "encrypted": True}]},
            "encrypted is False in the swarm",
            id="network differs",
        ),
        pytest.param(
            {"a": member("a", cluster(node("a"), networks=[NET]))},
            {"networks": [{"name": "net", "attachable": True, "subnet": "10.8.0.0/24"}]},
            "subnet is 10.9.0.0/24",
            id="subnet differs",
        ),
        pytest.param(
            {"a": fact("a")}, {"networks": [{"name": "n"}, {"name": "n"}]}, "n: is there twice", id="network twice"
        ),
        pytest.param(
            {"a": member("a", cluster(node("a"), node("d", "worker"))), "d": fact("d", "worker")},
            {},
            "another machine",
            id="same name, alive",
        ),
        pytest.param(
            {"a": member("a", cluster(node("a"), node("d", "worker")))},
            {"removed": ["d"]},
            "did not answer this run",
            id="removed, up and silent",
        ),
    ],
)
def test_what_speaks_against_it(hosts: Any, options: dict[str, Any], says: str) -> None:
    _, problems = make_plan(hosts, **options)
    assert len(problems) == 1, problems
    assert says in problems[0]
