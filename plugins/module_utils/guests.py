# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is a guest up? Asked of its agent, or read from its console; and the lines that tell a waiting person.

What is looked at is told apart from the looking: judge() and the texts are pure, look() asks libvirt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils import domain_xml
from ansible_collections.croft.infra.plugins.module_utils.identity import GUEST_UP_URI
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    DOMAIN_STATES,
    agent_answers,
    bindings,
)

WAYS = ("agent", "console", "either")
# virtlogd keeps 2 MiB of a console in one file.
_TAIL_BYTES = 4 * 1024 * 1024
_AGENT_SECONDS = 2
_NAMES_SHOWN = 5
_ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07]*\x07|[ -/]*[0-~])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True)
class Sight:
    """What was seen of a guest. `agent` None: it answered. `console` None: there is none to read."""

    state: str | None
    agent: str | None = "not asked"
    console: str | None = None
    said_before: bool = False


def clean(console: str) -> list[str]:
    """The console's lines with escape sequences and control characters taken out, and none that are empty."""
    text = _ESCAPES.sub("", console.replace("\r", "\n"))
    return [line.strip() for line in _CONTROL.sub("", text).split("\n") if line.strip()]


def says_up(name: str, console: str) -> bool:
    """Did the guest write `croft: up <name>`?"""
    word = re.compile(rf"croft: up {re.escape(name)}(?![\w.-])")
    return any(word.search(line) for line in clean(console))


def judge(name: str, sight: Sight, ready: str) -> dict[str, Any] | None:
    """None when the guest is up, else {name, running, why, last_line}."""
    if sight.state != "running":
        why = "is not defined on this host" if sight.state is None else f"is {sight.state}"
        return {"name": name, "running": False, "why": why, "last_line": last_line(sight.console)}
    by_agent = ready != "console" and sight.agent is None
    by_console = ready != "agent" and (sight.said_before or says_up(name, sight.console or ""))
    if by_agent or by_console:
        return None
    reasons = []
    if ready != "console":
        reasons.append(f"agent: {sight.agent}")
    if ready != "agent":
        reasons.append("console: there is no log of it" if sight.console is None else "console: no word from it yet")
    return {"name": name, "running": True, "why": "; ".join(reasons), "last_line": last_line(sight.console)}


def last_line(console: str | None) -> str | None:
    """The last thing that the guest wrote, at most 200 characters."""
    lines = clean(console or "")
    return lines[-1][:200] if lines else None


def look(conn: Any, name: str, ready: str) -> Sight:
    """Look at one guest now; asking its agent takes up to 2 seconds when it is there and hangs."""
    library = bindings()
    try:
        domain = conn.lookupByName(name)
    except library.libvirtError:
        return Sight(None)
    state = DOMAIN_STATES.get(domain.state(0)[0], "unknown")
    about = domain_xml.describe(domain.XMLDesc(0))
    console = read_console(about.console_log)
    if state != "running":
        return Sight(state, console=console)
    agent: str | None = "not connected"
    if ready != "console" and about.agent_connected:
        agent = agent_answers(domain, _AGENT_SECONDS)
    return Sight(state, agent, console, said_before=ready != "agent" and _remembered(domain, name, console))


def _remembered(domain: Any, name: str, console: str | None) -> bool:
    """Did the guest say that it is up since it was started, here or on the host that it was migrated from?

    A live migration leaves the console's log behind. The domain's own metadata goes along, so the word is noted
    there, in the running domain only: it ends with it.
    """
    library = bindings()
    kind, live = library.VIR_DOMAIN_METADATA_ELEMENT, library.VIR_DOMAIN_AFFECT_LIVE
    try:
        domain.metadata(kind, GUEST_UP_URI, live)
    except library.libvirtError:
        if not says_up(name, console or ""):
            return False
        try:
            domain.setMetadata(kind, "<up/>", "croft-guest", GUEST_UP_URI, live)
        except library.libvirtError:
            # A domain that is just being migrated takes no note; the log has the word still.
            return True
    return True


def read_console(path: str | None) -> str | None:
    """The end of a console's log; None when there is none."""
    if path is None:
        return None
    try:
        with Path(path).open("rb") as log:
            size = log.seek(0, 2)
            log.seek(max(0, size - _TAIL_BYTES))
            return log.read().decode(errors="replace")
    except OSError:
        return None


def progress(host: str, total: int, waiting: Iterable[Mapping[str, Any]], seconds: float) -> str:
    """One line for a waiting person."""
    names = [str(guest["name"]) for guest in waiting]
    if not names:
        return f"{host}: {total} of {total} guests are up ({seconds:.0f} s)"
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    shown = ", ".join(names[:_NAMES_SHOWN]) + more
    return f"{host}: {total - len(names)} of {total} guests are up, waiting for {shown} ({seconds:.0f} s)"


def complaint(waiting: Iterable[Mapping[str, Any]], seconds: float) -> str:
    """One line for each guest that did not answer, and what to look at."""
    lines = []
    for guest in waiting:
        said = f'; its console said last: "{guest["last_line"]}"' if guest["last_line"] else "; its console is empty"
        command = "virsh console" if guest["running"] else "virsh domstate --reason"
        lines.append(f"- {guest['name']}: {guest['why']}{said}; look with '{command} {guest['name']}'")
    count = "1 guest is" if len(lines) == 1 else f"{len(lines)} guests are"
    return f"{count} not up after {seconds:.0f} s:\n" + "\n".join(lines)
