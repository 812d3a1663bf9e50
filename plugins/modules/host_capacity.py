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
    default: ""
  pool_path:
    description: The directory of that pool; the size of its file system counts as long as the pool is not there.
    type: path
    default: /var/lib/libvirt/images
  osd_devices:
    description:
      - The disks of this host that Ceph stores on, as role ceph takes them. When there are any, their sizes together
        are the host's disk capacity, whatever the pool's size is.
      - A path where no block device is counts 0, and a warning names it.
    type: list
    elements: path
    default: []
extends_documentation_fragment: [croft.infra.libvirt, croft.infra.libvirt.nfs_pools]
attributes:
  check_mode: {support: full, description: It only reads.}
"""

EXAMPLES = r"""
- name: Read what the host has
  croft.infra.host_capacity:
    pool: vms
    pool_path: /srv/vms
  register: croft_host_facts

- name: Read what a host has whose disks are Ceph's
  croft.infra.host_capacity:
    osd_devices: "{{ ceph_osd_devices }}"
  register: croft_host_facts
"""

RETURN = r"""
capacity:
  description: >-
    The host's hardware, counted over all sockets; disk_gib and disk_free_gib are of the pool's file system, null when
    its server does not answer. With O(osd_devices) both are the raw size of these.
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
maintenance:
  description: Why the host takes nothing new; null when it does.
  returned: success
  type: dict
  sample: {reason: new memory}
clustered:
  description: Whether the host is in a Pacemaker cluster.
  returned: success
  type: bool
libvirt:
  description: Whether libvirt answered, its version, and why not.
  returned: success
  type: dict
  sample: {available: true, version: 11.3.0, reason: null}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import inventory_of_host
from ansible_collections.croft.infra.plugins.module_utils.capacity import devices_gib, file_system, read_capacity
from ansible_collections.croft.infra.plugins.module_utils.cluster_moves import clustered
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    DEFAULT_URI,
    LibvirtFailedError,
    LibvirtMissingError,
)
from ansible_collections.croft.infra.plugins.module_utils.maintenance import read_maintenance
from ansible_collections.croft.infra.plugins.module_utils.open_stores import opened
from ansible_collections.croft.infra.plugins.module_utils.store import NFS_POOLS, Store, host_stores


def read_libvirt(uri: str, main: Store, others: list[Store]) -> dict[str, Any]:
    """Pools, VMs, version and the size of the main store; without libvirt empty lists and the reason."""
    try:
        with opened(uri, Store(main.pool, uri), others) as stores:
            return {
                "pools": inventory_of_host.pools(stores.conn),
                "virtual_machines": inventory_of_host.virtual_machines(stores.conn, stores),
                "libvirt": {"available": True, "version": inventory_of_host.version(stores.conn), "reason": None},
                "size": inventory_of_host.pool_size(stores, main),
            }
    except (LibvirtMissingError, LibvirtFailedError) as error:
        about = {"available": False, "version": None, "reason": str(error)}
        return {"pools": [], "virtual_machines": [], "libvirt": about, "size": None}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "pool": {"type": "str", "default": ""},
            "pool_path": {"type": "path", "default": "/var/lib/libvirt/images"},
            "nfs_pools": NFS_POOLS,
            "osd_devices": {"type": "list", "elements": "path", "default": []},
            "uri": {"type": "str", "default": DEFAULT_URI},
        },
        supports_check_mode=True,
    )
    given = module.params
    store, others = host_stores(given["pool"], given["nfs_pools"], given["uri"])
    found = read_libvirt(given["uri"], store, others)
    # Of a server that does not answer yet nothing is known; of a pool of the host the file system that it will be on.
    unknown = (None, None) if any(pool["name"] == given["pool"] for pool in given["nfs_pools"]) else None
    found["maintenance"] = read_maintenance()
    found["clustered"] = clustered()
    size, free = found.pop("size") or unknown or file_system(given["pool_path"])
    if given["osd_devices"]:
        size, missing = devices_gib(given["osd_devices"])
        free = size
        if missing:
            module.warn(f"no block device, counted as 0 GiB: {', '.join(missing)}")
    module.exit_json(changed=False, capacity={**read_capacity(), "disk_gib": size, "disk_free_gib": free}, **found)


if __name__ == "__main__":
    main()
