# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan for a terminal: the hosts, the VMs, the findings worst first; long lists are cut with a count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.croft.infra.plugins.plugin_utils.sizing.text import finding_line

MOST_HOSTS = 24
MOST_VMS = 30
MOST_FINDINGS = 20
MOST_DIFFERENCES = 10
_ROUND = 2


def render_terminal(plan: Mapping[str, Any], *, refusals: bool = True) -> str:
    """The text for a plan of plan.json's shape; lines end without blanks, the last one without a newline.

    ``refusals`` False leaves out the refusals, for who says them by another way.
    """
    summary = plan["summary"]
    counts = summary["findings"]
    head = (
        f"Plan {plan['verdict']}: {summary['hosts']} hosts, {summary['virtual_machines']} VMs "
        f"({summary['placed']} placed), storage {plan['storage_layout'] or 'unknown'}, "
        f"{counts['deny']} refusals, {counts['warn']} warnings, {counts['waived']} waived"
    )
    parts = [head]
    if plan["hosts"]:
        parts += ["", *_hosts(plan)]
    if "packing" in plan:
        parts += ["", packing_line(plan["packing"])]
    if "failover_sets" in plan:
        parts += ["", sets_line(plan["failover_sets"])]
    if plan["virtual_machines"]:
        parts += ["", *_vms(plan)]
    if "containers" in plan:
        parts += ["", *_containers(plan["containers"])]
    if plan["differences"]:
        parts += ["", *_differences(plan["differences"])]
    levels = ("deny", "warn", "waived") if refusals else ("warn", "waived")
    shown = [finding for finding in plan["findings"] if finding["level"] in levels]
    if shown:
        parts += ["", *_findings(shown)]
    return "\n".join(line.rstrip() for line in parts)


def _hosts(plan: Mapping[str, Any]) -> list[str]:
    deaths = {death["host"]: death for death in plan["failover"]}
    rows = [("HOST", "VMS", "VCPU/THREADS", "CPU", "MEMORY MIB", "MEM", "DISK GIB", "DISK", "IF IT DIES")]
    for name, host in plan["hosts"].items():
        used, capacity, reserved, ratios = host["used"], host["capacity"], host["reserved"], host["ratios"]
        kept = reserved["memory_mib"] + reserved["osd_memory_mib"] + reserved["qemu_overhead_mib"]
        rows.append(
            (
                name,
                str(used["virtual_machines"]),
                f"{used['vcpus']}/{capacity['threads'] - reserved['cpus']}",
                number(ratios["cpu"]),
                f"{used['memory_mib']}/{capacity['memory_mib'] - kept}",
                number(ratios["memory"]),
                f"{number(used['disk_gib'], 1)}/{number(capacity['disk_gib'], 1)}",
                number(ratios["disk"]),
                _death(deaths.get(name)),
            )
        )
    return _table(rows, MOST_HOSTS, "hosts", right=(1, 2, 3, 4, 5, 6, 7))


def _death(death: Mapping[str, Any] | None) -> str:
    if death is None:
        return "-"
    ha = [vm for vm in death["virtual_machines"] if vm["ha"]]
    moved = sum(vm["to"] is not None for vm in ha)
    down = len(death["virtual_machines"]) - moved
    if not death["virtual_machines"]:
        return "-"
    text = f"{moved} restart, {down} stay down"
    if not death["survives"]:
        text += " (refused)" if death["exact"] else " (not proved)"
    return text


def packing_line(packing: Mapping[str, Any]) -> str:
    """How few hosts the VMs are on, and how that is known, in one sentence."""
    used, least = packing["hosts_used"], packing["least_hosts"]
    known = (
        "no placement uses fewer"
        if packing["proved_fewest"]
        else f"the sums alone need {least}; fewer is not ruled out"
    )
    return f"Packed onto {used} host{'' if used == 1 else 's'} ({known})"


def sets_line(sets: Mapping[str, Any]) -> str:
    """What the deaths of several hosts at once come to, and how that is known, in one sentence."""
    size, total, examined = sets["hosts_that_die"], sets["sets"], sets["examined"]
    dying = f"{size} hosts die" if size > 1 else "1 host dies"
    known = {
        "slots": "proved for all at once: the free slots suffice for the worst of them",
        "all": f"all {total} examined",
        "bound": f"not proved: {examined} of {total} examined, those that lose most memory",
    }[sets["proof"]]
    if sets["broken"]:
        verdict = f"{sets['broken']} of {total} sets are not survived"
    else:
        verdict = (
            f"every one of {total} sets is survived" if sets["survived"] else "no set is known that is not survived"
        )
    return f"When {dying} at once: {verdict} ({known})"


