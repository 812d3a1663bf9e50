# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""plan.json against its schema, and the texts and files that are made from it."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ansible_collections.croft.infra.plugins.plugin_utils.sizing import policy
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.artifacts import files, render_junit, to_sarif
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.plan import make_plan
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.report import render_html
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.terminal import render_terminal, sets_line
from sizing_cases import TODAY, cluster, found, host, plan, rules, vm

SCHEMA = json.loads(
    (Path(__file__).parents[5] / "plugins/plugin_utils/sizing/schema/plan.schema.json").read_text(encoding="utf-8")
)
WAIVER = {"rule": "vm-share", "vm": "big1", "reason": "<new> hardware & more", "owner": "ops", "until": "2026-12-31"}
EXPIRED = {**WAIVER, "rule": "io-workload", "vm": "db1", "until": "2026-01-01"}


def admitted() -> dict[str, Any]:
    return plan(
        cluster(3), [vm(f"web{i}", ha=True, anti_affinity="web") for i in range(2)], storage_layout="centralized"
    )


def refused() -> dict[str, Any]:
    hosts = {**cluster(1, facts=[found("weird <name>", managed=False, disk_gib=1.5)]), "kvm2": host(memory_mib=4096)}
    vms = [vm("big1", memory_mib=30000, ha=True), vm("db1", workload="database"), vm("huge", memory_mib=60000)]
    return plan(hosts, vms, {"waivers": [WAIVER, EXPIRED]})


def unreadable() -> dict[str, Any]:
    made, problems = make_plan([], {}, [{"name": "<b>"}], storage_layout="nfs", today=TODAY)
    assert problems
    return made


def tight() -> dict[str, Any]:
    return plan(cluster(1, memory_mib=100, disk_gib=0), [vm(f"v{i}", memory_mib=1, host="kvm1") for i in range(3)])


def lost_sets() -> dict[str, Any]:
    policy = rules(failover={"host_failures_tolerated": 2}, memory_overcommit={})
    vms = [vm(f"v{i}", memory_mib=3000, host=f"kvm{i + 1}", ha=True) for i in range(3)]
    return plan(cluster(3, memory_mib=7000), vms, policy, storage_layout="centralized")


ALL = [admitted, refused, unreadable, tight, lost_sets]


@pytest.mark.parametrize("case", ALL)
def test_plan_json_is_what_its_schema_says(case: Any) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    made = json.loads(files(case())["plan.json"])
    errors = [error.message for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(made)]
    assert errors == []


def test_the_schema_holds_what_it_should() -> None:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    made = refused()
    for change in (
        {"verdict": "admitted"},
        {"schema_version": "2.0"},
        {"findings": [{**made["findings"][0], "rule": "vm-shares"}]},
        {"findings": []},
        {"extra": 1},
        {"placements": {"Not A Name": "kvm1"}},
    ):
        assert not validator.is_valid({**made, **change}), change
    assert set(SCHEMA["$defs"]["ruleId"]["enum"]) == set(policy.DEFAULTS) == set(policy.TITLES)
    assert set(SCHEMA["$defs"]["finding"]["properties"]["rule"]["enum"]) == {*policy.DEFAULTS, *policy.REMARKS}


@pytest.mark.parametrize("case", ALL)
def test_the_same_input_gives_the_same_bytes(case: Any) -> None:
    assert files(case()) == files(case())


def test_junit_fails_what_is_refused_and_skips_what_is_waived() -> None:
    root = ET.fromstring(render_junit(refused()))
    assert root.tag == "testsuites"
    suites = {suite.get("name"): suite for suite in root}
    share = suites["croft.vm-share"]
    assert (share.get("failures"), share.get("skipped")) == ("1", "1")
    assert [case.find("failure") is not None for case in share if case.get("name", "").startswith("huge")] == [True]
    skipped = share.find("testcase/skipped")
    assert skipped is not None
    assert "<new> hardware & more" in (skipped.get("message") or "")
    assert (
        int(root.get("tests", 0))
        == sum(int(suite.get("tests", 0)) for suite in root)
        == len(root.findall("*/testcase"))
    )
    assert int(root.get("failures", 0)) == len(root.findall("*/testcase/failure"))
    assert int(root.get("skipped", 0)) == len(root.findall("*/testcase/skipped"))


def test_junit_of_an_admitted_plan_has_no_failure() -> None:
    root = ET.fromstring(render_junit(admitted()))
    assert root.get("failures") == "0"
    assert {suite.get("name") for suite in root} >= {f"croft.{rule}" for rule in policy.DEFAULTS}


def test_junit_of_unreadable_input_fails_each_problem() -> None:
    made = unreadable()
    root = ET.fromstring(render_junit(made))
    assert len(root.findall("testsuite/testcase/failure")) == len(made["findings"])


