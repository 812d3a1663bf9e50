# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files beside plan.json that other tools read: JUnit XML for CI, SARIF 2.1.0 for code scanning."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from ansible_collections.croft.infra.plugins.plugin_utils.sizing.policy import REMARKS, TITLES
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.report import render_html
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.text import finding_text

_SARIF_LEVELS = {"deny": "error", "warn": "warning", "waived": "error", "info": "note"}
_SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def files(plan: Mapping[str, Any]) -> dict[str, str]:
    """File name to content of all that a plan directory holds; the same plan gives the same bytes."""
    return {
        "plan.json": json.dumps(plan, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        "plan.junit.xml": render_junit(plan),
        "plan.sarif": json.dumps(to_sarif(plan), indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        "report.html": render_html(plan),
    }


def render_junit(plan: Mapping[str, Any]) -> str:
    """One suite a rule: a failed case for each refusal, a skipped one for each waiver that holds, and one that passed
    with the number of subjects measured. Warnings pass and say so in their output (JUnit has no word for them)."""
    by_rule: dict[str, list[Mapping[str, Any]]] = {rule["id"]: [] for rule in plan["rules"]}
    for finding in plan["findings"]:
        by_rule.setdefault(finding["rule"], []).append(finding)
    rules = {rule["id"]: rule for rule in plan["rules"]}
    suites = []
    totals = [0, 0, 0]
    for rule, findings in by_rule.items():
        cases = [_junit_case(finding) for finding in findings]
        if rule in rules:
            checked = rules[rule]["checked"] - rules[rule]["broken"]
            name = quoteattr(f"{rules[rule]['title']} ({checked} measured and inside the limit)")
            cases.append(f'    <testcase classname={quoteattr("croft." + rule)} name={name} time="0"/>')
        counts = [
            len(cases),
            sum(finding["level"] == "deny" for finding in findings),
            sum(finding["level"] == "waived" for finding in findings),
        ]
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
        suites += [f"  <testsuite {_junit_head('croft.' + rule, counts)}>", *cases, "  </testsuite>"]
    head = f"<testsuites {_junit_head('croft plan', totals)}>"
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', head, *suites, "</testsuites>", ""])


def _junit_head(name: str, counts: list[int]) -> str:
    tests, failures, skipped = counts
    figures = f'tests="{tests}" failures="{failures}" errors="0" skipped="{skipped}" time="0"'
    return f"name={quoteattr(name)} {figures}"


def _junit_case(finding: Mapping[str, Any]) -> str:
    parts = (finding["vm"] or finding.get("container"), finding["host"])
    subject = " on ".join(part for part in parts if part) or "the plan"
    resource = f" ({finding['resource']})" if finding["resource"] else ""
    text = finding_text(finding)
    rule = finding["rule"]
    head = f'    <testcase classname={quoteattr("croft." + rule)} name={quoteattr(subject + resource)} time="0">'
    if finding["level"] == "deny":
        body = f"<failure type={quoteattr(rule)} message={quoteattr(finding['message'])}>{escape(text)}</failure>"
    elif finding["level"] == "waived":
        waiver = finding["waiver"]
        why = f"waived by {waiver['owner']} until {waiver['until']}: {waiver['reason']}; {text}"
        body = f"<skipped message={quoteattr(why)}/>"
    else:
        body = f"<system-out>{escape(finding['level'] + ': ' + text)}</system-out>"
    return f"{head}{body}</testcase>"


def to_sarif(plan: Mapping[str, Any]) -> dict[str, Any]:
    """The findings as SARIF 2.1.0: hosts and VMs are logical locations, a waiver is a suppression with its reason."""
    options = {rule["id"]: rule for rule in plan["rules"]}
    ids = list(dict.fromkeys((*TITLES, *REMARKS)))
    return {
        "$schema": _SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "croft.infra.plan",
                        "rules": [_sarif_rule(rule, options.get(rule)) for rule in ids],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_sarif_result(finding, ids) for finding in plan["findings"]],
            }
        ],
    }


def _sarif_rule(rule: str, known: Mapping[str, Any] | None) -> dict[str, Any]:
    level = known["level"] if known else "warn"
    return {
        "id": rule,
        "shortDescription": {"text": TITLES.get(rule) or REMARKS[rule]},
        "defaultConfiguration": {
            "enabled": level != "off",
            "level": {"deny": "error", "warn": "warning", "off": "none", "always": "note"}[level],
        },
        "properties": {"options": known["options"] if known else {}},
    }


def _sarif_result(finding: Mapping[str, Any], ids: list[str]) -> dict[str, Any]:
    locations = [
        {"name": finding[kind], "fullyQualifiedName": f"{kind}/{finding[kind]}", "kind": "resource"}
        for kind in ("host", "vm", "container")
        if finding.get(kind)
    ]
    result: dict[str, Any] = {
        "ruleId": finding["rule"],
        "ruleIndex": ids.index(finding["rule"]),
        "level": _SARIF_LEVELS[finding["level"]],
        "message": {"text": finding_text(finding)},
        "partialFingerprints": {
            "croft/v1": "/".join(
                str(finding.get(key) or "-")
                for key in ("rule", "host", "vm", "resource", *(("container",) if "container" in finding else ()))
            )
        },
        "properties": {key: finding[key] for key in ("value", "limit", "margin", "unit", "fix")},
    }
    if locations:
        result["locations"] = [{"logicalLocations": locations}]
    if finding["waiver"]:
        waiver = finding["waiver"]
        result["suppressions"] = [
            {
                "kind": "external",
                "status": "accepted",
                "justification": f"{waiver['reason']} ({waiver['owner']}, until {waiver['until']})",
            }
        ]
    return result
