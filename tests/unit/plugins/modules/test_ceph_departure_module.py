# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils.ceph_departure import Group, View
from ansible_collections.croft.infra.plugins.modules import ceph_departure

PEERING, CLEAN = (View(groups=(Group("1.0", 1, frozenset({state}), (0,)),)) for state in ("peering", "clean"))


@pytest.mark.parametrize(
    ("views", "found", "waits"),
    [([CLEAN], CLEAN, 0), ([PEERING, PEERING, CLEAN], CLEAN, 2), ([PEERING] * 99, PEERING, ceph_departure.PATIENCE)],
)
def test_it_waits_a_while_for_groups_that_find_each_other(
    monkeypatch: pytest.MonkeyPatch, views: list[View], found: View, waits: int
) -> None:
    looks: Iterator[View] = iter(views)
    monkeypatch.setattr(ceph_departure, "look", lambda _cluster: next(looks))
    slept: list[float] = []
    cluster: Any = None
    assert ceph_departure.look_at_rest(cluster, slept.append) is found
    assert slept == [1] * waits
