# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drill's events held against the plan's failover table and a target: the shape of drill.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

from ansible_collections.croft.infra.plugins.plugin_utils.drill.model import HOST_KINDS, SCHEMA_VERSION, Event
from ansible_collections.croft.infra.plugins.plugin_utils.drill.timeline import (
    clock_difference,
    longest_silence,
    timeline,
)

_ON_HOST = ("noticed", "lost", "fencing", "fenced")
_DIGITS = 2


def judge(asked: Mapping[str, Any], watched: Mapping[str, Any]) -> dict[str, Any]:
    """The report.

    ``asked``: kind, host, vm, target (seconds) and ``follow`` of ``asking.prepare``. ``watched``: ``began`` and
    ``ended`` on the controller's clock, ``inexact`` (how well ``began`` is known), ``watches`` and ``guests`` as
    ``timeline`` takes them.
    """
    follow = asked["follow"]
    broken = {vm["name"] for vm in follow if vm["restarts"]}
    events, exact = timeline(watched["began"], watched["watches"], watched["guests"], broken)
    lasted = watched["ended"] - watched["began"]
    lines = [] if asked["kind"] not in HOST_KINDS else _of_host(asked["host"], events, broken)
    vms = []
    for vm in follow:
        changes = watched["guests"].get(vm["name"], ())
        # One that never answered has nobody who would: that is not the drill's doing.
        answers = any(up for _, up in changes)
        silent = longest_silence(changes, watched["ended"]) if answers else None
        entry = _restarted(vm, events, changes, asked) if vm["restarts"] else _untouched(vm, events, silent, asked)
        vms.append(entry)
        if entry["reason"] and entry["verdict"] == "failed":
            lines.append(f"{vm['name']}: {entry['reason']}")
    lines += _twice(watched["watches"])
    return {
        "schema_version": SCHEMA_VERSION,
        "verdict": "failed" if lines else "passed",
        "kind": asked["kind"],
        "host": asked.get("host"),
        "vm": asked.get("vm"),
        "target_seconds": asked["target"],
        "watched_seconds": _round(lasted),
        "inexact_seconds": _round(max(exact, 0.0) + watched.get("inexact", 0.0)),
        "lines": lines,
        "milestones": {what: _first(events, what, None) for what in _ON_HOST},
        "virtual_machines": vms,
        "events": [
            {
                "at": _round(event.at),
                "what": event.what,
                "host": event.host,
                "vm": event.vm,
                "source": event.source,
                "text": event.text,
            }
            for event in events
        ],
    }


def gather(
    watched: Mapping[str, Mapping[str, Any]],
    began: float,
    inexact: float,
    broken: tuple[str, float] | None = None,
) -> dict[str, Any]:
    """What several hosts watched as one: ``watched`` of ``judge``.

    ``broken``: a host, and when it was broken on that host's own clock, which its samples set against the
    controller's.
    The guests were asked from one place, so that all views of them are alike; the one that saw the last change counts.
    """
    watches = {host: own.get("samples", []) for host, own in sorted(watched.items())}
    if broken is not None and watches.get(broken[0]):
        difference, error = clock_difference(watches[broken[0]])
        # Never earlier than it was asked for, or later than that was done.
        began, inexact = min(max(broken[1] - difference, began), began + inexact), min(error, inexact)
    guests: dict[str, list[Any]] = {}
    for own in watched.values():
        for name, changes in own.get("guests", {}).items():
            known = guests.get(name)
            if changes and (known is None or changes[-1][0] > known[-1][0]):
                guests[name] = [list(change) for change in changes]
    return {
        "began": began,
        "ended": max((own["ended"] for own in watched.values() if "ended" in own), default=began),
        "inexact": inexact,
        "watches": watches,
        "guests": guests,
    }


def _of_host(host: str | None, events: Sequence[Event], vms: Set[str]) -> list[str]:
    """What must hold of a host that went away: it was fenced, and before any of its VMs started elsewhere."""
    fenced = next((event.at for event in events if event.what == "fenced" and event.host == host), None)
    if fenced is None:
        return [f"{host}: nothing says that it was fenced"]
    early = sorted({str(e.vm) for e in events if e.what == "starting" and e.vm in vms and e.at < fenced})
    return [f"{name}: was started before {host} was fenced" for name in early]


