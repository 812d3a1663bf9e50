# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers on nodes: whether what they reserve fits, and how replicas spread over machines. Pure.

Counted is what is reserved, not limits: a limit bounds one container, a reservation is a promise to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor

from ansible_collections.croft.infra.plugins.plugin_utils.sizing import text
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.checks import Measure, finding_of, waiver_for
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.model import (
    Check,
    Container,
    ContainerPlan,
    Finding,
    HostUse,
    Inputs,
    Node,
)

# What local disks must be for a workload that lives on them.
FAST_DISKS = ("ssd", "nvme")
# Replicas that the search puts somewhere before it gives up; a plan that it then has is not proved the best.
MOST_STEPS = 20_000
_MILLI = 1000

Placements = dict[str, dict[str, int]]


def plan_containers(
    inputs: Inputs, where: Mapping[str, str | None], uses: Sequence[HostUse]
) -> tuple[ContainerPlan, list[Check], list[Finding]]:
    """Place every replica under the rules that deny, and measure the rules on what came out.

    ``where`` and ``uses``: where the plan has put the VMs, and what they take of each host.
    """
    nodes = tuple(_settled(node, inputs, where, uses) for node in inputs.nodes)
    packer = _Packer(inputs, nodes)
    placements, search = packer.place()
    measures = [
        *_capacity(inputs, nodes, placements),
        *_spread(inputs, packer, placements),
        *_workload(inputs, packer, placements),
        *_homeless(inputs, packer, placements, search),
    ]
    measures = [measure for measure in measures if inputs.policy.level(measure.check.rule) != "off"]
    findings = [finding_of(measure, inputs) for measure in measures if measure.check.broken]
    findings += [*_away(inputs), *_notes(packer)]
    return ContainerPlan(nodes, placements, search), [measure.check for measure in measures], findings


def _settled(node: Node, inputs: Inputs, where: Mapping[str, str | None], uses: Sequence[HostUse]) -> Node:
    """The node with the capacity that is left for containers, and the machine whose death takes it."""
    kept = int(inputs.policy.rules["container-capacity"]["node_memory_mib"])
    if node.kind == "vm":
        # A VM without a host dies with nobody else.
        machine = node.machine or where.get(node.name) or node.name
        return replace(node, machine=machine, memory_mib=max((node.memory_mib or 0) - kept, 0))
    if node.kind == "host":
        use = next(use for use in uses if use.host.name == node.name)
        # A VM's CPU is promised at the overcommit limit; a container's is reserved whole.
        ratio: Fraction = inputs.policy.on(node.name)["cpu-overcommit"]["limit"]
        cpus = Fraction(use.host.threads - use.host.reserved_cpus) - use.vcpus / ratio
        memory = use.memory_capacity_mib - use.overhead_mib - use.memory_mib
        return replace(node, millicpus=max(floor(cpus * _MILLI), 0), memory_mib=max(memory - kept, 0))
    return replace(node, memory_mib=max((node.memory_mib or 0) - kept, 0))


@dataclass
class _Use:
    millicpus: int = 0
    memory_mib: int = 0


