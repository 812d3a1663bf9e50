# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which VMs ask to be watched."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.filter.health_wishes import FilterModule

health_wishes = FilterModule().filters()["health_wishes"]


@pytest.mark.parametrize(
    ("wished", "asked"),
    [
        ([], {}),
        ([{"name": "web1"}, {"name": "web2", "health": []}, {"name": "web3", "health": None}], {}),
        ([{"name": "web1", "health": ["watchdog", "agent"]}], {"web1": ["agent", "watchdog"]}),
        ({"web1": {"health": ["agent"]}, "web2": {}}, {"web1": ["agent"]}),
    ],
)
def test_those_with_health_ask(wished: Any, asked: dict[str, list[str]]) -> None:
    assert health_wishes(wished) == asked
