# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an inventory says of containers and of the nodes that they run on; each problem is one line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from ansible_collections.croft.infra.plugins.plugin_utils.sizing.model import (
    WORKLOADS,
    Container,
    Host,
    Node,
    VirtualMachine,
)
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.values import (
    MISSING,
    Problems,
    as_choice,
    as_number,
    as_whole,
    did_you_mean,
    say,
)

DISKS = ("hdd", "ssd", "nvme")
NODE_VARIABLES = ("container_node", "croft_capacity", "host_reserved", "croft_node_facts", "docker_swarm_availability")
_CONTAINER_KEYS = ("name", "cpus", "memory_mib", "replicas", "workload", "nodes", "per_machine")
_NODE_KEYS = ("cpus", "memory_mib", "local_disk", "machine")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?\Z")
_MILLI = 1000
_NO_CAPACITY = (
    "has no capacity, neither declared nor read; set container_node: {cpus: 8, memory_mib: 16384}, or see that it "
    "answers"
)


def container_names(raw: Any) -> list[str]:
    """The names that are wanted, as far as they can be read: a policy's waivers may speak of them."""
    entries = raw if isinstance(raw, Sequence) and not isinstance(raw, (str, bytes)) else ()
    named = raw if isinstance(raw, Mapping) else [e.get("name") for e in entries if isinstance(e, Mapping)]
    return [str(name) for name in named]


def parse_containers(raw: Any, problems: Problems, nodes: Iterable[str]) -> list[Container]:
    """Read ``containers``, a list of entries or a mapping by name; entries with a problem are left out."""
    if raw is None:
        return []
    if isinstance(raw, Mapping):
        pairs = [
            (str(key), {"name": key, **entry} if isinstance(entry, Mapping) else entry) for key, entry in raw.items()
        ]
    elif isinstance(raw, Sequence) and not isinstance(raw, (str, bytes)):
        pairs = [(str(e.get("name", i)) if isinstance(e, Mapping) else str(i), e) for i, e in enumerate(raw)]
    else:
        problems.add("containers", f"is {say(raw)}, must be a list of containers or a mapping by name")
        return []
    known = tuple(nodes)
    names = [key for key, _ in pairs]
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.add(f"containers[{name}]", f"is named {names.count(name)} times; give each a name of its own")
    parsed = [_parse_container(f"containers[{key}]", entry, problems, known) for key, entry in pairs]
    found = [container for container in parsed if container is not None]
    if pairs and not known:
        problems.add(
            "containers",
            "are wanted and there is no node; put hosts or VMs into docker_nodes, swarm_managers or swarm_workers",
        )
    return sorted(found, key=lambda container: container.name)


def _parse_container(where: str, raw: Any, problems: Problems, nodes: tuple[str, ...]) -> Container | None:
    if not isinstance(raw, Mapping):
        problems.add(where, f"is {say(raw)}, must be a mapping such as {{name: web, cpus: 0.5, memory_mib: 256}}")
        return None
    before = len(problems.found)
    for key in raw:
        if key not in _CONTAINER_KEYS:
            problems.add(f"{where}.{key}", f"is not known; {did_you_mean(key, _CONTAINER_KEYS)}")
    name = raw.get("name")
    if not isinstance(name, str) or not _NAME.match(name):
        problems.add(f"{where}.name", f"is {say(name)}, must be 1 to 63 letters, digits, and . _ - between them")
    hint = "give what each replica has reserved, not its limit"
    millicpus = _millicpus(raw.get("cpus", MISSING), f"{where}.cpus", problems, hint)
    memory = as_whole(raw.get("memory_mib", MISSING), f"{where}.memory_mib", problems, "MiB", hint=hint)
    replicas = as_whole(raw.get("replicas", 1), f"{where}.replicas", problems, "replicas", least=0)
    workload = as_choice(raw.get("workload", "general"), WORKLOADS, f"{where}.workload", problems)
    apart = raw.get("per_machine")
    per_machine = None if apart is None else as_whole(apart, f"{where}.per_machine", problems, "replicas")
    pins = _parse_pins(raw.get("nodes"), f"{where}.nodes", problems, nodes)
    if len(problems.found) > before or millicpus is None or memory is None or replicas is None or workload is None:
        return None
    return Container(str(name), millicpus, memory, replicas, workload, pins, per_machine)


def _millicpus(value: Any, where: str, problems: Problems, hint: str) -> int | None:
    number = as_number(value, where, problems, "CPUs", hint=hint)
    if number is None:
        return None
    milli: Fraction = number * _MILLI
    if milli.denominator != 1:
        problems.add(where, f"is {say(value)}, must be a whole number of thousandths, for example 0.25")
        return None
    return int(milli)


def _parse_pins(raw: Any, where: str, problems: Problems, nodes: tuple[str, ...]) -> tuple[str, ...]:
    if raw is None:
        return ()
    if isinstance(raw, (str, bytes)) or not isinstance(raw, Sequence) or not raw:
        problems.add(where, f"is {say(raw)}, must be a list of nodes, or left out for any")
        return ()
    for index, name in enumerate(raw):
        if name not in nodes:
            problems.add(f"{where}[{index}]", f"is {say(name)}, not a node for containers; {did_you_mean(name, nodes)}")
    return tuple(dict.fromkeys(str(name) for name in raw))


