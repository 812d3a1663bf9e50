# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A line chart as SVG, by hand: two panels over the number of containers need no library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 420, 240, 60, 40, 80
PANELS = (
    ("seconds", "seconds until all run"),
    ("mib_each", "MiB each (PSS)"),
    ("docker_ps_seconds", "docker ps, seconds"),
)


def growth_chart(growth: Sequence[Mapping[str, Any]]) -> str:
    """One panel for each figure of PANELS over the number of containers; both axes begin at 0."""
    width = _LEFT + len(PANELS) * (_WIDTH + _GAP)
    panels = [
        _panel(_LEFT + i * (_WIDTH + _GAP), title, [(g["containers"], g[key]) for g in growth])
        for i, (key, title) in enumerate(PANELS)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{_TOP + _HEIGHT + 60}" '
        'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="#fff"/>'
        + "".join(panels)
        + "</svg>\n"
    )


def _panel(left: int, title: str, points: Sequence[tuple[float, float]]) -> str:
    most_x, most_y = max(x for x, _ in points), max(1e-9, *(y for _, y in points))

    def at(x: float, y: float) -> tuple[float, float]:
        return left + x / most_x * _WIDTH, _TOP + _HEIGHT - y / most_y * _HEIGHT

    line = " ".join(f"{px:.1f},{py:.1f}" for px, py in (at(x, y) for x, y in points))
    parts = [
        f'<text x="{left}" y="{_TOP - 16}" font-weight="bold">{escape(title)}</text>',
        f'<path d="M{left} {_TOP}V{_TOP + _HEIGHT}H{left + _WIDTH}" fill="none" stroke="#57606a"/>',
        f'<polyline points="{line}" fill="none" stroke="#2f6fdb" stroke-width="2"/>',
        f'<text x="{left + _WIDTH / 2}" y="{_TOP + _HEIGHT + 42}" text-anchor="middle">containers</text>',
    ]
    for x, y in points:
        px, py = at(x, y)
        parts.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4" fill="#2f6fdb"/>')
        parts.append(f'<text x="{px:.1f}" y="{py - 8:.1f}" text-anchor="middle">{y:.3g}</text>')
        parts.append(f'<text x="{px:.1f}" y="{_TOP + _HEIGHT + 20}" text-anchor="middle">{x:g}</text>')
    return "".join(parts)