def _vms(plan: Mapping[str, Any]) -> list[str]:
    rows = [("VM", "HOST", "VCPUS", "MEMORY MIB", "DISK GIB", "WORKLOAD", "HA")]
    # What has no place is what a person looks for.
    entries = sorted(plan["virtual_machines"], key=lambda vm: (vm["host"] is not None, vm["name"]))
    for vm in entries:
        sizes = (str(vm["vcpus"]), str(vm["memory_mib"]), str(vm["disk_gib"]))
        rows.append((vm["name"], vm["host"] or "(none)", *sizes, vm["workload"], "yes" if vm["ha"] else "no"))
    return _table(rows, MOST_VMS, "VMs", right=(2, 3, 4))


def _containers(made: Mapping[str, Any]) -> list[str]:
    rows = [("CONTAINER", "REPLICAS", "CPUS EACH", "MEMORY MIB EACH", "WORKLOAD", "ON NODES")]
    for one in made["containers"]:
        placed = sum(one["placements"].values())
        sizes = (number(one["cpus"]), str(one["memory_mib"]))
        on = placements_line(one["placements"])
        rows.append((one["name"], f"{placed}/{one['replicas']}", *sizes, one["workload"], on))
    lines = _table(rows, MOST_VMS, "containers", right=(1, 2, 3))
    rows = [("NODE", "MACHINE", "LOCAL DISK", "REPLICAS", "CPUS RESERVED", "MEMORY MIB RESERVED")]
    for name, node in made["nodes"].items():
        kept, whole = node["reserved"], node["capacity"]
        cpus = f"{number(kept['cpus'])}/{number(whole['cpus'])}"
        memory = f"{kept['memory_mib']}/{whole['memory_mib']}"
        rows.append((name, node["machine"], node["local_disk"] or "-", str(kept["replicas"]), cpus, memory))
    return [*lines, "", *_table(rows, MOST_HOSTS, "nodes", right=(3, 4, 5))]


def placements_line(placements: Mapping[str, int]) -> str:
    """The nodes of a container's replicas, with a count where it is more than one."""
    return ", ".join(f"{node} x{count}" if count > 1 else node for node, count in placements.items()) or "(none)"


def _findings(findings: Sequence[Mapping[str, Any]]) -> list[str]:
    labels = {"deny": "REFUSED", "warn": "warning", "waived": "waived"}
    lines = []
    for finding in findings[:MOST_FINDINGS]:
        waiver = finding["waiver"]
        until = f" [waiver of {waiver['owner']} until {waiver['until']}: {waiver['reason']}]" if waiver else ""
        lines.append(f"{labels[finding['level']]}  {finding_line(finding)}{until}")
    if len(findings) > MOST_FINDINGS:
        lines.append(f"... and {len(findings) - MOST_FINDINGS} more findings")
    return lines


def _differences(differing: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [f"The inventory and the hosts differ in {len(differing)}:"]
    lines += [f"  {one['message']}" for one in differing[:MOST_DIFFERENCES]]
    if len(differing) > MOST_DIFFERENCES:
        lines.append(f"  ... and {len(differing) - MOST_DIFFERENCES} more differences")
    return lines


def _table(rows: Sequence[tuple[str, ...]], most: int, things: str, right: tuple[int, ...]) -> list[str]:
    shown = rows[: most + 1]
    widths = [max(len(row[i]) for row in shown) for i in range(len(shown[0]))]
    lines = [
        "  ".join(
            cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in shown
    ]
    if len(rows) > len(shown):
        lines.append(f"... and {len(rows) - len(shown)} more {things}")
    return lines


def number(value: float | None, digits: int = _ROUND) -> str:
    """A figure of the plan for a table; whole numbers of GiB stay whole."""
    if value is None:
        return "-"
    if digits == 1 and value == int(value):
        return str(int(value))
    return f"{value:.{digits}f}"
