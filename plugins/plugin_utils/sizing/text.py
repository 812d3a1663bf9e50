# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers as people read them, and the advice that goes with a workload."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

ADVICE: dict[str, str] = {
    "database": "run it on bare metal with local disks and the database's own replication",
    "message_queue": "run it on bare metal with local disks, three brokers that replicate to each other",
    "search_engine": "run it on bare metal with local disks, one node for each replica",
}
OTHER_ADVICE = "run it on bare metal with local disks"

_MOST_DIGITS = 12


def advice(workload: str) -> str:
    return ADVICE.get(workload, OTHER_ADVICE)


def decimal(value: Fraction, digits: int) -> str:
    """Rounded half up on exact arithmetic (float formatting would round a value that is not there)."""
    scaled = value * 10**digits
    whole = (2 * abs(scaled.numerator) + scaled.denominator) // (2 * scaled.denominator)
    sign = "-" if value < 0 and whole else ""
    text = str(whole).rjust(digits + 1, "0")
    return sign + (f"{text[:-digits]}.{text[-digits:]}" if digits else text)


def pair(value: Fraction, limit: Fraction, unit: str = "ratio") -> tuple[str, str]:
    """Both numbers with as many digits as it takes to see that they differ."""
    if unit != "ratio" and value.denominator == limit.denominator == 1:
        return decimal(value, 0), decimal(limit, 0)
    digits = 2
    while value != limit and digits < _MOST_DIGITS and decimal(value, digits) == decimal(limit, digits):
        digits += 1
    return decimal(value, digits), decimal(limit, 2) if digits == 2 else decimal(limit, digits)  # noqa: PLR2004


def gib(mib: int | Fraction) -> str:
    """MiB as GiB, whole when it is whole."""
    value = Fraction(mib) / 1024
    return decimal(value, 0) if value.denominator == 1 else decimal(value, 1)


def listed(names: list[str] | tuple[str, ...], most: int = 5) -> str:
    """Names for a sentence, cut with a count when there are many."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def finding_text(finding: Mapping[str, Any]) -> str:
    """A finding of plan.json: what is wrong with its numbers, and what would pass."""
    return f"{finding['message']}; {finding['fix']}" if finding["fix"] else str(finding["message"])


def finding_line(finding: Mapping[str, Any]) -> str:
    """The same as the one line that a person reads, by its rule."""
    return f"{finding['rule']}: {finding_text(finding)}"
