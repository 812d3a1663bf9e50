#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: what may go is decided in module_utils/ceph_departure.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ceph_departure
short_description: Take a host or an OSD out of a Ceph cluster, when no byte is lost by it
description:
  - Runs on a host that has the administrator's keyring. A step may be called again; what is done is no change.
  - What speaks against it is told at once, one line each, by every step. After a change of the map, as when a disk has
    just died, it waits half a minute for the placement groups to find each other.
options:
  host:
    description: The host that leaves, or that has the O(osd).
    type: str
    required: true
  osd:
    description: The OSD whose disk is replaced; without it, the whole host leaves.
    type: int
  wanted_mons:
    description: Names of the mons that stay.
    type: list
    elements: str
    default: []
  disks:
    description: The host's disks as M(croft.infra.ceph_host) returned them, for O(osd).
    type: list
    elements: dict
    default: []
  step:
    description: >-
      V(check) changes nothing. V(out) has the data moved away from the host's OSDs. V(purge) takes OSDs that hold
      nothing any more, the host and its mon and mgr out of the maps. V(destroy) marks the OSD as destroyed; its number
      and place wait for the new disk.
    type: str
    choices: [check, out, purge, destroy]
    default: check
attributes:
  check_mode:
    description: Tells what would be done.
    support: full
  diff_mode:
    description: Shows what is done, one line each.
    support: full
requirements: [python3-rados]
author: the croft contributors
"""

EXAMPLES = r"""
- name: Have the data moved away from a host
  croft.infra.ceph_departure:
    host: kvm4
    wanted_mons: [kvm1, kvm2, kvm3]
    step: out
"""

RETURN = r"""
osds:
  description: Numbers of the host's OSDs, or the one.
  returned: success
  type: list
  elements: int
known:
  description: UUIDs of the OSDs that the cluster has, without the one that is replaced.
  returned: success
  type: list
  elements: str
next:
  description: For O(osd), what comes next - destroy, prepare or start.
  returned: success
  type: str
fsid:
  description: The id of the cluster.
  returned: success
  type: str
actions:
  description: What was done (in check mode, would be done), in order.
  returned: success
  type: list
  elements: str
"""

import time
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import ceph_departure as pure
from ansible_collections.croft.infra.plugins.module_utils.ceph_connection import (
    CephFailedError,
    CephMissingError,
    Cluster,
    connection,
)

# Looks, a second apart. The mgr learns of a group's state within five seconds.
PATIENCE = 30


def look(cluster: Cluster) -> pure.View:
    """The cluster as it is now."""
    return pure.view_of(
        cluster.command("osd tree"),
        cluster.command("osd dump"),
        cluster.mgr("osd df", output_method="plain")["nodes"],
        cluster.mgr("pg ls")["pg_stats"],
        (cluster.command("mon dump"), cluster.command("auth ls")["auth_dump"]),
    )


def look_at_rest(cluster: Cluster, sleep: Callable[[float], None] = time.sleep) -> pure.View:
    """The cluster when its placement groups have found each other; as it is when they do not in half a minute."""
    view = look(cluster)
    for _look in range(PATIENCE):
        if pure.at_rest(view):
            break
        sleep(1)
        view = look(cluster)
    return view


def carry_out(cluster: Cluster, todo: list[pure.Step]) -> None:
    """Send the commands; those of the mgr refuse themselves what would lose data."""
    for step in todo:
        send = cluster.mgr if step.to_mgr else cluster.command
        send(step.prefix, **step.arguments)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str", "required": True},
            "osd": {"type": "int"},
            "wanted_mons": {"type": "list", "elements": "str", "default": []},
            "disks": {"type": "list", "elements": "dict", "default": []},
            "step": {"type": "str", "choices": ["check", "out", "purge", "destroy"], "default": "check"},
        },
        supports_check_mode=True,
    )
    given: dict[str, Any] = module.params
    host, osd = given["host"], given["osd"]
    following = ""
    try:
        with connection() as cluster:
            view = look_at_rest(cluster)
            fsid = cluster.command("status")["fsid"]
            if osd is None:
                lines = pure.host_problems(view, host, given["wanted_mons"])
            else:
                lines = pure.disk_problems(view, osd, host)
                if not lines:
                    following, lines = pure.replacement(view, osd, given["disks"], fsid)
            if lines:
                module.fail_json(msg="\n".join(lines))
            todo = pure.steps(given["step"], view, host, osd)
            if not module.check_mode:
                carry_out(cluster, todo)
    except (CephMissingError, CephFailedError) as error:
        module.fail_json(msg=str(error))
    actions = [step.text for step in todo]
    module.exit_json(
        changed=bool(todo),
        actions=actions,
        fsid=fsid,
        next=following,
        osds=[one.id for one in view.of_host(host)] if osd is None else [osd],
        known=[one.uuid for one in view.osds if one.id != osd or following == "start"],
        diff={"before": "", "after": "".join(f"{action}\n" for action in actions)},
    )


if __name__ == "__main__":
    main()
