# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Advice: VM, container or bare metal, with the number."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.report import render_html
from sizing_cases import cluster, host, plan, vm


@pytest.mark.parametrize(
    ("entry", "place", "reason"),
    [
        ({"workload": "database"}, "bare_metal", "the database's own replication"),
        ({"workload": "message_queue"}, "bare_metal", "three brokers"),
        ({"memory_mib": 26214}, "vm", "takes 40.0 % of a host, at most 40 %"),
        ({"memory_mib": 26215}, "bare_metal", "more than 40 %"),
        ({"vcpus": 13, "workload": "web"}, "bare_metal", "takes 40.6 % of the host where it takes least"),
        ({"workload": "web"}, "container", "keeps no state and takes 3.1 % of a host"),
        ({"workload": "web", "ha": True}, "vm", "HA restarts it"),
        ({"workload": "app", "address": "10.0.0.5/24"}, "vm", "it has an address of its own"),
        ({"workload": "desktop"}, "vm", "a desktop keeps state"),
    ],
)
def test_advice(entry: dict[str, Any], place: str, reason: str) -> None:
    made = plan(cluster(2), [vm("a", **entry)])
    (one,) = made["advice"]
    assert one["place"] == place
    assert reason in one["reason"]
    assert f"{place.replace('_', ' ')}" in render_html(made).lower()


def test_the_share_is_of_the_host_where_it_is_least() -> None:
    hosts = {"kvm1": host(), "kvm2": host(memory_mib=131072)}
    assert plan(hosts, [vm("a", memory_mib=32768)])["advice"][0]["share"] == 0.25
