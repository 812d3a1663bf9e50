# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan, the inventory and the role's variables, read into a Cluster; all problems at once, one line each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from ansible_collections.croft.infra.plugins.plugin_utils.ha.fencing import DEVICES, parse_fencing
from ansible_collections.croft.infra.plugins.plugin_utils.ha.model import Cluster, Group, HaVm, Settings
from ansible_collections.croft.infra.plugins.plugin_utils.ha.room import Room
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.failover import Failover
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.model import Inputs, VirtualMachine
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.parse import parse_virtual_machines
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.reading import as_plan
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.text import counted, listed
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.values import (
    Problems,
    as_choice,
    as_flag,
    as_whole,
    did_you_mean,
    say,
)
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.whatif import inputs_of

# What a VM's wish for a host weighs; less than the stickiness of what runs, so that no wish moves a running VM.
TABLE_SCORE = 100
PIN_SCORE = 50
# A rule that only warns is kept where there is a choice.
WARN_SCORE = 20
LEAST_STICKINESS = 1000
# Below all others: a VM for which the plan has no place when its host dies takes none from one that has.
LAST = -1
QUORATE = 3

# Installed by role ceph; see module_utils/ceph_fenced.py.
CEPH_ALERT = {"croft-ceph-fenced": "/usr/lib/croft/ceph-fenced"}

_CHOICES = {
    "ha_cluster_placement_strategy": ("balanced", ("balanced", "utilization")),
    "ha_cluster_no_quorum_policy": ("stop", ("stop", "freeze", "suicide", "demote")),
}
# Default, least, unit.
_WHOLE = {
    "ha_cluster_fencing_timeout": (120, 1, "seconds"),
    "ha_cluster_priority_fencing_delay": (0, 0, "seconds"),
    "ha_cluster_recheck_interval": (60, 1, "seconds"),
    "ha_cluster_migration_limit": (2, 1, "migrations"),
    "ha_cluster_migration_threshold": (3, 1, "failures"),
    "ha_cluster_failure_timeout": (600, 0, "seconds"),
    "ha_cluster_stickiness": (LEAST_STICKINESS, LEAST_STICKINESS, "points"),
    "ha_cluster_start_timeout": (180, 1, "seconds"),
    "ha_cluster_stop_timeout": (180, 1, "seconds"),
    "ha_cluster_monitor_interval": (10, 1, "seconds"),
    "ha_cluster_monitor_timeout": (30, 1, "seconds"),
    "ha_cluster_migrate_timeout": (600, 1, "seconds"),
    "ha_cluster_watchdog_timeout": (10, 1, "seconds"),
}
SECRETS_DIR = "/etc/croft/ha/fence"
_PATHS = {"ha_cluster_config_dir": "/etc/croft/ha", "ha_cluster_secrets_dir": SECRETS_DIR}
_FLAGS = {"ha_cluster_accept_no_fencing": False}
_OTHERS = (
    "ha_cluster_quorum_device",
    "ha_cluster_shared_fence_devices",
    "ha_cluster_start_order",
    "ha_cluster_priorities",
)
SETTINGS = (*_CHOICES, *_WHOLE, *_PATHS, *_FLAGS, *_OTHERS)


def read_cluster(plan: Any, virtual_machines: Any, hosts: Any, settings: Any) -> tuple[Cluster | None, list[str]]:
    """The cluster, or None and what is wrong.

    ``plan``: of plan.json's shape, admitted. ``virtual_machines``: the inventory's, where the pins are.
    ``hosts``: host to its variables, of which ``ha_cluster_fence_devices`` is read. ``settings``: the variables of the
    role, of which those that are not in ``SETTINGS`` are the role's own business.
    """
    problems = Problems()
    known = as_plan(plan)
    given = settings if isinstance(settings, Mapping) else {}
    if settings is not None and not isinstance(settings, Mapping):
        problems.add("settings", f"is {say(settings)}, must be a mapping of the role's variables")
    own = hosts if isinstance(hosts, Mapping) else {}
    if not isinstance(hosts, Mapping):
        problems.add("hosts", f"is {say(hosts)}, must be a mapping from each host to its variables")
    parsed = _parse_settings(given, problems)
    names = tuple(known["hosts"])
    _check_hosts(names, own, given, problems)
    devices, levels = parse_fencing(
        {name: own[name].get(DEVICES) for name in names if isinstance(own.get(name), Mapping)},
        given.get("ha_cluster_shared_fence_devices"),
        parsed.secrets_dir,
        problems,
    )
    _check_fencing(names, {level.host for level in levels}, parsed, problems)
    if known["verdict"] != "admitted" or not known["hosts"]:
        problems.add("plan", "is refused, and a cluster restarts only what a plan admits; see its findings")
        return None, problems.lines
    inputs = inputs_of(known)
    wished = {vm.name: vm for vm in parse_virtual_machines(virtual_machines, problems, names)}
    ha = [vm for vm in inputs.virtual_machines if vm.ha]
    _check_vms(ha, wished, inputs, problems)
    named = {vm.name for vm in ha}
    priorities = _parse_priorities(given.get("ha_cluster_priorities"), named, problems)
    order = _parse_order(given.get("ha_cluster_start_order"), named, problems)
    if problems.found:
        return None, problems.lines
    room = Room(inputs)
    prefers = _preferences(known, inputs, room, {name: vm.host for name, vm in wished.items()})
    lost = {vm["name"] for death in known["failover"] for vm in death["virtual_machines"] if not vm["to"]}
    together, apart = _groups(inputs, [vm for vm in ha if vm.state == "running"])
    vms = tuple(
        HaVm(
            name=vm.name,
            running=vm.state == "running",
            takes=room.takes(vm),
            prefers=prefers[vm.name],
            never=room.never(vm),
            priority=priorities.get(vm.name, LAST if vm.name in lost else 0),
        )
        for vm in ha
    )
    nodes = tuple(room.node(i) for i in range(len(names)))
    alerts = CEPH_ALERT if inputs.storage_layout == "distributed" else {}
    return Cluster(parsed, nodes, devices, levels, vms, together, apart, order, alerts), []


