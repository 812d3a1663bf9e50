#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: what differs is decided in module_utils/ceph_wanted.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ceph_cluster
short_description: Bring a Ceph cluster's configuration, users, CRUSH rule and pool to what is wanted
description:
  - One call for the cluster, on a host that has the administrator's keyring. Only what differs is changed, and what
    somebody else has set is left alone.
options:
  config:
    description: Options of the mons' configuration database, by section (C(global), C(osd), ...) and name.
    type: dict
    default: {}
  own:
    description: Options like C(global/ms_client_mode) that are taken back to their default when O(config) has them not.
    type: list
    elements: str
    default: []
  users:
    description: Users, each with its rights by daemon. Keys are made by the cluster and are not returned.
    type: dict
    default: {}
  without_mgr_modules:
    description: Modules of the mgr that are switched off where they are on.
    type: list
    elements: str
    default: []
  rule:
    description: A CRUSH rule, with C(name), C(failure_domain) and C(device_class) (may be empty).
    type: dict
  pool:
    description: >-
      A pool for RBD, with C(name), C(size), C(min_size), C(rule), C(pg_num) (of a new pool; then the autoscaler's) and
      C(pg_autoscale_mode).
    type: dict
  osds:
    description: >-
      UUIDs of the OSDs that hosts have. An OSD that never started and is not among them was announced by a run that was
      cut off, and is forgotten.
    type: list
    elements: str
  mons:
    description: Names of the mons that are wanted; others are taken out of the map once these have a quorum.
    type: list
    elements: str
attributes:
  check_mode:
    description: Tells what would be done.
    support: full
  diff_mode:
    description: Shows what is done, one line each.
    support: full
requirements: [python3-rados, python3-rbd]
author: the croft contributors
"""

EXAMPLES = r"""
- name: Have a pool for VMs, and a user that may use it and nothing else
  croft.infra.ceph_cluster:
    rule: {name: croft, failure_domain: host, device_class: ""}
    pool: {name: vms, size: 3, min_size: 2, rule: croft, pg_num: 32, pg_autoscale_mode: "on"}
    users:
      client.libvirt: {mon: profile rbd, osd: profile rbd pool=vms, mgr: profile rbd pool=vms}
"""

RETURN = r"""
actions:
  description: What was done (in check mode, would be done), in order.
  returned: success
  type: list
  elements: str
  sample: ["pool vms: make, size 3"]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import ceph_wanted as pure
from ansible_collections.croft.infra.plugins.module_utils.ceph_connection import (
    CephFailedError,
    CephMissingError,
    Cluster,
    bindings,
    connection,
)


def mon_changes(cluster: Cluster, wanted: list[str]) -> list[pure.Change]:
    """Mons to be taken out of the map. Raises CephFailedError when the others would have no quorum of their own."""
    leaving = [mon["name"] for mon in cluster.command("mon dump")["mons"] if mon["name"] not in wanted]
    quorum = cluster.command("quorum_status")["quorum_names"]
    silent = [name for name in wanted if name not in quorum]
    if leaving and silent:
        raise CephFailedError(
            f"mons {', '.join(leaving)} are not taken out while {', '.join(silent)} are not in the quorum; start those"
        )
    return [pure.Change(f"mon.{name}: take out", "mon remove", {"name": name}) for name in leaving]


def changes(cluster: Cluster, given: dict[str, Any]) -> list[pure.Change]:
    """All that differs, in the order in which it must be done."""
    todo = pure.config_changes(given["config"], cluster.command("config dump"), given["own"])
    if given["users"]:
        todo += pure.user_changes(given["users"], cluster.command("auth ls")["auth_dump"])
    if given["without_mgr_modules"]:
        enabled = cluster.command("mgr module ls")["enabled_modules"]
        todo += pure.module_changes(given["without_mgr_modules"], enabled)
    if given["rule"]:
        todo += pure.rule_changes(given["rule"], cluster.command("osd crush rule dump"))
    if given["pool"]:
        rules = {rule["rule_name"]: rule["rule_id"] for rule in cluster.command("osd crush rule dump")}
        todo += pure.pool_changes(given["pool"], cluster.command("osd dump")["pools"], rules)
    if given["osds"] is not None:
        todo += pure.stray_osds(cluster.command("osd dump")["osds"], given["osds"])
    if given["mons"] is not None:
        todo += mon_changes(cluster, given["mons"])
    return todo


def carry_out(cluster: Cluster, todo: list[pure.Change]) -> None:
    """Send the commands; a pool that was made for RBD gets RBD's own objects too."""
    for change in todo:
        cluster.command(change.prefix, **change.arguments)
        if change.prefix == "osd pool application enable":
            rbd = bindings("rbd")
            with cluster.handle.open_ioctx(change.arguments["pool"]) as pool:
                rbd.RBD().pool_init(pool, False)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "config": {"type": "dict", "default": {}},
            "own": {"type": "list", "elements": "str", "default": []},
            "users": {"type": "dict", "default": {}},
            "without_mgr_modules": {"type": "list", "elements": "str", "default": []},
            "rule": {"type": "dict"},
            "pool": {"type": "dict"},
            "osds": {"type": "list", "elements": "str"},
            "mons": {"type": "list", "elements": "str"},
        },
        supports_check_mode=True,
    )
    try:
        with connection() as cluster:
            todo = changes(cluster, module.params)
            if not module.check_mode:
                carry_out(cluster, todo)
    except (CephMissingError, CephFailedError) as error:
        module.fail_json(msg=str(error))
    actions = [change.text for change in todo]
    after = "".join(f"{action}\n" for action in actions)
    module.exit_json(changed=bool(todo), actions=actions, diff={"before": "", "after": after})


if __name__ == "__main__":
    main()
