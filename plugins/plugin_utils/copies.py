# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host makes which disk of a backup or of another VM. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils.identity import vm_uuid


def copies(
    asked: Any,
    plan: Mapping[str, Any],
    sources: Mapping[str, str] | None = None,
    *,
    shared: bool = False,
    optional: Sequence[str] = (),
) -> tuple[dict[str, list[dict[str, str]]], list[str]]:
    """({host: [{name, as, uuid, ...}]}, problems).

    Each entry has ``name`` and ``as``, and perhaps the ``optional`` keys; ``as`` is a VM of the plan, which says where
    it goes. ``sources``: the host of each VM, where disks are copied from running VMs: that of the source must be that
    of the copy unless storage is ``shared``; the source's host then makes it.
    """
    if not isinstance(asked, Sequence) or isinstance(asked, str) or not asked:
        return {}, [f"is {asked!r}; give a list of mappings with name and as"]
    wished = {vm["name"]: vm for vm in plan["virtual_machines"]}
    found: dict[str, list[dict[str, str]]] = {}
    problems = []
    for number, entry in enumerate(asked):
        if not isinstance(entry, Mapping) or not {"name", "as"} <= set(entry) <= {"name", "as", *optional}:
            keys = f" and perhaps {', '.join(optional)}" if optional else ""
            problems.append(f"[{number}]: is {entry!r}; give a mapping with name and as{keys}")
            continue
        one = {key: str(value) for key, value in entry.items()}
        name, new = one["name"], one["as"]
        vm = wished.get(new)
        if vm is None or vm.get("host") is None:
            problems.append(
                f"{new}: is not in virtual_machines; add it there, with its size and address, and run again"
            )
            continue
        host = str(vm["host"])
        if sources is not None:
            if name == new:
                problems.append(f"{name}: cannot be a copy of itself")
                continue
            if name not in sources:
                problems.append(f"{name}: is on no host")
                continue
            if not shared and sources[name] != host:
                problems.append(
                    f"{new}: goes to {host}, and {name} is on {sources[name]}, on local storage; pin it there (host: "
                    f"{sources[name]}), it can migrate afterwards"
                )
                continue
            host = sources[name]
        found.setdefault(host, []).append({**one, "uuid": str(vm.get("uuid") or vm_uuid(new))})
    counts = Counter(one["as"] for entries in found.values() for one in entries)
    problems += [f"{name}: is to be made {n} times; once is enough" for name, n in counts.items() if n > 1]
    return found, problems
