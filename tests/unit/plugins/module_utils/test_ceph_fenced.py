# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which OSDs are taken for dead when Pacemaker says that it fenced a host."""

from __future__ import annotations

import errno
import sys
import types
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils import ceph_fenced as pure

EVENT = {
    "CRM_alert_kind": "fencing",
    "CRM_alert_node": "kvm2",
    "CRM_alert_rc": "0",
    "CRM_alert_task": "reboot",
    "CRM_alert_timestamp_epoch": "1000",
}
NEVER, BEFORE, AFTER = "0.000000", "1970-01-01T00:16:30.000000+0000", "1970-01-01T00:16:41.500000+0000"


def dump(*osds: tuple[int, bool, str]) -> dict[str, Any]:
    return {
        "osds": [{"osd": number, "up": int(up)} for number, up, _stamp in osds],
        "osd_xinfo": [{"osd": number, "down_stamp": stamp} for number, _up, stamp in osds],
    }


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ("kvm2", 1000.0)),
        ({"CRM_alert_task": "off"}, ("kvm2", 1000.0)),
        ({"CRM_alert_task": "on"}, None),
        ({"CRM_alert_rc": "1"}, None),
        ({"CRM_alert_kind": "node"}, None),
    ],
)
def test_what_counts_as_fenced(change: dict[str, str], expected: Any) -> None:
    assert pure.fenced({**EVENT, **change}) == expected


def test_without_a_time_it_was_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pure.time, "time", lambda: 77.0)
    assert pure.fenced({**EVENT, "CRM_alert_timestamp_epoch": ""}) == ("kvm2", 77.0)


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        pytest.param([(1, True, NEVER), (2, True, NEVER)], [1], id="only the host's"),
        pytest.param([(1, True, BEFORE)], [1], id="missed once, long ago"),
        pytest.param([(1, False, AFTER)], [], id="missed already"),
        pytest.param([(1, True, AFTER)], [], id="missed, and started again since"),
    ],
)
def test_who_is_dead(there: list[tuple[int, bool, str]], expected: list[int]) -> None:
    assert pure.dead([1], dump(*there), 1000.0) == expected


class Mons:
    """In place of librados: the map of two OSDs, of which kvm2 has the first; what was asked."""

    Error = type("Error", (Exception,), {})

    def __init__(self) -> None:
        self.done: list[tuple[str, dict[str, Any]]] = []

    def ask(self, prefix: str, **arguments: Any) -> Any:
        if prefix == "osd ls-tree":
            if arguments["name"] != "kvm2":
                raise OSError(errno.ENOENT, "does not exist")
            return [1]
        if prefix == "osd dump":
            return dump((1, True, NEVER), (2, True, NEVER))
        self.done.append((prefix, arguments))
        return None


def test_they_are_marked_as_definitely_dead() -> None:
    mons = Mons()
    assert pure.mark(mons.ask, "kvm2", 1000.0) == [1]
    assert mons.done == [("osd down", {"ids": ["1"], "definitely_dead": True})]
    # A host of the cluster that stores nothing.
    assert pure.mark(mons.ask, "kvm9", 1000.0) == []
    assert len(mons.done) == 1


def test_mons_that_do_not_answer_are_told(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    class AwayError(Exception):
        pass

    def connect(**_given: Any) -> Any:
        raise AwayError("timed out")

    monkeypatch.setitem(sys.modules, "rados", types.SimpleNamespace(Rados=connect, Error=AwayError))
    monkeypatch.setattr(pure.os, "environ", EVENT)
    assert pure.main() == 1
    assert capsys.readouterr().err == "croft: the OSDs of kvm2 were not marked down: timed out\n"
    monkeypatch.setattr(pure.os, "environ", {**EVENT, "CRM_alert_kind": "node"})
    assert pure.main() == 0
