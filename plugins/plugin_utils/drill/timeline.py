# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One line of events from what each host saw, on the controller's monotonic clock.

A host tells its own monotonic clock with each sample, and the controller's clock was read before and after: so each
sample bounds the difference of the two clocks, and all of them together bound it closely (as NTP does, without a wall
clock anywhere). QEMU's start is read from the kernel, the cluster's steps from the journal, which stamps each line.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from ansible_collections.croft.infra.plugins.plugin_utils.drill.model import Event

# What corosync and Pacemaker (2.1 and 3.0) write, and what it means. Groups: host, vm.
_SAID: tuple[tuple[str, str], ...] = (
    ("noticed", r"A processor failed, forming new configuration"),
    ("lost", r"Node (?P<host>\S+) state is now lost"),
    ("fencing", r"Requesting (?:peer )?fencing \(\w+\) (?:of|targeting)(?: node)? (?P<host>\S+)"),
    ("fenced", r"Operation '\w+' targeting (?P<host>\S+) (?:by|on) \S+ for \S+: OK"),
    ("fence_failed", r"Operation '\w+' targeting (?P<host>\S+) (?:by|on) \S+ for \S+: (?!OK)"),
    ("fenced", r"Peer (?P<host>\S+) was terminated \(\w+\)"),
    ("fence_failed", r"Peer (?P<host>\S+) was not terminated \(\w+\)"),
    ("failed", r"Result of monitor operation for (?P<vm>\S+) on (?P<host>\S+): (?!ok\b)"),
    ("starting", r"Initiating start operation (?P<vm>\S+)_start_0(?: locally)? on (?P<host>\S+)"),
    ("start_failed", r"Result of start operation for (?P<vm>\S+) on (?P<host>\S+): (?!ok\b)"),
)
SPOKEN = {what for what, _ in _SAID}
# What happens once in a drill, whoever says it again; the rest of what is spoken is an echo for a moment.
ONCE = {"noticed", "lost", "fencing", "fenced"}
ECHO_SECONDS = 3.0
UNLIMITED = float("inf")
SAID = tuple((what, re.compile(pattern, re.IGNORECASE)) for what, pattern in _SAID)


def clock_difference(samples: Iterable[Mapping[str, Any]]) -> tuple[float, float]:
    """Host's clock less the controller's, and by how much that may be wrong."""
    bounds = [(s["now"] - s["after"], s["now"] - s["before"]) for s in samples]
    low, high = max(low for low, _ in bounds), min(high for _, high in bounds)
    return (low + high) / 2, abs(high - low) / 2


def timeline(
    began: float,
    watches: Mapping[str, Sequence[Mapping[str, Any]]],
    guests: Mapping[str, Sequence[Any]],
    broken: Collection[str] = (),
) -> tuple[list[Event], float]:
    """The events in order, and how exact their times are.

    ``began``: when it was broken, on the controller's clock. ``watches``: host to its samples. ``guests``: VM to its
    changes, pairs of the controller's clock and whether it answered, the first one what was seen at first.
    ``broken``: VMs that went down; one of them that answered when it was first asked had come back by then.
    """
    found: list[Event] = []
    exact = 0.0
    for host, samples in watches.items():
        if samples:
            difference, error = clock_difference(samples)
            exact = max(exact, error)
            found += _of_host(host, samples, began + difference)
    for vm, changes in guests.items():
        if vm in broken and changes and changes[0][1]:
            found.append(Event(changes[0][0] - began, "up", None, vm, "guest", "answers when it is first asked"))
        for (_, before), (at, up) in pairwise(changes):
            if up != before:
                what = "up" if up else "down"
                found.append(Event(at - began, what, None, vm, "guest", "answers" if up else "is silent"))
    return _without_echoes(found), exact


def longest_silence(changes: Sequence[Any], until: float) -> float:
    """The longest time in which a guest did not answer."""
    ends = [at for at, _ in changes[1:]] + [until]
    return max((end - at for (at, up), end in zip(changes, ends, strict=True) if not up), default=0.0)


def _of_host(host: str, samples: Sequence[Mapping[str, Any]], began: float) -> Iterator[Event]:
    """``began`` on this host's clock."""
    seen: set[tuple[Any, ...]] = set()
    for sample in samples:
        for qemu in sample.get("qemu", ()):
            key = (qemu["name"], qemu["pid"])
            if key not in seen and qemu["started"] > began:
                seen.add(key)
                at = qemu["started"] - began
                yield Event(at, "started", host, qemu["name"], host, f"QEMU {qemu['pid']} runs on {host}")
        for line in sample.get("journal", ()):
            line_key = (line["at"], line["text"])
            if line_key in seen or line["at"] <= began:
                continue
            seen.add(line_key)
            event = _meaning(host, line, began)
            if event is not None:
                yield event


def _meaning(host: str, line: Mapping[str, Any], began: float) -> Event | None:
    for what, pattern in SAID:
        match = pattern.search(line["text"])
        if match is not None:
            groups = match.groupdict()
            return Event(line["at"] - began, what, groups.get("host"), groups.get("vm"), host, line["text"])
    return None


def _without_echoes(events: Iterable[Event]) -> list[Event]:
    """Ordered; what several hosts say about one thing is said once, when it was said first.

    A VM may start, fail and go down more than once, and a try to fence as well, so that what is later is no echo.
    """
    kept: list[Event] = []
    said: dict[tuple[Any, ...], float] = {}
    for event in sorted(events, key=lambda event: (event.at, event.what, event.vm or "", event.source)):
        key = (event.what, event.host, event.vm)
        longest = UNLIMITED if event.what in ONCE else ECHO_SECONDS if event.what in SPOKEN else 0.0
        if key in said and event.at - said[key] < longest:
            continue
        said[key] = event.at
        kept.append(event)
    return kept
