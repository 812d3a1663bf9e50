# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the inventory and what the hosts reported differ: information, each with both values.

What is declared wins, so a difference breaks no rule by itself: a lab declares less than its machines have, and a VM
that was resized by hand is counted as the inventory wants it. What is on a host and in no list counts in every sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from ansible_collections.croft.infra.plugins.plugin_utils.sizing import text
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.model import Inputs, RunningVm, VirtualMachine
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.placing import current_hosts
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.values import Problems, as_number

_CAPACITY = {
    "sockets": "sockets",
    "cores": "cores",
    "threads": "threads",
    "memory_mib": "MiB",
    "disk_gib": "GiB",
    "numa_nodes": "NUMA nodes",
}


def differences(inputs: Inputs, host_variables: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Hosts' capacities, then wanted VMs, then VMs that no list names; each part sorted by name.

    Each has ``host``, ``vm`` (null: the host itself), ``field``, ``inventory`` and ``found`` (numbers or names, null:
    there is none), ``unit`` and ``message``. Only what was read can differ: hosts without facts give none.
    """
    found = [one for host in inputs.hosts for one in _capacity(host.name, host_variables.get(host.name, {}))]
    current = current_hosts(inputs)
    for vm in inputs.virtual_machines:
        if vm.name in current:
            found += _vm(vm, current[vm.name])
    kept = {id(vm) for vm in current.values()}
    wanted = {vm.name for vm in inputs.virtual_machines}
    for other in inputs.present:
        if id(other) not in kept:
            found.append(_unlisted(other, copy=other.name in wanted))
    return found


def _difference(  # noqa: PLR0913, PLR0917
    host: str, vm: str | None, field: str, inventory: Any, there: Any, unit: str | None, message: str
) -> dict[str, Any]:
    return {
        "host": host,
        "vm": vm,
        "field": field,
        "inventory": inventory,
        "found": there,
        "unit": unit,
        "message": message,
    }


def _capacity(host: str, own: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    declared, facts = own.get("croft_capacity"), own.get("croft_host_facts")
    read = facts.get("capacity") if isinstance(facts, Mapping) else None
    if not isinstance(declared, Mapping) or not isinstance(read, Mapping):
        return
    for field, unit in _CAPACITY.items():
        wished, measured = _plain(declared.get(field)), _plain(read.get(field))
        if wished is not None and measured is not None and wished != measured:
            message = f"{host} declares {_shown(wished)} {unit}, the host reports {_shown(measured)}"
            yield _difference(host, None, field, _number(wished), _number(measured), unit, message)


def _plain(value: Any) -> Fraction | None:
    """The number that was given, NUMA nodes counted; None when there is none (what is wrong was refused before)."""
    if isinstance(value, (list, tuple)):
        return Fraction(max(len(value), 1))
    return None if value is None else as_number(value, "", Problems(), zero=True)


def _number(value: Fraction) -> int | float:
    return int(value) if value.denominator == 1 else float(value)


def _shown(value: Fraction) -> str:
    return text.decimal(value, 0 if value.denominator == 1 else 1)


def _vm(vm: VirtualMachine, there: RunningVm) -> Iterator[dict[str, Any]]:
    # A disk of 20 GiB and its seed of some KiB are 20 GiB: the inventory speaks in whole GiB.
    sizes = (
        ("vcpus", vm.vcpus, there.vcpus, "vCPUs"),
        ("memory_mib", vm.memory_mib, there.memory_mib, "MiB"),
        ("disk_gib", vm.disk_gib, there.disk_mib // 1024, "GiB"),
    )
    for field, wished, measured, unit in sizes:
        # A disk without a size is one whose storage nobody could ask.
        if wished != measured and not (field == "disk_gib" and not there.disk_mib):
            message = f"{vm.name} is wanted with {wished} {unit} and has {measured} on {there.host}"
            yield _difference(there.host, vm.name, field, wished, measured, unit, message)
    if (vm.state == "stopped") != (there.state == "stopped"):
        message = f"{vm.name} is wanted {vm.state} and is {there.state} on {there.host}"
        yield _difference(there.host, vm.name, "state", vm.state, there.state, None, message)
    if vm.host is not None and vm.host != there.host:
        message = f"{vm.name} is pinned to {vm.host} and is on {there.host}"
        yield _difference(there.host, vm.name, "host", vm.host, there.host, None, message)


def _unlisted(vm: RunningVm, *, copy: bool) -> dict[str, Any]:
    whose = "was made by croft and is in no list" if vm.managed else "is in no list"
    if copy:
        whose = "is a second copy of a wanted VM"
    size = f"{vm.vcpus} vCPUs, {vm.memory_mib} MiB, {text.gib(vm.disk_mib)} GiB"
    message = f"{vm.name} on {vm.host} ({vm.state}, {size}) {whose}; it counts"
    return _difference(vm.host, vm.name, "virtual_machines", None, vm.name, None, message)
