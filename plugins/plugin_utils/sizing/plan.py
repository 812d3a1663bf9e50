# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inputs to plan, and plan to the shape of plan.json."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from fractions import Fraction
from typing import Any

from ansible_collections.croft.infra.plugins.plugin_utils.sizing.advice import advise
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.checks import check_all, settled
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.containers import plan_containers, reserved_on
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.differences import differences
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.model import (
    LEVELS,
    SCHEMA_VERSION,
    Check,
    ContainerPlan,
    Finding,
    HostSets,
    HostUse,
    Inputs,
    Plan,
    Waiver,
)
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.parse import read_inputs
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.placing import place
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.policy import CLASS_RULES, DEFAULTS, TITLES


def build_plan(inputs: Inputs) -> Plan:
    """Place, check, let every host die once. Pure: the same inputs give an equal plan."""
    placed = place(inputs)
    checks, findings, uses = check_all(inputs, placed)
    containers = None
    if inputs.containers:
        containers, more_checks, more_findings = plan_containers(inputs, placed.where, uses)
        checks += more_checks
        findings += more_findings
    findings = settled(inputs, findings)
    used = [finding.waiver for finding in findings if finding.waiver is not None]
    waivers = tuple(
        (waiver, "in force" if waiver.in_force(inputs.today) else "expired", used.count(waiver))
        for waiver in inputs.policy.waivers
    )
    return Plan(
        inputs=inputs,
        placements=dict(sorted(placed.where.items())),
        uses=tuple(uses),
        findings=tuple(findings),
        checks=tuple(checks),
        deaths=placed.deaths,
        search=placed.search,
        waivers=waivers,
        host_sets=placed.host_sets,
        least_hosts=placed.least_hosts,
        containers=containers,
    )


