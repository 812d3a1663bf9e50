# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What if: a host less, a host more, more VMs; and how many more VMs of a shape fit under every rule.

Answered from a finished plan (of plan.json's shape): what it placed stays where it is, what is asked for is placed
beside it by the same rules. A VM that is not in the inventory counts as the plan counted it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from fractions import Fraction
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils.devices import FIELDS, extra_gib
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.limits import demand, shared_ceiling_mib
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.model import (
    RULED_FIELDS,
    Host,
    HostClass,
    Inputs,
    Plan,
    Policy,
    RunningVm,
    VirtualMachine,
    Waiver,
)
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.parse import parse_virtual_machines
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.placing import failover_counts, place
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.plan import build_plan, to_dict
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.policy import CONTAINER_RULES, DEFAULTS
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.reading import NotAPlanError, as_plan
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.text import finding_line
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.values import (
    Problems,
    as_whole,
    did_you_mean,
    say,
)

# A question about more VMs than this of one shape is a question about a shape that is too small to ask.
MOST = 100_000


def headroom(plan: Any, shape: Any) -> dict[str, Any]:
    """How many more VMs of this shape every rule lets in, beside what the plan has placed.

    ``shape``: the fields of a VM entry without its name (``vcpus``, ``memory_mib``, ``disk_gib``; ``ha``, ``workload``,
    ``anti_affinity`` when they matter). Returns ``count``, ``exact`` (False: a search met its bound, more may fit),
    ``hosts`` (host to how many of them) and ``blocked`` (what refuses one more). A plan that is refused already takes
    none. Raises NotAPlanError for what cannot be read, all problems in one text.
    """
    inputs = inputs_of(plan)
    base = build_plan(inputs)
    vm = _shape(shape, inputs)
    if not base.admitted:
        first = next(f for f in to_dict(base)["findings"] if f["level"] == "deny")
        return {"count": 0, "exact": True, "hosts": {}, "blocked": f"the plan is refused: {finding_line(first)}"}

    tried: dict[int, Plan] = {}

    def admitted(count: int) -> bool:
        tried[count] = build_plan(_with(inputs, [vm] * count))
        return tried[count].admitted

    # More VMs never make a plan legal again: the answer lies between what passes and what does not. It is mostly at the
    # bound, or near it.
    most = _most(inputs, vm)
    if most >= MOST and admitted(MOST):
        raise NotAPlanError(f"shape: {MOST} of it and more fit; ask for a larger one")
    low, high, step = 0, min(most + 1, MOST), 1
    if not admitted(1):
        high = 1
    while high - low > 1:
        middle = max(low + 1, high - step) if step else (low + high) // 2
        if admitted(middle):
            low, step = middle, 0
        else:
            high, step = middle, 2 * step
    if high not in tried:
        admitted(high)
    refused = to_dict(tried[high])
    first = next(f for f in refused["findings"] if f["level"] == "deny")
    hosts: dict[str, int] = {}
    if low:
        own = {entry.name for entry in inputs.virtual_machines}
        for name, host in tried[low].placements.items():
            if name not in own and host is not None:
                hosts[host] = hosts.get(host, 0) + 1
    beyond = tried[high]
    sets = beyond.host_sets
    exact = beyond.search == "complete" and all(death.exact for death in beyond.deaths)
    exact = exact and (sets is None or sets.survived or any(lost.exact for lost in sets.lost))
    exact = exact or low == most
    return {"count": low, "exact": exact, "hosts": dict(sorted(hosts.items())), "blocked": finding_line(first)}


def _most(inputs: Inputs, vm: VirtualMachine) -> int:
    """No more of this VM fit, by the room on each host alone; an HA VM also needs that room when hosts die."""
    placed = place(inputs)
    board, item = placed.board, demand([vm], inputs)
    open_to = [i for i, host in enumerate(inputs.hosts) if vm.host in (None, host.name)]
    slots = sorted((board.slots(item, host) for host in open_to), reverse=True)
    most = sum(slots)
    if vm.ha and vm.host is None and failover_counts(replace(inputs, virtual_machines=(vm,))):
        excused = any(w.rule == "failover" and w.in_force(inputs.today) for w in inputs.policy.waivers)
        dying = 0 if excused else int(inputs.policy.rules["failover"]["host_failures_tolerated"])
        most -= sum(slots[:dying])
    rule = inputs.policy.rules["storage-capacity"]
    if inputs.storage_layout != "local" and rule["level"] == "deny":
        there = sum(own.disk_mib for own in inputs.virtual_machines) + sum(other.disk_mib for other in placed.foreign)
        waived = any(w.rule == "storage-capacity" and w.in_force(inputs.today) for w in inputs.policy.waivers)
        room = max(shared_ceiling_mib(inputs) - there, 0) // vm.disk_mib
        most = most if waived else min(most, room)
    return min(most, MOST + 1)


def what_if(plan: Any, *, without: Any = (), hosts: Any = None, virtual_machines: Any = ()) -> dict[str, Any]:
    """The plan as it would be: of plan.json's shape.

    ``without``: hosts that are taken away; their VMs are placed anew, also those that were pinned there. ``hosts``: new
    host to the known one that it is like. ``virtual_machines``: shapes with ``count`` (default 1) of VMs to add.
    """
    inputs = inputs_of(plan)
    problems = Problems()
    known = {host.name: host for host in inputs.hosts}
    gone = _names(without, "without", problems)
    for name in gone:
        if name not in known:
            problems.add("without", f"is {say(name)}, not a host of this plan; {did_you_mean(name, known)}")
    new = hosts or {}
    if not isinstance(new, Mapping):
        problems.add("hosts", f"is {say(new)}, must be a mapping from a new host to the one that it is like")
        new = {}
    for name, like in new.items():
        if name in known:
            problems.add(f"hosts.{name}", "is a host already; give the new one another name")
        if like not in known:
            problems.add(f"hosts.{name}", f"is like {say(like)}, not a host of this plan; {did_you_mean(like, known)}")
    more: list[VirtualMachine] = []
    shapes = virtual_machines or ()
    if isinstance(shapes, (str, bytes, Mapping)) or not isinstance(shapes, Sequence):
        problems.add("virtual_machines", f"is {say(shapes)}, must be a list of shapes")
        shapes = ()
    for index, shape in enumerate(shapes):
        entry = dict(shape) if isinstance(shape, Mapping) else shape
        count = 1
        if isinstance(entry, dict):
            count = as_whole(entry.pop("count", 1), f"virtual_machines[{index}].count", problems, "VMs", most=MOST) or 1
        parsed = _parse_shape(entry, problems, known)
        if parsed is not None:
            more += [parsed] * count
    if not problems.found and len(gone) == len(known) and not new:
        problems.add("without", "takes every host away; leave one, or add one")
    if problems.found:
        raise NotAPlanError("; ".join(problems.lines))
    return to_dict(build_plan(_with(_changed(inputs, gone, new), more)))


def _changed(inputs: Inputs, gone: Sequence[str], new: Mapping[str, str]) -> Inputs:
    known = {host.name: host for host in inputs.hosts}
    classes = inputs.policy.by_host
    kept = [host for host in inputs.hosts if host.name not in gone]
    kept += [replace(known[like], name=str(name)) for name, like in new.items()]
    by_host = {name: its for name, its in classes.items() if name not in gone}
    by_host |= {str(name): classes[like] for name, like in new.items() if like in classes}
    members = {
        its.name: [host for host, own in by_host.items() if own.name == its.name] for its in inputs.policy.classes
    }
    listed = tuple(replace(its, hosts=tuple(sorted(members[its.name]))) for its in inputs.policy.classes)
    waivers = tuple(waiver for waiver in inputs.policy.waivers if waiver.host not in gone)
    return replace(
        inputs,
        hosts=tuple(sorted(kept, key=lambda host: host.name)),
        virtual_machines=tuple(replace(vm, host=None) if vm.host in gone else vm for vm in inputs.virtual_machines),
        present=tuple(vm for vm in inputs.present if vm.host not in gone),
        policy=replace(inputs.policy, by_host=by_host, classes=listed, waivers=waivers),
    )


def _with(inputs: Inputs, more: Sequence[VirtualMachine]) -> Inputs:
    """With these VMs, each under a name that is free; a name decides nothing but the order among equals."""
    taken = {vm.name for vm in inputs.virtual_machines} | {vm.name for vm in inputs.present}
    prefix = "more"
    while any(name.startswith(prefix) for name in taken):
        prefix += "-x"
    added = [replace(vm, name=f"{prefix}-{number:06}") for number, vm in enumerate(more, 1)]
    vms = sorted((*inputs.virtual_machines, *added), key=lambda vm: vm.name)
    return replace(inputs, virtual_machines=tuple(vms))


def _names(value: Any, where: str, problems: Problems) -> list[str]:
    if isinstance(value, str):
        return [value]
    if value is None or not isinstance(value, Sequence):
        problems.add(where, f"is {say(value)}, must be a host or a list of hosts")
        return []
    return list(dict.fromkeys(str(name) for name in value))


def _shape(shape: Any, inputs: Inputs) -> VirtualMachine:
    problems = Problems()
    parsed = _parse_shape(shape, problems, {host.name: host for host in inputs.hosts})
    if parsed is None:
        raise NotAPlanError("; ".join(problems.lines))
    return parsed


def _parse_shape(shape: Any, problems: Problems, hosts: Mapping[str, Host]) -> VirtualMachine | None:
    if not isinstance(shape, Mapping):
        problems.add(
            "shape", f"is {say(shape)}, must be a mapping such as {{vcpus: 2, memory_mib: 4096, disk_gib: 20}}"
        )
        return None
    parsed = parse_virtual_machines([{**shape, "name": "shape"}], problems, tuple(hosts))
    return parsed[0] if parsed else None


# --- a plan read back -------------------------------------------------------------------------------------------------


def inputs_of(plan: Any) -> Inputs:
    """The inputs that gave this plan, with every VM pinned to where it was placed."""
    known = as_plan(plan)
    if not known["hosts"]:
        raise NotAPlanError("takes a plan with hosts; this one's input could not be read")
    vms = tuple(_vm(entry) for entry in known["virtual_machines"])
    policy = _policy(known)
    return Inputs(
        hosts=tuple(_host(name, host) for name, host in known["hosts"].items()),
        virtual_machines=vms,
        present=tuple(vm for name, host in known["hosts"].items() for vm in _others(name, host, vms)),
        policy=policy,
        storage_layout=str(known["storage_layout"]),
        # Only waivers in force were kept.
        today=date.min,
    )


def _vm(entry: Mapping[str, Any]) -> VirtualMachine:
    fields = {name: entry[name] for name in RULED_FIELDS}
    fields |= {name: tuple(fields[name]) for name in ("nameservers", "health")}
    shape = {name: entry[name] for name in FIELDS if name in entry}
    return VirtualMachine(**fields, shape=shape, extra_gib=extra_gib(shape))


def _host(name: str, host: Mapping[str, Any]) -> Host:
    capacity, reserved = host["capacity"], host["reserved"]
    return Host(
        name=name,
        sockets=int(capacity["sockets"]),
        cores=int(capacity["cores"]),
        threads=int(capacity["threads"]),
        memory_mib=int(capacity["memory_mib"]),
        numa_nodes=int(capacity["numa_nodes"]),
        disk_mib=int(Fraction(repr(capacity["disk_gib"])) * 1024),
        reserved_cpus=int(reserved["cpus"]),
        reserved_memory_mib=int(reserved["memory_mib"]),
        osds=int(reserved["osds"]),
        reserve_declared=True,
        source=str(capacity["source"]),
    )


def _others(name: str, host: Mapping[str, Any], vms: Sequence[VirtualMachine]) -> list[RunningVm]:
    """The VMs that are in no list: the plan has their names and their sum, so the first stands for the sum."""
    mine = [vm for vm in vms if vm.host == name]
    used = host["used"]
    vcpus = int(used["vcpus"]) - sum(vm.vcpus for vm in mine)
    memory = int(used["memory_mib"]) - sum(vm.memory_mib for vm in mine)
    disk = int(Fraction(repr(used["disk_gib"])) * 1024) - sum(vm.disk_mib for vm in mine)
    return [
        RunningVm(other, name, *((vcpus, memory, disk) if number == 0 else (0, 0, 0)), "running", False)
        for number, other in enumerate(host["unmanaged"])
    ]


def _policy(plan: Mapping[str, Any]) -> Policy:
    # An older plan does not have every option.
    rules = {rule: dict(options) for rule, options in DEFAULTS.items()}
    for rule in plan["rules"]:
        rules[rule["id"]].update(_options(rule["id"], {**rule["options"], "level": rule["level"]}))
    classes = []
    for name, its in plan["classes"].items():
        own = {rule: dict(options) for rule, options in rules.items()}
        for rule, options in its["rules"].items():
            own[rule].update(_options(rule, options))
        classes.append(HostClass(name, tuple(its["hosts"]), own, tuple(its["rules"])))
    waivers = tuple(
        Waiver(w["rule"], w["reason"], w["owner"], date.fromisoformat(w["until"]), w["vm"], w["host"])
        for w in plan["waivers"]
        # Containers are not asked about here.
        if w["state"] == "in force" and w["rule"] not in CONTAINER_RULES
    )
    return Policy(
        rules=rules,
        waivers=waivers,
        classes=tuple(classes),
        by_host={host: its for its in classes for host in its.hosts},
    )


def _options(rule: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options in the types of the policy: a ratio that is written as 0.4 is 2/5."""
    typed: dict[str, Any] = {}
    for key, value in options.items():
        default = DEFAULTS[rule].get(key)
        if isinstance(default, Fraction):
            typed[key] = Fraction(repr(value))
        elif isinstance(default, tuple):
            typed[key] = tuple(value)
        elif key in DEFAULTS[rule]:
            typed[key] = value
    return typed