class _Packer:
    """Replicas onto nodes, in one order, with a search backwards where that leads nowhere."""

    def __init__(self, inputs: Inputs, nodes: Sequence[Node]) -> None:
        self.inputs = inputs
        self.nodes = {node.name: node for node in nodes}
        rule = inputs.policy.rules["container-capacity"]
        limit: Fraction = rule["limit"]
        self._binds = rule["level"] == "deny"
        self._room = {
            node.name: _Use(floor(limit * (node.millicpus or 0)), floor(limit * (node.memory_mib or 0)))
            for node in nodes
        }
        self._used = {node.name: _Use() for node in nodes}
        self._on_machine: dict[tuple[str, str], int] = {}

    # --- what a container may have ---

    def pinned(self, container: Container) -> list[Node]:
        """The nodes that a container's own list lets it run on, of those that take any."""
        return [node for node in self.nodes.values() if not container.nodes or node.name in container.nodes]

    def suited(self, container: Container) -> list[Node]:
        """The nodes that a container's workload and its own list let it run on."""
        pinned = self.pinned(container)
        if not self.fast_only(container) or not self._denies("container-workload", container):
            return pinned
        return [node for node in pinned if is_fast(node)]

    def fast_only(self, container: Container) -> bool:
        return container.workload in self.inputs.policy.rules["container-workload"]["workloads"]

    def machines(self, container: Container) -> list[str]:
        return sorted({str(node.machine) for node in self.suited(container)})

    def most_together(self, container: Container) -> int:
        """How many replicas of it one machine may have at most; for a rule that binds, as few as there are machines."""
        even = ceil(container.replicas / max(len(self.machines(container)), 1))
        if container.per_machine is None:
            return max(even, 1)
        return container.per_machine

    def _denies(self, rule: str, container: Container) -> bool:
        if self.inputs.policy.level(rule) != "deny":
            return False
        return waiver_for(self.inputs, rule, None, None, container.name) is None

    def _ceiling(self, container: Container) -> int:
        if not self._denies("container-spread", container):
            return container.replicas
        # When that cannot be, the finding says so, and the rest is shown as even as it goes.
        return max(self.most_together(container), ceil(container.replicas / max(len(self.machines(container)), 1)))

    # --- the search ---

    def place(self) -> tuple[Placements, str]:
        """Each replica's node; a container that finds no place has fewer. The second is how the search ended."""
        containers = sorted(self.inputs.containers, key=self._urgency)
        replicas = [container for container in containers for _ in range(container.replicas)]
        chosen, proved = self._search(replicas)
        if chosen is None:
            # As many as there is room for, so that the findings speak of what is missing.
            chosen = [self._first(container) for container in replicas]
        placements: Placements = {container.name: {} for container in self.inputs.containers}
        for container, node in zip(replicas, chosen, strict=True):
            if node is not None:
                placements[container.name][node] = placements[container.name].get(node, 0) + 1
        ordered = {name: dict(sorted(on.items())) for name, on in placements.items()}
        return ordered, "complete" if proved else "stopped"

    def _urgency(self, container: Container) -> tuple[int, Fraction, str]:
        """Those with few nodes first, then the largest."""
        room = [max(self._share(name, container), Fraction(0)) for name in self._room]
        return len(self.suited(container)), -min(room, default=Fraction(0)), container.name

    def _share(self, node: str, container: Container) -> Fraction:
        room = self._room[node]
        return max(
            Fraction(container.millicpus, max(room.millicpus, 1)),
            Fraction(container.memory_mib, max(room.memory_mib, 1)),
        )

    def _search(self, replicas: Sequence[Container]) -> tuple[list[str | None] | None, bool]:
        """(a node for each replica, True), or (None, whether it is proved that there is none)."""
        if self._binds and self._short(replicas):
            return None, True
        chosen: list[str | None] = []
        tries: list[Iterator[str]] = []
        steps = 0
        while len(chosen) < len(replicas):
            container = replicas[len(chosen)]
            if len(tries) == len(chosen):
                tries.append(iter(self._choices(container)))
            node = next(tries[-1], None)
            steps += 1
            if node is not None:
                self._put(container, node, 1)
                chosen.append(node)
                continue
            tries.pop()
            if not chosen or steps > MOST_STEPS:
                self._clear()
                return None, not chosen
            back = chosen.pop()
            self._put(replicas[len(chosen)], str(back), -1)
        return chosen, True

    def _short(self, replicas: Sequence[Container]) -> bool:
        """Whether the sums alone are more than there is."""
        return sum(one.millicpus for one in replicas) > sum(room.millicpus for room in self._room.values()) or sum(
            one.memory_mib for one in replicas
        ) > sum(room.memory_mib for room in self._room.values())

    def _first(self, container: Container) -> str | None:
        node = next(iter(self._choices(container)), None)
        if node is not None:
            self._put(container, node, 1)
        return node

    def _choices(self, container: Container) -> list[str]:
        """Nodes that take one more, best first: the machine with fewest of it, then the node that is least loaded."""
        ceiling = self._ceiling(container)
        ranked = []
        for node in self.suited(container):
            together = self._on_machine.get((container.name, str(node.machine)), 0)
            if together < ceiling and self.fits(node.name, container):
                ranked.append((together, self.load(node.name, container), node.name))
        return [name for _, _, name in sorted(ranked)]

    def fits(self, node: str, container: Container) -> bool:
        if not self._binds or waiver_for(self.inputs, "container-capacity", node, None) is not None:
            return True
        room, used = self._room[node], self._used[node]
        return (
            used.millicpus + container.millicpus <= room.millicpus
            and used.memory_mib + container.memory_mib <= room.memory_mib
        )

    def load(self, node: str, container: Container) -> Fraction:
        """What the scarcer of CPU and memory comes to on this node, of its room, with one more of it."""
        return max(value for _, value in self.loads(node, container))

    def loads(self, node: str, container: Container) -> list[tuple[str, Fraction]]:
        room, used = self._room[node], self._used[node]
        return [
            ("cpu", Fraction(used.millicpus + container.millicpus, max(room.millicpus, 1))),
            ("memory", Fraction(used.memory_mib + container.memory_mib, max(room.memory_mib, 1))),
        ]

    def free(self, node: str) -> tuple[int, int]:
        """(thousandths of CPUs, MiB) that are not reserved yet."""
        room, used = self._room[node], self._used[node]
        return max(room.millicpus - used.millicpus, 0), max(room.memory_mib - used.memory_mib, 0)

    def _put(self, container: Container, node: str, sign: int) -> None:
        used = self._used[node]
        used.millicpus += sign * container.millicpus
        used.memory_mib += sign * container.memory_mib
        key = (container.name, str(self.nodes[node].machine))
        self._on_machine[key] = self._on_machine.get(key, 0) + sign

    def _clear(self) -> None:
        self._used = {name: _Use() for name in self._room}
        self._on_machine = {}


