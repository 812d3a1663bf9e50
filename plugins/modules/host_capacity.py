#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: the reading is in module_utils/capacity.py and module_utils/inventory_of_host.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_capacity
short_description: Report what a host has, and which VMs run on it
version_added: "0.1.0"
author: [the croft contributors (@croft)]
description:
  - Reads sockets, cores, threads, memory and NUMA nodes from /sys and /proc, counting what is online.
  - Reads storage pools and VMs from libvirt when it is there. A host without libvirt is no failure, RV(libvirt) says
    so.
  - Changes nothing. Runs in check mode too.
options:
  pool:
    description: The libvirt storage pool whose size is the host's disk capacity.
    type: str
  pool_path:
    description: The directory of that pool; the size of its file system counts as long as the pool is not there.
    type: path
    default: /var/lib/libvirt/images
  uri:
    description: The libvirt connection.
    type: str
    default: qemu:///system
attributes:
  check_mode: {support: full, description: It only reads.}
"""

EXAMPLES = r"""
- name: Read what the host has
  croft.infra.host_capacity:
    pool: vms
    pool_path: /srv/vms
  register: croft_host_facts
"""

RETURN = r"""
capacity:
  description: >-
    The host's hardware, counted over all sockets; disk_gib and disk_free_gib are of the pool's file system.
  returned: success
  type: dict
  sample:
    {sockets: 2, cores: 16, threads: 32, memory_mib: 257840, disk_gib: 3665.4, disk_free_gib: 3012.9,
     numa_nodes: [{id: 0, threads: 16, memory_mib: 128920}, {id: 1, threads: 16, memory_mib: 128920}]}
pools:
  description: Every storage pool of libvirt.
  returned: success
  type: list
  elements: dict
  sample:
    - {name: vms, type: dir, path: /srv/vms, active: true, autostart: true, capacity_gib: 3665.4, available_gib: 3012.9}
virtual_machines:
  description: >-
    Every VM that libvirt knows; of a running one the vCPUs and memory that it has now. managed says whether croft
    made it, disk_gib is the sum of its disks' virtual sizes.
  returned: success
  type: list
  elements: dict
  sample:
    - {name: web1, uuid: e39b45ed-20cd-5005-9a3f-de882b74d056, vcpus: 2, memory_mib: 2048, disk_gib: 20.0,
       state: running, autostart: true, managed: true}
libvirt:
  description: Whether libvirt answered, its version, and why not.
  returned: success
  type: dict
  sample: {available: true, version: 11.3.0, reason: null}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import inventory_of_host
from ansible_collections.croft.infra.plugins.module_utils.capacity import file_system, read_capacity
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    DEFAULT_URI,
    LibvirtFailedError,
    LibvirtMissingError,
    connection,
)


def read_libvirt(uri: str) -> dict[str, Any]:
    """Pools, VMs and version; without libvirt empty lists and the reason."""
    try:
        with connection(uri) as conn:
            return {
                "pools": inventory_of_host.pools(conn),
                "virtual_machines": inventory_of_host.virtual_machines(conn),
                "libvirt": {"available": True, "version": inventory_of_host.version(conn), "reason": None},
            }
    except (LibvirtMissingError, LibvirtFailedError) as error:
        about = {"available": False, "version": None, "reason": str(error)}
        return {"pools": [], "virtual_machines": [], "libvirt": about}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "pool": {"type": "str"},
            "pool_path": {"type": "path", "default": "/var/lib/libvirt/images"},
            "uri": {"type": "str", "default": DEFAULT_URI},
        },
        supports_check_mode=True,
    )
    found = read_libvirt(module.params["uri"])
    pool = next((pool for pool in found["pools"] if pool["name"] == module.params["pool"] and pool["active"]), None)
    size, free = (
        file_system(module.params["pool_path"]) if pool is None else (pool["capacity_gib"], pool["available_gib"])
    )
    module.exit_json(changed=False, capacity={**read_capacity(), "disk_gib": size, "disk_free_gib": free}, **found)


if __name__ == "__main__":
    main()
