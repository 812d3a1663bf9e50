#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: the judgement is in module_utils/ceph_health.py. The action plugin of this name calls it again and again."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ceph_health
short_description: Wait until a Ceph cluster is as it shall be
description:
  - Waits for a quorum, for OSDs, for clean placement groups, for HEALTH_OK, or until OSDs may be destroyed; shows a
    line of progress in each turn, and fails in the end with what is still missing.
  - Runs through an action plugin of the same name, which calls the module in turns, on a host that has the
    administrator's keyring. In check mode it looks once and waits for nothing.
options:
  until:
    description: >-
      V(quorum), all O(mons) are in it; V(osds_up), all O(osds) are up; V(clean), all placement groups are active and
      clean; V(healthy), all O(osds) up and no warning but of heartbeats that were slow in the last quarter of an hour;
      V(safe_to_destroy), O(osds) hold nothing that is nowhere else.
    type: str
    choices: [quorum, osds_up, clean, healthy, safe_to_destroy]
    default: healthy
  mons:
    description: Names of the mons.
    type: list
    elements: str
    default: []
  osds:
    description: Numbers of the OSDs.
    type: list
    elements: int
    default: []
  before:
    description: >-
      RV(seen) of an earlier task, with V(osds_up) and V(healthy): the O(osds) were restarted since, and must have come
      up anew.
    type: dict
  timeout:
    description: >-
      Seconds to wait, counted by turns and not by the clock. The count starts anew whenever recovery gets on.
    type: int
    default: 300
  wait:
    description: Seconds between two looks.
    type: int
    default: 5
attributes:
  check_mode:
    description: Looks once.
    support: full
requirements: [python3-rados]
author: the croft contributors
"""

EXAMPLES = r"""
- name: Wait until the cluster is healthy
  croft.infra.ceph_health:
    until: healthy
    timeout: 600

- name: Wait until OSD 2, which was restarted, is up again and the cluster is healthy
  croft.infra.ceph_health:
    osds: [2]
    before: "{{ looked.seen }}"
"""

RETURN = r"""
seen:
  description: >-
    status, checks (texts by name), muted, quorum, pgs, clean, degraded, misplaced, recovery_bytes_per_second, osds
    (by number: up, in, and up_from, the map's epoch at which it came up) and unsafe, at the last look; null when the
    cluster did not answer.
  returned: always
  type: dict
missing:
  description: What is still missing, one line each.
  returned: always
  type: list
  elements: str
waited:
  description: Seconds waited, counted by turns.
  returned: through the action plugin
  type: int
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import ceph_health as pure
from ansible_collections.croft.infra.plugins.module_utils.ceph_connection import (
    CephFailedError,
    CephMissingError,
    Cluster,
    connection,
)


def unsafe(cluster: Cluster, osds: list[int]) -> list[int]:
    """Those of the OSDs that must not be destroyed yet; an OSD that is gone is safe."""
    there = set(cluster.command("osd ls"))
    if not set(osds) & there:
        return []
    try:
        answer = cluster.mgr("osd safe-to-destroy", ids=[str(osd) for osd in osds if osd in there])
    except CephFailedError:
        # The mgr refuses with an error, and without numbers, when none is safe.
        return sorted(set(osds) & there)
    return sorted((set(osds) & there) - set(answer["safe_to_destroy"]))


def main() -> None:
    module = AnsibleModule(argument_spec=pure.ARGUMENTS, supports_check_mode=True)
    given = module.params
    try:
        with connection() as cluster:
            seen = pure.sight(
                cluster.command("status"),
                cluster.command("health", detail="detail"),
                cluster.command("osd dump")["osds"],
                unsafe(cluster, given["osds"]) if given["until"] == "safe_to_destroy" else (),
            )
    except CephMissingError as error:
        module.fail_json(msg=str(error))
    except CephFailedError as error:
        # Between the start of the mons and their quorum this is how it is.
        module.exit_json(changed=False, seen=None, missing=[str(error)])
    missing = pure.missing(given["until"], seen, given["mons"], given["osds"], given["before"])
    module.exit_json(changed=False, seen=seen, missing=missing)


if __name__ == "__main__":
    main()
