# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A repair from raw variables, as plain types, and as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from ansible_collections.croft.infra.plugins.plugin_utils.sizing import text
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.moves import in_waves, step_dict
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.parse import read_inputs
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.plan import finding_dict
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.repair import Repair, repair

_MIB = 1 << 20
MOST_STEPS = 60


def make_repair(  # noqa: PLR0913
    hosts: Sequence[str],
    host_variables: Mapping[str, Mapping[str, Any]],
    virtual_machines: Any,
    *,
    policy: Any = None,
    storage_layout: Any = "local",
    today: date,
) -> tuple[dict[str, Any] | None, list[str]]:
    """The repair of what runs, or None and all problems of the input, one line each."""
    inputs, problems = read_inputs(
        hosts, host_variables, virtual_machines, policy=policy, storage_layout=storage_layout, today=today
    )
    if inputs is None:
        return None, problems
    unread = [host for host in hosts if not isinstance(host_variables.get(host, {}).get("croft_host_facts"), Mapping)]
    if unread:
        # Without what runs there is nothing to repair, and "legal" would be a lie.
        return None, [
            f"host {host}: was not read; register croft.infra.host_capacity as croft_host_facts" for host in unread
        ]
    made = repair(inputs)
    return {**to_dict(made), "waves": [[step_dict(step) for step in wave] for wave in in_waves(inputs, made.steps)]}, []


def to_dict(made: Repair) -> dict[str, Any]:
    """Plain types: memory in MiB, disks in GiB, what goes over the network in bytes."""
    return {
        "verdict": made.verdict,
        "proved": made.proved,
        "steps": [step_dict(step) for step in made.steps],
        "bytes": sum(step.memory_mib + step.disk_mib for step in made.steps) * _MIB,
        "broken": [finding_dict(finding) for finding in made.broken],
        "remaining": [finding_dict(finding) for finding in made.remaining],
        "blocked": list(made.blocked),
    }


def render(made: Mapping[str, Any]) -> str:
    """The steps in order with what each moves, and what remains."""
    steps, broken = made["steps"], made["broken"]
    if made["verdict"] == "legal":
        return "Repair: nothing is broken."
    count = text.counted(len(broken), "refusal")
    head = {
        "complete": f"Repair of {count}: {text.counted(len(steps), 'live migration')}, "
        + ("no fewer would do" if made["proved"] else "fewer are not ruled out"),
        "partial": f"Repair of {count}, in part: {text.counted(len(steps), 'live migration')}, "
        f"{text.counted(len(made['remaining']), 'refusal')} remain",
        "none": f"Repair of {count}: there is no legal order of live migrations"
        + ("" if made["proved"] else " that was found (not proved: the search met its bound)"),
    }[made["verdict"]]
    lines = [head + (f"; {text.gib(made['bytes'] // _MIB)} GiB to move" if steps else "")]
    for number, step in enumerate(steps[:MOST_STEPS], 1):
        disk = f" and {step['disk_gib']:g} GiB of disk" if step["disk_gib"] else ""
        lines.append(f"  {number}. {step['vm']}: {step['from']} > {step['to']}  ({step['memory_mib']} MiB{disk})")
    if len(steps) > MOST_STEPS:
        lines.append(f"  ... and {len(steps) - MOST_STEPS} more")
    lines += [f"  remains: {line}" for line in made["blocked"]]
    return "\n".join(lines)
