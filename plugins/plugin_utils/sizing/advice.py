# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""For each workload: VM, container or bare metal, with the reason and the number behind it. Advice refuses nothing."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from ansible_collections.croft.infra.plugins.plugin_utils.sizing import text
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.model import Inputs, VirtualMachine

# Workloads whose state is elsewhere: what is lost with one is started again from its image.
STATELESS = ("web", "app", "batch", "ci")


def advise(inputs: Inputs) -> list[dict[str, Any]]:
    """Each VM's ``place`` (vm, container, bare_metal), ``share`` and ``reason``, in the VMs' order.

    The share is the larger of its parts of CPU and memory, on the host where that is least.
    """
    if not inputs.hosts:
        return []
    kinds = sorted({(host.threads, host.memory_mib) for host in inputs.hosts})
    # The most that a VM may take anywhere: a class may allow more than the rule of all hosts.
    limit: Fraction = max(inputs.policy.on(host.name)["vm-share"]["limit"] for host in inputs.hosts)
    # Of many VMs most are alike: the words are made once for each kind.
    known: dict[tuple[Any, ...], dict[str, Any]] = {}
    advice = []
    for vm in inputs.virtual_machines:
        kind = (vm.vcpus, vm.memory_mib, vm.workload, vm.ha, vm.address is None)
        if kind not in known:
            known[kind] = _advice(vm, kinds, limit, inputs)
        advice.append({"vm": vm.name, **known[kind]})
    return advice


def _advice(vm: VirtualMachine, kinds: list[tuple[int, int]], limit: Fraction, inputs: Inputs) -> dict[str, Any]:
    share = min(max(Fraction(vm.vcpus, threads), Fraction(vm.memory_mib, memory)) for threads, memory in kinds)
    what = "general workload" if vm.workload == "general" else vm.workload.replace("_", " ")
    what = f"{'an' if what[0] in 'aeiou' else 'a'} {what}"
    percent, most = text.decimal(100 * share, 1), text.decimal(100 * limit, 0)
    if vm.workload in inputs.policy.rules["io-workload"]["workloads"]:
        place, reason = "bare_metal", f"{what} lives on disk I/O: {text.advice(vm.workload)}"
    elif share > limit:
        place, reason = "bare_metal", f"takes {percent} % of the host where it takes least, more than {most} %"
    elif vm.workload in STATELESS and vm.address is None and not vm.ha:
        place, reason = (
            "container",
            f"{what} keeps no state and takes {percent} % of a host: a kernel of its own is overhead",
        )
    else:
        kept = "HA restarts it" if vm.ha else ("it has an address of its own" if vm.address else f"{what} keeps state")
        place, reason = "vm", f"{kept}, and it takes {percent} % of a host, at most {most} %"
    return {"workload": vm.workload, "place": place, "share": round(float(share), 6), "reason": reason}
