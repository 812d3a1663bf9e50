#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: the judgement is in module_utils/ceph_preflight.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ceph_preflight
short_description: Check a wanted Ceph cluster against its hosts, and tell what would be done
description:
  - Holds what is wanted against what the hosts and the cluster are, and fails with one line for each thing that speaks
    against it, before anything is changed.
  - Runs on the controller, once for the cluster, and touches no host.
options:
  hosts:
    description: What M(croft.infra.ceph_host) returned as C(facts) for each host that answered.
    type: list
    elements: dict
    required: true
  fsid:
    description: The id of the cluster.
    type: str
    required: true
  expected:
    description: Names of all hosts of the cluster.
    type: list
    elements: str
    required: true
  mons:
    description: Names of the hosts that have a mon. An odd number, three at least.
    type: list
    elements: str
    required: true
  mgrs:
    description: Names of the hosts that have a mgr.
    type: list
    elements: str
    required: true
  size:
    description: Copies of each object.
    type: int
    default: 3
  min_size:
    description: Copies that must be there for writing.
    type: int
    default: 2
  public_network:
    description: The network of mons and clients; empty when it is not to be checked.
    type: str
    default: ''
  cluster_network:
    description: The network between OSDs; empty when there is no separate one.
    type: str
    default: ''
  osd_memory_mib:
    description: Memory of each OSD in MiB.
    type: int
    default: 4096
  method:
    description: How OSDs are made.
    type: str
    choices: [auto, lvm, raw]
    default: auto
  encrypted:
    description: Whether disks are encrypted.
    type: bool
    default: false
  msgr1:
    description: Whether mons listen for the older protocol too.
    type: bool
    default: false
  others:
    description: Problems that were found elsewhere, one line each, to be told together with these.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: The same as without.
    support: full
author: the croft contributors
"""

EXAMPLES = r"""
- name: Check the cluster before anything is changed
  croft.infra.ceph_preflight:
    hosts: "{{ groups['kvm_hosts'] | map('extract', hostvars, ['ceph_host', 'facts']) }}"
    fsid: 5d3f0b2e-5f0e-4c52-9b2f-6f2f3a1d7c11
    expected: [kvm1, kvm2, kvm3]
    mons: [kvm1, kvm2, kvm3]
    mgrs: [kvm1, kvm2, kvm3]
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
steps:
  description: What a run would do, one line each; empty when the cluster is as it shall be.
  returned: success
  type: list
  elements: str
  sample: ["kvm1: make a mon at 10.0.0.11", "kvm1: make an OSD on /dev/sdb (3726 GiB, lvm)"]
notes:
  description: What is worth knowing and no problem.
  returned: success
  type: list
  elements: str
methods:
  description: How OSDs are made on each host, lvm or raw.
  returned: success
  type: dict
known_osds:
  description: UUIDs of the OSDs that the cluster has; null when it does not answer.
  returned: success
  type: list
  elements: str
mons:
  description: Addresses of the mons by name.
  returned: success
  type: dict
mon_host:
  description: The line C(mon_host) of ceph.conf.
  returned: success
  type: str
bootstrap:
  description: Whether there is no cluster yet, so that its first mons are made from a new map.
  returned: success
  type: bool
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import ceph_preflight as pure
from ansible_collections.croft.infra.plugins.module_utils.ceph import mon_host

ARGUMENTS = {
    "hosts": {"type": "list", "elements": "dict", "required": True},
    "fsid": {"type": "str", "required": True},
    "expected": {"type": "list", "elements": "str", "required": True},
    "mons": {"type": "list", "elements": "str", "required": True},
    "mgrs": {"type": "list", "elements": "str", "required": True},
    "size": {"type": "int", "default": 3},
    "min_size": {"type": "int", "default": 2},
    "public_network": {"type": "str", "default": ""},
    "cluster_network": {"type": "str", "default": ""},
    "osd_memory_mib": {"type": "int", "default": 4096},
    "method": {"type": "str", "choices": ["auto", "lvm", "raw"], "default": "auto"},
    "encrypted": {"type": "bool", "default": False},
    "msgr1": {"type": "bool", "default": False},
    "others": {"type": "list", "elements": "str", "default": []},
}
OWN = ("hosts", "fsid", "expected", "mons", "mgrs", "msgr1", "others")


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    given = module.params
    wanted = pure.Wanted(
        fsid=given["fsid"],
        hosts=tuple(given["expected"]),
        mons=tuple(given["mons"]),
        mgrs=tuple(given["mgrs"]),
        **{name: given[name] for name in ARGUMENTS if name not in OWN},
    )
    members = [pure.member_of(facts) for facts in given["hosts"]]
    cluster = next((found for facts in given["hosts"] if (found := pure.cluster_of(facts["cluster"]))), None)
    lines = given["others"] + pure.problems(wanted, members, cluster)
    if lines:
        module.fail_json(msg="\n".join(lines))
    mons = {member.name: member.address for member in members if member.name in wanted.mons}
    module.exit_json(
        changed=False,
        mons=mons,
        known_osds=list(cluster.osd_uuids) if cluster else None,
        mon_host=mon_host(mons.values(), given["msgr1"]),
        steps=pure.steps(wanted, members, cluster),
        notes=pure.notes(wanted, members),
        methods={member.name: pure.method_of(wanted, member) for member in members},
        # The first map has all mons in it, so a minority that an earlier run made cannot have had a quorum yet.
        bootstrap=cluster is None,
    )


if __name__ == "__main__":
    main()
