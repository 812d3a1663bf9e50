# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils import ceph_wanted as pure

POOL = {"name": "vms", "size": 3, "min_size": 2, "rule": "vms-by-host", "pg_num": 32, "pg_autoscale_mode": "on"}
THERE = {
    "pool_name": "vms",
    "size": 3,
    "min_size": 2,
    "crush_rule": 1,
    "pg_autoscale_mode": "on",
    "application_metadata": {"rbd": {}},
}
RULES = {"replicated_rule": 0, "vms-by-host": 1}


def texts(changes: list[pure.Change]) -> list[str]:
    return [change.text for change in changes]


@pytest.mark.parametrize(
    ("wanted", "found", "ours", "says"),
    [
        pytest.param({}, [], [], [], id="nothing"),
        pytest.param(
            {"mon": {"a": False}}, [{"section": "mon", "name": "a", "value": "false"}], [], [], id="as wanted"
        ),
        pytest.param({"osd": {"a": 1024}}, [{"section": "osd", "name": "a", "value": "1024"}], [], [], id="a number"),
        pytest.param({"mon": {"a": True}}, [], [], ["config mon a = true"], id="missing"),
        pytest.param(
            {"osd": {"a": 2}},
            [{"section": "osd", "name": "a", "value": "1"}],
            [],
            ["config osd a = 2 (was 1)"],
            id="another value",
        ),
        pytest.param(
            {"osd": {"a": 2}},
            [{"section": "osd", "name": "a", "value": "2", "mask": "host:kvm1"}],
            [],
            ["config osd a = 2"],
            id="set for one host only",
        ),
        pytest.param(
            {},
            [{"section": "global", "name": "m", "value": "secure"}, {"section": "osd", "name": "b", "value": "1"}],
            ["global/m", "global/n"],
            ["config global m: back to the default (was secure)"],
            id="ours, and not wanted any more; somebody else's stays",
        ),
        pytest.param(
            {"mon": {"mon_lease": 2}},
            [{"section": "mon", "name": "mon_lease", "value": "2.000000"}],
            [],
            [],
            id="Ceph writes it with zeros",
        ),
        pytest.param(
            {"mon": {"mon_lease": 2}},
            [{"section": "mon", "name": "mon_lease", "value": "2.500000"}],
            [],
            ["config mon mon_lease = 2 (was 2.500000)"],
            id="another number",
        ),
    ],
)
def test_configuration(wanted: Any, found: Any, ours: list[str], says: list[str]) -> None:
    assert texts(pure.config_changes(wanted, found, ours)) == says


def test_users() -> None:
    found = [{"entity": "client.a", "caps": {"mon": "allow r"}}, {"entity": "client.z", "caps": {"mon": "allow *"}}]
    wanted = {"client.a": {"mon": "profile rbd", "osd": "profile rbd pool=vms"}, "client.b": {"mon": "profile rbd"}}
    changed, made = pure.user_changes(wanted, found)
    assert changed.prefix == "auth caps"
    assert changed.arguments == {
        "entity": "client.a",
        "caps": ["mon", "profile rbd", "osd", "profile rbd pool=vms"],
    }
    assert "were mon 'allow r'" in changed.text
    assert (made.prefix, made.text) == ("auth get-or-create", "user client.b: make")
    assert pure.user_changes({"client.z": {"mon": "allow *"}}, found) == []


@pytest.mark.parametrize(
    ("wanted", "found", "says"),
    [
        pytest.param(POOL, [THERE], [], id="as wanted"),
        pytest.param(
            POOL,
            [],
            [
                "pool vms: make, size 3",
                "pool vms: min_size 2",
                "pool vms: pg_autoscale_mode on",
                "pool vms: for rbd",
            ],
            id="missing",
        ),
        pytest.param({**POOL, "size": 2}, [THERE], ["pool vms: size 2 (was 3)"], id="another size"),
        pytest.param(
            POOL, [{**THERE, "crush_rule": 0}], ["pool vms: crush_rule vms-by-host (was 0)"], id="another rule"
        ),
        pytest.param(POOL, [{**THERE, "application_metadata": {}}], ["pool vms: for rbd"], id="cut off before rbd"),
        pytest.param({**POOL, "pg_num": 64}, [THERE], [], id="the number of groups is the autoscaler's"),
    ],
)
def test_pools(wanted: Any, found: Any, says: list[str]) -> None:
    assert texts(pure.pool_changes(wanted, found, RULES)) == says


def test_a_new_pool_is_made_with_a_new_rule() -> None:
    rule = {"name": "vms-by-host", "failure_domain": "host", "device_class": "ssd"}
    (made,) = pure.rule_changes(rule, [{"rule_name": "replicated_rule"}])
    assert made.arguments == {"name": "vms-by-host", "root": "default", "type": "host", "class": "ssd"}
    assert pure.rule_changes(rule, [{"rule_name": "vms-by-host"}]) == []
    assert "crush_rule" not in "".join(texts(pure.pool_changes(POOL, [], {"replicated_rule": 0})))


def test_modules_and_strays() -> None:
    assert texts(pure.module_changes(["restful"], ["iostat", "restful"])) == ["mgr module restful: switch off"]
    assert pure.module_changes(["restful"], ["iostat"]) == []
    osds = [
        {"osd": 0, "state": ["exists", "up"], "up_from": 5, "uuid": "u0"},
        {"osd": 1, "state": ["exists", "new"], "up_from": 0, "uuid": "u1"},
        {"osd": 2, "state": ["exists", "new"], "up_from": 0, "uuid": "u2"},
        {"osd": 3, "state": ["exists"], "up_from": 9, "uuid": "u3"},
    ]
    assert texts(pure.stray_osds(osds, ["u2"])) == ["osd.1: was announced and never made; forget it"]
