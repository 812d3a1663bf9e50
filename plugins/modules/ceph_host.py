#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: the looking is in module_utils/ceph_host.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ceph_host
short_description: Read what a host has for Ceph, and what of a cluster is on it
description:
  - Reads disks (what is on them, who uses them), addresses, memory, the kernel's device mapper, mons and OSDs that are
    there, and what the cluster says when it answers.
  - Works on a host without Ceph. Opens disks for reading only, and changes nothing.
options:
  name:
    description: Name of the host in the cluster.
    type: str
    required: true
  address:
    description: Its address on the public network of the cluster.
    type: str
    required: true
  devices:
    description: The disks that are wanted for OSDs.
    type: list
    elements: path
    default: []
  wipe:
    description: Those of them that may be wiped.
    type: list
    elements: path
    default: []
attributes:
  check_mode:
    description: The same as without.
    support: full
author: the croft contributors
"""

EXAMPLES = r"""
- name: Look at the host
  croft.infra.ceph_host:
    name: kvm1
    address: 10.0.0.11
    devices: [/dev/disk/by-id/nvme-eui.0025385b71b0a7f2]
  register: ceph_host
"""

RETURN = r"""
facts:
  description: >-
    name, address, addresses, memory_mib, device_mapper, fsids (where a cluster is named, and which), mons, mgrs,
    osds (id, uuid), disks (path, real, exists, block, bytes, signatures, mounted_at, held_by, osd), wipe, cluster
    (fsid, quorum, mons, flags, usage, full_ratio, nearfull_ratio, osd_uuids, osds_down, osd_hosts; null when it does
    not answer) and cluster_silence (why it does not answer).
  returned: success
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils.ceph_connection import CephFailedError
from ansible_collections.croft.infra.plugins.module_utils.ceph_host import look


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "address": {"type": "str", "required": True},
            "devices": {"type": "list", "elements": "path", "default": []},
            "wipe": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        facts = look(given["name"], given["address"], given["devices"], given["wipe"])
    except CephFailedError as error:
        module.fail_json(msg=f"{given['name']}: {error}")
    module.exit_json(changed=False, facts=facts)


if __name__ == "__main__":
    main()
