# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has for HA VMs and what each takes, as Pacemaker's utilization: the sizing rules' own numbers.

A cluster manager adds up whole numbers and compares, as the sizing rules do (``sizing.limits``), so that each ceiling
of a rule that denies is a capacity: ``cpu`` in vCPUs, ``memory`` in MiB times the denominators of the overcommit limit,
``vms``, and ``apart-GROUP`` for each anti-affinity group, of which a host takes one VM. What is on a host and is no HA
VM is subtracted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ansible_collections.croft.infra.plugins.plugin_utils.ha.model import Node
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.limits import UNLIMITED, Demand, Demands, ceilings
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.model import Inputs, VirtualMachine
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.placing import foreign_demand
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.search import Board

# Pacemaker reads utilization as a C int.
MOST = 2**31 - 1


class Room:
    """The hosts of a plan with all that is on them. ``board`` has everything, ``others`` what is no HA VM."""

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs
        self.demands = Demands(inputs)
        self.empty = Board(ceilings(inputs, "deny"))
        self.board = Board(self.empty.ceilings)
        self.others = Board(self.empty.ceilings)
        index = {host.name: i for i, host in enumerate(inputs.hosts)}
        for other in inputs.present:
            self._put(foreign_demand(other, inputs), index[other.host], (self.board, self.others))
        for vm in inputs.virtual_machines:
            if vm.host is not None:
                boards = (self.board,) if vm.ha else (self.board, self.others)
                self._put(self.demands.of(vm), index[vm.host], boards)
        asked = [self.demands.of(vm) for vm in inputs.virtual_machines if vm.ha]
        groups: set[str] = set().union(*(item.apart for item in asked))
        self.groups = sorted(groups) if any(top.apart for top in self.empty.ceilings) else []
        # Memory is in scaled units, which may be beyond a C int: then all of it is divided, rounded so that a host
        # never takes more than its ceiling.
        limited = [top.memory for top in self.empty.ceilings if top.memory < UNLIMITED]
        self.divisor = max(1, -(-max(sum(self.board.memory), *limited, 0) // MOST))

    @staticmethod
    def _put(item: Demand, host: int, boards: Sequence[Board]) -> None:
        for board in boards:
            board.put(item, host)

    def _left(self, host: int) -> tuple[int, int, int]:
        top, taken = self.empty.ceilings[host], self.others
        return top.vcpus - taken.vcpus[host], top.memory - taken.memory[host], top.vms - taken.vms[host]

    def node(self, host: int) -> Node:
        """The host with what HA VMs may take of it in all."""
        vcpus, memory, vms = self._left(host)
        left = {"cpu": vcpus, "memory": memory // self.divisor, "vms": vms}
        for group in self.groups:
            free = 1 - self.others.apart[host].get(group, 0)
            left[f"apart-{group}"] = free if self.empty.ceilings[host].apart else MOST
        return Node(self.inputs.hosts[host].name, {key: max(0, min(value, MOST)) for key, value in left.items()})

    def takes(self, vm: VirtualMachine) -> Mapping[str, int]:
        """What the VM takes of the host that runs it."""
        item = self.demands.of(vm)
        return {
            "cpu": item.vcpus,
            "memory": -(-item.memory // self.divisor),
            "vms": item.vms,
            **{f"apart-{group}": 1 for group in self.groups if group in item.apart},
        }

    def never(self, vm: VirtualMachine) -> tuple[str, ...]:
        """The hosts that take it under no circumstances: not when they are empty either."""
        item = self.demands.of(vm)
        return tuple(host.name for i, host in enumerate(self.inputs.hosts) if not self.empty.fits(item, i))