@pytest.mark.parametrize("case", ALL)
def test_sarif_results_name_their_rules(case: Any) -> None:
    made = case()
    sarif = to_sarif(made)
    assert sarif["version"] == "2.1.0"
    (run,) = sarif["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert len(run["results"]) == len(made["findings"])
    for result, finding in zip(run["results"], made["findings"], strict=True):
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"] == finding["rule"]
        assert (
            result["level"] == {"deny": "error", "warn": "warning", "waived": "error", "info": "note"}[finding["level"]]
        )
        assert ("suppressions" in result) == (finding["level"] == "waived")
        assert result["message"]["text"].startswith(finding["message"])


class _Page(HTMLParser):
    """Collects what the page would load, and whether its tags are balanced."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loads += [value or "" for key, value in attrs if key in ("src", "href")]
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("case", ALL)
def test_the_report_is_one_page_that_loads_nothing(case: Any) -> None:
    text = render_html(case())
    page = _Page()
    page.feed(text)
    assert page.open == []
    assert page.loads == []
    assert not {"script", "link", "img", "iframe"} & page.tags
    assert "url(" not in text
    assert "@import" not in text
    assert 'name="viewport"' in text


def test_the_report_shows_everything_and_escapes_it() -> None:
    text = render_html(refused())
    for part in (
        "refused",
        "big1",
        "db1",
        "huge",
        "kvm2",
        "&lt;new&gt; hardware &amp; more",
        "weird &lt;name&gt;",
        "expired",
    ):
        assert part in text
    assert "<new>" not in text
    assert "&lt;b&gt;" in render_html(unreadable())


def test_the_terminal_shows_hosts_vms_and_findings() -> None:
    text = render_terminal(refused())
    lines = text.splitlines()
    assert lines[0] == "Plan refused: 2 hosts, 3 VMs (1 placed), storage local, 3 refusals, 3 warnings, 1 waived"
    assert [line for line in lines if re.match(r"kvm1 +2 +2/32", line)]
    assert [line for line in lines if line.startswith("huge  (none)")]
    assert [line for line in lines if line.startswith("REFUSED  vm-share: huge has no host")]
    assert [
        line for line in lines if line.startswith("waived  vm-share") and "until 2026-12-31: <new> hardware" in line
    ]
    assert not [line for line in lines if line != line.rstrip()]
    assert "REFUSED" not in render_terminal(refused(), refusals=False)


def test_the_terminal_cuts_long_lists_with_a_count() -> None:
    hosts = cluster(30)
    text = render_terminal(plan(hosts, [vm(f"v{i:03}", workload="database") for i in range(40)]))
    assert "... and 6 more hosts" in text
    assert "... and 10 more VMs" in text
    assert "... and 50 more findings" in text
    assert len(text.splitlines()) < 90


def test_the_table_of_a_death() -> None:
    text = render_terminal(admitted())
    assert "1 restart, 0 stay down" in text
    assert "(refused)" in render_terminal(refused())
    made = admitted()
    made["failover"][0].update(survives=False, exact=False)
    assert "(not proved)" in render_terminal(made)


def test_the_page_folds_notes_away_and_nothing_worse() -> None:
    made = refused()
    page, counts = render_html(made), made["summary"]["findings"]
    assert all(counts.values())
    assert re.findall(r'<details( open)?><summary class="(\w+)">([^<]*)</summary>', page) == [
        (" open", "deny", f"Refusals: {counts['deny']}"),
        (" open", "warn", f"Warnings: {counts['warn']}"),
        (" open", "waived", f"Waived: {counts['waived']}"),
        ("", "info", f"Notes: {counts['info']}"),
    ]


def test_bars_show_used_reserved_and_free() -> None:
    made = plan(
        cluster(1, reserved={"cpus": 4, "memory_mib": 8192}), [vm("a", 8, 16384, 250, host="kvm1")], rules(vm_share={})
    )
    bars = re.findall(
        r'aria-label="([^"]*)"><i style="width:([0-9.]+)%"></i><i class="kept" style="width:([0-9.]+)',
        render_html(made),
    )
    # CPU: 8 and 2.0 * 4 of the 64 vCPUs that are allowed; memory: 16384 and 8192 + 65 of 65536 MiB
    assert bars == [
        ("CPU: 8 vCPUs on 32 threads, 4 reserved", "12.50", "12.50"),
        ("Memory: 16 of 64 GiB, 8.1 reserved", "25.00", "12.60"),
        ("Storage: 250 of 1000 GiB", "25.00", "0.00"),
    ]


def test_cells_on_a_phone_are_named_by_their_column() -> None:
    page = render_html(admitted())
    for row in re.findall(r"<tr>(<td.*?)</tr>", page):
        assert row.count("<td") == row.count("data-label=")


def test_sets_of_hosts_are_said_on_the_page_and_on_the_terminal() -> None:
    said = "When 2 hosts die at once: 3 of 3 sets are not survived (all 3 examined)"
    assert said in render_terminal(lost_sets())
    page = render_html(lost_sets())
    assert said in page
    assert "kvm1 and kvm2" in page
    assert "When several hosts die at once" not in render_html(admitted())
    prints = [r["partialFingerprints"]["croft/v1"] for r in to_sarif(lost_sets())["runs"][0]["results"]]
    assert len(prints) == len(set(prints))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "every one of 6 sets is survived (all 6 examined)"),
        ({"examined": 0, "proof": "slots"}, "proved for all at once: the free slots suffice for the worst of them"),
        (
            {"survived": False, "proof": "bound", "examined": 5},
            "no set is known that is not survived (not proved: 5 of 6 examined, those that lose most memory)",
        ),
        ({"survived": False, "broken": 2}, "2 of 6 sets are not survived"),
    ],
)
def test_how_sets_are_said(changes: dict[str, Any], said: str) -> None:
    sets = {"hosts_that_die": 2, "sets": 6, "examined": 6, "proof": "all", "survived": True, "broken": 0, "lost": []}
    assert said in sets_line({**sets, **changes})
