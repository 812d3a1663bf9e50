# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""drill.html: a drill's report on one page, with a time line for the host and for each VM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ansible_collections.croft.infra.plugins.plugin_utils.drill.model import HAPPENINGS, KINDS
from ansible_collections.croft.infra.plugins.plugin_utils.page import page, table

MOST_EVENTS = 500

# Phases of a VM's way back, each up to its end: (key, words, colour).
_PHASES = (
    ("noticed", "noticed", "var(--p1)"),
    ("fenced", "fenced", "var(--p2)"),
    ("started", "QEMU runs", "var(--p3)"),
    ("up", "guest answers", "var(--p4)"),
)
_STYLE = """
:root{--p1:#b26b00;--p2:#b3261e;--p3:#2f6fdb;--p4:#7a5bd0}
@media(prefers-color-scheme:dark){:root{--p1:#e3a13a;--p2:#ff8a80;--p3:#6ea2f5;--p4:#b09af0}}
.passed{color:var(--good)}
.failed{color:var(--bad)}
.line{margin:.7rem 0}
.line .bar{height:1rem;position:relative}
.line .bar i{min-width:1px}
.line .aim{position:absolute;top:0;bottom:0;width:2px;background:var(--ink)}
.axis{display:flex;justify-content:space-between;font-size:.8rem;color:var(--soft)}
td.n{white-space:nowrap}
ul.lines{padding-left:1.2rem}
"""


def render(report: Mapping[str, Any]) -> str:
    """The whole page for a report of drill.json's shape."""
    return page(
        f"Drill {report['verdict']}",
        [_head(report), _lines(report["lines"]), _ways(report), _vms(report["virtual_machines"]), _events(report)],
        _STYLE,
    )


def _head(report: Mapping[str, Any]) -> str:
    verdict = report["verdict"]
    subject = report["vm"] or report["host"] or ""
    back = [vm["silent_seconds"] for vm in report["virtual_machines"] if vm["silent_seconds"] is not None]
    marks = report["milestones"]
    figures = (
        (_seconds(marks["noticed"]), "until it was noticed"),
        (_seconds(marks["fenced"]), "until the host was off"),
        (_seconds(max(back, default=None)), "until the last VM was back"),
        (_seconds(report["target_seconds"]), "is the target"),
    )
    items = "".join(f"<li><b>{escape(value)}</b>{escape(label)}</li>" for value, label in figures)
    said = f"{KINDS[report['kind']]}: {subject}."
    exact = f"Seconds after it was broken, exact to {report['inexact_seconds']:.1f} s; watched for "
    return (
        f'<h1>Drill <span class="{verdict}">{verdict}</span></h1><p>{escape(said)}</p>'
        f'<ul class="figures">{items}</ul><p class="soft">{exact}{report["watched_seconds"]:.0f} s.</p>'
    )


def _lines(lines: Sequence[str]) -> str:
    if not lines:
        return ""
    return f'<h2>What failed</h2><ul class="lines failed">{"".join(f"<li>{escape(line)}</li>" for line in lines)}</ul>'


def _ways(report: Mapping[str, Any]) -> str:
    """A bar for each VM that had to come back, all on one scale."""
    vms = [vm for vm in report["virtual_machines"] if vm["started"] is not None]
    if not vms:
        return ""
    ends = [vm[key] for vm in vms for key in ("started", "up") if vm[key] is not None]
    whole = max(*ends, report["target_seconds"], 1.0)
    key = "".join(
        f'<i style="background:{colour}{";margin-left:0" if number == 0 else ""}"></i>until {escape(words)}'
        for number, (_, words, colour) in enumerate(_PHASES)
    )
    aim = f'<span class="aim" style="left:calc({100 * report["target_seconds"] / whole:.2f}% - 2px)"></span>'
    rows = []
    for vm in vms:
        ends_of = {**report["milestones"], "noticed": _least(report["milestones"]["noticed"], vm["failed"])}
        ends_of |= {"started": vm["started"], "up": vm["up"]}
        parts, at, told = [], 0.0, []
        for name, words, colour in _PHASES:
            end = ends_of[name]
            if end is not None and end >= at:
                parts.append(f'<i style="width:{100 * (end - at) / whole:.2f}%;background:{colour}"></i>')
                told.append(f"{words} {_seconds(end)}")
                at = end
        label = escape(", ".join(told))
        rows.append(
            f'<div class="line"><div class="row"><span><b>{escape(vm["name"])}</b> {escape(vm["from"] or "-")} to '
            f'{escape(vm["to"] or "-")}</span><span class="soft">{_seconds(at)}</span></div>'
            f'<div class="bar" role="img" aria-label="{label}">{"".join(parts)}{aim}</div></div>'
        )
    axis = f'<div class="axis"><span>0 s</span><span>{whole:.0f} s</span></div>'
    said = '<p class="soft">The upright line is the target.</p>'
    return f'<h2>The way back</h2><p class="key soft">{key}</p>{"".join(rows)}{axis}{said}'


def _vms(vms: Sequence[Mapping[str, Any]]) -> str:
    if not vms:
        return ""
    rows = [
        (
            escape(vm["name"]),
            f'<span class="{vm["verdict"]}">{vm["verdict"]}</span>',
            escape(vm["from"] or "-"),
            escape(vm["planned"] or "any"),
            escape(vm["to"] or "-"),
            _seconds(vm["started"]),
            _seconds(vm["up"]),
            _seconds(vm["silent_seconds"]),
            escape(vm["reason"]) or "-",
        )
        for vm in vms
    ]
    heads = ("VM", "Verdict", "Was on", "Plan", "Is on", "QEMU runs", "Answers", "Silent for", "In words")
    return f"<h2>VMs against the plan</h2>{table(heads, rows, numbers=(5, 6, 7))}"


def _events(report: Mapping[str, Any]) -> str:
    events = report["events"]
    if not events:
        return ""
    rows = [
        (
            _seconds(event["at"]),
            escape(HAPPENINGS[event["what"]]),
            escape(event["vm"] or event["host"] or "-"),
            escape(event["source"]),
            escape(event["text"]),
        )
        for event in events[:MOST_EVENTS]
    ]
    rest = len(events) - len(rows)
    more = f'<p class="soft">... and {rest} more, in drill.json</p>' if rest else ""
    heads = ("After", "What happened", "To", "Seen by", "Word for word")
    return f"<h2>What happened when</h2>{table(heads, rows, numbers=(0,))}{more}"


def _least(*values: float | None) -> float | None:
    return min((value for value in values if value is not None), default=None)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"
