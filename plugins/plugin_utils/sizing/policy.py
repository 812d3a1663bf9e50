# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules' ids, defaults and options, and how a policy from the inventory is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from fractions import Fraction
from typing import Any

from ansible_collections.croft.infra.plugins.plugin_utils.sizing.model import WORKLOADS, HostClass, Policy, Waiver
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.values import (
    MISSING,
    Problems,
    as_choice,
    as_number,
    as_whole,
    did_you_mean,
    say,
)

LEVEL_CHOICES = ("deny", "warn", "off")

# What each rule says, for reports; the order is the order of the architecture page and of every output.
TITLES: dict[str, str] = {
    "vm-share": "One VM takes at most this share of a host's CPU and of its memory",
    "io-workload": "A workload that lives on disk I/O does not go into a VM",
    "consolidation": "VMs per host stay between a minimum and a maximum",
    "cpu-overcommit": "vCPUs per hardware thread or core",
    "memory-overcommit": "Memory of all VMs over the memory that is left for them",
    "failover": "Every single host may die, and its HA VMs still fit elsewhere",
    "storage-capacity": "What was promised fits the storage pool, also when a host of it is lost",
    "affinity": "Anti-affinity groups are on different hosts, affinity groups on one",
    "host-overhead": "Reserve, QEMU overhead and OSD memory are subtracted before any ratio",
    "unmanaged": "VMs that run there and are not in the inventory count too",
    "container-capacity": "What containers reserve on a node fits what the node has for them",
    "container-spread": "Replicas of a container are on different machines, as evenly as there are machines",
    "container-workload": "A container that lives on disk I/O is on a machine with fast disks of its own, not in a VM",
}

# Findings that are not rules: remarks about the run itself. They have no level in a policy.
REMARKS: dict[str, str] = {
    "input": "What was given can be read",
    "placement-drift": "A VM runs where its pin says",
    "maintenance": "A host that is not in maintenance takes what is new",
    "numa": "A VM fits one NUMA node of its host",
    "waiver": "Waivers are in date and needed",
}

DEFAULTS: dict[str, dict[str, Any]] = {
    "vm-share": {"level": "deny", "limit": Fraction(2, 5)},
    "io-workload": {"level": "deny", "workloads": ("database", "message_queue", "search_engine")},
    "consolidation": {"level": "deny", "min": 4, "max": 10, "min_level": "warn"},
    "cpu-overcommit": {"level": "deny", "limit": Fraction(2), "cpu_unit": "thread"},
    "memory-overcommit": {"level": "deny", "limit": Fraction(1)},
    "failover": {"level": "deny", "host_failures_tolerated": 1},
    "storage-capacity": {
        "level": "deny",
        "limit": Fraction(1),
        "replicas": 3,
        "near_full": Fraction(17, 20),
        "host_failures": 1,
    },
    "affinity": {"level": "deny"},
    "host-overhead": {"qemu_overhead_mib": 65, "osd_memory_mib": 4096},
    "unmanaged": {},
    "container-capacity": {"level": "deny", "limit": Fraction(1), "node_memory_mib": 256},
    "container-spread": {"level": "deny"},
    "container-workload": {"level": "deny", "workloads": ("database", "message_queue", "search_engine")},
}

CONTAINER_RULES = ("container-capacity", "container-spread", "container-workload")

# What a waiver of the rule may name: what the rule is measured on.
SCOPES: dict[str, tuple[str, ...]] = {
    "vm-share": ("vm", "host"),
    "io-workload": ("vm",),
    "consolidation": ("host",),
    "cpu-overcommit": ("host",),
    "memory-overcommit": ("host",),
    "failover": ("vm", "host"),
    "storage-capacity": ("host",),
    "affinity": ("vm", "host"),
    "container-capacity": ("host",),
    "container-spread": ("container",),
    "container-workload": ("container",),
}

# What a class of hosts may have of its own: what is measured on a host. The limit of memory-overcommit is one for all
# hosts, since a VM's weight beside its QEMU overhead depends on it; of the shared pools there is only one.
CLASS_RULES: dict[str, tuple[str, ...]] = {
    "vm-share": ("level", "limit"),
    "consolidation": ("level", "min", "max", "min_level"),
    "cpu-overcommit": ("level", "limit", "cpu_unit"),
    "memory-overcommit": ("level",),
    "storage-capacity": ("level", "limit"),
}

_POLICY_KEYS = ("rules", "waivers", "placement", "classes")
_CLASS_KEYS = ("hosts", "rules")
_SUBJECTS = {"vm": "a VM of virtual_machines", "host": "a host of this plan", "container": "one of containers"}
_WAIVER_KEYS = ("rule", *_SUBJECTS, "reason", "owner", "until")


