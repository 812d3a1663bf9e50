# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters that ask a plan: placed_on, placements, sizing_findings."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.croft.infra.plugins.filter import placed_on, placements, sizing_findings
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.plan import make_plan

CAPACITY = {"sockets": 2, "cores": 16, "threads": 32, "memory_mib": 65536, "disk_gib": 1000}
FILTERS = {
    **placed_on.FilterModule().filters(),
    **placements.FilterModule().filters(),
    **sizing_findings.FilterModule().filters(),
}


def _plan() -> dict[str, Any]:
    hosts = {name: {"croft_capacity": CAPACITY, "host_reserved": {"cpus": 1}} for name in ("kvm1", "kvm2", "kvm3")}
    vms = [
        {"name": "b", "vcpus": 1, "memory_mib": 1024, "disk_gib": 5, "host": "kvm1"},
        {"name": "a", "vcpus": 1, "memory_mib": 1024, "disk_gib": 5, "host": "kvm1"},
        {"name": "c", "vcpus": 1, "memory_mib": 60000, "disk_gib": 5},
        {"name": "d", "vcpus": 20, "memory_mib": 1024, "disk_gib": 5, "host": "kvm2"},
    ]
    return make_plan(list(hosts), hosts, vms, today=date(2026, 1, 1))[0]


PLAN = _plan()


def test_placed_on_gives_complete_entries_by_name() -> None:
    entries = FILTERS["placed_on"](PLAN, "kvm1")
    assert [entry["name"] for entry in entries] == ["a", "b"]
    assert {"uuid", "mac", "state", "autostart", "network", "nameservers"} <= set(entries[0])
    assert entries[0]["host"] == "kvm1"
    assert FILTERS["placed_on"](PLAN, "kvm3") == []


def test_placed_on_puts_the_user_data_back() -> None:
    first, *rest = FILTERS["placed_on"](PLAN, "kvm1")
    wishes = [{"name": first["name"], "user_data": {"runcmd": ["true"]}}, {"name": "elsewhere", "user_data": {}}]
    assert FILTERS["placed_on"](PLAN, "kvm1", wishes) == [{**first, "user_data": {"runcmd": ["true"]}}, *rest]


def test_placements() -> None:
    assert FILTERS["placements"](PLAN) == {"a": "kvm1", "b": "kvm1", "d": "kvm2"}
    assert FILTERS["placements"](PLAN, by_host=True) == {"kvm1": ["a", "b"], "kvm2": ["d"], "kvm3": []}


@pytest.mark.parametrize(
    ("asked", "vms"),
    [
        ({"level": "deny"}, ["c", "d"]),
        ({"level": "deny", "vm": "d"}, ["d"]),
        ({"rule": "vm-share", "host": "kvm2"}, ["d"]),
        ({"level": "waived"}, []),
        ({"rule": "consolidation", "host": "kvm3"}, [None]),
    ],
)
def test_sizing_findings(asked: dict[str, str], vms: list[str | None]) -> None:
    assert sorted((f["vm"] for f in FILTERS["sizing_findings"](PLAN, **asked)), key=str) == vms


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("placed_on", (PLAN, "kvm9"), "host 'kvm9' is not in the plan; did you mean 'kvm"),
        ("placed_on", ("text", "kvm1"), "takes a plan, not 'text'"),
        ("placed_on", ({"plan": PLAN}, "kvm1"), "takes a plan, not the result around it; give its plan"),
        ("placements", ({},), "this mapping has no schema_version, placements"),
        ("sizing_findings", (PLAN, "denied"), "level 'denied' is not known; did you mean 'deny'?"),
        ("sizing_findings", (PLAN, None, "vm_share"), "rule 'vm_share' is not known; did you mean 'vm-share'?"),
        ("sizing_findings", (None,), "takes a plan, not empty"),
    ],
)
def test_what_is_no_plan(name: str, arguments: tuple[Any, ...], said: str) -> None:
    with pytest.raises(AnsibleFilterError, match=f"croft.infra.{name}: ") as caught:
        FILTERS[name](*arguments)
    assert said in str(caught.value)