# --- the role's variables ---------------------------------------------------------------------------------------------


def _parse_settings(given: Mapping[str, Any], problems: Problems) -> Settings:
    found: dict[str, Any] = {}
    for name, (usual, choices) in _CHOICES.items():
        found[name] = as_choice(given.get(name, usual), choices, name, problems) or usual
    for name, (default, least, unit) in _WHOLE.items():
        whole = as_whole(given.get(name, default), name, problems, unit, least=least)
        found[name] = default if whole is None else whole
    for name, flag in _FLAGS.items():
        found[name] = as_flag(given.get(name, flag), name, problems) or False
    for name, path in _PATHS.items():
        value: Any = given.get(name, path)
        if not isinstance(value, str) or not value.startswith("/"):
            problems.add(name, f"is {say(value)}, must be an absolute path")
            value = path
        found[name] = value.rstrip("/")
    return Settings(**{name.removeprefix("ha_cluster_"): value for name, value in found.items()})


def _check_hosts(names: Sequence[str], own: Mapping[str, Any], given: Mapping[str, Any], problems: Problems) -> None:
    for name in names:
        if own and not isinstance(own.get(name), Mapping):
            problems.add("hosts", f"has no variables of {name}, which is in the plan; give the variables of all hosts")
    device = given.get("ha_cluster_quorum_device")
    if device:
        _check_quorum_device(device, names, problems)
    elif len(names) < QUORATE:
        problems.add(
            "ha_cluster_quorum_device",
            f"is not set, and of {counted(len(names), 'host')} no majority is left when one dies; "
            f"name a quorum device, or make a cluster of {QUORATE} hosts or more",
        )


def _check_quorum_device(device: Any, names: Sequence[str], problems: Problems) -> None:
    where = "ha_cluster_quorum_device"
    if not isinstance(device, Mapping) or not isinstance(device.get("host"), str) or not device["host"]:
        problems.add(where, f"is {say(device)}, must name a machine of the inventory such as {{host: storage1}}")
        return
    if device["host"] in names:
        problems.add(
            where, f"names {device['host']}, a host that it would judge; name a machine that runs none of its VMs"
        )
    as_choice(device.get("algorithm", "ffsplit"), ("ffsplit", "lms"), f"{where}.algorithm", problems)
    for key in sorted(set(device) - {"host", "address", "algorithm"}):
        problems.add(where, f"has {key}, which is not known; it takes host, address and algorithm")


def _check_fencing(names: Iterable[str], fenced: set[str], settings: Settings, problems: Problems) -> None:
    for name in names:
        if name not in fenced and not settings.accept_no_fencing:
            problems.add(
                name,
                "has no fence device, and a VM of a silent host may start elsewhere only when that host is off for "
                f"certain; give {DEVICES}, or say ha_cluster_accept_no_fencing: true and lose that",
            )


def _check_vms(
    ha: Sequence[VirtualMachine], wished: Mapping[str, VirtualMachine], inputs: Inputs, problems: Problems
) -> None:
    if ha and inputs.storage_layout == "local":
        problems.add(
            "storage_layout",
            f"is local, where the disks of {listed([vm.name for vm in ha])} die with their host; move them to "
            "centralized or distributed storage, or set ha: false",
        )
    for vm in inputs.virtual_machines:
        if vm.name not in wished and not problems.found:
            problems.add("plan", f"has the VM {vm.name}, which virtual_machines has not; plan anew")


