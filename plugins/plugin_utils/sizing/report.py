# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""report.html: the plan on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ansible_collections.croft.infra.plugins.plugin_utils.page import page, table
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.terminal import number, packing_line, sets_line

MOST_ROWS = 500


def render_html(plan: Mapping[str, Any]) -> str:
    """The whole page for a plan of plan.json's shape."""
    verdict = plan["verdict"]
    sections = [
        _head(plan),
        _findings(plan["findings"]),
        _hosts(plan),
        _failover(plan["failover"]),
        _sets(plan.get("failover_sets")),
        _rules(plan["rules"]),
        _classes(plan["classes"]),
        _vms(plan["virtual_machines"]),
        _advice(plan["advice"]),
        _waivers(plan["waivers"]),
        _differences(plan["differences"]),
    ]
    return page(f"Plan {verdict}", sections)


def _head(plan: Mapping[str, Any]) -> str:
    summary = plan["summary"]
    counts = summary["findings"]
    figures = (
        (summary["hosts"], "hosts"),
        (summary["virtual_machines"], "VMs wanted"),
        (summary["placed"], "VMs placed"),
        (summary["unmanaged"], "other VMs found"),
        (counts["deny"], "refusals"),
        (counts["warn"], "warnings"),
        (counts["waived"], "waived"),
    )
    items = "".join(f"<li><b>{value}</b>{escape(label)}</li>" for value, label in figures)
    said = {
        "admitted": "Every rule that refuses holds, or a waiver is in force: the VMs may be built.",
        "refused": "At least one rule refuses: nothing is built until the refusals below are gone.",
    }[plan["verdict"]]
    layout = escape(plan["storage_layout"] or "unknown")
    return (
        f'<h1>Plan <span class="{plan["verdict"]}">{plan["verdict"]}</span></h1><p>{said}</p>'
        f'<p class="soft">Storage layout: {layout}</p><ul class="figures">{items}</ul>'
    )


def _findings(findings: Sequence[Mapping[str, Any]]) -> str:
    """One part a severity, the worst first; notes are folded away, a refusal and a warning never."""
    if not findings:
        return "<h2>Findings</h2><p>None.</p>"
    labels = {"deny": "Refusals", "warn": "Warnings", "waived": "Waived", "info": "Notes"}
    parts = ["<h2>Findings, worst first</h2>"]
    shown = findings[:MOST_ROWS]
    for level, label in labels.items():
        boxes = [_finding(finding) for finding in shown if finding["level"] == level]
        if boxes:
            unfold = "" if level == "info" else " open"
            total = sum(finding["level"] == level for finding in findings)
            head = f'<summary class="{level}">{label}: {total}</summary>'
            parts.append(f"<details{unfold}>{head}{''.join(boxes)}</details>")
    return "".join(parts) + _more(len(findings))


def _finding(finding: Mapping[str, Any]) -> str:
    tags = {"deny": "Refused", "warn": "Warning", "waived": "Waived", "info": "Note"}
    fix = f"<p><b>What would pass:</b> {escape(finding['fix'])}</p>" if finding["fix"] else ""
    waiver = finding["waiver"]
    held = ""
    if waiver:
        who = f"{waiver['owner']}, until {waiver['until']}"
        held = f"<p><b>Waiver:</b> {escape(waiver['reason'])} ({escape(who)})</p>"
    return (
        f'<div class="finding {finding["level"]}"><span class="tag">{tags[finding["level"]]}: '
        f"{escape(finding['rule'])}</span><p>{escape(finding['message'])}</p>{fix}{held}</div>"
    )


def _hosts(plan: Mapping[str, Any]) -> str:
    hosts = plan["hosts"]
    if not hosts:
        return ""
    key = (
        '<p class="key soft"><i style="background:var(--used);margin-left:0"></i>used by VMs'
        '<i style="background:var(--kept)"></i>reserved for the host and QEMU'
        '<i style="background:var(--free)"></i>free. The CPU bar is full at the vCPUs that the overcommit limit '
        "allows; the others at what the host has.</p>"
    )
    cpu = next(rule["options"] for rule in plan["rules"] if rule["id"] == "cpu-overcommit")
    own = {
        host: {**cpu, **its["rules"].get("cpu-overcommit", {})}
        for its in plan["classes"].values()
        for host in its["hosts"]
    }
    boxes = [_host(name, host, own.get(name, cpu)) for name, host in list(hosts.items())[:MOST_ROWS]]
    packed = f"<p>{escape(packing_line(plan['packing']))}.</p>" if "packing" in plan else ""
    return f'<h2>Hosts</h2>{packed}{key}<div class="hosts">{"".join(boxes)}</div>{_more(len(hosts))}'