def default_policy() -> Policy:
    """The rules as the design gives them, no waivers."""
    return Policy(rules={rule: dict(options) for rule, options in DEFAULTS.items()})


def parse_policy(  # noqa: PLR0913
    raw: Any,
    problems: Problems,
    hosts: Iterable[str] = (),
    vms: Iterable[str] = (),
    *,
    containers: Iterable[str] | None = None,
    nodes: Iterable[str] | None = None,
) -> Policy:
    """Read ``sizing_policy``; each problem becomes one line in ``problems``, and the default stands in for the value.

    ``hosts``, ``vms``, ``containers`` and ``nodes`` are the names that a waiver may speak of; None: not known here.
    """
    if raw is None or raw is MISSING:
        return default_policy()
    if not isinstance(raw, Mapping):
        problems.add("sizing_policy", f"is {say(raw)}, must be a mapping with the keys {', '.join(_POLICY_KEYS)}")
        return default_policy()
    for key in raw:
        if key not in _POLICY_KEYS:
            problems.add(f"sizing_policy.{key}", f"is not known; {_misplaced(key)}")
    placement = as_choice(raw.get("placement", "spread"), ("spread", "pack"), "sizing_policy.placement", problems)
    names = tuple(hosts)
    rules = _parse_rules(raw.get("rules"), problems)
    classes = _parse_classes(raw.get("classes"), rules, problems, names)
    return Policy(
        rules=rules,
        classes=classes,
        by_host={host: its for its in classes for host in its.hosts},
        waivers=_parse_waivers(
            raw.get("waivers"),
            problems,
            {
                "host": set(names),
                "vm": set(vms),
                "container": None if containers is None else set(containers),
                "node": None if nodes is None else set(nodes),
            },
        ),
        placement=placement or "spread",
    )


def _misplaced(key: Any) -> str:
    if key in DEFAULTS:
        return f"rules stand under sizing_policy.rules: {{{key}: ...}}"
    for rule, options in DEFAULTS.items():
        if key in options and key not in ("level", "limit"):
            return f"it belongs to sizing_policy.rules: {{{rule}: {{{key}: ...}}}}"
    return did_you_mean(key, _POLICY_KEYS)


def _parse_rules(raw: Any, problems: Problems) -> dict[str, dict[str, Any]]:
    rules = {rule: dict(options) for rule, options in DEFAULTS.items()}
    if raw is None:
        return rules
    if not isinstance(raw, Mapping):
        problems.add("sizing_policy.rules", f"is {say(raw)}, must be a mapping from rule id to its options")
        return rules
    for rule, options in raw.items():
        where = f"sizing_policy.rules.{rule}"
        if rule not in DEFAULTS:
            problems.add(where, f"is not a rule; {did_you_mean(rule, tuple(DEFAULTS))}")
        elif not isinstance(options, Mapping):
            problems.add(where, f"is {say(options)}, must be a mapping such as {{level: warn}}")
        else:
            for key, value in options.items():
                parsed = _parse_option(rule, str(key), value, f"{where}.{key}", problems)
                if parsed is not None:
                    rules[rule][str(key)] = parsed
    _settle_consolidation(rules["consolidation"], "sizing_policy.rules", problems)
    return rules


def _settle_consolidation(rule: dict[str, Any], where: str, problems: Problems) -> None:
    if rule["level"] != "deny" and rule["min_level"] != "off":
        # The level of the whole rule is an upper bound: a rule that is off has no lower half left.
        rule["min_level"] = rule["level"]
    if rule["min"] > rule["max"]:
        problems.add(
            f"{where}.consolidation.min", f"is {rule['min']}, above max {rule['max']}; give a min that is at most max"
        )


def _parse_classes(
    raw: Any, rules: Mapping[str, Mapping[str, Any]], problems: Problems, hosts: tuple[str, ...]
) -> tuple[HostClass, ...]:
    if raw is None:
        return ()
    if not isinstance(raw, Mapping):
        problems.add(
            "sizing_policy.classes", f"is {say(raw)}, must be a mapping from a class's name to hosts and rules"
        )
        return ()
    owners: dict[str, str] = {}
    classes = []
    for key, given in raw.items():
        name = str(key)
        where = f"sizing_policy.classes.{name}"
        if not isinstance(given, Mapping):
            problems.add(where, f"is {say(given)}, must be a mapping such as {{hosts: [kvm1], rules: {{}}}}")
            continue
        for inner in given:
            if inner not in _CLASS_KEYS:
                problems.add(f"{where}.{inner}", f"is not known; {_misplaced_in_class(inner)}")
        members = _parse_class_hosts(given.get("hosts"), f"{where}.hosts", problems, hosts)
        for host in members:
            if owners.setdefault(host, name) != name:
                problems.add(f"{where}.hosts", f"names {host}, which is in class {owners[host]}; leave it in one")
        own, changed = _parse_class_rules(given.get("rules"), rules, f"{where}.rules", problems)
        classes.append(HostClass(name, tuple(sorted(members)), own, changed))
    return tuple(sorted(classes, key=lambda its: its.name))


