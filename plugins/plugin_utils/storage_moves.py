# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host has to do what with which VMs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def homes(facts: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The host of each VM, by croft_host_facts; of one that is defined twice the one that runs it."""
    found: dict[str, str] = {}
    for host in sorted(facts):
        for vm in facts[host].get("virtual_machines") or []:
            if vm["state"] != "stopped" or vm["name"] not in found:
                found[vm["name"]] = host
    return found


def on_their_hosts(
    asked: Any, facts: Mapping[str, Mapping[str, Any]], keys: Sequence[str] = (), also: str = ""
) -> tuple[dict[str, list[Any]], list[str]]:
    """({host: entries}, problems): each entry with the host that its VM is on.

    ``asked``: names, or with ``keys`` mappings that have ``name`` and these; ``facts``: croft_host_facts by host.
    ``also``: the key of another name that the VM may bear by now.
    """
    if not isinstance(asked, Sequence) or isinstance(asked, str):
        return {}, [f"is {asked!r}; give a list of {'mappings with name, ' + ', '.join(keys) if keys else 'names'}"]
    where = homes(facts)
    found: dict[str, list[Any]] = {}
    problems = []
    for number, entry in enumerate(asked):
        if keys and (not isinstance(entry, Mapping) or set(entry) != {"name", *keys}):
            problems.append(f"[{number}]: is {entry!r}; give a mapping with name, {', '.join(keys)}")
            continue
        if not keys and not isinstance(entry, str):
            problems.append(f"[{number}]: is {entry!r}; give the name of a VM")
            continue
        name = str(entry["name"]) if keys else str(entry)
        home = where.get(name) or (where.get(str(entry[also])) if also else None)
        if home is None:
            problems.append(f"{name}: is on none of the hosts {', '.join(sorted(facts))}")
        else:
            one = {key: str(entry[key]) for key in ("name", *keys)} if keys else name
            found.setdefault(home, []).append(one)
    return found, problems


def storage_moves(
    asked: Any, facts: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, list[dict[str, str]]], list[str]]:
    """({host: [{name, pool}]}, problems): each VM with the host that it is on.

    ``asked``: a list of mappings with ``name`` and ``pool``; ``facts``: croft_host_facts by host.
    """
    if not isinstance(asked, Sequence) or isinstance(asked, str) or not asked:
        return {}, ["migrate_storage: names no VM; give a list of mappings with name and pool"]
    found, problems = on_their_hosts(asked, facts, ["pool"])
    return found, [f"migrate_storage{line}" if line.startswith("[") else line for line in problems]
