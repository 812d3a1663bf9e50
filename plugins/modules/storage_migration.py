#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: the decisions and the hands are in module_utils/disk_mover.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: storage_migration
short_description: Move the disks of running VMs to another storage pool
version_added: "0.1.0"
author: [the croft contributors (@croft)]
description:
  - Copies disks while their guests write, switches the guests over, and removes the old volumes. From a host's own
    disks to a server's and back, or between any two pools.
  - What speaks against it is found first, of all VMs, and reported in one failure before anything moves.
  - A disk that cannot be copied stays where it was, and its VM goes on.
options:
  virtual_machines:
    description: The VMs, each with the pool that its disks shall be in. A disk that is there already is left alone.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: The VM., type: str, required: true}
      pool: {description: The pool., type: str, required: true}
  timeout:
    description: Seconds after which the copy of one disk is given up.
    type: int
    default: 3600
extends_documentation_fragment: [croft.infra.libvirt, croft.infra.libvirt.nfs_pools]
requirements: [python3-libvirt]
attributes:
  check_mode: {support: full, description: Everything is looked at, nothing moves.}
  diff_mode: {support: none, description: The result tells what moves.}
"""

EXAMPLES = r"""
- name: Bring a VM's disks to the server
  croft.infra.storage_migration:
    virtual_machines: [{name: web1, pool: shared}]
    nfs_pools: [{name: shared, server: 10.0.0.9, path: /srv/vms}]
"""

RETURN = r"""
virtual_machines:
  description: How it ended for each VM.
  returned: when nothing spoke against it
  type: list
  elements: dict
  sample:
    - {name: web1, state: done, disks: [{disk: vda, from: /var/lib/croft/pool/web1.qcow2,
       to: "nfs://10.0.0.9/srv/vms/web1.qcow2", seconds: 1.2}]}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import disk_mover
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    DEFAULT_URI,
    LibvirtFailedError,
    LibvirtMissingError,
)
from ansible_collections.croft.infra.plugins.module_utils.open_stores import OpenStore, Stores, opened
from ansible_collections.croft.infra.plugins.module_utils.store import NFS_POOLS, Store, host_stores


def run(module: AnsibleModule, stores: Stores, remote: list[Store]) -> None:
    """Look, refuse or move."""
    pools = {entry["name"]: entry["pool"] for entry in module.params["virtual_machines"]}
    known = {store.pool: store for store in remote}
    uri = module.params["uri"]
    there: dict[str, OpenStore] = {
        pool: stores.open(known.get(pool, Store(pool, uri))) for pool in sorted(set(pools.values()))
    }
    mover = disk_mover.DiskMover(stores, module.params["timeout"])
    seen = {name: mover.look(name, there[pool]) for name, pool in pools.items()}
    problems = disk_mover.problems(pools, seen, disk_mover.free_bytes(there.items()))
    if problems:
        module.fail_json(msg="\n".join(["Nothing was moved:", *problems]), problems=problems)
    moving = [name for name in pools if seen[name].disks]
    if module.check_mode:
        module.exit_json(changed=bool(moving), virtual_machines=[{"name": name} for name in moving])
    done = [mover.move(name, seen[name], there[pools[name]]) for name in moving]
    for one in done:
        for disk in one["disks"]:
            if "remark" in disk:
                module.warn(f"{one['name']}: {disk['remark']}")
    failed = [f"{one['name']}: {one['reason']}" for one in done if one["state"] != "done"]
    changed = any(one["disks"] for one in done)
    if failed:
        module.fail_json(msg="\n".join(failed), changed=changed, virtual_machines=done)
    module.exit_json(changed=changed, virtual_machines=done)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "virtual_machines": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {key: {"type": "str", "required": True} for key in ("name", "pool")},
            },
            "nfs_pools": NFS_POOLS,
            "timeout": {"type": "int", "default": 3600},
            "uri": {"type": "str", "default": DEFAULT_URI},
        },
        supports_check_mode=True,
    )
    uri = module.params["uri"]
    if not module.params["virtual_machines"]:
        module.exit_json(changed=False, virtual_machines=[])
    _main, remote = host_stores("", module.params["nfs_pools"], uri)
    try:
        with opened(uri, Store("", uri), remote) as stores:
            run(module, stores, remote)
    except (LibvirtMissingError, LibvirtFailedError) as error:
        module.fail_json(msg=f"{error}; look at the VMs' disks before you go on")


if __name__ == "__main__":
    main()