def _misplaced_in_class(key: Any) -> str:
    return f"rules stand under rules: {{{key}: ...}}" if key in DEFAULTS else did_you_mean(key, _CLASS_KEYS)


def _parse_class_hosts(raw: Any, where: str, problems: Problems, hosts: tuple[str, ...]) -> list[str]:
    if raw is None or isinstance(raw, (str, bytes)) or not isinstance(raw, Sequence) or not raw:
        what = "missing" if raw is None else ("an empty list" if isinstance(raw, (list, tuple)) else say(raw))
        problems.add(where, f"is {what}, must be a list of hosts, for example the hosts of an inventory group")
        return []
    members = []
    for index, host in enumerate(raw):
        if not isinstance(host, str) or host not in hosts:
            problems.add(f"{where}[{index}]", f"is {say(host)}, not a host of this plan; {did_you_mean(host, hosts)}")
        elif host not in members:
            members.append(host)
    return members


def _parse_class_rules(
    raw: Any, rules: Mapping[str, Mapping[str, Any]], where: str, problems: Problems
) -> tuple[dict[str, dict[str, Any]], tuple[str, ...]]:
    """The rules of all hosts with the class's own options in them, and which of them it names."""
    own = {rule: dict(options) for rule, options in rules.items()}
    if raw is None:
        return own, ()
    if not isinstance(raw, Mapping):
        problems.add(where, f"is {say(raw)}, must be a mapping from rule id to its options")
        return own, ()
    changed = []
    for rule, options in raw.items():
        here = f"{where}.{rule}"
        if rule not in DEFAULTS:
            problems.add(here, f"is not a rule; {did_you_mean(rule, tuple(CLASS_RULES))}")
        elif rule not in CLASS_RULES:
            problems.add(here, f"is not measured on single hosts; set it under sizing_policy.rules.{rule}")
        elif not isinstance(options, Mapping):
            problems.add(here, f"is {say(options)}, must be a mapping such as {{level: warn}}")
        else:
            changed.append(str(rule))
            for key, value in options.items():
                if key in DEFAULTS[rule] and key not in CLASS_RULES[rule]:
                    problems.add(
                        f"{here}.{key}", f"is one for all hosts; set it under sizing_policy.rules.{rule}.{key}"
                    )
                    continue
                parsed = _parse_option(rule, str(key), value, f"{here}.{key}", problems)
                if parsed is not None:
                    own[rule][str(key)] = parsed
    if "consolidation" in changed:
        if "min_level" not in raw["consolidation"] and rules["consolidation"]["level"] != "deny":
            # What the rule of all hosts has lost by its level, a class that is stricter gets back.
            own["consolidation"]["min_level"] = DEFAULTS["consolidation"]["min_level"]
        _settle_consolidation(own["consolidation"], where, problems)
    return own, tuple(rule for rule in DEFAULTS if rule in changed)


def _parse_option(rule: str, key: str, value: Any, where: str, problems: Problems) -> Any:
    """The option's value in its type, or None and a line."""
    if key not in DEFAULTS[rule]:
        if key == "level":
            problems.add(where, f"is not known; {rule} always counts and has no level")
        else:
            options = tuple(DEFAULTS[rule]) or ("nothing",)
            problems.add(where, f"is not known; {did_you_mean(key, options)}")
        return None
    parsed: Any
    if key in ("level", "min_level"):
        # YAML 1.1 reads a bare `off` as false.
        parsed = as_choice("off" if value is False else value, LEVEL_CHOICES, where, problems)
    elif key == "cpu_unit":
        parsed = as_choice(value, ("thread", "core"), where, problems)
    elif key == "workloads":
        parsed = _parse_workloads(value, where, problems)
    elif key in ("host_failures_tolerated", "host_failures"):
        parsed = as_whole(value, where, problems, "hosts", least=0)
    elif key == "replicas":
        parsed = as_whole(value, where, problems, "copies", least=1)
    elif key in ("min", "max", "qemu_overhead_mib", "osd_memory_mib", "node_memory_mib"):
        unit = "VMs" if key in ("min", "max") else "MiB"
        parsed = as_whole(value, where, problems, unit, least=1 if key == "max" else 0)
    else:
        parsed = as_number(value, where, problems, most=Fraction(1) if key == "near_full" else None)
    return parsed


