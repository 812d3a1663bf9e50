# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Host classes: limits of their own for some hosts, read with all problems at once."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.report import render_html
from hypothesis import given, settings
from hypothesis import strategies as st
from sizing_cases import TODAY, cluster, levels, only, plan, problems_of, vm


def of(own: Any, hosts: Any = ("kvm2",), **base: Any) -> dict[str, Any]:
    return {"classes": {"small": {"hosts": list(hosts), "rules": own}}, **base}


@pytest.mark.parametrize(
    ("rules", "size", "rule", "host"),
    [
        ({"vm-share": {"limit": 0.1}}, {"vcpus": 4}, "vm-share", "kvm2"),
        ({"vm-share": {"limit": 0.1}}, {"memory_mib": 6554}, "vm-share", "kvm2"),
        ({"cpu-overcommit": {"limit": 0.25}}, {"vcpus": 9}, "cpu-overcommit", "kvm2"),
        ({"cpu-overcommit": {"limit": 0.625, "cpu_unit": "core"}}, {"vcpus": 11}, "cpu-overcommit", "kvm2"),
        ({"storage-capacity": {"limit": 0.1}}, {"disk_gib": 101}, "storage-capacity", "kvm2"),
    ],
)
def test_a_class_has_limits_of_its_own(rules: Any, size: dict[str, int], rule: str, host: str) -> None:
    vms = [vm("a", host="kvm1", **size), vm("b", host="kvm2", **size)]
    assert plan(cluster(2), vms)["verdict"] == "admitted"
    made = plan(cluster(2), vms, of(rules))
    assert only(made, rule)["host"] == host
    # One less passes: limits are inclusive in a class, too.
    key = next(iter(size))
    assert plan(cluster(2), [{**entry, key: size[key] - 1} for entry in vms], of(rules))["verdict"] == "admitted"


def test_what_is_free_goes_where_its_class_has_room() -> None:
    vms = [vm(f"v{i}") for i in range(9)]
    made = plan(cluster(2), vms, of({"consolidation": {"min": 1, "max": 2}}))
    assert made["verdict"] == "admitted"
    assert list(made["placements"].values()).count("kvm2") == 2
    assert levels(made, "consolidation") == []


def test_levels_of_a_class() -> None:
    vms = [vm(f"v{i:02}", host=f"kvm{1 + i % 2}") for i in range(22)]
    made = plan(cluster(2), vms, of({"consolidation": {"level": "warn"}}))
    assert [(f["host"], f["level"]) for f in made["findings"]] == [("kvm1", "deny"), ("kvm2", "warn")]
    made = plan(
        cluster(2), vms[:2], of({"consolidation": {"level": "deny"}}, rules={"consolidation": {"level": "off"}})
    )
    assert [(f["host"], f["level"], f["limit"]) for f in made["findings"]] == [("kvm2", "warn", 4)]
    quiet = {"consolidation": {"min_level": "off"}}
    assert plan(cluster(2), vms[:2], of({"consolidation": {"max": 5}}, rules=quiet))["findings"] == []


def test_a_waiver_holds_in_a_class() -> None:
    waiver = {"rule": "vm-share", "host": "kvm2", "reason": "r", "owner": "o", "until": TODAY}
    policy = of({"vm-share": {"limit": 0.1}}, waivers=[waiver])
    made = plan(cluster(2), [vm("b", 8, host="kvm2")], policy)
    assert made["verdict"] == "admitted"
    assert only(made, "vm-share", "waived")["limit"] == 0.1


def test_outputs_name_the_class_and_what_differs() -> None:
    made = plan(cluster(2), [vm("a")], of({"cpu-overcommit": {"limit": 1.5}}))
    options = {"level": "deny", "limit": 1.5, "cpu_unit": "thread"}
    assert made["classes"] == {"small": {"hosts": ["kvm2"], "rules": {"cpu-overcommit": options}}}
    assert "cpu-overcommit: level deny, limit 1.5, cpu unit thread" in render_html(made)


WHERE = "sizing_policy.classes"