def is_fast(node: Node) -> bool:
    """Whether a workload that lives on disk I/O is well there: the machine itself, with fast disks of its own."""
    return node.kind != "vm" and node.local_disk in FAST_DISKS


def by_machine(nodes: Sequence[Node], placed: Mapping[str, int]) -> dict[str, int]:
    """How many of a container's replicas each machine has."""
    machines = {node.name: str(node.machine) for node in nodes}
    found: dict[str, int] = {}
    for name, count in placed.items():
        found[machines[name]] = found.get(machines[name], 0) + count
    return found


def reserved_on(inputs: Inputs, placements: Mapping[str, Mapping[str, int]], node: str) -> tuple[int, int, int]:
    """(thousandths of CPUs, MiB, replicas) that containers have on a node."""
    counts = [(one, placements[one.name].get(node, 0)) for one in inputs.containers]
    return (
        sum(one.millicpus * count for one, count in counts),
        sum(one.memory_mib * count for one, count in counts),
        sum(count for _, count in counts),
    )


# --- the rules --------------------------------------------------------------------------------------------------------


def _capacity(inputs: Inputs, nodes: Sequence[Node], placements: Placements) -> Iterator[Measure]:
    limit: Fraction = inputs.policy.rules["container-capacity"]["limit"]
    for node in nodes:
        millicpus, memory, count = reserved_on(inputs, placements, node.name)
        for resource, have, whole, unit in (
            ("cpu", millicpus, node.millicpus or 0, "CPUs"),
            ("memory", memory, node.memory_mib or 0, "MiB"),
        ):
            if not have and not whole:
                continue
            value = Fraction(have, whole) if whole else None
            broken = value is None or value > limit
            check = Check("container-capacity", node.name, None, resource, value, limit, "ratio", broken)
            if not broken:
                yield Measure(check)
                continue
            over = have - floor(limit * whole)
            yield Measure(
                check,
                f"{text.counted(count, 'replica')} on {node.name} reserve {_amount(have, unit)} of "
                f"{_amount(whole, unit)} that the node has for containers, limit {text.decimal(limit, 2)}",
                f"take {_amount(over, unit)} away from {node.name}",
            )


