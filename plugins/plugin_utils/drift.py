# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What VMs are beside what the inventory wishes, field by field. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def here(wished: Sequence[Mapping[str, Any]], health: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The wished VMs that a host has, by what croft.infra.vm_health returned there."""
    names = {vm["name"] for vm in health.get("virtual_machines") or ()}
    return [vm for vm in wished if vm["name"] in names]


def drift(results: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Any]:
    """{lines, table} of what croft.infra.virtual_machines returned by host with ``compare``.

    ``lines``: one for each field that differs and each device that somebody attached; ``table``: every field of each
    VM, as text.
    """
    lines: list[str] = []
    table: dict[str, dict[str, str]] = {}
    for host in sorted(results):
        result = results[host]
        if result is None or result.get("unreachable") or result.get("skipped"):
            # Whoever asks for the VMs' health tells that.
            continue
        if "virtual_machines" not in result:
            lines += [f"host {host}: {line.removeprefix('- ')}" for line in _problems(result)]
            continue
        for vm in result.get("virtual_machines") or ():
            where = f"VM {vm['name']} on {host}"
            table[where] = {row["field"]: _cell(row) for row in vm.get("fields") or ()}
            lines += [f"{where}: {_difference(row)}" for row in vm.get("fields") or () if row["differs"]]
            lines += [
                f"{where}: has a {kind} that was attached by hand{', ' + when if when else ''}: {what}"
                for kind, what, when in vm.get("strays") or ()
            ]
    return {"lines": lines, "table": table}


def _problems(result: Mapping[str, Any]) -> list[str]:
    return [str(line) for line in result.get("problems") or [result.get("msg") or "could not be asked"]]


def _cell(row: Mapping[str, Any]) -> str:
    return _difference(row).partition(": ")[2] if row["differs"] else _text(row["wished"])


def _difference(row: Mapping[str, Any]) -> str:
    real = _text(row["configured"])
    if row["running"] is not None and row["running"] != row["configured"]:
        real = f"{_text(row['running'])} now, {real} from its next start on"
    return f"{row['field']}: wished {_text(row['wished'])}, real {real}"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
