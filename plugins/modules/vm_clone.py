#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: the hands are in module_utils/vm_copies.py and adoption.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_clone
short_description: Make disks that are copies of those of VMs on a host
version_added: "0.1.0"
author: [the croft contributors (@croft)]
description:
  - Copies the root disk of a VM as that of a VM that M(croft.infra.virtual_machines) then makes, with an identity of
    its own.
  - The disk of a VM that runs is mirrored until the copy is equal, and cut off while the guest's agent has its file
    systems frozen; when it does not answer that is told. Of a stopped VM the volume is copied.
  - The copy stands alone; it shares at most the golden image. Of a copy that failed nothing stays.
options:
  clone:
    description: What to copy here.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: The VM that is copied., type: str, required: true}
      as: {description: The VM that gets the disk., type: str, required: true}
      uuid: {description: The UUID of that VM., type: str, required: true}
  pool:
    description: The libvirt storage pool of new disks.
    type: str
    default: default
  timeout:
    description: Seconds that a copy of a running VM may take.
    type: int
    default: 3600
extends_documentation_fragment: [croft.infra.libvirt, croft.infra.libvirt.nfs_pools]
requirements: [python3-libvirt]
attributes:
  check_mode: {support: full, description: Looks whether everything is there.}
"""

EXAMPLES = r"""
- name: Copy a VM's disk
  croft.infra.vm_clone:
    clone: [{name: web1, as: web9, uuid: 6f4a39d1-8a1c-5f7e-9a7e-0c0a4a1f9d11}]
    pool: croft
"""

RETURN = r"""
cloned:
  description: What was copied; C(agent) says why the guest was not frozen, null when it was or did not run.
  returned: success
  type: list
  elements: dict
  sample: [{name: web1, as: web9, agent: null, seconds: 3.2}]
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import adoption, domain_xml, vm_copies
from ansible_collections.croft.infra.plugins.module_utils.guest_freeze import not_frozen
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    LibvirtFailedError,
    bindings,
    words,
)
from ansible_collections.croft.infra.plugins.module_utils.open_stores import Stores
from ansible_collections.croft.infra.plugins.module_utils.with_stores import POOL, REACH, with_stores


def find_problems(stores: Stores, entries: list[dict[str, str]]) -> list[str]:
    store = stores.main
    if store.pool is None or not store.pool.isActive():
        return ["the storage pool is not there or not active; run playbooks/storage.yml"]
    problems = []
    for entry in entries:
        problems += vm_copies.problems(entry["name"], vm_copies.lookup(stores.conn, entry["name"]), stores)
        found = adoption.problem(entry["as"], adoption.look(stores.conn, store, entry["as"], entry["uuid"]))
        problems += [found] if found else []
    return problems


def clone(stores: Stores, entry: dict[str, str], timeout: int) -> str | None:
    """Copy one; why the guest was not frozen, or None."""
    domain = stores.conn.lookupByName(entry["name"])
    said: list[str | None] = [None]

    def make(root: str) -> None:
        if domain.isActive():
            copy = vm_copies.RunningCopy(stores, timeout)
            said[0] = copy.copy_running(domain, stores.main, root)
        else:
            path = domain_xml.describe(domain.XMLDesc(0)).disk_path(domain_xml.ROOT_TARGET)
            vm_copies.copy_stopped(stores, stores.volume_at(path), root)

    adoption.adopt(stores.main, entry["as"], entry["uuid"], make)
    return said[0]


def run(module: AnsibleModule, stores: Stores) -> None:
    """Look, refuse, and (not in check mode) copy."""
    entries = module.params["clone"]
    problems = find_problems(stores, entries)
    if problems:
        module.fail_json(msg="\n".join(["Nothing was copied:", *problems]), problems=problems)
    done: list[dict[str, Any]] = []
    for entry in entries:
        started = time.monotonic()
        agent = None
        if not module.check_mode:
            try:
                agent = clone(stores, entry, module.params["timeout"])
            except (LibvirtFailedError, bindings().libvirtError, TimeoutError) as error:
                module.fail_json(
                    msg=f"{entry['name']}: was not copied as {entry['as']}: {words(error)}. Copied before: "
                    f"{', '.join(one['as'] for one in done) or 'none'}.",
                    changed=bool(done),
                )
        if agent:
            module.warn(not_frozen(entry["name"], agent, "copy"))
        seconds = round(time.monotonic() - started, 1)
        done.append({"name": entry["name"], "as": entry["as"], "agent": agent, "seconds": seconds})
    module.exit_json(changed=bool(done), cloned=done)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "clone": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {key: {"type": "str", "required": True} for key in ("name", "as", "uuid")},
            },
            "pool": POOL,
            **REACH,
            "timeout": {"type": "int", "default": 3600},
        },
        supports_check_mode=True,
    )
    if not module.params["clone"]:
        module.exit_json(changed=False, cloned=[])
    with_stores(module, run)


if __name__ == "__main__":
    main()