def _spread(inputs: Inputs, packer: _Packer, placements: Placements) -> Iterator[Measure]:
    nodes = list(packer.nodes.values())
    for container in inputs.containers:
        counts = by_machine(nodes, placements[container.name])
        if container.replicas < 2 or not counts:  # noqa: PLR2004
            continue
        machine, most = max(counts.items(), key=lambda pair: (pair[1], pair[0]))
        machines = packer.machines(container)
        # One machine spreads nothing: then one replica is all that makes sense.
        limit = 1 if len(machines) == 1 else packer.most_together(container)
        broken = most > limit
        check = Check(
            "container-spread",
            None,
            None,
            "machines",
            Fraction(most),
            Fraction(limit),
            "replicas",
            broken,
            container.name,
        )
        if not broken:
            yield Measure(check)
            continue
        whole = "all" if most == container.replicas else str(most)
        needed = ceil(container.replicas / limit)
        # Machines enough and still together: the others have no room.
        fix = (
            f"let it run on nodes of {needed} machines (now {len(machines)}: {text.listed(machines)}), or lower "
            f"replicas to {limit * len(machines)}"
            if needed > len(machines)
            else f"make room for it on the others of {text.listed(machines)}"
        )
        yield Measure(
            check,
            f"{whole} of {container.replicas} replicas of {container.name} die with {machine}, limit {limit}",
            fix,
        )


def _workload(inputs: Inputs, packer: _Packer, placements: Placements) -> Iterator[Measure]:
    for container in inputs.containers:
        slow = sorted(name for name in placements[container.name] if not is_fast(packer.nodes[name]))
        asked = packer.fast_only(container) and container.replicas > 0
        pinned = packer.pinned(container)
        none = asked and bool(pinned) and not packer.suited(container)
        broken = none or (asked and bool(slow))
        value = Fraction(len(slow) or int(none))
        check = Check(
            "container-workload", None, None, "disk-io", value, Fraction(0), "slow nodes", broken, container.name
        )
        if not broken:
            yield Measure(check)
            continue
        where = text.listed([f"{node.name} ({_disk(node)})" for node in pinned])
        yield Measure(
            check,
            f"{container.name} is a {container.workload.replace('_', ' ')}, which lives on disk I/O, and "
            + (f"is on {text.listed(slow)}" if slow else f"none of its nodes has fast disks of its own: {where}"),
            "put it on a physical node with container_node: {local_disk: ssd} or nvme and the "
            f"{container.workload.replace('_', ' ')}'s own replication",
        )


def _disk(node: Node) -> str:
    return "a VM" if node.kind == "vm" else f"local_disk {node.local_disk or 'not told'}"


def _nowhere(inputs: Inputs, container: Container) -> Measure:
    limit = inputs.policy.rules["container-capacity"]["limit"]
    check = Check("container-capacity", None, None, "nodes", None, limit, "ratio", True, container.name)
    which = f"none of its nodes ({', '.join(container.nodes)})" if container.nodes else "no node"
    return Measure(
        check,
        f"{text.counted(container.replicas, 'replica')} of {container.name} have no place: {which} takes any, being "
        "drained",
        "bring one back, or give it other nodes",
    )


