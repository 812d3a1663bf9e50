# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Ceph cluster is wanted to be against what it is: configuration, CRUSH rule, pool, users. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Change:
    """One command to the mons, and the words for it."""

    text: str
    prefix: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


def config_changes(
    wanted: Mapping[str, Mapping[str, Any]], found: Iterable[Mapping[str, Any]], ours: Iterable[str] = ()
) -> list[Change]:
    """Options of the mons' configuration database that differ. Values are compared as text, as Ceph keeps them, and
    numbers as numbers: it writes 2 seconds as 2.000000.

    `found` is `ceph config dump`. Options in `ours` (like `global/ms_client_mode`) are taken away when they are there
    and not wanted; what somebody else set stays.
    """
    there = {(entry["section"], entry["name"]): str(entry["value"]) for entry in found if not entry.get("mask")}
    changes = []
    for who, options in sorted(wanted.items()):
        for name, value in sorted(options.items()):
            text = config_text(value)
            old = there.get((who, name))
            if old is None or not _same_value(old, text):
                said = f"config {who} {name} = {text}" + (f" (was {old})" if old is not None else "")
                changes.append(Change(said, "config set", {"who": who, "name": name, "value": text}))
    for entry in ours:
        who, _slash, name = entry.partition("/")
        if (who, name) in there and name not in wanted.get(who, {}):
            said = f"config {who} {name}: back to the default (was {there[who, name]})"
            changes.append(Change(said, "config rm", {"who": who, "name": name}))
    return changes


def config_text(value: Any) -> str:
    """A value as Ceph's configuration database shows it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _same_value(one: str, other: str) -> bool:
    if one == other:
        return True
    try:
        return float(one) == float(other)
    except ValueError:
        return False


def user_changes(wanted: Mapping[str, Mapping[str, str]], found: Iterable[Mapping[str, Any]]) -> list[Change]:
    """Users that are missing or have other rights; `found` is auth_dump of `ceph auth ls`. Others are left alone."""
    there = {entry["entity"]: dict(entry["caps"]) for entry in found}
    changes = []
    for entity, caps in sorted(wanted.items()):
        flat = [part for daemon, cap in sorted(caps.items()) for part in (daemon, cap)]
        if entity not in there:
            changes.append(Change(f"user {entity}: make", "auth get-or-create", {"entity": entity, "caps": flat}))
        elif there[entity] != dict(caps):
            said = f"user {entity}: rights {_caps(caps)} (were {_caps(there[entity])})"
            changes.append(Change(said, "auth caps", {"entity": entity, "caps": flat}))
    return changes


def _caps(caps: Mapping[str, str]) -> str:
    return ", ".join(f"{daemon} '{cap}'" for daemon, cap in sorted(caps.items())) or "none"


def rule_changes(wanted: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> list[Change]:
    """The CRUSH rule when it is not there: replicas on different `failure_domain`s, on disks of `device_class`."""
    if any(rule["rule_name"] == wanted["name"] for rule in found):
        return []
    arguments = {"name": wanted["name"], "root": "default", "type": wanted["failure_domain"]}
    kind = ""
    if wanted.get("device_class"):
        arguments["class"] = wanted["device_class"]
        kind = f" on {wanted['device_class']}"
    said = f"CRUSH rule {wanted['name']}: copies on different {wanted['failure_domain']}s{kind}"
    return [Change(said, "osd crush rule create-replicated", arguments)]


def pool_changes(
    wanted: Mapping[str, Any], found: Sequence[Mapping[str, Any]], rules: Mapping[str, int]
) -> list[Change]:
    """The pool when it is missing, and what of it differs. The number of placement groups is the autoscaler's later on.

    `found` is `pools` of `ceph osd dump`, `rules` the id of each CRUSH rule by name.
    """
    name = wanted["name"]
    pool = next((entry for entry in found if entry["pool_name"] == name), None)
    changes = []
    if pool is None:
        arguments = {
            "pool": name,
            "pool_type": "replicated",
            "pg_num": wanted["pg_num"],
            "rule": wanted["rule"],
            "size": wanted["size"],
        }
        changes.append(Change(f"pool {name}: make, size {wanted['size']}", "osd pool create", arguments))
        pool = {"size": wanted["size"], "crush_rule": rules.get(wanted["rule"], -1), "application_metadata": {}}
    differing = {
        "size": pool["size"] != wanted["size"],
        "min_size": pool.get("min_size") != wanted["min_size"],
        "pg_autoscale_mode": pool.get("pg_autoscale_mode") != wanted["pg_autoscale_mode"],
        # A rule that was not there when the pool was looked at is the one that the pool has just been made with.
        "crush_rule": wanted["rule"] in rules and pool["crush_rule"] != rules[wanted["rule"]],
    }
    values = {**wanted, "crush_rule": wanted["rule"]}
    for option, differs in differing.items():
        if differs:
            old = f" (was {pool[option]})" if option in pool and pool[option] is not None else ""
            said = f"pool {name}: {option} {values[option]}{old}"
            changes.append(
                Change(said, "osd pool set", {"pool": name, "var": option, "val": config_text(values[option])})
            )
    if "rbd" not in pool["application_metadata"]:
        said = f"pool {name}: for rbd"
        changes.append(Change(said, "osd pool application enable", {"pool": name, "app": "rbd"}))
    return changes


def module_changes(unwanted: Iterable[str], enabled: Iterable[str]) -> list[Change]:
    """Modules of the mgr that are switched off; `enabled` is enabled_modules of `ceph mgr module ls`."""
    there = set(enabled)
    return [
        Change(f"mgr module {name}: switch off", "mgr module disable", {"module": name})
        for name in unwanted
        if name in there
    ]


def stray_osds(found: Iterable[Mapping[str, Any]], on_hosts: Iterable[str]) -> list[Change]:
    """OSDs that a run which was cut off had announced and never made: they never started, and no host has their disk.

    `found` is `osds` of `ceph osd dump`, `on_hosts` the UUIDs of the OSDs that hosts have.
    """
    known = set(on_hosts)
    return [
        Change(
            f"osd.{osd['osd']}: was announced and never made; forget it",
            "osd purge-new",
            {"id": osd["osd"], "yes_i_really_mean_it": True},
        )
        for osd in found
        if "new" in osd["state"] and not osd["up_from"] and osd["uuid"] not in known
    ]
