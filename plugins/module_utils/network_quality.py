# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is the network between two hosts good enough for storage? Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

MS = 1000.0


@dataclass(frozen=True)
class Limits:
    """What the network must do at least. Loss is a share of 1; an MTU of 0 means the interface's own."""

    mtu: int = 0
    loss: float = 0.0
    latency_ms: float = 2.0
    throughput_mbit: float = 900.0
    clock_ms: float = 50.0


@dataclass(frozen=True)
class Measured:
    """What was measured from one host to another. `reason` says why there is nothing.

    Latency is the median round trip, latency_p99 the 99th percentile; clock is how far the other's clock is ahead.
    """

    host: str
    peer: str
    reason: str = ""
    mtu: int = 0
    wanted_mtu: int = 0
    sent: int = 0
    received: int = 0
    latency_ms: float = 0.0
    latency_p99_ms: float = 0.0
    throughput_mbit: float = 0.0
    clock_ms: float = 0.0

    @property
    def loss(self) -> float:
        return 1 - self.received / self.sent if self.sent else 0.0

    def as_dict(self) -> dict[str, Any]:
        """The same for JSON, with the loss."""
        return {**asdict(self), "loss": round(self.loss, 4)}


def summarize(trips: Sequence[tuple[float, float, float]]) -> dict[str, float]:
    """Latency and the other's clock of round trips, each (sent, received, the other's time between), in seconds.

    The offset is that of the fastest trip, where the way there and the way back differ least (as NTP chooses, RFC 5905
    section 10).
    """
    if not trips:
        return {"latency_ms": 0.0, "latency_p99_ms": 0.0, "clock_ms": 0.0}
    times = sorted(received - sent for sent, received, _other in trips)
    sent, received, other = min(trips, key=lambda trip: trip[1] - trip[0])
    return {
        "latency_ms": round(median(times) * MS, 3),
        "latency_p99_ms": round(times[min(len(times) - 1, int(len(times) * 0.99))] * MS, 3),
        "clock_ms": round((other - (sent + received) / 2) * MS, 3),
    }


def problems(seen: Measured, limits: Limits) -> list[str]:
    """One line for each limit that is broken: between whom, the number, the limit, what to do."""
    where = f"network {seen.host} -> {seen.peer}"
    if seen.reason:
        return [f"{where}: {seen.reason}"]
    lines = []
    if seen.mtu < seen.wanted_mtu:
        lines.append(
            f"{where}: packets of {seen.wanted_mtu} bytes do not get through, {seen.mtu} do; set the same MTU on both "
            "hosts' interfaces and on every switch port between"
        )
    if seen.loss > limits.loss:
        lines.append(
            f"{where}: {seen.sent - seen.received} of {seen.sent} packets were lost ({seen.loss:.1%}, limit "
            f"{limits.loss:.1%}); look at cables, ports and 'ip -s link'"
        )
    if seen.latency_ms > limits.latency_ms:
        lines.append(
            f"{where}: round trip {seen.latency_ms:.2f} ms (limit {limits.latency_ms:g}); every write waits for it, so "
            "put the hosts on one switch or raise the limit knowingly"
        )
    if seen.throughput_mbit < limits.throughput_mbit:
        lines.append(
            f"{where}: {seen.throughput_mbit:.0f} Mbit/s (limit {limits.throughput_mbit:g}); look at the speed of the "
            "link with ethtool and at who else uses it"
        )
    if abs(seen.clock_ms) > limits.clock_ms:
        ahead = "ahead" if seen.clock_ms > 0 else "behind"
        lines.append(
            f"clock of {seen.peer}: is {abs(seen.clock_ms):.0f} ms {ahead} of {seen.host} (limit {limits.clock_ms:g}); "
            "have both set by NTP (chrony or systemd-timesyncd)"
        )
    return lines


def limits_of(given: Mapping[str, Any]) -> Limits:
    """Read a module's options."""
    return Limits(
        mtu=int(given["mtu"]),
        loss=float(given["loss"]),
        latency_ms=float(given["latency_ms"]),
        throughput_mbit=float(given["throughput_mbit"]),
        clock_ms=float(given["clock_ms"]),
    )


def largest(passes: Any, low: int, high: int) -> int:
    """The largest number from `low` to `high` for which passes(number) is true, 0 when none is; by halves."""
    if not passes(low):
        return 0
    while low < high:
        middle = (low + high + 1) // 2
        if passes(middle):
            low = middle
        else:
            high = middle - 1
    return low