def make_plan(  # noqa: PLR0913
    hosts: Sequence[str],
    host_variables: Mapping[str, Mapping[str, Any]],
    virtual_machines: Any,
    *,
    policy: Any = None,
    storage_layout: Any = "local",
    today: date,
    containers: Any = None,
    nodes: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """From raw variables to plan.json's shape; with problems of the input (the lines) the plan is refused.

    ``nodes``: the variables of each node that takes ``containers`` (``container_input.NODE_VARIABLES``).
    """
    with _no_collection():
        inputs, problems = read_inputs(
            hosts,
            host_variables,
            virtual_machines,
            policy=policy,
            storage_layout=storage_layout,
            today=today,
            containers=containers,
            nodes=nodes,
        )
    if inputs is None:
        layout = storage_layout if isinstance(storage_layout, str) else None
        return refused_input(problems, layout), problems
    with _no_collection():
        return to_dict(build_plan(inputs), differences(inputs, host_variables)), []


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without the collector of reference cycles: it would walk all records again and again, and none is in a cycle."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def refused_input(problems: Sequence[str], storage_layout: str | None = None) -> dict[str, Any]:
    """The plan when its input cannot be read: refused, one finding of rule ``input`` for each line, nothing placed."""
    findings = []
    for problem in problems:
        message, _, fix = problem.partition("; ")
        findings.append(finding_dict(Finding(rule="input", level="deny", message=message, fix=fix)))
    return {
        "schema_version": SCHEMA_VERSION,
        "verdict": "refused",
        "storage_layout": storage_layout,
        "summary": _summary((0, 0, 0, 0), [finding["level"] for finding in findings], "complete"),
        "placements": {},
        "findings": findings,
        "rules": [],
        "failover": [],
        "hosts": {},
        "virtual_machines": [],
        "waivers": [],
        "differences": [],
        "advice": [],
        "classes": {},
    }


def to_dict(plan: Plan, differing: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """The shape of plan.json (schema/plan.schema.json): plain types only, in an order that the input alone decides.

    ``differing``: what ``differences`` found between the inventory and the hosts.
    """
    placed = {name: host for name, host in plan.placements.items() if host is not None}
    unmanaged = sum(len(use.unmanaged) for use in plan.uses)
    levels = [finding.level for finding in plan.findings]
    return {
        "schema_version": SCHEMA_VERSION,
        "verdict": "admitted" if plan.admitted else "refused",
        "storage_layout": plan.inputs.storage_layout,
        "summary": _summary((len(plan.uses), len(plan.placements), len(placed), unmanaged), levels, plan.search),
        "placements": dict(plan.placements),
        "findings": [finding_dict(finding) for finding in plan.findings],
        "rules": _rules(plan),
        "failover": [
            {
                "host": death.host,
                "survives": death.survives,
                "exact": death.exact,
                "virtual_machines": [
                    {"name": r.name, "ha": r.ha, "to": r.to, "reason": r.reason or None} for r in death.restarts
                ],
            }
            for death in plan.deaths
        ],
        **({} if plan.host_sets is None else {"failover_sets": _host_sets(plan.host_sets)}),
        **({} if plan.least_hosts is None else {"packing": _packing(plan, plan.least_hosts)}),
        **({} if plan.containers is None else {"containers": _containers(plan, plan.containers)}),
        "hosts": {use.host.name: _host(use, plan.inputs) for use in plan.uses},
        "virtual_machines": [{**vm.as_dict(), "host": plan.placements[vm.name]} for vm in plan.inputs.virtual_machines],
        "waivers": [_waiver(waiver, state, used) for waiver, state, used in plan.waivers],
        "differences": [dict(one) for one in differing],
        "advice": advise(plan.inputs),
        "classes": {
            its.name: {
                "hosts": list(its.hosts),
                "rules": {
                    rule: {key: _option(its.rules[rule][key]) for key in CLASS_RULES[rule]} for rule in its.changed
                },
            }
            for its in plan.inputs.policy.classes
        },
    }


def _host_sets(sets: HostSets) -> dict[str, Any]:
    return {
        "hosts_that_die": sets.size,
        "sets": sets.total,
        "examined": sets.examined,
        "proof": sets.proof,
        "survived": sets.survived,
        "broken": sets.broken,
        "lost": [
            {"hosts": list(lost.hosts), "virtual_machines": list(lost.stranded), "exact": lost.exact}
            for lost in sets.lost
        ],
    }


def _containers(plan: Plan, made: ContainerPlan) -> dict[str, Any]:
    """The nodes with what containers reserve on them, and each container with where its replicas go."""
    nodes = {}
    for node in made.nodes:
        millicpus, memory, count = reserved_on(plan.inputs, made.placements, node.name)
        cpus, whole = node.millicpus or 0, node.memory_mib or 0
        nodes[node.name] = {
            "kind": node.kind,
            "machine": node.machine,
            "local_disk": node.local_disk,
            "capacity": {"cpus": _number(Fraction(cpus, 1000)), "memory_mib": whole},
            "reserved": {"cpus": _number(Fraction(millicpus, 1000)), "memory_mib": memory, "replicas": count},
            "ratios": {
                "cpu": _number(Fraction(millicpus, cpus)) if cpus else None,
                "memory": _number(Fraction(memory, whole)) if whole else None,
            },
        }
    wanted = [
        {
            "name": one.name,
            "cpus": _number(Fraction(one.millicpus, 1000)),
            "memory_mib": one.memory_mib,
            "replicas": one.replicas,
            "workload": one.workload,
            "placements": dict(made.placements[one.name]),
        }
        for one in plan.inputs.containers
    ]
    return {"search": made.search, "nodes": nodes, "containers": wanted}


def _packing(plan: Plan, least: int) -> dict[str, Any]:
    used = sum(bool(use.count) for use in plan.uses)
    return {"hosts_used": used, "least_hosts": least, "proved_fewest": used == least}


def _summary(counts: tuple[int, int, int, int], levels: Sequence[str], search: str) -> dict[str, Any]:
    return {
        **dict(zip(("hosts", "virtual_machines", "placed", "unmanaged"), counts, strict=True)),
        "findings": {level: levels.count(level) for level in LEVELS},
        "search": search,
    }


def finding_dict(finding: Finding) -> dict[str, Any]:
    return {
        "rule": finding.rule,
        "level": finding.level,
        "host": finding.host,
        "vm": finding.vm,
        "resource": finding.resource,
        "value": _number(finding.value),
        "limit": _number(finding.limit),
        "margin": _number(finding.margin),
        "unit": finding.unit,
        "message": finding.message,
        "fix": finding.fix,
        "waiver": None if finding.waiver is None else _waiver_core(finding.waiver),
        **_container(finding.container),
    }


def _container(name: str | None) -> dict[str, str]:
    """Named only where it speaks of a container, so that a plan without any has the shape that it always had."""
    return {} if name is None else {"container": name}


def _number(value: Fraction | None) -> int | float | None:
    """Whole numbers stay whole; a ratio becomes the nearest float, as JSON has nothing better."""
    if value is None:
        return None
    return int(value) if value.denominator == 1 else float(value)


def _waiver_core(waiver: Waiver) -> dict[str, Any]:
    return {
        "rule": waiver.rule,
        "vm": waiver.vm,
        "host": waiver.host,
        "reason": waiver.reason,
        "owner": waiver.owner,
        "until": waiver.until.isoformat(),
        **_container(waiver.container),
    }


def _waiver(waiver: Waiver, state: str, used: int) -> dict[str, Any]:
    return {**_waiver_core(waiver), "state": state, "findings": used}


def _rules(plan: Plan) -> list[dict[str, Any]]:
    """Each rule with its limits, on how many subjects it was measured, and its worst value."""
    checks: dict[str, list[Check]] = {}
    for check in plan.checks:
        checks.setdefault(check.rule, []).append(check)
    listed = []
    for rule in DEFAULTS:
        options = plan.inputs.policy.rules[rule]
        mine = checks.get(rule, [])
        worst = _worst(mine)
        listed.append(
            {
                "id": rule,
                "title": TITLES[rule],
                "level": options.get("level", "always"),
                "options": {key: _option(value) for key, value in options.items() if key != "level"},
                "checked": len(mine),
                "broken": sum(check.broken for check in mine),
                "worst": None
                if worst is None
                else {
                    "host": worst.host,
                    "vm": worst.vm,
                    "value": _number(worst.value),
                    "limit": _number(worst.limit),
                    "unit": worst.unit,
                    **_container(worst.container),
                },
            }
        )
    return listed


def _worst(checks: Sequence[Check]) -> Check | None:
    """The check with the least room; of those that share it the first by host and VM."""
    # Most of many checks share their numbers: the exact difference is taken once for each pair of them.
    rooms: dict[tuple[int, int], Fraction] = {}
    for check in checks:
        pair = (id(check.value), id(check.limit))
        if pair not in rooms and check.value is not None and check.resource != "min":
            rooms[pair] = check.limit - check.value
    if not rooms:
        return None
    least = min(rooms.values())
    pairs = {pair for pair, room in rooms.items() if room == least}
    tied = [c for c in checks if (id(c.value), id(c.limit)) in pairs and c.resource != "min"]
    return min(tied, key=lambda check: (check.host or "", check.vm or ""))


def _option(value: Any) -> Any:
    if isinstance(value, Fraction):
        return _number(value)
    return list(value) if isinstance(value, tuple) else value


def _gib(mib: int) -> int | float:
    return mib // 1024 if mib % 1024 == 0 else mib / 1024


def _host(use: HostUse, inputs: Inputs) -> dict[str, Any]:
    host = use.host
    memory_left = use.memory_capacity_mib - use.overhead_mib
    return {
        "capacity": {
            "sockets": host.sockets,
            "cores": host.cores,
            "threads": host.threads,
            "memory_mib": host.memory_mib,
            "disk_gib": _gib(host.disk_mib),
            "numa_nodes": host.numa_nodes,
            "source": host.source,
        },
        "reserved": {
            "cpus": host.reserved_cpus,
            "memory_mib": host.reserved_memory_mib,
            "osds": host.osds,
            "osd_memory_mib": host.memory_mib - host.reserved_memory_mib - use.memory_capacity_mib,
            "qemu_overhead_mib": use.overhead_mib,
        },
        "used": {
            "virtual_machines": use.count,
            "vcpus": use.vcpus,
            "memory_mib": use.memory_mib,
            "disk_gib": _gib(use.disk_mib),
        },
        "ratios": {
            "cpu": _number(use.vcpus / use.cpu_capacity),
            "memory": _number(Fraction(use.memory_mib, memory_left)) if memory_left > 0 else None,
            "disk": _number(Fraction(use.disk_mib, host.disk_mib)) if host.disk_mib else None,
        },
        "virtual_machines": list(use.names),
        "unmanaged": list(use.unmanaged),
    }
