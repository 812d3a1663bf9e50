# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the VMs that an inventory wishes to hosts that Ansible can work on. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

DEFAULT_WORKLOAD = "general"


@dataclass(frozen=True)
class Guest:
    """A VM as a host: its name, the groups that it is in, and its variables."""

    name: str
    groups: tuple[str, ...]
    variables: Mapping[str, Any] = field(default_factory=dict)


def entries_of(wished: Any) -> list[Any]:
    """The entries of ``virtual_machines``, which is a list of entries or a mapping by name."""
    if isinstance(wished, Mapping):
        return [{"name": name, **entry} if isinstance(entry, Mapping) else entry for name, entry in wished.items()]
    return list(wished) if isinstance(wished, Iterable) and not isinstance(wished, str) else [wished]


def guests_of(
    wished: Any, *, group: str = "virtual_machines", stopped: bool = False, placements: Mapping[str, Any] | None = None
) -> tuple[list[Guest], list[str]]:
    """(guests, problems): one guest for each VM that runs by the wish, in order; one line for each entry that is none.

    ``placements`` is VM to host as in plan.json; a pin counts where there is none. A VM with an address gets
    ``ansible_host``; one that asks DHCP is there by its name alone.
    """
    guests: list[Guest] = []
    problems: list[str] = []
    for index, entry in enumerate(entries_of(wished)):
        name = entry.get("name") if isinstance(entry, Mapping) else None
        if not isinstance(entry, Mapping) or not name:
            problems.append(f"virtual_machines[{index}]: is {entry!r}; give a mapping with a name")
            continue
        if entry.get("state") == "stopped" and not stopped:
            continue
        # User data may be secret, and is of no use to whoever works on the guest.
        variables = {f"vm_{key}": value for key, value in entry.items() if key not in ("name", "user_data")}
        variables["vm_name"] = str(name)
        workload = variables.setdefault("vm_workload", DEFAULT_WORKLOAD)
        host = (placements or {}).get(name) or entry.get("host")
        if host:
            variables["vm_host"] = host
        address = _address(entry)
        if address:
            try:
                variables["ansible_host"] = str(ipaddress.ip_interface(str(address)).ip)
            except ValueError:
                problems.append(f"{name}: address is {address!r}; give it as in 10.0.0.5/24")
                continue
        guests.append(Guest(str(name), (group, f"{group}_{_group_name(str(workload))}"), variables))
    names = [guest.name for guest in guests]
    problems += [
        f"{name}: this name is there {names.count(name)} times" for name in sorted(set(names)) if names.count(name) > 1
    ]
    return guests, problems


def _address(entry: Mapping[str, Any]) -> Any:
    """The address of its first network card."""
    cards = entry.get("networks")
    first = cards[0] if isinstance(cards, list) and cards else {}
    return entry.get("address") or (first.get("address") if isinstance(first, Mapping) else None)


def _group_name(text: str) -> str:
    """A word as part of a group's name, which takes letters, digits and underscores."""
    return re.sub(r"\W", "_", text)
