# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest's agent is asked, and what is made of its answers."""

from __future__ import annotations

import base64
import json
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils import guest_agent


class SilentError(Exception):
    """In place of libvirtError."""


class Agent:
    """An agent that runs one command; `answers` by question, one that lacks is refused."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[dict[str, Any]] = []

    def __call__(self, _domain: Any, text: str, _seconds: int, _flags: int) -> str:
        question = json.loads(text)
        self.asked.append(question)
        name = question["execute"].replace("-", "_")
        if name not in self.answers:
            raise SilentError(f"The command {question['execute']} has been disabled")
        return json.dumps({"return": self.answers[name]})


def ended(code: int, said: str) -> dict[str, Any]:
    text = base64.b64encode(said.encode()).decode()
    return {"guest_exec": {"pid": 7}, "guest_exec_status": {"exited": True, "exitcode": code, "out-data": text}}


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Any:
    def use(**answers: Any) -> Agent:
        made = Agent(**answers)
        library = SimpleNamespace(qemuAgentCommand=made, libvirtError=SilentError)
        monkeypatch.setattr(guest_agent, "bindings", lambda _name="libvirt": library)
        return made

    return use


def test_a_file_system_grows(agent: Any) -> None:
    asked = agent(**ended(0, "resized")).asked
    assert guest_agent.grow_file_systems(None, "data") is None
    assert asked[0]["arguments"]["arg"][-1] == "data"


def test_what_kept_it_from_growing_is_told(agent: Any) -> None:
    agent(**ended(1, "it has neither growpart\nnor sfdisk\n"))
    assert guest_agent.grow_file_systems(None, "") == "it has neither growpart nor sfdisk"
    agent()
    assert guest_agent.grow_file_systems(None, "") == "The command guest-exec has been disabled"


def test_disks_in_use(agent: Any) -> None:
    agent(**ended(0, "data\nlog\ndata\n"))
    assert guest_agent.disks_in_use(None) == {"data", "log"}
    agent()
    assert guest_agent.disks_in_use(None) == set()


@pytest.mark.parametrize(("seen", "answer"), [(2, None), (1, "its kernel sees 1")])
def test_vcpus_come_online(agent: Any, seen: int, answer: str | None) -> None:
    agent(guest_get_vcpus=[{"logical-id": number} for number in range(seen)], guest_set_vcpus=seen)
    assert guest_agent.bring_online(None, 2, lambda look, _wanted: look()) == answer


@pytest.mark.parametrize("script", [guest_agent.GROW, guest_agent.IN_USE])
def test_the_scripts_are_right_to_a_shell(script: str) -> None:
    assert subprocess.run(["sh", "-n"], input=script, text=True, capture_output=True, check=True).stderr == ""


def test_no_disk_of_that_name_is_told() -> None:
    done = subprocess.run(
        ["sh", "-c", guest_agent.GROW, "croft", "no-such-disk"], text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "it does not see the disk\n")
