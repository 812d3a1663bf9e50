# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils import ceph_health as pure


def status(**pgmap: Any) -> dict[str, Any]:
    clean = {"num_pgs": 33, "pgs_by_state": [{"state_name": "active+clean", "count": 33}]}
    return {"quorum_names": ["b", "a"], "pgmap": {**clean, **pgmap}}


def health(state: str = "HEALTH_OK", **checks: Any) -> dict[str, Any]:
    return {"status": state, "checks": checks}


def osd(number: int, up: int = 1, up_from: int = 10) -> dict[str, int]:
    return {"osd": number, "up": up, "in": 1, "up_from": up_from}


DOWN = {"summary": {"message": "1 osds down"}, "detail": [{"message": "osd.1 is down"}], "muted": False}
SLOW = {"summary": {"message": "Slow OSD heartbeats on back (longest 14063.891ms)"}, "muted": False}
SEEN = pure.sight(status(), health(), [osd(0), osd(1)])


def test_a_sight() -> None:
    assert SEEN["quorum"] == ["a", "b"]
    assert (SEEN["pgs"], SEEN["clean"], SEEN["degraded"]) == (33, 33, 0)
    states = [
        {"state_name": "active+clean+scrubbing+deep", "count": 1},
        {"state_name": "active+undersized+degraded", "count": 32},
    ]
    hurt = pure.sight(
        status(pgs_by_state=states, degraded_ratio=1 / 3), health("HEALTH_WARN", OSD_DOWN=DOWN), [osd(0), osd(1, 0)]
    )
    assert (hurt["clean"], hurt["degraded"]) == (1, 0.3333)
    assert hurt["checks"] == {"OSD_DOWN": ["1 osds down", "osd.1 is down"]}


@pytest.mark.parametrize(
    ("until", "seen", "mons", "osds", "says"),
    [
        pytest.param("healthy", SEEN, [], [0, 1], [], id="healthy"),
        pytest.param("healthy", SEEN, [], [2], ["osd.2 is not up"], id="an OSD that is not there yet"),
        pytest.param(
            "healthy",
            pure.sight(status(), health("HEALTH_WARN", OSD_DOWN=DOWN), []),
            [],
            [],
            ["OSD_DOWN: 1 osds down; osd.1 is down"],
            id="a warning",
        ),
        pytest.param(
            "healthy",
            pure.sight(status(), health("HEALTH_WARN", OSD_SLOW_PING_TIME_BACK=SLOW), []),
            [],
            [],
            [],
            id="only of a network that was cut a while ago",
        ),
        pytest.param(
            "healthy",
            pure.sight(status(), health("HEALTH_WARN", OSD_DOWN=DOWN, OSD_SLOW_PING_TIME_BACK=SLOW), []),
            [],
            [],
            ["OSD_DOWN: 1 osds down; osd.1 is down"],
            id="and of now",
        ),
        pytest.param("healthy", {**SEEN, "status": "HEALTH_WARN"}, [], [], ["HEALTH_WARN"], id="nobody says why"),
        pytest.param("quorum", SEEN, ["a", "b"], [], [], id="a quorum of all"),
        pytest.param("quorum", SEEN, ["a", "c"], [], ["mon.c is not in the quorum"], id="one is missing"),
        pytest.param("osds_up", SEEN, [], [0, 7], ["osd.7 is not up"], id="one is down"),
        pytest.param("clean", SEEN, [], [], [], id="clean"),
        pytest.param("clean", {**SEEN, "clean": 30}, [], [], ["3 of 33 placement groups are not clean"], id="unclean"),
        pytest.param(
            "safe_to_destroy",
            {**SEEN, "unsafe": [4]},
            [],
            [4],
            ["osd.4 holds copies that are nowhere else yet"],
            id="4",
        ),
    ],
)
def test_what_is_missing(until: str, seen: Any, mons: list[str], osds: list[int], says: list[str]) -> None:
    assert pure.missing(until, seen, mons, osds) == says


@pytest.mark.parametrize(
    ("until", "now", "says"),
    [
        # What is seen in the first seconds after a restart: nobody has missed it yet.
        pytest.param("healthy", [osd(0), osd(1)], ["osd.1 has not come up again"], id="as before"),
        pytest.param("osds_up", [osd(0), osd(1)], ["osd.1 has not come up again"], id="the same of osds_up"),
        pytest.param("healthy", [osd(0), osd(1, up=0)], ["osd.1 is not up"], id="missed"),
        pytest.param("healthy", [osd(0), osd(1, up_from=14)], [], id="up again"),
        pytest.param("healthy", [osd(0)], ["osd.1 is not up"], id="gone"),
    ],
)
def test_a_restarted_one_must_have_come_up_anew(until: str, now: list[dict[str, int]], says: list[str]) -> None:
    assert pure.missing(until, pure.sight(status(), health(), now), [], [1], SEEN) == says


def test_one_that_was_not_there_before_need_only_be_up() -> None:
    assert pure.missing("healthy", pure.sight(status(), health(), [osd(2)]), [], [2], SEEN) == []


def test_the_words() -> None:
    assert pure.progress(SEEN, []) == "ceph: HEALTH_OK, mons a,b, 2 of 2 OSDs up, 33 of 33 PGs clean"
    moving = {**SEEN, "misplaced": 0.25, "recovery_bytes_per_second": 50 * 2**20}
    assert pure.progress(moving, ["A: x; y", "B"]).endswith(
        "25.0% misplaced, 50 MiB/s recovered, waiting: A: x and 1 more"
    )
    assert pure.complaint(["A: x"], 60).endswith("on a mon host:\n- A: x")


@pytest.mark.parametrize(
    ("before", "now", "is_so"),
    [
        (None, SEEN, False),
        (SEEN, None, False),
        (SEEN, SEEN, False),
        ({**SEEN, "clean": 3}, SEEN, True),
        ({**SEEN, "misplaced": 0.5}, {**SEEN, "misplaced": 0.4}, True),
        ({**SEEN, "unsafe": [1, 2]}, {**SEEN, "unsafe": [1]}, True),
        ({**SEEN, "degraded": 0.1}, {**SEEN, "degraded": 0.4}, False),
    ],
)
def test_getting_on(before: Any, now: Any, is_so: bool) -> None:
    assert pure.getting_on(before, now) is is_so
