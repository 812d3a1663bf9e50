# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what runs is what the inventory wishes, and is well. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any


def verify(
    wished: Sequence[Mapping[str, Any]],
    health: Mapping[str, Mapping[str, Any] | None],
    cluster: Sequence[str] = (),
    network: Sequence[str] = (),
    leaving: Collection[str] = (),
) -> list[str]:
    """One line for each thing that is not as it should be; empty when all is well.

    ``wished``: the VMs of the inventory, each with ``name`` and perhaps ``state``; ``health``: what
    croft.infra.vm_health returned by host, None of a host that could not be asked. ``cluster``: what the storage
    cluster lacks to be healthy; ``network``: what is wrong with the network that it depends on. ``leaving``: the names
    in virtual_machines_absent.
    """
    lines = [f"host {host}: could not be asked" for host in sorted(health) if health[host] is None]
    asked = {host: about for host, about in health.items() if about is not None}
    seen: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for host in sorted(asked):
        for vm in asked[host].get("virtual_machines") or []:
            seen.setdefault(vm["name"], []).append((host, vm))
    lines += [f"host {host}: {asked[host]['watch']}" for host in sorted(asked) if asked[host].get("watch")]
    lines += _storage(asked)
    lines += [f"storage cluster: {line}" for line in cluster]
    lines += [f"network: {line}" for line in network]
    for vm in wished:
        lines += _of_vm(vm, seen.get(vm["name"], []), complete=len(asked) == len(health))
    names = {vm["name"] for vm in wished}
    for name in sorted(set(seen) - names):
        hosts = ", ".join(host for host, _ in seen[name])
        lines.append(f"VM {name}: is on {hosts} and {_why_not_there(name in leaving)}")
    return lines


def _why_not_there(leaves: bool) -> str:
    if leaves:
        return "in virtual_machines_absent; run site.yml"
    return "in no list; add it to virtual_machines, or to virtual_machines_absent to have it removed"


def _storage(asked: Mapping[str, Mapping[str, Any]]) -> list[str]:
    silent: dict[tuple[str, str, str], list[str]] = {}
    for host in sorted(asked):
        for one in asked[host].get("storage") or []:
            if one["silent"] is not None:
                silent.setdefault((one["pool"], one["server"], one["silent"]), []).append(host)
    return [
        f"storage pool {pool}: {server} does not answer {', '.join(hosts)}: {why}; guests wait for it"
        for (pool, server, why), hosts in sorted(silent.items())
    ]


def _of_vm(wish: Mapping[str, Any], places: Sequence[tuple[str, Mapping[str, Any]]], *, complete: bool) -> list[str]:
    name, state = wish["name"], wish.get("state") or "running"
    active = [(host, vm) for host, vm in places if vm["state"] != "stopped"]
    if not places:
        return [f"VM {name}: is on no host; run site.yml"] if complete else [f"VM {name}: is on no host that was asked"]
    if len(active) > 1:
        hosts = ", ".join(host for host, _ in active)
        return [f"VM {name}: runs on {hosts} at once; stop all but one now, its disk may be damaged"]
    host, vm = active[0] if active else places[0]
    where = f"VM {name} on {host}"
    if vm.get("given_up"):
        again = f"croft-guest-health clear {name}"
        return [f"{where}: is not reset any more when it hangs: {vm['given_up']}; once that is mended: {again}"]
    if vm["io_error"]:
        return [f"{where}: is paused by an error of its storage; mend that, then: virsh resume {name}"]
    if vm["state"] != state:
        return [f"{where}: is {vm['state']}, wished {state}"]
    lines = [f"{where}: its disk {disk} has an error: {what}" for disk, what in sorted(vm["disk_errors"].items())]
    if state == "running" and vm["agent"] is not None:
        lines.append(f"{where}: its agent does not answer: {vm['agent']}")
    return lines