def _restarted(
    vm: Mapping[str, Any], events: Sequence[Event], changes: Sequence[Any], asked: Mapping[str, Any]
) -> dict[str, Any]:
    name, target = vm["name"], asked["target"]
    mine = [event for event in events if event.vm == name]
    started = next((event for event in reversed(mine) if event.what == "started"), None)
    # A guest that hung is booted anew in the QEMU that it has.
    same = started is None and asked["kind"] == "vm_hang"
    if same:
        host, since = vm["from"], _silent(mine, changes)
    else:
        # Nobody watches the host that was broken; when it was back first, the others say that the VM was started there.
        there = next((e for e in reversed(mine) if e.what == "starting" and e.host == asked["host"]), None)
        since = started or there
        host = since.host if since else None
    # Without a probe of the guest QEMU's start is all that is known.
    up = _after(mine, "up", since) if changes else None
    end = up if changes else started
    reason, note = "", ""
    if host is None:
        reason = "does not run again"
    elif end is None and same and all(answered for _, answered in changes):
        reason = "its guest answered all the while, or nobody can ask it: it did not hang"
    elif end is None:
        reason = f"QEMU runs on {host}, and the guest does not answer"
    elif end.at > target:
        reason = f"was back after {end.at:.1f} s, the target is {target} s"
    elif vm["planned"] and host != vm["planned"]:
        note = f"on another host than the plan's, {vm['planned']}, and legal by the cluster's configuration"
    return {
        "name": name,
        "from": vm["from"],
        "planned": vm["planned"],
        "to": host,
        "failed": _first(mine, "failed", name),
        "starting": _first(mine, "starting", name),
        "started": _round(started.at) if started else None,
        "up": _round(up.at) if up else None,
        "silent_seconds": _round(end.at) if end else None,
        "verdict": "failed" if reason else "passed",
        "reason": reason or note,
    }


def _untouched(
    vm: Mapping[str, Any], events: Sequence[Event], silent: float | None, asked: Mapping[str, Any]
) -> dict[str, Any]:
    """A VM that is not concerned: it is not started anew, and does not stand still for longer than the target."""
    started = next((event for event in events if event.vm == vm["name"] and event.what == "started"), None)
    reason = ""
    if started is not None:
        reason = f"was started anew on {started.host}, {started.at:.1f} s after"
    elif silent is not None and silent > asked["target"]:
        reason = f"was silent for {silent:.1f} s, the target is {asked['target']} s"
    return {
        "name": vm["name"],
        "from": vm["from"],
        "planned": vm["from"],
        "to": started.host if started else vm["from"],
        "failed": None,
        "starting": None,
        "started": _round(started.at) if started else None,
        "up": None,
        "silent_seconds": None if silent is None else _round(silent),
        "verdict": "failed" if reason else "passed",
        "reason": reason,
    }


def _twice(watches: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """VMs that run on two hosts in the last sample of each."""
    where: dict[str, list[str]] = {}
    for host, samples in watches.items():
        for qemu in samples[-1].get("qemu", ()) if samples else ():
            where.setdefault(qemu["name"], []).append(host)
    return [f"{name}: runs on {' and '.join(hosts)}" for name, hosts in sorted(where.items()) if len(hosts) > 1]


def _first(events: Sequence[Event], what: str, vm: str | None) -> float | None:
    return next((_round(event.at) for event in events if event.what == what and vm in (None, event.vm)), None)


def _silent(events: Sequence[Event], changes: Sequence[Any]) -> Event | None:
    """When a guest fell silent: before it was first asked, or later."""
    if changes and not changes[0][1]:
        return Event(0.0, "down", None, None, "guest", "is silent")
    return next((event for event in events if event.what == "down"), None)


def _after(events: Sequence[Event], what: str, earlier: Event | None) -> Event | None:
    return next((e for e in events if earlier is not None and e.what == what and e.at >= earlier.at), None)


def _round(seconds: float) -> float:
    return round(float(seconds), _DIGITS)
