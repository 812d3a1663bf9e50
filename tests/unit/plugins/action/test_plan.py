# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin: as a class for its edges, and by ansible-playbook with templated variables for the whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible_collections.croft.infra.plugins.action import plan as action

ROOT = Path(__file__).resolve().parents[4]
CAPACITY = {"sockets": 2, "cores": 16, "threads": 32, "memory_mib": 65536, "disk_gib": 1000}
HOSTVARS = {
    name: {"croft_capacity": CAPACITY, "host_reserved": {"cpus": 1, "memory_mib": 1024}} for name in ("kvm1", "kvm2")
}
WEB = {"name": "web1", "vcpus": 2, "memory_mib": 2048, "disk_gib": 20}
BIG = {"name": "big1", "vcpus": 2, "memory_mib": 32768, "disk_gib": 20}


def run(hostvars: Any = None, **arguments: Any) -> dict[str, Any]:
    task = MagicMock(async_val=0, check_mode=False, diff=False)
    task.args = {"hosts": ["kvm1", "kvm2"], "virtual_machines": [WEB], **arguments}
    plugin = action.ActionModule(task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock())
    return plugin.run(task_vars={"hostvars": HOSTVARS if hostvars is None else hostvars})


def test_an_admitted_plan_is_returned_and_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    result = run()
    assert result["changed"] is False
    assert not result.get("failed")
    assert result["plan"]["placements"] == {"web1": "kvm1"}
    assert "Plan admitted: 2 hosts, 1 VMs" in capsys.readouterr().out


def test_a_refused_plan_fails_with_a_line_for_each_refusal(capsys: pytest.CaptureFixture[str]) -> None:
    result = run(virtual_machines=[BIG, {**BIG, "name": "big2"}, {**WEB, "workload": "database"}])
    assert result["failed"]
    head, *lines = result["msg"].splitlines()
    assert head == "The plan is refused, 3 reasons:"
    assert [line.split(":")[0] for line in lines] == ["io-workload", "vm-share", "vm-share"]
    assert "limit 0.40; lower memory_mib of big1 from 32768 to at most 26214" in lines[1]
    assert "plan" not in result
    assert "REFUSED" not in capsys.readouterr().out


def test_user_data_is_held_against_the_schema_and_not_kept() -> None:
    hostvars = {**HOSTVARS, "kvm2": {**HOSTVARS["kvm2"], "virtual_machines_user_data": {"packages": ["vim"]}}}
    wish = {**WEB, "user_data": {"users": [{"name": "ops", "hashed_passwd": "$6$a$secret"}]}}
    result = run(hostvars, virtual_machines=[wish])
    assert not result.get("failed")
    assert "secret" not in json.dumps(result)


def test_broken_user_data_is_told_beside_all_other_problems() -> None:
    hostvars = {name: {**own, "virtual_machines_user_data": {"packges": []}} for name, own in HOSTVARS.items()}
    result = run(hostvars, virtual_machines=[{**WEB, "vcpus": 0, "user_data": {"runcmd": 1}}])
    head, *lines = result["msg"].splitlines()
    assert head == "The plan cannot be made, 3 problems:"
    assert lines[1:] == [
        "virtual_machines_user_data.packges: is not known to cloud-init; did you mean 'packages'?",
        "web1: user_data.runcmd: is a whole number, must be a list",
    ]


def test_without_the_gate_a_refused_plan_is_returned(capsys: pytest.CaptureFixture[str]) -> None:
    result = run(virtual_machines=[BIG], gate=False)
    assert not result.get("failed")
    assert result["plan"]["verdict"] == "refused"
    assert "REFUSED  vm-share: big1" in capsys.readouterr().out


@pytest.mark.parametrize("gate", [True, False])
def test_unreadable_input_fails_with_all_lines_and_writes_the_files(tmp_path: Path, gate: bool) -> None:
    result = run(
        virtual_machines=[{**WEB, "vcpus": -1}, {"name": "x"}],
        hosts=["kvm1", "kvm9"],
        gate=gate,
        directory=str(tmp_path),
    )
    assert result["failed"]
    assert len(result["msg"].splitlines()) == 1 + 1 + 3 + 1
    assert "host kvm9: has no capacity" in result["msg"]
    assert json.loads((tmp_path / "plan.json").read_text())["verdict"] == "refused"


