#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: the decisions are in module_utils/departure.py, the hands in module_utils/vm_departure.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: virtual_machines_absent
short_description: Let VMs leave a host, in one call
version_added: "0.1.0"
author: [the croft contributors (@croft)]
description:
  - Shuts the named VMs down by asking their guests, and removes their domains. Their disks, first-boot data, firmware
    variables and leases go only where the entry says C(disks=true).
  - A VM that is not named is never touched, nor is a domain that croft did not make. No guest is killed; one that does
    not shut down fails the run, which goes on from there when it is repeated.
  - Of a VM whose disks stay its first-boot data stays, too; it says whose they are, and the VM is made of them again
    when it comes back into the inventory.
  - Snapshots inside of disks, and what libvirt noted of snapshots and checkpoints, go with the domain.
options:
  virtual_machines_absent:
    description:
      - VMs that shall not be. Each is a name, or a mapping of C(name), C(disks) (false) and C(uuid) (follows from the
        name).
    type: list
    elements: raw
    required: true
  virtual_machines:
    description: The names that the inventory wishes; one that is in both lists is refused.
    type: list
    elements: str
    default: []
  without_domain:
    description:
      - Looks for the disks of VMs that have no domain here, in O(pool), and not for domains. Only for VMs that are on
        no host at all.
    type: bool
    default: false
  shared_pools:
    description: Whether O(without_domain) also looks into a pool that several hosts share; true on one of them.
    type: bool
    default: false
  pool:
    description: The libvirt storage pool of new disks.
    type: str
    default: default
  stop_timeout:
    description: Seconds that guests get to shut down.
    type: int
    default: 120
extends_documentation_fragment: [croft.infra.libvirt, croft.infra.libvirt.nfs_pools]
requirements: [python3-libvirt]
attributes:
  check_mode: {support: full, description: Reports what a real run does.}
  diff_mode: {support: full, description: Shows what goes.}
"""

EXAMPLES = r"""
- name: Let VMs leave
  croft.infra.virtual_machines_absent:
    virtual_machines_absent:
      - batch1 # its disks stay
      - {name: web9, disks: true}
"""

RETURN = r"""
virtual_machines:
  description: One entry for each VM of the list, in its order.
  returned: always
  type: list
  elements: dict
  contains:
    name: {description: The VM's name., type: str}
    here: {description: Whether this host had its domain., type: bool}
    actions:
      description: What was done, or would be done in check mode, in order.
      type: list
      elements: dict
      sample: [{action: stop, detail: "running -> stopped, by asking the guest"}, {action: undefine, detail: ""}]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import departure
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    DEFAULT_URI,
    LibvirtFailedError,
    LibvirtMissingError,
)
from ansible_collections.croft.infra.plugins.module_utils.open_stores import opened
from ansible_collections.croft.infra.plugins.module_utils.store import NFS_POOLS, host_stores
from ansible_collections.croft.infra.plugins.module_utils.vm_departure import DepartureError, Departures


def refuse(module: AnsibleModule, problems: list[str]) -> None:
    """Fail with all problems when there are any."""
    if problems:
        module.fail_json(
            msg="\n".join(["Nothing was removed:", *(f"- {line}" for line in problems)]), problems=problems
        )


def run(module: AnsibleModule, departures: Departures, leaving: list[departure.Leaving]) -> None:
    """Look, refuse, and (not in check mode) carry out."""
    given = module.params
    if given["without_domain"]:
        leaving = [one for one in leaving if one.disks]
        found = departures.look_for_volumes(leaving, shared=given["shared_pools"])
    else:
        found = departures.look(leaving)
    refuse(module, departure.problems(leaving, found))
    planned = {one.name: departure.steps(one, found[one.name]) for one in leaving}
    machines: list[dict[str, Any]] = [
        {"name": name, "here": found[name].state is not None, "actions": [step.as_dict() for step in steps]}
        for name, steps in planned.items()
    ]
    for one in leaving:
        for text in departure.remarks(one, found[one.name]):
            module.warn(text)
    result: dict[str, Any] = {"changed": any(planned.values()), "virtual_machines": machines}
    if module._diff:
        before = "".join(f"{name}: {step.action} {step.detail}\n" for name, steps in planned.items() for step in steps)
        result["diff"] = {"before": before, "after": ""}
    if not module.check_mode:
        try:
            departures.carry_out(leaving, found, given["stop_timeout"])
        except DepartureError as error:
            module.fail_json(msg=f"{error}. What is done is done; run again, it goes on from here.")
    module.exit_json(**result)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "virtual_machines_absent": {"type": "list", "elements": "raw", "required": True},
            "virtual_machines": {"type": "list", "elements": "str", "default": []},
            "without_domain": {"type": "bool", "default": False},
            "shared_pools": {"type": "bool", "default": False},
            "pool": {"type": "str", "default": "default"},
            "nfs_pools": NFS_POOLS,
            "stop_timeout": {"type": "int", "default": 120},
            "uri": {"type": "str", "default": DEFAULT_URI},
        },
        supports_check_mode=True,
    )
    leaving, problems = departure.read_leaving(
        module.params["virtual_machines_absent"], module.params["virtual_machines"]
    )
    refuse(module, problems)
    uri = module.params["uri"]
    try:
        with opened(uri, *host_stores(module.params["pool"], module.params["nfs_pools"], uri)) as stores:
            run(module, Departures(stores), leaving)
    except LibvirtMissingError:
        # A host without libvirt has no VM.
        absent = [{"name": one.name, "here": False, "actions": []} for one in leaving]
        module.exit_json(changed=False, virtual_machines=absent)
    except LibvirtFailedError as error:
        module.fail_json(msg=f"{error}; look at the VMs' disks before you go on")


if __name__ == "__main__":
    main()