def _homeless(inputs: Inputs, packer: _Packer, placements: Placements, search: str) -> Iterator[Measure]:
    """Containers of which replicas have no place, though there are nodes for them: what binds where it is closest."""
    for container in inputs.containers:
        placed = sum(placements[container.name].values())
        suited = packer.suited(container)
        if placed < container.replicas and not packer.pinned(container):
            yield _nowhere(inputs, container)
        if placed == container.replicas or not suited:
            continue
        node = min(suited, key=lambda one: (packer.load(one.name, container), one.name))
        resource, value = max(packer.loads(node.name, container), key=lambda pair: pair[1])
        open_nodes = [one.name for one in suited if packer.fits(one.name, container)]
        missing = container.replicas - placed
        head = f"{missing} of {text.counted(container.replicas, 'replica')} of {container.name} "
        proof = "" if search == "complete" else " (the search met its bound: not proved)"
        if open_nodes:
            limit = Fraction(packer.most_together(container))
            check = Check(
                "container-spread", None, None, "machines", limit + 1, limit, "replicas", True, container.name
            )
            yield Measure(
                check,
                f"{head}find room only beside another one, on {text.listed(open_nodes)}: limit {limit} on one "
                f"machine{proof}",
                f"make room on the others of {text.listed(packer.machines(container))}, or lower replicas to {placed}",
            )
            continue
        free_cpus, free_mib = packer.free(node.name)
        lowered = []
        if container.millicpus > free_cpus:
            lowered.append(f"cpus from {_cpus(container.millicpus)} to at most {_cpus(free_cpus)}")
        if container.memory_mib > free_mib:
            lowered.append(f"memory_mib from {container.memory_mib} to at most {free_mib}")
        smaller = (
            f"lower its {' and its '.join(lowered)} (then one more fits {node.name}), "
            if free_cpus and free_mib
            else ""
        )
        check = Check(
            "container-capacity",
            None,
            None,
            resource,
            value,
            inputs.policy.rules["container-capacity"]["limit"],
            "ratio",
            True,
            container.name,
        )
        yield Measure(
            check,
            f"{head}have no node: each reserves {_amount(container.millicpus, 'CPUs')} and {container.memory_mib} MiB, "
            f"and {node.name}, the closest, has {_amount(free_cpus, 'CPUs')} and {free_mib} MiB left{proof}",
            f"lower replicas to {placed}, {smaller}or add a node with {_amount(missing * container.millicpus, 'CPUs')} "
            f"and {missing * container.memory_mib} MiB for containers",
        )


def _away(inputs: Inputs) -> list[Finding]:
    """Nodes that did not answer: what they have was assumed."""
    return [
        Finding(
            rule="container-capacity",
            level="warn",
            message=f"node {node.name} did not answer, and is counted with the least that another has: "
            f"{_amount(node.millicpus or 0, 'CPUs')}, {node.memory_mib} MiB",
            fix="bring it back, or declare what it has: container_node",
            resource="nodes",
        )
        for node in inputs.nodes
        if node.away
    ]


def _notes(packer: _Packer) -> list[Finding]:
    """More replicas than machines: some die together however they are spread."""
    notes = []
    for container in packer.inputs.containers:
        machines = len(packer.machines(container))
        if packer.inputs.policy.level("container-spread") == "off" or not 1 < machines < container.replicas:
            continue
        most = ceil(container.replicas / machines)
        notes.append(
            Finding(
                rule="container-spread",
                level="info",
                message=f"{container.replicas} replicas of {container.name} are on {machines} machines: up to {most} "
                "die with one, the others go on",
                container=container.name,
                resource="machines",
                value=Fraction(most),
                unit="replicas",
            )
        )
    return notes


def _cpus(milli: int) -> str:
    return text.decimal(Fraction(milli, _MILLI), 3).rstrip("0").rstrip(".")


def _amount(number: int, unit: str) -> str:
    return f"{_cpus(number)} CPUs" if unit == "CPUs" else f"{number} {unit}"