def parse_nodes(
    variables: Mapping[str, Mapping[str, Any]],
    problems: Problems,
    *,
    vms: Iterable[VirtualMachine],
    hosts: Iterable[Host],
) -> list[Node]:
    """The nodes that take containers, by their names in the inventory and their variables (``NODE_VARIABLES``).

    A node that is a VM of the plan has the VM's size, one that is a host has what its VMs leave; others have what they
    declare or what was read (``croft_node_facts``, the result of ansible.builtin.setup). One that was asked and did not
    answer is away: it is counted with the least that one of the others has, so that a dead node keeps nobody from
    putting the rest right.
    """
    sizes = {vm.name: vm for vm in vms}
    hypervisors = {host.name for host in hosts}
    nodes, away = [], []
    for name, own in variables.items():
        if own.get("docker_swarm_availability", "active") != "active":
            continue
        where = f"node {name}"
        said = own.get("container_node") or {}
        if not isinstance(said, Mapping):
            problems.add(f"{where}: container_node", f"is {say(said)}, must be a mapping with {', '.join(_NODE_KEYS)}")
            continue
        for key in said:
            if key not in _NODE_KEYS:
                problems.add(f"{where}: container_node.{key}", f"is not known; {did_you_mean(key, _NODE_KEYS)}")
        disk = said.get("local_disk")
        if disk is not None:
            disk = as_choice(disk, DISKS, f"{where}: container_node.local_disk", problems)
        machine = None if said.get("machine") is None else str(said["machine"])
        if name in sizes:
            vm = sizes[name]
            nodes.append(Node(name, "vm", vm.vcpus * _MILLI, vm.memory_mib, machine, disk))
        elif name in hypervisors:
            nodes.append(Node(name, "host", None, None, name, disk))
        elif (capacity := _capacity(own, said)) is None and _did_not_answer(own):
            away.append(Node(name, "machine", None, None, machine or name, disk, away=True))
        elif (size := _size(where, own, capacity, problems)) is not None:
            nodes.append(Node(name, "machine", *size, machine or name, disk))
    nodes += _assumed(away, nodes, problems)
    return sorted(nodes, key=lambda node: node.name)


def _assumed(away: Iterable[Node], nodes: Iterable[Node], problems: Problems) -> list[Node]:
    alike = [(node.millicpus or 0, node.memory_mib or 0) for node in nodes if node.kind == "machine"]
    if not alike:
        for node in away:
            problems.add(f"node {node.name}", _NO_CAPACITY)
        return []
    cpus, memory = (min(values) for values in zip(*alike, strict=True))
    return [replace(node, millicpus=cpus, memory_mib=memory) for node in away]


def _did_not_answer(own: Mapping[str, Any]) -> bool:
    told = own.get("croft_node_facts")
    return isinstance(told, Mapping) and told.get("unreachable") is True


def _capacity(own: Mapping[str, Any], said: Mapping[str, Any]) -> tuple[Any, Any] | None:
    """(CPUs, MiB) of a machine as declared or read, not looked at yet; None when either is not known."""
    capacity = own.get("croft_capacity")
    declared: Mapping[str, Any] = capacity if isinstance(capacity, Mapping) else {}
    told = own.get("croft_node_facts")
    facts = told.get("ansible_facts") if isinstance(told, Mapping) else None
    read: Mapping[str, Any] = facts if isinstance(facts, Mapping) else {}
    cpus = said.get("cpus", declared.get("threads", read.get("ansible_processor_vcpus", MISSING)))
    memory = said.get("memory_mib", declared.get("memory_mib", read.get("ansible_memtotal_mb", MISSING)))
    return None if cpus is MISSING or memory is MISSING else (cpus, memory)


def _size(
    where: str, own: Mapping[str, Any], capacity: tuple[Any, Any] | None, problems: Problems
) -> tuple[int, int] | None:
    """(thousandths of CPUs, MiB) of a machine that the plan does not know otherwise, its reserve subtracted."""
    if capacity is None:
        problems.add(where, _NO_CAPACITY)
        return None
    cpus, memory = capacity
    reserve = own.get("host_reserved")
    kept: Mapping[str, Any] = reserve if isinstance(reserve, Mapping) else {}
    millicpus = _millicpus(cpus, f"{where}: container_node.cpus", problems, "give its CPUs")
    mib = as_whole(memory, f"{where}: container_node.memory_mib", problems, "MiB")
    less_cpus = as_whole(kept.get("cpus", 0), f"{where}: host_reserved.cpus", problems, "CPUs", least=0)
    less_mib = as_whole(kept.get("memory_mib", 0), f"{where}: host_reserved.memory_mib", problems, "MiB", least=0)
    if millicpus is None or mib is None or less_cpus is None or less_mib is None:
        return None
    return max(millicpus - less_cpus * _MILLI, 0), max(mib - less_mib, 0)
