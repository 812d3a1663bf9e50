# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host has to move which disks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def storage_moves(
    asked: Any, facts: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, list[dict[str, str]]], list[str]]:
    """({host: [{name, pool}]}, problems): each VM with the host that it is on.

    ``asked``: a list of mappings with ``name`` and ``pool``; ``facts``: croft_host_facts by host.
    """
    if not isinstance(asked, Sequence) or isinstance(asked, str) or not asked:
        return {}, ["migrate_storage: names no VM; give a list of mappings with name and pool"]
    homes: dict[str, str] = {}
    for host in sorted(facts):
        for vm in facts[host].get("virtual_machines") or []:
            if vm["state"] != "stopped" or vm["name"] not in homes:
                homes[vm["name"]] = host
    found: dict[str, list[dict[str, str]]] = {}
    problems = []
    for number, entry in enumerate(asked):
        if not isinstance(entry, Mapping) or set(entry) != {"name", "pool"}:
            problems.append(f"migrate_storage[{number}]: is {entry!r}; give a mapping with name and pool")
        elif str(entry["name"]) not in homes:
            problems.append(f"{entry['name']}: is on none of the hosts {', '.join(sorted(facts))}")
        else:
            move = {"name": str(entry["name"]), "pool": str(entry["pool"])}
            found.setdefault(homes[move["name"]], []).append(move)
    return found, problems
