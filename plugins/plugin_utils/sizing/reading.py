# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to a finished plan, as the filters ask them; a plan here is a mapping of plan.json's shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.croft.infra.plugins.plugin_utils.sizing.model import LEVELS
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.policy import REMARKS, TITLES
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.values import did_you_mean, say

_KEYS = ("schema_version", "placements", "findings", "hosts", "virtual_machines")


class NotAPlanError(ValueError):
    """What was given is not a plan, or has nothing of what was asked for."""


def as_plan(value: Any) -> Mapping[str, Any]:
    """The value, when it has the shape of a plan; raises NotAPlanError with what to give instead."""
    if not isinstance(value, Mapping):
        raise NotAPlanError(f"takes a plan, not {say(value)}; give what croft.infra.plan returns as plan")
    if "plan" in value and "schema_version" not in value:
        raise NotAPlanError("takes a plan, not the result around it; give its plan")
    missing = [key for key in _KEYS if key not in value]
    if missing:
        raise NotAPlanError(
            f"takes a plan, and this mapping has no {', '.join(missing)}; give what croft.infra.plan returns"
        )
    return value


def outline(plan: Mapping[str, Any]) -> dict[str, Any]:
    """What a run hands on about its plan: the verdict and what led to it, without a record for each VM and host."""
    kept = ("schema_version", "verdict", "storage_layout", "summary", "placements", "findings", "packing")
    return {key: plan[key] for key in (*kept, "failover_sets", "waivers") if key in plan}


def placed_on(plan: Any, host: str, user_data: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """The complete entries of the VMs on this host, sorted by name, each with its user data, which no plan keeps.

    Raises NotAPlanError for a host that the plan does not know: an empty list would read as "nothing to run here".
    """
    known = as_plan(plan)
    if host not in known["hosts"]:
        raise NotAPlanError(f"host {say(host)} is not in the plan; {did_you_mean(host, known['hosts'])}")
    own = {name: {"user_data": given} for name, given in (user_data or {}).items()}
    return [{**vm, **own.get(vm["name"], {})} for vm in known["virtual_machines"] if vm["host"] == host]


def placements(plan: Any, *, by_host: bool = False) -> dict[str, Any]:
    """VM to host of all that have one, or host to names."""
    known = as_plan(plan)
    placed = {vm: host for vm, host in known["placements"].items() if host is not None}
    if not by_host:
        return placed
    return {host: [vm for vm, its in placed.items() if its == host] for host in known["hosts"]}


def findings(
    plan: Any, *, level: str | None = None, rule: str | None = None, host: str | None = None, vm: str | None = None
) -> list[dict[str, Any]]:
    """The findings that match all of what is not None, in the plan's order."""
    known = as_plan(plan)
    if level is not None and level not in LEVELS:
        raise NotAPlanError(f"level {say(level)} is not known; {did_you_mean(level, LEVELS)}")
    rules = (*TITLES, *REMARKS)
    if rule is not None and rule not in rules:
        raise NotAPlanError(f"rule {say(rule)} is not known; {did_you_mean(rule, rules)}")
    asked = {
        key: value for key, value in (("level", level), ("rule", rule), ("host", host), ("vm", vm)) if value is not None
    }
    return [dict(f) for f in known["findings"] if all(f[key] == value for key, value in asked.items())]
