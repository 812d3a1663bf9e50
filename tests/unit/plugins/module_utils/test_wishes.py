# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils.domain import GIB
from ansible_collections.croft.infra.plugins.module_utils.wishes import Defaults, read_wishes

DEFAULTS = Defaults("base.qcow2", "lan", gateway="10.0.0.1", nameservers=("9.9.9.9",))
WEB = {"name": "web1", "vcpus": 2, "memory_mib": 512}


def test_defaults_are_filled_in() -> None:
    (wish,), problems = read_wishes([WEB], DEFAULTS)
    assert problems == []
    assert (wish.image, wish.network, wish.cpu_model, wish.disk_bytes) == ("base.qcow2", "lan", "host-model", None)
    assert (wish.state, wish.autostart, wish.clone) == ("running", True, "linked")
    assert wish.first_boot.nameservers == ("9.9.9.9",)


def test_an_entry_overrides_them() -> None:
    more = {"image": "x", "network": "dmz", "disk_gib": "10", "autostart": "no", "state": "stopped", "nameservers": []}
    own = {"uuid": "E39B45ED20CD50059A3FDE882B74D056", "mac": "52:54:00:AA:BB:CC", "address": "10.0.0.5/24"}
    (wish,), problems = read_wishes([WEB | more | own], DEFAULTS)
    assert problems == []
    assert (wish.image, wish.network, wish.disk_bytes, wish.autostart) == ("x", "dmz", 10 * GIB, False)
    assert (wish.uuid, wish.mac) == ("e39b45ed-20cd-5005-9a3f-de882b74d056", "52:54:00:aa:bb:cc")
    assert wish.first_boot.uuid == wish.uuid
    assert wish.first_boot.nameservers == ()


def test_an_image_may_be_called_by_its_name_and_user_data_follow_the_name() -> None:
    defaults = replace(DEFAULTS, images={"debian": "debian-0.qcow2"}, user_data={"web1": {"runcmd": ["true"]}})
    wishes, problems = read_wishes([WEB | {"image": "debian"}, WEB | {"name": "web2"}], defaults)
    assert problems == []
    assert [wish.image for wish in wishes] == ["debian-0.qcow2", "base.qcow2"]
    assert [wish.first_boot.user_data for wish in wishes] == ['{"runcmd": ["true"]}', ""]


def test_fields_of_the_placement_and_empty_ones_are_taken() -> None:
    empty = dict.fromkeys(["disk_gib", "host", "affinity", "image", "address", "gateway", "nameservers", "uuid", "mac"])
    entry = {**empty, **WEB, "workload": "web", "anti_affinity": "web", "ha": True}
    assert read_wishes([entry], DEFAULTS)[1] == []


@pytest.mark.parametrize(
    ("accelerator", "model", "expected"),
    [("kvm", None, "host-model"), ("tcg", None, "maximum"), ("kvm", "EPYC", "EPYC")],
)
def test_cpu_model(accelerator: str, model: str | None, expected: str) -> None:
    (wish,), _problems = read_wishes([WEB], Defaults("i", "n", accelerator=accelerator, cpu_model=model))
    assert wish.cpu_model == expected


BAD: list[tuple[dict[str, Any], str]] = [
    ({"name": "Web"}, "Web: name is 'Web'; give 1 to 63 lower case letters"),
    ({"name": "a" * 64}, f"{'a' * 64}: name is"),
    ({"name": "-a"}, "-a: name is"),
    ({"name": "a.b"}, "a.b: name is"),
    ({"name": None}, "virtual_machines[0]: name is ''"),
    ({"vcpus": None}, "web1: vcpus is missing"),
    ({"vcpus": 0}, "web1: vcpus is 0; give a whole number of at least 1"),
    ({"vcpus": -1}, "web1: vcpus is -1"),
    ({"vcpus": 1.5}, "web1: vcpus is 1.5"),
    ({"vcpus": True}, "web1: vcpus is True"),
    ({"memory_mib": "1 GiB"}, "web1: memory_mib is '1 GiB'"),
    ({"disk_gib": 0}, "web1: disk_gib is 0"),
    ({"state": "paused"}, "web1: state is 'paused'; give running or stopped"),
    ({"autostart": "perhaps"}, "web1: autostart is 'perhaps'; give true or false"),
    ({"address": "10.0.0.5"}, "web1: address is '10.0.0.5'; give an address with its prefix length"),
    ({"address": "10.0.0.5/33"}, "web1: address is '10.0.0.5/33'"),
    ({"address": "10.1.0.5/24"}, "web1: gateway is 10.0.0.1, which is not in the network of its address 10.1.0.5/24"),
    ({"gateway": "router"}, "web1: gateway is 'router'; give an IP address"),
    ({"health": "agent"}, "web1: health is 'agent'; give a list of agent and watchdog"),
    ({"health": ["agnet"]}, "web1: health is ['agnet']; give a list of agent and watchdog"),
    ({"nameservers": "9.9.9.9"}, "web1: nameservers is '9.9.9.9'; give a list of IP addresses"),
    ({"nameservers": ["dns"]}, "web1: nameservers has 'dns'; give IP addresses"),
    ({"uuid": "x"}, "web1: uuid is 'x'; give a UUID"),
    ({"mac": "52:54:00"}, "web1: mac is '52:54:00'"),
    ({"mac": "53:54:00:00:00:01"}, "web1: mac is '53:54:00:00:00:01'; give a unicast MAC address"),
    ({"vcpu": 2}, "web1: vcpu is no field of a VM; known are address, affinity"),
]


@pytest.mark.parametrize(("change", "expected"), BAD)
def test_a_bad_field_is_told_once_and_where(change: dict[str, Any], expected: str) -> None:
    wishes, problems = read_wishes([WEB | change], DEFAULTS)
    assert wishes == []
    assert len(problems) == 1
    assert problems[0].startswith(expected)


def test_all_problems_of_all_entries() -> None:
    entries = [WEB, WEB, {"name": "b", "vcpus": 0, "memory_mib": 0}, "c"]
    problems = read_wishes(entries, DEFAULTS)[1]
    assert [problem.partition(" ")[0] for problem in problems] == ["b:", "b:", "virtual_machines[3]:", "web1:"]
    assert problems[-1] == "web1: this name is there 2 times"


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("mac", "52:54:00:00:00:01", "MAC address"),
        ("uuid", "e39b45ed-20cd-5005-9a3f-de882b74d056", "UUID"),
        ("address", "10.0.0.5/24", "address"),
    ],
)
def test_what_two_vms_cannot_share(field: str, value: str, word: str) -> None:
    problems = read_wishes([{**WEB, "name": name, field: value} for name in ("a", "b")], DEFAULTS)[1]
    assert problems == [f"a, b: have the same {word} {value.partition('/')[0]}; give each its own"]


def test_a_deployment_without_an_image() -> None:
    assert read_wishes([WEB], Defaults(None, "lan"))[1] == [
        "web1: has no image, and the deployment names none; give one"
    ]


@pytest.mark.parametrize("key", ["AAAA", "ssh-rsa", "ssh-rsa AAAA\nx", "-----BEGIN OPENSSH PRIVATE KEY-----"])
def test_what_is_no_public_key(key: str) -> None:
    problems = read_wishes([WEB], Defaults("i", "n", ssh_authorized_keys=(key,)))[1]
    assert problems == ["ssh_authorized_keys[0]: is no public key in OpenSSH's form (type, key, comment)"]
