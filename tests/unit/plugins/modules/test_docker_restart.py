# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils.docker_api import DockerAnswerError, DockerMissingError
from ansible_collections.croft.infra.plugins.modules import docker_restart

RunModule = Callable[..., dict[str, Any]]
NODE = {"ID": "a", "Spec": {"Role": "manager"}, "Status": {"State": "ready"}, "Description": {"Hostname": "a"}}


class Engine:
    """An engine on a manager of three: stopped for a look after its restart, then locked, then on its way back."""

    def __init__(self) -> None:
        self.state, self.commands, self.keys = "active", [], []
        self.away: set[str] = set()

    def restart(self, command: list[str]) -> None:
        self.commands.append(command)
        if "restart" in command:
            self.state = "stopped"

    def get(self, path: str) -> Any:
        if self.state == "stopped":
            self.state = "locked"
            raise DockerMissingError("/run/docker.sock: refused")
        if path == "/info":
            manager = self.state == "active"
            if self.state == "pending":
                self.state = "active"
            return {"Swarm": {"LocalNodeState": self.state, "NodeID": "a", "ControlAvailable": manager}}
        nodes = [{**NODE, "ID": name, "Description": {"Hostname": name}} for name in "abc"]
        return [
            {**node, "ManagerStatus": {"Reachability": "unreachable" if node["ID"] in self.away else "reachable"}}
            for node in nodes
        ]

    def request(self, _method: str, path: str, *, body: dict[str, str]) -> None:
        assert path == "/swarm/unlock"
        self.keys.append(body["UnlockKey"])
        if body["UnlockKey"] != "right":
            raise DockerAnswerError(400, "invalid key")
        self.state = "pending"


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    made = Engine()
    monkeypatch.setattr(docker_restart, "DockerApi", lambda: made)
    monkeypatch.setattr(docker_restart.time, "sleep", lambda _seconds: None)

    def command(_module: AnsibleModule, arguments: list[str], **_options: Any) -> tuple[int, str, str]:
        made.restart(arguments)
        return 0, "", ""

    monkeypatch.setattr(AnsibleModule, "run_command", command)
    return made


def test_a_locked_manager_is_unlocked_and_waited_for(engine: Engine, run_module: RunModule) -> None:
    outcome = run_module(docker_restart, {"unlock_key": "right"})
    assert (outcome["changed"], outcome["locked"], outcome["warnings"]) == (True, False, [])
    assert engine.commands == [["systemctl", "daemon-reload"], ["systemctl", "restart", "docker.service"]]
    assert engine.keys == ["right"]
    assert engine.state == "active"


def test_without_the_key_it_says_that_it_is_locked(engine: Engine, run_module: RunModule) -> None:
    outcome = run_module(docker_restart, {})
    assert outcome["locked"]
    assert outcome["warnings"] == [
        "Docker was restarted, and this manager is locked; unlock it, role docker_swarm does so with its key"
    ]


def test_what_it_waited_for_in_vain_is_told(engine: Engine, run_module: RunModule) -> None:
    outcome = run_module(docker_restart, {"unlock_key": "wrong", "timeout": 0})
    assert outcome["failed"]
    assert outcome["msg"].startswith("Docker was restarted, and after 0 s: /run/docker.sock: refused")
    assert engine.state == "locked"
    assert docker_restart.awaited(engine, "wrong") == "invalid key"


def test_one_that_the_swarm_does_not_count_on_is_waited_for(engine: Engine) -> None:
    assert docker_restart.awaited(engine, "") == ""
    engine.away = {"a"}
    assert docker_restart.awaited(engine, "") == "its swarm does not count on it yet"


@pytest.mark.parametrize("check", [False, True])
def test_a_manager_that_the_quorum_hangs_on_is_not_restarted(
    check: bool, engine: Engine, run_module: RunModule
) -> None:
    engine.away = {"c"}
    outcome = run_module(docker_restart, {}, check=check)
    assert outcome["msg"].startswith("Docker is not restarted: of 3 managers 1 would be left and the swarm needs 2")
    assert engine.commands == []


def test_a_check_restarts_nothing(engine: Engine, run_module: RunModule) -> None:
    assert run_module(docker_restart, {}, check=True)["changed"]
    assert engine.commands == []