def _parse_priorities(raw: Any, ha: set[str], problems: Problems) -> dict[str, int]:
    if raw is None:
        return {}
    if not isinstance(raw, Mapping):
        problems.add("ha_cluster_priorities", f"is {say(raw)}, must be a mapping from a VM to a number")
        return {}
    found = {}
    for name, value in raw.items():
        where = f"ha_cluster_priorities.{name}"
        _check_name(name, where, ha, problems)
        found[str(name)] = as_whole(value, where, problems, "points", least=0, most=1_000_000) or 0
    return found


def _parse_order(raw: Any, ha: set[str], problems: Problems) -> tuple[tuple[str, str], ...]:
    """Pairs of first and then, from chains of names; a circle is a problem."""
    where = "ha_cluster_start_order"
    if raw is None:
        return ()
    if not isinstance(raw, Sequence) or isinstance(raw, (str, bytes)):
        problems.add(where, f"is {say(raw)}, must be a list of chains such as [[db1, app1, web1]]")
        return ()
    pairs: dict[tuple[str, str], None] = {}
    for index, chain in enumerate(raw):
        at = f"{where}[{index}]"
        if not isinstance(chain, Sequence) or isinstance(chain, (str, bytes)) or len(chain) < 2:  # noqa: PLR2004
            problems.add(at, f"is {say(chain)}, must be a list of two VMs or more, in the order in which they start")
            continue
        for name in chain:
            _check_name(name, at, ha, problems)
        pairs.update(dict.fromkeys((str(first), str(then)) for first, then in pairwise(chain)))
    circle = _circle(pairs)
    if circle:
        problems.add(where, f"goes round in a circle: {' > '.join(circle)}; take one of these steps out")
    return tuple(sorted(pairs))


def _circle(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """A way from a name back to it, or nothing."""
    after: dict[str, list[str]] = {}
    for first, then in pairs:
        after.setdefault(first, []).append(then)
    done: set[str] = set()
    for start in sorted(after):
        way, todo = [start], [iter(after[start])]
        while way:
            step = next(todo[-1], None)
            if step is None:
                done.add(way.pop())
                todo.pop()
            elif step in way:
                return [*way[way.index(step) :], step]
            elif step not in done:
                way.append(step)
                todo.append(iter(after.get(step, ())))
    return []


def _check_name(name: Any, where: str, ha: set[str], problems: Problems) -> None:
    if name not in ha:
        problems.add(where, f"names {say(name)}, no VM with ha: true; {did_you_mean(name, ha)}")


# --- what the plan says -----------------------------------------------------------------------------------------------


def _preferences(
    plan: Mapping[str, Any], inputs: Inputs, room: Room, pins: Mapping[str, str | None]
) -> dict[str, dict[str, int]]:
    """Each HA VM's wishes: its pin, and where the plan restarts it when that is needed.

    Pacemaker puts one VM after the other on a host that takes it. Where that could end with a VM left over, the plan's
    arrangement is written down; where any order succeeds it is not, so that the configuration does not follow each
    move of a VM.
    """
    wishes: dict[str, dict[str, int]] = {vm.name: {} for vm in inputs.virtual_machines if vm.ha}
    for name, own in wishes.items():
        pin = pins.get(name)
        if pin is not None:
            own[pin] = PIN_SCORE
    where = {vm.name: vm.host for vm in inputs.virtual_machines}
    if not Failover(inputs, room.board, 0, room.demands).any_order_survives(where):
        for death in plan["failover"]:
            for vm in death["virtual_machines"]:
                if vm["to"] and vm["name"] in wishes:
                    wishes[vm["name"]][vm["to"]] = TABLE_SCORE
    return {name: dict(sorted(own.items())) for name, own in wishes.items()}


def _groups(inputs: Inputs, running: Sequence[VirtualMachine]) -> tuple[tuple[Group, ...], tuple[Group, ...]]:
    """The groups that run together, and those that run apart where there is a choice.

    Groups that must be apart are utilization, see ``room``. A VM with a waiver in force is bound by neither.
    """
    level = inputs.policy.level("affinity")
    kept = {w.vm for w in inputs.policy.waivers if w.rule == "affinity"}
    if level == "off":
        return (), ()
    together: dict[str, list[str]] = {}
    apart: dict[str, list[str]] = {}
    for vm in running:
        if vm.name not in kept and vm.affinity is not None:
            together.setdefault(vm.affinity, []).append(vm.name)
        if vm.name not in kept and vm.anti_affinity is not None and level == "warn":
            apart.setdefault(vm.anti_affinity, []).append(vm.name)
    score = None if level == "deny" else WARN_SCORE
    return (
        tuple(Group(name, tuple(sorted(vms)), score) for name, vms in sorted(together.items()) if len(vms) > 1),
        tuple(Group(name, tuple(sorted(vms)), -WARN_SCORE) for name, vms in sorted(apart.items()) if len(vms) > 1),
    )