@pytest.mark.parametrize(
    ("classes", "line"),
    [
        ([], f"{WHERE}: is a list, must be a mapping from a class's name"),
        ({"a": 1}, f"{WHERE}.a: is 1, must be a mapping such as"),
        ({"a": {}}, f"{WHERE}.a.hosts: is missing, must be a list of hosts"),
        ({"a": {"hosts": []}}, f"{WHERE}.a.hosts: is an empty list, must be a list of hosts"),
        ({"a": {"hosts": "kvm1"}}, f"{WHERE}.a.hosts: is 'kvm1', must be a list of hosts"),
        ({"a": {"hosts": ["kvn1"]}}, f"{WHERE}.a.hosts[0]: is 'kvn1', not a host of this plan; did you mean 'kvm1'?"),
        ({"a": {"hosts": [3]}}, f"{WHERE}.a.hosts[0]: is 3, not a host of this plan"),
        ({"a": {"hosts": ["kvm1"]}, "b": {"hosts": ["kvm1"]}}, f"{WHERE}.b.hosts: names kvm1, which is in class a"),
        ({"a": {"hosts": ["kvm1"], "rule": {}}}, f"{WHERE}.a.rule: is not known; did you mean 'rules'?"),
        ({"a": {"hosts": ["kvm1"], "vm-share": {}}}, f"{WHERE}.a.vm-share: is not known; rules stand under rules"),
        ({"a": {"hosts": ["kvm1"], "rules": 5}}, f"{WHERE}.a.rules: is 5, must be a mapping from rule id"),
        ({"a": {"hosts": ["kvm1"], "rules": {"x": {}}}}, f"{WHERE}.a.rules.x: is not a rule; known are:"),
        (
            {"a": {"hosts": ["kvm1"], "rules": {"failover": {"level": "off"}}}},
            f"{WHERE}.a.rules.failover: is not measured on single hosts; set it under sizing_policy.rules.failover",
        ),
        (
            {"a": {"hosts": ["kvm1"], "rules": {"memory-overcommit": {"limit": 2}}}},
            f"{WHERE}.a.rules.memory-overcommit.limit: is one for all hosts; set it under sizing_policy.rules.memory-o",
        ),
        ({"a": {"hosts": ["kvm1"], "rules": {"vm-share": 1}}}, f"{WHERE}.a.rules.vm-share: is 1, must be a mapping"),
        (
            {"a": {"hosts": ["kvm1"], "rules": {"consolidation": {"min": 11}}}},
            f"{WHERE}.a.rules.consolidation.min: is 11, above max 10",
        ),
    ],
)
def test_a_bad_class(classes: Any, line: str) -> None:
    lines = problems_of(cluster(1), [vm("a")], {"classes": classes})
    assert len(lines) == 1
    assert lines[0].startswith(line)


def test_all_problems_of_classes_at_once() -> None:
    rules = {"vm-share": {"limit": 0}, "consolidation": {"max": "x"}, "y": {}}
    lines = problems_of(cluster(1), [vm("a")], {"classes": {"a": {"hosts": ["no"], "rules": rules}, "b": 1}})
    assert len(lines) == 5


LIMITS = st.sampled_from([0.05, 0.1, 0.25, 0.5, 1.5])


@settings(max_examples=60)
@given(LIMITS, LIMITS, st.integers(1, 4), st.lists(st.integers(1, 12), max_size=6))
def test_a_class_of_all_hosts_is_the_policy_of_all_hosts(share: float, cpu: float, most: int, sizes: list[int]) -> None:
    rules = {"vm-share": {"limit": share}, "cpu-overcommit": {"limit": cpu}, "consolidation": {"min": 1, "max": most}}
    vms = [vm(f"v{i}", size, 500 * size) for i, size in enumerate(sizes)]
    by_class = plan(cluster(2), vms, of(rules, ("kvm1", "kvm2")))
    by_rule = plan(cluster(2), vms, {"rules": rules})
    for key in ("verdict", "placements", "findings", "hosts", "failover"):
        assert by_class[key] == by_rule[key]
