# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""report.html: the plan on one page that needs nothing else, for a phone, a desk, paper and the dark; no scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ansible_collections.croft.infra.plugins.plugin_utils.sizing.terminal import number

MOST_ROWS = 500

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#57606a;--line:#d0d7de;--page:#fff;--box:#f6f8fa;--used:#2f6fdb;
  --kept:#9aa4af;--free:#e4e9ee;--bad:#b3261e;--warn:#8a5a00;--good:#1a7f37;--note:#57606a}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9aa4af;--line:#3b434c;--page:#0f1318;--box:#171c22;
  --used:#6ea2f5;--kept:#697480;--free:#2b323a;--bad:#ff8a80;--warn:#e3b341;--good:#57c773;--note:#9aa4af}}
*{box-sizing:border-box}
body{margin:0;font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page)}
main{max-width:70rem;margin:0 auto;padding:1rem}
h1{font-size:1.6rem;margin:.5rem 0}
h2{font-size:1.2rem;margin:2rem 0 .6rem}
p{margin:.3rem 0}
.soft{color:var(--soft)}
.deny,.refused{color:var(--bad)}
.warn{color:var(--warn)}
.admitted{color:var(--good)}
.waived,.info{color:var(--note)}
.figures{display:flex;flex-wrap:wrap;gap:.5rem;padding:0;margin:1rem 0;list-style:none}
.figures li{background:var(--box);border:1px solid var(--line);border-radius:.4rem;padding:.4rem .8rem}
.figures b{font-size:1.3rem;display:block;line-height:1.2}
.hosts{display:grid;gap:.8rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,20rem),1fr))}
.host,.finding{background:var(--box);border:1px solid var(--line);border-radius:.4rem;padding:.6rem .8rem;
  overflow-wrap:anywhere}
.host h3{font-size:1rem;margin:0}
.bar{display:flex;height:.7rem;background:var(--free);border-radius:.2rem;overflow:hidden}
.bar i{display:block;background:var(--used)}
.bar i.kept{background:var(--kept)}
.bar.over{outline:2px solid var(--bad)}
.row{display:flex;justify-content:space-between;gap:1rem;font-size:.85rem;margin-top:.5rem}
.finding{margin:.5rem 0;border-left:.3rem solid currentColor}
.finding *{color:var(--ink)}
.finding .tag{color:inherit;font-weight:600}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
th{white-space:nowrap}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.key i{display:inline-block;width:.8rem;height:.8rem;border-radius:.15rem;margin:0 .3rem 0 .8rem;
  vertical-align:-.05rem}
