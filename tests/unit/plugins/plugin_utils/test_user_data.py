# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
from datetime import date
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.plugin_utils.user_data import SCHEMA, given, merged, prepare

HASH = "$6$salt$abcdefghijk"
DEFAULTS: dict[str, Any] = {
    "users": ["default", {"name": "ops", "groups": "sudo"}],
    "packages": ["vim"],
    "ntp": {"enabled": True, "servers": ["10.0.0.1"]},
}


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, {}),
        ({"timezone": "UTC"}, {"timezone": "UTC"}),
        ({"packages": ["nginx"]}, {"packages": ["vim", "nginx"]}),
        ({"packages": None}, {"packages": "gone"}),
        ({"packages": "nginx"}, {"packages": "nginx"}),
        ({"ntp": {"enabled": False}}, {"ntp": {"enabled": False, "servers": ["10.0.0.1"]}}),
        ({"ntp": {"servers": None}}, {"ntp": {"enabled": True}}),
        (
            {"users": [{"name": "ops", "shell": "/bin/zsh"}, {"name": "dev"}]},
            {"users": ["default", {"name": "ops", "groups": "sudo", "shell": "/bin/zsh"}, {"name": "dev"}]},
        ),
    ],
)
def test_a_vm_goes_over_the_defaults(own: dict[str, Any], expected: dict[str, Any]) -> None:
    wanted = {key: value for key, value in {**DEFAULTS, **expected}.items() if value != "gone"}
    assert merged(DEFAULTS, own) == wanted
    assert merged(wanted, {}) == wanted


def test_files_are_merged_by_their_path() -> None:
    default = {"write_files": [{"path": "/etc/motd", "content": "hello", "permissions": "0644"}]}
    own = {"write_files": [{"path": "/etc/motd", "content": "web"}, {"path": "/etc/x", "content": ""}]}
    assert merged(default, own)["write_files"] == [
        {"path": "/etc/motd", "content": "web", "permissions": "0644"},
        {"path": "/etc/x", "content": ""},
    ]


@pytest.mark.parametrize("shape", ["list", "mapping"])
def test_entries_are_parted_from_their_user_data(shape: str) -> None:
    entry = {"vcpus": 1, "user_data": {"runcmd": ["true"]}}
    listed = [{"name": "web1", **entry}, {"name": "web2"}]
    done = prepare(listed if shape == "list" else {"web1": entry, "web2": {}}, {"packages": ["vim"]})
    assert done.problems == []
    assert done.entries == [{"name": "web1", "vcpus": 1}, {"name": "web2"}]
    assert done.user_data == {
        "web1": {"packages": ["vim"], "runcmd": ["true"]},
        "web2": {"packages": ["vim"]},
    }
    assert given(listed) == {"web1": {"runcmd": ["true"]}}


@pytest.mark.parametrize("entries", [None, [], ["web1"], "web1"])
def test_what_is_no_vm_is_for_others_to_tell(entries: Any) -> None:
    assert prepare(entries, None).problems == []


def test_the_text_of_a_cloud_config_is_taken() -> None:
    done = prepare([{"name": "web1", "user_data": "#cloud-config\npackages:\n  - nginx\n"}], "")
    assert (done.problems, done.user_data) == ([], {"web1": {"packages": ["nginx"]}})


@pytest.mark.parametrize(
    ("user_data", "expected"),
    [
        ("a: b: c", ": is no YAML, line 1: mapping values are not allowed here; correct it there"),
        ("packages:\n  - [", ": is no YAML, line 2: expected the node content, but found '<stream end>'"),
        ([1], ": is a list, must be a mapping, or the text of one, as #cloud-config has it"),
        ({"package": ["x"]}, ".package: is not known to cloud-init; did you mean 'packages'?"),
        ({"runcmd": "reboot"}, ".runcmd: is a text, must be a list"),
        ({"write_files": [{"path": "/x", "permissions": 644}]}, ".write_files[0].permissions: is a whole number"),
        ({"write_files": [{"content": "x"}]}, ".write_files[0]: lacks path"),
        ({"power_state": {"mode": "sleep"}}, ".power_state.mode: must be one of 'poweroff', 'reboot', 'halt'"),
        ({"hostname": "x"}, ".hostname: is the VM's name and set by croft"),
        ({"runcmd": [date(2027, 1, 1)]}, ": has a value that JSON does not know, such as a date"),
        ({"password": "hunter2"}, ".password: is a password in plain; give what 'openssl passwd -6' prints"),
        ({"users": [{"name": "a", "plain_text_passwd": "hunter2"}]}, ".users[0].plain_text_passwd: is a password in"),
        ({"users": [{"name": "a", "hashed_passwd": "hunter2"}]}, ".users[0].hashed_passwd: is no hash"),
        ({"users": [{"name": "a", "passwd": "hunter2"}]}, ".users[0].passwd: is no hash"),
        ({"user": {"name": "a", "plain_text_passwd": "hunter2"}}, ".user.plain_text_passwd: is a password in plain"),
        ({"chpasswd": {"list": ["a:hunter2"]}}, ".chpasswd.list[0]: is a password in plain"),
        ({"chpasswd": {"list": "a:hunter2\n"}}, ".chpasswd.list[0]: is a password in plain"),
        ({"chpasswd": {"users": [{"name": "a", "password": "hunter2"}]}}, ".chpasswd.users[0].password: is no hash"),
        (
            {"chpasswd": {"users": [{"name": "a", "password": HASH, "type": "text"}]}},
            ".chpasswd.users[0].type: would make a password of what is a hash",
        ),
    ],
)
def test_what_is_wrong_is_told_in_a_line_without_the_secret(user_data: Any, expected: str) -> None:
    problems = prepare([{"name": "web1", "user_data": user_data}], {}).problems
    assert any(line.startswith(f"web1: user_data{expected}") for line in problems), problems
    assert not any("hunter2" in line or "\n" in line for line in problems)


@pytest.mark.parametrize(
    "user_data",
    [
        {"users": ["default", {"name": "ops", "hashed_passwd": HASH, "lock_passwd": False, "sudo": "ALL=(ALL) ALL"}]},
        {"users": [{"name": "ops", "passwd": "!"}], "ssh_pwauth": False},
        {"chpasswd": {"expire": False, "users": [{"name": "a", "password": HASH}]}},
        {"chpasswd": {"list": [f"a:{HASH}"]}},
        {"runcmd": [["touch", "/x"], "echo y"], "bootcmd": ["true"], "package_update": True},
        {"apt": {"sources": {"x": {"source": "deb http://x y z"}}}, "growpart": {"mode": "auto"}},
    ],
)
def test_what_cloud_init_takes(user_data: dict[str, Any]) -> None:
    assert prepare([{"name": "web1", "user_data": user_data}], {}).problems == []


def test_all_problems_are_told_at_once_and_those_of_the_defaults_once() -> None:
    vms = [{"name": "a", "user_data": {"runcmd": 1}}, {"name": "b", "user_data": {"timezone": 2}}, {"name": "c"}]
    assert prepare(vms, {"packges": []}).problems == [
        "virtual_machines_user_data.packges: is not known to cloud-init; did you mean 'packages'?",
        "a: user_data.runcmd: is a whole number, must be a list",
        "b: user_data.timezone: is a whole number, must be a text",
    ]


def test_the_schema_is_the_one_that_its_page_tells_of() -> None:
    digest = hashlib.sha256(SCHEMA.read_bytes()).hexdigest()
    assert digest in (SCHEMA.parent / "README.md").read_text()
