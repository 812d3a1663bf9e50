# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.croft.infra.plugins.module_utils.network_quality import (
    Limits,
    Measured,
    largest,
    problems,
    summarize,
)

GOOD = Measured("a", "b", "", 9000, 9000, 200, 200, 0.1, 0.2, 9400, 0.5)


@pytest.mark.parametrize(
    ("seen", "limits", "says"),
    [
        pytest.param(GOOD, Limits(), [], id="good"),
        pytest.param(
            replace(GOOD, latency_ms=2.0, throughput_mbit=900, clock_ms=-50), Limits(), [], id="at the limits"
        ),
        pytest.param(
            replace(GOOD, reason="no answer from 10.0.0.2 port 5201"),
            Limits(),
            ["network a -> b: no answer"],
            id="silent",
        ),
        pytest.param(
            replace(GOOD, mtu=1500), Limits(), ["packets of 9000 bytes do not get through, 1500 do"], id="a small MTU"
        ),
        pytest.param(
            replace(GOOD, received=199), Limits(), ["1 of 200 packets were lost (0.5%, limit 0.0%)"], id="a loss"
        ),
        pytest.param(replace(GOOD, received=199), Limits(loss=0.01), [], id="a loss that is accepted"),
        pytest.param(
            replace(GOOD, latency_ms=12, throughput_mbit=94, clock_ms=-2000),
            Limits(),
            ["round trip 12.00 ms (limit 2)", "94 Mbit/s (limit 900)", "clock of b: is 2000 ms behind of a"],
            id="all at once",
        ),
    ],
)
def test_what_is_not_good_enough(seen: Measured, limits: Limits, says: list[str]) -> None:
    lines = problems(seen, limits)
    assert len(lines) == len(says)
    for line, text in zip(lines, says, strict=True):
        assert text in line


def test_numbers_of_trips() -> None:
    # The second is the fastest: 0.2 s there and back, the other's clock 5 s ahead.
    trips = [(0.0, 1.0, 5.2), (10.0, 10.2, 15.1), (20.0, 20.6, 25.0)]
    assert summarize(trips) == {"latency_ms": 600.0, "latency_p99_ms": 1000.0, "clock_ms": 5000.0}
    assert summarize([]) == {"latency_ms": 0.0, "latency_p99_ms": 0.0, "clock_ms": 0.0}


@pytest.mark.parametrize("limit", [575, 576, 1400, 1500, 8999, 9000])
def test_the_largest_that_passes(limit: int) -> None:
    asked: list[int] = []

    def passes(size: int) -> bool:
        asked.append(size)
        return size <= limit

    assert largest(passes, 576, 9000) == (limit if limit >= 576 else 0)
    assert len(asked) <= 15
