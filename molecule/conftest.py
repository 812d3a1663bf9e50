# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scenarios' tests share: runs of croft's playbooks the way other automation calls them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ansible_runner
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
INVENTORY = ROOT / "inventories/lab"
BIN = Path(sys.executable).parent


@dataclass
class Run:
    """A finished run of a playbook: its return code, what it printed, its events and the tasks' counts by host."""

    rc: int
    output: str
    events: list[dict[str, Any]]
    stats: Mapping[str, Mapping[str, int]]

    @property
    def changed(self) -> dict[str, int]:
        return dict(self.stats.get("changed") or {})

    def results(self, action: str, event: str = "runner_on_ok") -> list[dict[str, Any]]:
        """What the tasks of this action returned, with the host, in order."""
        return [
            one["event_data"]
            for one in self.events
            if one["event"] == event and one["event_data"].get("resolved_action") == action
        ]

    @property
    def refusal(self) -> str:
        """What the plan said when it refused."""
        (failed,) = self.results("croft.infra.plan", "runner_on_failed")
        return str(failed["res"]["msg"])

    def module_calls(self) -> dict[str, int]:
        """How many tasks ran on each host."""
        calls: dict[str, int] = {}
        for event in self.events:
            if event["event"] in ("runner_on_ok", "runner_on_failed"):
                host = event["event_data"]["host"]
                calls[host] = calls.get(host, 0) + 1
        return calls


Play = Callable[..., Run]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Run a playbook through ansible-runner in this clone, as automation does; extra variables by keyword."""
    monkeypatch.setenv("PATH", f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin")
    # Molecule's own settings are for molecule's own playbooks.
    for name in ("ANSIBLE_CONFIG", "ANSIBLE_COLLECTIONS_PATH"):
        monkeypatch.delenv(name, raising=False)

    def run(playbook: str, *, cmdline: str = "", inventory: Sequence[Path] = (INVENTORY,), **variables: Any) -> Run:
        # A directory for each: a runner reads the last run's command line from where it left it.
        home = tmp_path / "runs" / str(len(list(tmp_path.glob("runs/*"))))
        home.mkdir(parents=True)
        done = ansible_runner.run(
            private_data_dir=str(home),
            project_dir=str(ROOT),
            inventory=[str(path) for path in inventory],
            playbook=playbook,
            cmdline=cmdline or None,
            extravars=variables,
            quiet=True,
        )
        return Run(done.rc, done.stdout.read(), list(done.events), done.stats or {})

    return run


@pytest.fixture
def play_here(play: Play, request: pytest.FixtureRequest) -> Play:
    """A playbook with the variables of the test's scenario on top of the lab's inventory."""
    overlay = request.path.parents[1] / "inventory"

    def run(playbook: str, *, cmdline: str = "", **variables: Any) -> Run:
        return play(playbook, cmdline=cmdline, inventory=(INVENTORY, overlay), **variables)

    return run


@pytest.fixture(scope="session")
def lab_inventory() -> Mapping[str, Any]:
    """The lab's own variables, as its inventory has them."""
    return dict(yaml.safe_load((INVENTORY / "group_vars/all.yml").read_text()))


@pytest.fixture(scope="session")
def on_hosts() -> Callable[[str], dict[str, str]]:
    """Run a shell command on every host and return what each printed."""

    def run(command: str) -> dict[str, str]:
        done = subprocess.run(
            [BIN / "ansible", "kvm_hosts", "-i", INVENTORY, "-m", "ansible.builtin.shell", "-a", command],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
            env={
                "PATH": f"{BIN}:/usr/bin:/bin",
                "HOME": str(Path.home()),
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.json",
                "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1",
            },
        )
        hosts = json.loads(done.stdout)["plays"][0]["tasks"][0]["hosts"]
        return {name: result["stdout"] for name, result in hosts.items()}

    return run


@pytest.fixture(scope="session")
def all_nodes() -> list[dict[str, Any]]:
    """All of the lab's nodes, as role lab takes them."""
    return list(yaml.safe_load((INVENTORY / "group_vars/lab.yml").read_text())["lab_nodes"])


@pytest.fixture
def whole_again(play: Play, all_nodes: list[dict[str, Any]], cluster: Any) -> Iterator[None]:
    """Have all nodes of the scenario's cluster up again, whatever the test did."""
    yield
    cluster.asked = min(cluster.hosts)
    assert play("playbooks/lab.yml", lab_nodes=all_nodes).rc == 0
    cluster.wait(cluster.whole)