def _parse_workloads(value: Any, where: str, problems: Problems) -> tuple[str, ...] | None:
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        problems.add(where, f"is {say(value)}, must be a list of workloads")
        return None
    chosen = [as_choice(item, WORKLOADS, f"{where}[{index}]", problems) for index, item in enumerate(value)]
    return tuple(item for item in chosen if item is not None)


def _parse_waivers(raw: Any, problems: Problems, known: Mapping[str, set[str] | None]) -> tuple[Waiver, ...]:
    if raw is None:
        return ()
    if isinstance(raw, (str, bytes)) or not isinstance(raw, Sequence):
        problems.add("sizing_policy.waivers", f"is {say(raw)}, must be a list of waivers")
        return ()
    parsed = [_parse_waiver(item, f"sizing_policy.waivers[{i}]", problems, known) for i, item in enumerate(raw)]
    waivers = [waiver for waiver in parsed if waiver is not None]
    return tuple(
        sorted(waivers, key=lambda w: (w.rule, w.vm or "", w.host or "", w.container or "", w.until, w.owner, w.reason))
    )


def _parse_waiver(raw: Any, where: str, problems: Problems, known: Mapping[str, set[str] | None]) -> Waiver | None:
    if not isinstance(raw, Mapping):
        problems.add(where, f"is {say(raw)}, must be a mapping with rule, vm or host, reason, owner and until")
        return None
    before = len(problems.found)
    for key in raw:
        if key not in _WAIVER_KEYS:
            problems.add(f"{where}.{key}", f"is not known; {did_you_mean(key, _WAIVER_KEYS)}")
    rule = raw.get("rule")
    if rule is None:
        problems.add(f"{where}.rule", "is missing; name the rule that is waived")
    elif not isinstance(rule, str) or rule not in DEFAULTS:
        problems.add(f"{where}.rule", f"is {say(rule)}, not a rule; {did_you_mean(rule, tuple(SCOPES))}")
    elif rule not in SCOPES:
        problems.add(f"{where}.rule", f"is {say(rule)}, which always counts and cannot be waived")
    _check_subject(raw, rule, where, problems, known)
    for key, meaning in (("reason", "say why the rule may be broken"), ("owner", "name who answers for it")):
        text = raw.get(key)
        if text is None or (isinstance(text, str) and not text.strip()):
            problems.add(f"{where}.{key}", f"is missing; {meaning}")
        elif not isinstance(text, str):
            problems.add(f"{where}.{key}", f"is {say(text)}, must be a text; {meaning}")
    until = _parse_date(raw.get("until"), f"{where}.until", problems)
    if len(problems.found) > before or until is None:
        return None
    return Waiver(
        rule=str(rule),
        reason=str(raw["reason"]).strip(),
        owner=str(raw["owner"]).strip(),
        until=until,
        vm=raw.get("vm"),
        host=raw.get("host"),
        container=raw.get("container"),
    )


def _check_subject(
    raw: Mapping[Any, Any], rule: Any, where: str, problems: Problems, known: Mapping[str, set[str] | None]
) -> None:
    given = [key for key in _SUBJECTS if raw.get(key) is not None]
    scopes = SCOPES.get(rule, ("vm", "host")) if isinstance(rule, str) else ("vm", "host")
    if len(given) != 1:
        named = f"names both {' and '.join(given)}" if given else "names neither vm nor host"
        problems.add(where, f"{named}; name one {' or one '.join(scopes)}")
        return
    kind = given[0]
    name = raw[kind]
    if kind not in scopes:
        problems.add(f"{where}.{kind}", f"is {say(name)}, but {rule} is measured per {scopes[0]}; name a {scopes[0]}")
        return
    names = known["node" if rule == "container-capacity" else kind]
    if names is not None and (not isinstance(name, str) or name not in names):
        what = "a node for containers" if rule == "container-capacity" else _SUBJECTS[kind]
        problems.add(f"{where}.{kind}", f"is {say(name)}, not {what}; {did_you_mean(name, tuple(names))}")


def _parse_date(value: Any, where: str, problems: Problems) -> date | None:
    if value is None:
        problems.add(where, "is missing; give the last day on which the waiver holds, as YYYY-MM-DD")
        return None
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    if isinstance(value, str):
        try:
            return date.fromisoformat(value.strip())
        except ValueError:
            pass
    problems.add(where, f"is {say(value)}, not a date; give the last day on which the waiver holds, as YYYY-MM-DD")
    return None