def test_the_files_are_written_when_refused_and_read_by_all(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b"
    before = os.umask(0o077)
    try:
        assert run(virtual_machines=[BIG], directory=str(target))["failed"]
    finally:
        os.umask(before)
    assert sorted(path.name for path in target.iterdir()) == [
        "plan.json",
        "plan.junit.xml",
        "plan.sarif",
        "report.html",
    ]
    assert {path.stat().st_mode & 0o777 for path in target.iterdir()} == {0o644}


def test_a_directory_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(AnsibleActionFail, match=r"directory: cannot write the plan to .*/file/plan: Not a directory"):
        run(directory=str(tmp_path / "file" / "plan"))


def test_waivers_are_judged_by_the_day_given() -> None:
    waiver = {"rule": "vm-share", "vm": "big1", "reason": "r", "owner": "o", "until": "2027-01-31"}
    policy = {"waivers": [waiver]}
    assert not run(virtual_machines=[BIG], policy=policy, today="2027-01-31").get("failed")
    assert run(virtual_machines=[BIG], policy=policy, today="2027-02-01")["failed"]
    with pytest.raises(AnsibleActionFail, match="today: is 'soon', not a date; give it as YYYY-MM-DD"):
        run(today="soon")


def test_hosts_that_the_inventory_does_not_know_have_no_capacity() -> None:
    assert "host kvm1: has no capacity" in run(hostvars={})["msg"]


# --- by ansible-playbook ----------------------------------------------------------------------------------------------

PLAY = [
    {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [
            {
                "name": "Plan",
                "croft.infra.plan": {
                    "hosts": "{{ groups['kvm_hosts'] }}",
                    "virtual_machines": "{{ virtual_machines }}",
                    "policy": "{{ sizing_policy | default({}) }}",
                    "directory": "{{ croft_plan_dir }}",
                },
                "register": "croft_plan",
            },
            {
                "name": "Show",
                "ansible.builtin.debug": {
                    "msg": "{{ croft_plan.plan | croft.infra.placed_on('kvm1') | map(attribute='name') | join(',') }}"
                },
            },
        ],
    }
]


@pytest.fixture(name="playbook")
def _playbook(tmp_path: Path) -> Any:
    inventory = {
        "kvm_hosts": {
            "hosts": {"kvm1": {"ansible_host": "192.0.2.1"}, "kvm2": {"ansible_host": "192.0.2.2"}},
            "vars": {
                "memory_gib": 64,
                # Templated: what the plugin sees is lazy and tagged.
                "croft_capacity": {**CAPACITY, "memory_mib": "{{ memory_gib * 1024 }}"},
                "host_reserved": {"cpus": 1, "memory_mib": 1024},
            },
        }
    }
    (tmp_path / "inventory.yml").write_text(yaml.safe_dump(inventory))
    (tmp_path / "play.yml").write_text(yaml.safe_dump(PLAY, sort_keys=False))

    def play(variables: dict[str, Any], *more: str) -> subprocess.CompletedProcess[str]:
        variables = {"croft_plan_dir": str(tmp_path / "out"), **variables}
        command = [Path(sys.executable).parent / "ansible-playbook", "-i", tmp_path / "inventory.yml"]
        return subprocess.run(
            [*command, tmp_path / "play.yml", "-e", json.dumps(variables), *more],
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
        )

    return play


def test_a_play_admits_and_goes_on(playbook: Any, tmp_path: Path) -> None:
    done = playbook({"virtual_machines": [{**WEB, "memory_mib": "{{ 4 * 512 }}", "host": "kvm1"}]}, "--check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Plan admitted" in done.stdout
    assert "msg: web1" in done.stdout
    assert "changed=0" in done.stdout
    assert json.loads((tmp_path / "out/plan.json").read_text())["placements"] == {"web1": "kvm1"}


def test_a_play_stops_with_one_line_for_each_refusal(playbook: Any, tmp_path: Path) -> None:
    done = playbook({"virtual_machines": [BIG, {**WEB, "name": "db1", "workload": "database"}]})
    assert done.returncode != 0
    assert "The plan is refused, 2 reasons:" in done.stdout
    assert "vm-share: big1 has no host; with it on kvm1" in done.stdout
    assert "TASK [Show]" not in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert (tmp_path / "out/report.html").stat().st_mode & 0o777 == 0o644
