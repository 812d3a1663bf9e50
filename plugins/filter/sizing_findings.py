# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: sizing_findings
short_description: The findings of a plan, by level, rule, host or VM
description:
  - Gives the findings that match everything that was asked for, worst first.
options:
  _input:
    description: A plan as RV(croft.infra.plan#module:plan) returns it.
    type: dict
    required: true
  level:
    description: Only findings of this level.
    type: str
    choices: [deny, warn, waived, info]
  rule:
    description: Only findings of the rule with this id.
    type: str
  host:
    description: Only findings that name this host.
    type: str
  vm:
    description: Only findings that name this VM.
    type: str
positional: level
author: the croft contributors
seealso:
  - module: croft.infra.plan
"""

EXAMPLES = r"""
- name: Say what refuses the plan
  ansible.builtin.debug:
    msg: "{{ croft_plan.plan | croft.infra.sizing_findings('deny') | map(attribute='message') }}"
  # ["kvm1 promises 66 vCPUs on 31 threads (1 threads kept for the host): 2.13 per thread, limit 2.00"]

- name: Count the hosts that are outside their consolidation range
  ansible.builtin.debug:
    msg: "{{ croft_plan.plan | croft.infra.sizing_findings(rule='consolidation') | length }}"
"""

RETURN = r"""
_value:
  description: The findings, each with rule, level, host, vm, value, limit, margin, unit, message, fix and waiver.
  type: list
  elements: dict
"""

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.reading import NotAPlanError, findings


def sizing_findings(
    plan: Any, level: str | None = None, rule: str | None = None, host: str | None = None, vm: str | None = None
) -> list[dict[str, Any]]:
    """See the documentation above."""
    try:
        return findings(plan, level=level, rule=rule, host=host, vm=vm)
    except NotAPlanError as error:
        raise AnsibleFilterError(f"croft.infra.sizing_findings: {error}") from error


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"sizing_findings": sizing_findings}