def _host(name: str, host: Mapping[str, Any], cpu: Mapping[str, Any]) -> str:
    used, capacity, reserved, ratios = host["used"], host["capacity"], host["reserved"], host["ratios"]
    kept = reserved["memory_mib"] + reserved["osd_memory_mib"] + reserved["qemu_overhead_mib"]
    # vCPUs that a thread may carry: the limit, or its share of a core when cores are what is counted.
    factor = cpu["limit"] * (capacity["cores"] / capacity["threads"] if cpu["cpu_unit"] == "core" else 1)
    rows = []
    for label, value, reserve, whole, shown, ratio in (
        (
            "CPU",
            used["vcpus"],
            reserved["cpus"] * factor,
            capacity["threads"] * factor,
            f"{used['vcpus']} vCPUs on {capacity['threads']} threads"
            + (f", {reserved['cpus']} reserved" if reserved["cpus"] else ""),
            ratios["cpu"],
        ),
        (
            "Memory",
            used["memory_mib"],
            kept,
            capacity["memory_mib"],
            f"{_gib(used['memory_mib'])} of {_gib(capacity['memory_mib'])} GiB"
            + (f", {_gib(kept)} reserved" if kept else ""),
            ratios["memory"],
        ),
        (
            "Storage",
            used["disk_gib"],
            0,
            capacity["disk_gib"],
            f"{number(used['disk_gib'], 1)} of {number(capacity['disk_gib'], 1)} GiB",
            ratios["disk"],
        ),
    ):
        over = " over" if value + reserve > whole else ""
        rows.append(
            f'<div class="row"><span>{label} {number(ratio)}</span><span class="soft">{shown}</span></div>'
            f'<div class="bar{over}" role="img" aria-label="{label}: {shown}">{_bar(value, reserve, whole)}</div>'
        )
    names = ", ".join(map(escape, (*host["virtual_machines"], *(f"{vm} (not ours)" for vm in host["unmanaged"]))))
    total = used["virtual_machines"]
    return (
        f'<div class="host"><h3>{escape(name)}</h3>{"".join(rows)}'
        f'<p class="soft">{total} VM{"" if total == 1 else "s"}{": " if names else ""}{names}</p></div>'
    )


def _gib(mib: float) -> str:
    return number(mib / 1024, 1)


def _bar(value: float, reserve: float, whole: float) -> str:
    if not whole:
        return ""
    part = min(100 * value / whole, 100)
    kept = min(100 * reserve / whole, 100 - part)
    return f'<i style="width:{part:.2f}%"></i><i class="kept" style="width:{kept:.2f}%"></i>'


def _failover(deaths: Sequence[Mapping[str, Any]]) -> str:
    if not deaths:
        return ""
    rows = []
    for death in deaths[:MOST_ROWS]:
        vms = death["virtual_machines"]
        moved = ", ".join(f"{escape(vm['name'])} to {escape(vm['to'])}" for vm in vms if vm["to"]) or "-"
        reasons: dict[str, list[str]] = {}
        for vm in vms:
            if not vm["to"]:
                reasons.setdefault(vm["reason"], []).append(vm["name"])
        down = "; ".join(f"{escape(', '.join(names))} ({escape(why)})" for why, names in reasons.items()) or "-"
        verdict = '<span class="admitted">yes</span>' if death["survives"] else '<span class="refused">no</span>'
        if not death["exact"]:
            verdict += " (the search met its bound)"
        rows.append((escape(death["host"]), verdict, moved, down))
    heads = ("Host that dies", "All its HA VMs restart", "Restarted where", "Not restarted")
    return f"<h2>When a host dies</h2>{table(heads, rows)}{_more(len(deaths))}"


def _sets(sets: Mapping[str, Any] | None) -> str:
    if sets is None:
        return ""
    kind = "admitted" if sets["survived"] else "refused"
    rows = [
        (
            escape(" and ".join(lost["hosts"])),
            escape(", ".join(lost["virtual_machines"])),
            "yes" if lost["exact"] else "no",
        )
        for lost in sets["lost"]
    ]
    named = table(("Hosts that die together", "HA VMs that find no host", "Proved"), rows) if rows else ""
    rest = sets["broken"] - len(rows)
    more = f'<p class="soft">... and {rest} more sets that are not survived</p>' if rest else ""
    said = escape(sets_line(sets))
    return f'<h2>When several hosts die at once</h2><p class="{kind}">{said}.</p>{named}{more}'


