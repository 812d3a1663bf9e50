# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices that people gave a VM by hand: disks, network cards, and what gives a guest something of the host. Pure."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable

from ansible_collections.croft.infra.plugins.module_utils import hotplug
from ansible_collections.croft.infra.plugins.module_utils.departure import own
from ansible_collections.croft.infra.plugins.module_utils.domain_xml import describe

_OTHERS = ("hostdev", "filesystem", "shmem", "redirdev")


def strays(config: str, live: str | None, macs: Iterable[str]) -> tuple[tuple[str, str, str], ...]:
    """(kind, what tells it from others, when) of each device of a domain's XML that croft gives no VM.

    ``config``: what it starts with next; ``live``: of a running one what it has now. ``macs``: those that are wished
    beside the first card, which is compared as a field.
    """
    wished = {mac.lower() for mac in macs}
    later = _devices(config, wished)
    if live is None:
        return tuple((*one, "") for one in sorted(later))
    now = _devices(live, wished)
    found = [(*one, "" if one in later else "until it stops") for one in now]
    found += [(*one, "from its next start on") for one in later - now]
    return tuple(sorted(found))


def _devices(xml: str, macs: set[str]) -> set[tuple[str, str]]:
    root = ET.fromstring(xml)
    about = describe(xml)
    found = {
        ("disk", f"{target} ({place})")
        for target, place, read_only in about.disks
        if not own(place, about.name, read_only=read_only)
    }
    # Cards that croft gave it are compared as a field.
    known = macs | {nic.mac for nic in hotplug.nics(root)}
    found |= {("network card", mac) for mac in about.macs[1:] if mac not in known}
    for kind in _OTHERS:
        found |= {(kind, f"{kind} {number}") for number, _ in enumerate(root.iterfind(f"devices/{kind}"), 1)}
    return found
