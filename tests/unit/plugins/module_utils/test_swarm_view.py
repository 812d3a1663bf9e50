# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.croft.infra.plugins.module_utils import swarm_view


def test_a_node_outside_any_swarm() -> None:
    assert swarm_view.swarm_of({}) == {
        "state": "inactive",
        "node_id": "",
        "address": "",
        "manager": False,
        "cluster_id": "",
        "error": "",
    }


def test_a_manager() -> None:
    told = {"LocalNodeState": "active", "NodeID": "n", "ControlAvailable": True, "Cluster": {"ID": "c"}}
    assert swarm_view.swarm_of({"Swarm": told})["cluster_id"] == "c"


def test_a_node_of_the_list() -> None:
    entry = {
        "ID": "n",
        "Spec": {"Role": "manager", "Availability": "drain", "Labels": {"disk": "ssd"}},
        "Description": {"Hostname": "swarm1"},
        "Status": {"State": "ready", "Addr": "10.0.0.1"},
        "ManagerStatus": {"Leader": True, "Reachability": "reachable"},
    }
    assert swarm_view.node_of(entry) == {
        "id": "n",
        "hostname": "swarm1",
        "role": "manager",
        "availability": "drain",
        "labels": {"disk": "ssd"},
        "ready": True,
        "leader": True,
        "reachable": True,
        "address": "10.0.0.1",
    }


def test_an_encrypted_network_is_one_by_its_option() -> None:
    entry = {"Name": "net", "Options": {"encrypted": ""}, "IPAM": {"Config": [{"Subnet": "10.9.0.0/24"}]}}
    assert swarm_view.network_of(entry)["encrypted"] is True
    assert swarm_view.network_of({"Name": "net", "IPAM": {"Config": None}})["subnet"] == ""


def test_published_ports_of_a_service() -> None:
    entry = {
        "Spec": {"Name": "web_app", "Labels": {"com.docker.stack.namespace": "web"}},
        "Endpoint": {"Ports": [{"PublishedPort": 80, "Protocol": "tcp", "PublishMode": "host"}]},
    }
    assert swarm_view.service_of(entry) == {
        "name": "web_app",
        "stack": "web",
        "ports": [{"published": 80, "protocol": "tcp", "mode": "host"}],
    }


def test_names_of_images() -> None:
    images = [{"RepoTags": ["app:1", "<none>:<none>"], "RepoDigests": None}, {"RepoTags": None}]
    assert swarm_view.tags_of(images) == ["app:1"]


SOCKETS = """\
tcp   LISTEN 0      128          0.0.0.0:22         0.0.0.0:*    users:(("sshd",pid=80,fd=6))
tcp   LISTEN 0      4096               *:8080             *:*    users:(("docker-proxy",pid=9,fd=4))
tcp   LISTEN 0      4096               *:2377             *:*    users:(("dockerd",pid=9,fd=4))
udp   UNCONN 0      0                  *:4789             *:*
tcp   LISTEN 0      128             [::]:22            [::]:*    users:(("sshd",pid=80,fd=7))
"""


def test_who_listens_besides_docker() -> None:
    assert swarm_view.listeners_of(SOCKETS) == [{"port": 22, "protocol": "tcp", "process": "sshd"}]


def manager(name: str, *, reachable: bool = True, role: str = "manager") -> dict[str, object]:
    return {"id": name, "hostname": name, "role": role, "reachable": reachable}


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        pytest.param([], "", id="no swarm"),
        pytest.param([manager("a")], "", id="one alone"),
        pytest.param([manager("a"), manager("b"), manager("c")], "", id="three"),
        pytest.param([manager("a", role="worker"), manager("b"), manager("c", reachable=False)], "", id="a worker"),
        pytest.param(
            [manager("a"), manager("b"), manager("c", reachable=False)],
            "of 3 managers 1 would be left and the swarm needs 2; bring c back first, or take it out",
            id="one of three is dead",
        ),
        pytest.param([manager("a"), manager("b")], "", id="two"),
        pytest.param([manager(name, reachable=name != "e") for name in "abcde"], "", id="one of five is dead"),
    ],
)
def test_a_manager_whose_quorum_hangs_on_it_is_known(nodes: list[dict[str, object]], why: str) -> None:
    found = swarm_view.needed_for_quorum("a", nodes)
    assert found.startswith(why)
    assert bool(found) == bool(why)