def _rules(rules: Sequence[Mapping[str, Any]]) -> str:
    if not rules:
        return ""
    rows = []
    for rule in rules:
        worst = rule["worst"]
        where = " on ".join(part for part in (worst["vm"], worst["host"]) if part) if worst else ""
        value = f"{number(worst['value'])} of {number(worst['limit'])} {worst['unit']}" if worst else "-"
        options = _options(rule["options"]) or "-"
        cells = (rule["id"], rule["title"], rule["level"], options, rule["checked"], rule["broken"], f"{value} {where}")
        rows.append(tuple(escape(str(cell)) for cell in cells))
    heads = ("Rule", "Says", "Level", "Limits", "Measured", "Broken", "Closest to its limit")
    return f"<h2>Rules</h2>{table(heads, rows, numbers=(4, 5))}"


def _classes(classes: Mapping[str, Mapping[str, Any]]) -> str:
    if not classes:
        return ""
    rows = []
    for name, its in classes.items():
        limits = [f"{rule}: {_options(options)}" for rule, options in its["rules"].items()]
        rows.append(tuple(escape(cell) for cell in (name, ", ".join(its["hosts"]), "; ".join(limits) or "-")))
    return f"<h2>Host classes</h2>{table(('Class', 'Hosts', 'Limits of its own'), rows)}"


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {_option(value)}" for key, value in options.items())


def _option(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _vms(vms: Sequence[Mapping[str, Any]]) -> str:
    if not vms:
        return ""
    rows = [
        (
            escape(vm["name"]),
            escape(vm["host"] or "(none)"),
            str(vm["vcpus"]),
            _gib(vm["memory_mib"]),
            str(vm["disk_gib"]),
            escape(vm["workload"].replace("_", " ")),
            "yes" if vm["ha"] else "no",
        )
        for vm in vms[:MOST_ROWS]
    ]
    heads = ("VM", "Host", "vCPUs", "Memory GiB", "Disk GiB", "Workload", "HA")
    return f"<h2>VMs</h2>{table(heads, rows, numbers=(2, 3, 4))}{_more(len(vms))}"


def _waivers(waivers: Sequence[Mapping[str, Any]]) -> str:
    if not waivers:
        return ""
    rows = [
        tuple(
            escape(str(cell))
            for cell in (
                w["rule"],
                w["vm"] or w["host"],
                w["reason"],
                w["owner"],
                w["until"],
                w["state"],
                w["findings"],
            )
        )
        for w in waivers
    ]
    heads = ("Rule", "For", "Reason", "Owner", "Until", "State", "Findings it covers")
    return f"<h2>Waivers</h2>{table(heads, rows, numbers=(6,))}"


def _advice(advice: Sequence[Mapping[str, Any]]) -> str:
    if not advice:
        return ""
    rows = [
        (
            escape(one["vm"]),
            escape(one["workload"].replace("_", " ")),
            escape({"vm": "VM", "container": "container", "bare_metal": "bare metal"}[one["place"]]),
            f"{number(100 * one['share'], 1)} %",
            escape(one["reason"]),
        )
        for one in advice[:MOST_ROWS]
    ]
    heads = ("VM", "Workload", "Best as", "Share of a host", "Why")
    return f"<h2>Advice</h2>{table(heads, rows, numbers=(3,))}{_more(len(advice))}"


def _differences(differing: Sequence[Mapping[str, Any]]) -> str:
    if not differing:
        return ""
    rows = []
    for one in differing[:MOST_ROWS]:
        unit = f" {one['unit']}" if one["unit"] else ""
        values = ["-" if value is None else f"{value}{unit}" for value in (one["inventory"], one["found"])]
        cells = (one["host"], one["vm"] or "-", one["field"].replace("_", " "), *values, one["message"])
        rows.append(tuple(escape(cell) for cell in cells))
    heads = ("Host", "VM", "What", "Inventory", "Found", "In words")
    said = "<p>What is declared wins; none of these breaks a rule by itself.</p>"
    return f"<h2>Where inventory and hosts differ</h2>{said}{table(heads, rows)}{_more(len(differing))}"


def _more(total: int) -> str:
    return f'<p class="soft">... and {total - MOST_ROWS} more, in plan.json</p>' if total > MOST_ROWS else ""
