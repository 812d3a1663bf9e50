# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: the variable virtual_machines in, hosts and groups out."""

from __future__ import annotations

DOCUMENTATION = r"""
name: virtual_machines
short_description: List the VMs of the inventory as hosts
description:
  - Makes a host of each VM that the variable C(virtual_machines) wishes to run, with its address, so that roles can be
    run in VMs that the same run has made a moment before.
  - Each is in the group O(group) and in C(<group>_<workload>), and has its entry's fields as variables
    C(vm_<field>), among them C(vm_host) - the host where the plan put it, or its pin.
  - Asks no host. Put the file beside the inventory's other files; its name ends in C(virtual_machines.yml), and
    sorts after them.
options:
  plugin:
    description: Always V(croft.infra.virtual_machines).
    required: true
    choices: [croft.infra.virtual_machines]
  virtual_machines:
    description: The VMs; when left out, the variable C(virtual_machines) of the inventory's group C(all).
    type: raw
  group:
    description: The group of them all.
    type: str
    default: virtual_machines
  stopped:
    description: List VMs that shall be stopped, too.
    type: bool
    default: false
  plan:
    description: A plan.json, for C(vm_host).
    type: path
extends_documentation_fragment: constructed
author: the croft contributors
"""

EXAMPLES = r"""
# inventories/mine/zz.virtual_machines.yml
plugin: croft.infra.virtual_machines
# A swarm inside VMs: three managers, and every VM for CI as a worker.
groups:
  swarm_managers: vm_name in ['node1', 'node2', 'node3']
  swarm_workers: vm_workload == 'ci'
"""

RETURN = r"""
_hosts:
  description: A host for each VM.
  type: list
  elements: str
"""

import json
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Constructable
from ansible.vars.plugins import get_vars_from_inventory_sources
from ansible_collections.croft.infra.plugins.plugin_utils.vm_inventory import Guest, guests_of


class InventoryModule(BaseInventoryPlugin, Constructable):  # type: ignore[misc]
    """Lists VMs; asks no host."""

    NAME = "croft.infra.virtual_machines"

    def verify_file(self, path: str) -> bool:
        return super().verify_file(path) and path.endswith(("virtual_machines.yml", "virtual_machines.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        guests, problems = guests_of(
            self._wished(inventory, loader, path),
            group=self.get_option("group"),
            stopped=self.get_option("stopped"),
            placements=self._placements(path),
        )
        if problems:
            raise AnsibleParserError("\n".join([f"{path}:", *problems]))
        for guest in guests:
            self._add(guest)

    def _wished(self, inventory: Any, loader: Any, path: str) -> Any:
        """The option, or the variable of group all; both may be templates."""
        given = self.get_option("virtual_machines")
        variables = get_vars_from_inventory_sources(loader, [str(Path(path).parent)], [inventory.groups["all"]], "all")
        self.templar.available_variables = variables
        wished = variables.get("virtual_machines", []) if given is None else given
        return self.templar.template(wished)

    def _placements(self, path: str) -> dict[str, Any]:
        plan = self.get_option("plan")
        if not plan:
            return {}
        try:
            placements: dict[str, Any] = json.loads(Path(plan).read_text(encoding="utf-8"))["placements"]
        except (OSError, ValueError, KeyError) as error:
            raise AnsibleParserError(
                f"{path}: plan {plan} cannot be read: {error}; write it with croft_plan_dir"
            ) from error
        return placements

    def _add(self, guest: Guest) -> None:
        self.inventory.add_host(guest.name)
        for name, value in guest.variables.items():
            self.inventory.set_variable(guest.name, name, value)
        for group in guest.groups:
            self.inventory.add_host(guest.name, self.inventory.add_group(group))
        strict = self.get_option("strict")
        variables = dict(guest.variables)
        self._set_composite_vars(self.get_option("compose"), variables, guest.name, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), variables, guest.name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, guest.name, strict=strict)
