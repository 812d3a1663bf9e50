#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: what is done with a disk is decided in module_utils/ceph_osds.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ceph_osds
short_description: Make Ceph OSDs of a host's disks
description:
  - One call for all disks of a host. A disk that carries an OSD of this cluster is left alone; an empty one becomes an
    OSD; one that holds anything else is refused, unless it is named in O(wipe).
  - Makes OSDs with C(ceph-volume), on logical volumes or on raw disks, and starts none.
options:
  fsid:
    description: The id of the cluster.
    type: str
    required: true
  devices:
    description: The disks.
    type: list
    elements: path
    required: true
  wipe:
    description: Those of them whose content may be destroyed. An OSD of this cluster is never wiped.
    type: list
    elements: path
    default: []
  known:
    description: >-
      UUIDs of the OSDs that the cluster has. A disk of one that was taken out holds data like any other. Left out where
      there is no cluster yet.
    type: list
    elements: str
  method:
    description: On logical volumes, or on raw disks.
    type: str
    choices: [lvm, raw]
    required: true
  encrypted:
    description: Whether new OSDs are encrypted (dm-crypt, the keys are kept by the mons). For V(lvm) only.
    type: bool
    default: false
  device_class:
    description: The CRUSH device class of new OSDs; empty, Ceph decides by the disk.
    type: str
    default: ''
  replace:
    description: The id of a destroyed OSD that the one new disk takes over.
    type: int
attributes:
  check_mode:
    description: Tells which disks would become OSDs.
    support: full
  diff_mode:
    description: Shows what is done, one line each.
    support: full
requirements: [ceph-osd, ceph-volume]
author: the croft contributors
"""

EXAMPLES = r"""
- name: Make OSDs
  croft.infra.ceph_osds:
    fsid: 5d3f0b2e-5f0e-4c52-9b2f-6f2f3a1d7c11
    devices: [/dev/disk/by-id/nvme-eui.0025385b71b0a7f2]
    method: lvm
"""

RETURN = r"""
osds:
  description: The OSDs of these disks, each with device, id and uuid; without those that check mode only predicts.
  returned: success
  type: list
  elements: dict
  sample: [{device: /dev/sdb, id: 0, uuid: 5d3f0b2e-5f0e-4c52-9b2f-6f2f3a1d7c11}]
actions:
  description: What was done (in check mode, would be done), in order.
  returned: success
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import ceph_host, ceph_osds
from ansible_collections.croft.infra.plugins.module_utils.ceph import osd_entry
from ansible_collections.croft.infra.plugins.module_utils.ceph_connection import CephFailedError


def look(devices: list[str]) -> list[dict[str, Any]]:
    """The disks as they are now."""
    on_lvm = ceph_host.lvm_osds() if ceph_host.has_device_mapper() else {}
    mounted = ceph_host.mounts()
    return [ceph_host.disk(path, mounted, on_lvm) for path in devices]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "fsid": {"type": "str", "required": True},
            "devices": {"type": "list", "elements": "path", "required": True},
            "wipe": {"type": "list", "elements": "path", "default": []},
            "known": {"type": "list", "elements": "str"},
            "method": {"type": "str", "choices": ["lvm", "raw"], "required": True},
            "encrypted": {"type": "bool", "default": False},
            "device_class": {"type": "str", "default": ""},
            "replace": {"type": "int"},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        todo, lines = ceph_osds.decide(look(given["devices"]), given["fsid"], given["wipe"], given["known"])
        if given["replace"] is not None and len([one for one in todo if one.kind == "prepare"]) > 1:
            lines.append(f"osd.{given['replace']}: more than one disk is new; name the one that takes its place")
        if lines:
            module.fail_json(msg="\n".join(lines))
        if not module.check_mode:
            ceph_osds.carry_out(todo, given)
        disks = look(given["devices"])
    except CephFailedError as error:
        module.fail_json(msg=str(error))
    osds = [osd_entry(disk["path"], disk["osd"]) for disk in disks if disk["osd"] and "whoami" in disk["osd"]]
    actions = [one.text for one in todo]
    after = "".join(f"{action}\n" for action in actions)
    module.exit_json(changed=bool(todo), osds=osds, actions=actions, diff={"before": "", "after": after})


if __name__ == "__main__":
    main()
