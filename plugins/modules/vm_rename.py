#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: decisions and hands are in module_utils/renaming.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_rename
short_description: Give stopped VMs of a host another name
version_added: "0.1.0"
author: [the croft contributors (@croft)]
description:
  - Renames the domain and its volumes. UUID and MAC address stay, so that to its guest it is the same machine; they are
    returned, to be written into the inventory beside the new name.
  - The guest's own host name follows when M(croft.infra.virtual_machines) writes its first-boot data.
  - Backups stay under the old name, and the next one is a full one.
  - A run that was cut off is completed by the next one.
options:
  rename:
    description: What to rename here.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: The VM., type: str, required: true}
      to: {description: Its new name., type: str, required: true}
  taken:
    description: The names of the VMs of all hosts.
    type: list
    elements: str
    default: []
  pool:
    description: The libvirt storage pool of new disks.
    type: str
    default: default
extends_documentation_fragment: [croft.infra.libvirt, croft.infra.libvirt.nfs_pools]
requirements: [python3-libvirt]
attributes:
  check_mode: {support: full, description: Looks whether it can be done.}
"""

EXAMPLES = r"""
- name: Rename a VM
  croft.infra.vm_rename:
    rename: [{name: web1, to: front1}]
"""

RETURN = r"""
renamed:
  description: One entry for each VM, as the inventory needs it.
  returned: success
  type: list
  elements: dict
  sample: [{name: front1, uuid: e39b45ed-20cd-5005-9a3f-de882b74d056, mac: "52:65:9a:7f:b2:af"}]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import renaming
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    LibvirtFailedError,
    bindings,
    words,
)
from ansible_collections.croft.infra.plugins.module_utils.open_stores import Stores
from ansible_collections.croft.infra.plugins.module_utils.with_stores import POOL, REACH, with_stores


def run(module: AnsibleModule, stores: Stores) -> None:
    """Look, refuse, and (not in check mode) rename."""
    renamer = renaming.Renamer(stores)
    entries = module.params["rename"]
    seen = {entry["name"]: renamer.look(entry["name"], entry["to"]) for entry in entries}
    problems = renaming.problems(entries, seen, module.params["taken"])
    if problems:
        module.fail_json(msg="\n".join(["Nothing was renamed:", *problems]), problems=problems)
    done = []
    for entry in entries:
        old, new = entry["name"], entry["to"]
        if module.check_mode:
            continue
        try:
            done.append(renamer.rename(old, new, seen[old]))
        except (LibvirtFailedError, bindings().libvirtError, OSError) as error:
            module.fail_json(
                msg=f"{old}: could not be renamed to {new}: {words(error)}. Run again, it goes on from here."
            )
    module.exit_json(changed=any(not seen[entry["name"]].done for entry in entries), renamed=done)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "rename": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {key: {"type": "str", "required": True} for key in ("name", "to")},
            },
            "taken": {"type": "list", "elements": "str", "default": []},
            "pool": POOL,
            **REACH,
        },
        supports_check_mode=True,
    )
    if not module.params["rename"]:
        module.exit_json(changed=False, renamed=[])
    with_stores(module, run)


if __name__ == "__main__":
    main()