@media print{.host,.finding{break-inside:avoid}}
"""


def render_html(plan: Mapping[str, Any]) -> str:
    """The whole page for a plan of plan.json's shape."""
    verdict = plan["verdict"]
    sections = [
        _head(plan),
        _findings(plan["findings"]),
        _hosts(plan["hosts"]),
        _failover(plan["failover"]),
        _rules(plan["rules"]),
        _vms(plan["virtual_machines"]),
        _waivers(plan["waivers"]),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Plan {escape(verdict)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(section for section in sections if section)
        + "\n</main>\n</body>\n</html>\n"
    )


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
    if not findings:
        return "<h2>Findings</h2><p>None.</p>"
    labels = {"deny": "Refused", "warn": "Warning", "waived": "Waived", "info": "Note"}
    parts = ["<h2>Findings, worst first</h2>"]
    for finding in findings[:MOST_ROWS]:
        fix = f"<p><b>What would pass:</b> {escape(finding['fix'])}</p>" if finding["fix"] else ""
        waiver = finding["waiver"]
        held = ""
        if waiver:
            who = f"{waiver['owner']}, until {waiver['until']}"
            held = f"<p><b>Waiver:</b> {escape(waiver['reason'])} ({escape(who)})</p>"
        parts.append(
            f'<div class="finding {finding["level"]}"><span class="tag">{labels[finding["level"]]}: '
            f"{escape(finding['rule'])}</span><p>{escape(finding['message'])}</p>{fix}{held}</div>"
        )
    return "".join(parts) + _more(len(findings))


def _hosts(hosts: Mapping[str, Any]) -> str:
    if not hosts:
        return ""
    key = (
        '<p class="key soft">Each bar is the whole host:<i style="background:var(--used)"></i>VMs'
        '<i style="background:var(--kept)"></i>kept for the host and QEMU<i style="background:var(--free)"></i>free. '
        "vCPUs may be more than threads; their bar is full at the threads that there are.</p>"
    )
    boxes = [_host(name, host) for name, host in list(hosts.items())[:MOST_ROWS]]
    return f'<h2>Hosts</h2>{key}<div class="hosts">{"".join(boxes)}</div>{_more(len(hosts))}'


def _host(name: str, host: Mapping[str, Any]) -> str:
    used, capacity, reserved, ratios = host["used"], host["capacity"], host["reserved"], host["ratios"]
    kept = reserved["memory_mib"] + reserved["osd_memory_mib"] + reserved["qemu_overhead_mib"]
    bars = (
        ("CPU", used["vcpus"], reserved["cpus"], capacity["threads"], "vCPUs", "threads", ratios["cpu"]),
        ("Memory", used["memory_mib"], kept, capacity["memory_mib"], "MiB", "MiB", ratios["memory"]),
        ("Storage", used["disk_gib"], 0, capacity["disk_gib"], "GiB", "GiB", ratios["disk"]),
    )
    rows = []
    for label, value, reserve, whole, unit, of, ratio in bars:
        shown = f"{number(value, 1)} {unit} of {number(whole, 1)} {of}" + (f", {reserve} kept" if reserve else "")
        over = " over" if value + reserve > whole and label != "CPU" else ""
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
        down = ", ".join(f"{escape(vm['name'])} ({escape(vm['reason'])})" for vm in vms if not vm["to"]) or "-"
        verdict = '<span class="admitted">yes</span>' if death["survives"] else '<span class="refused">no</span>'
        if not death["exact"]:
            verdict += " (the search met its bound)"
        rows.append(f"<tr><td>{escape(death['host'])}</td><td>{verdict}</td><td>{moved}</td><td>{down}</td></tr>")
    head = (
        "<tr><th>Host that dies</th><th>All its HA VMs restart</th><th>Restarted where</th><th>Not restarted</th></tr>"
    )
    return f"<h2>When a host dies</h2>{_table(head, rows)}{_more(len(deaths))}"


def _rules(rules: Sequence[Mapping[str, Any]]) -> str:
    if not rules:
        return ""
    rows = []
    for rule in rules:
        worst = rule["worst"]
        where = " on ".join(part for part in (worst["vm"], worst["host"]) if part) if worst else ""
        value = f"{number(worst['value'])} of {number(worst['limit'])} {worst['unit']}" if worst else "-"
        options = (
            ", ".join(f"{key.replace('_', ' ')} {_option(value)}" for key, value in rule["options"].items()) or "-"
        )
        rows.append(
            f"<tr><td>{escape(rule['id'])}</td><td>{escape(rule['title'])}</td><td>{escape(rule['level'])}</td>"
            f'<td>{escape(options)}</td><td class="n">{rule["checked"]}</td><td class="n">{rule["broken"]}</td>'
            f"<td>{escape(value)} {escape(where)}</td></tr>"
        )
    head = (
        '<tr><th>Rule</th><th>Says</th><th>Level</th><th>Limits</th><th class="n">Measured</th>'
        '<th class="n">Broken</th>'
        "<th>Closest to its limit</th></tr>"
    )
    return f"<h2>Rules</h2>{_table(head, rows)}"


def _option(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _vms(vms: Sequence[Mapping[str, Any]]) -> str:
    if not vms:
        return ""
    rows = [
        f"<tr><td>{escape(vm['name'])}</td><td>{escape(vm['host'] or '(none)')}</td>"
        f'<td class="n">{vm["vcpus"]}</td><td class="n">{vm["memory_mib"]}</td><td class="n">{vm["disk_gib"]}</td>'
        f"<td>{escape(vm['workload'])}</td><td>{'yes' if vm['ha'] else 'no'}</td></tr>"
        for vm in vms[:MOST_ROWS]
    ]
    head = (
        '<tr><th>VM</th><th>Host</th><th class="n">vCPUs</th><th class="n">Memory MiB</th><th class="n">Disk GiB</th>'
        "<th>Workload</th><th>HA</th></tr>"
    )
    return f"<h2>VMs</h2>{_table(head, rows)}{_more(len(vms))}"


def _waivers(waivers: Sequence[Mapping[str, Any]]) -> str:
    if not waivers:
        return ""
    rows = [
        f"<tr><td>{escape(w['rule'])}</td><td>{escape(w['vm'] or w['host'])}</td><td>{escape(w['reason'])}</td>"
        f"<td>{escape(w['owner'])}</td><td>{escape(w['until'])}</td><td>{escape(w['state'])}</td>"
        f'<td class="n">{w["findings"]}</td></tr>'
        for w in waivers
    ]
    head = (
        "<tr><th>Rule</th><th>For</th><th>Reason</th><th>Owner</th><th>Until</th><th>State</th>"
        '<th class="n">Findings it covers</th></tr>'
    )
    return f"<h2>Waivers</h2>{_table(head, rows)}"


def _table(head: str, rows: Sequence[str]) -> str:
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table></div>'


def _more(total: int) -> str:
    return f'<p class="soft">... and {total - MOST_ROWS} more, in plan.json</p>' if total > MOST_ROWS else ""
