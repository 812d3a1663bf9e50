#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: the decisions are in module_utils/snapshots.py, the hands in module_utils/vm_snapshots.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_snapshots
short_description: Make, go back to, and remove snapshots of the VMs of a host, in one call
version_added: "0.1.0"
author: [the croft contributors (@croft)]
description:
  - Of a VM whose disks are qcow2 a snapshot lies inside of these. Of a running one it holds the memory, too; the VM
    stands still while that is written, and goes on from that very moment after a revert.
  - Of a VM whose disks are RBD images a snapshot is one of each image. The guest's agent freezes the file systems for
    that moment; when it does not answer the snapshot is as a disk after a power cut, which is told.
  - Names begin with C(croft-), which is added. Snapshots of other names are never removed.
  - Everything that forbids to begin is reported in one failure, before anything was changed.
  - libvirt migrates no VM that has snapshots inside of its disks, and makes none beside the checkpoints of incremental
    backups.
options:
  virtual_machines:
    description: VMs of this host to make a snapshot of, and to hold against O(keep_last) and O(keep_days).
    type: list
    elements: str
    default: []
  create:
    description: Whether to make snapshots of O(virtual_machines); false only removes those that no rule keeps.
    type: bool
    default: true
  snapshot:
    description: The snapshots' name; the time in UTC without it. Of a VM that has it nothing is made.
    type: str
  keep_last:
    description: Keep so many of croft's newest snapshots of each VM.
    type: int
  keep_days:
    description: Keep croft's snapshots that are younger. One stays when any rule keeps it; without rules all stay.
    type: float
  revert:
    description: VMs that go back to a snapshot. What they wrote since is lost.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: The VM., type: str, required: true}
      snapshot: {description: The snapshot., type: str, required: true}
  remove:
    description: Snapshots to remove.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: The VM., type: str, required: true}
      snapshot: {description: The snapshot., type: str, required: true}
  drop_checkpoints:
    description: Remove checkpoints of incremental backups where they forbid a snapshot; the next backup is a full one.
    type: bool
    default: false
  stop_timeout:
    description: Seconds that a guest gets to shut down before its RBD images are reverted.
    type: int
    default: 120
extends_documentation_fragment: [croft.infra.libvirt, croft.infra.libvirt.nfs_pools]
requirements: [python3-libvirt]
attributes:
  check_mode: {support: full, description: Reports what a real run does.}
"""

EXAMPLES = r"""
- name: Make a snapshot of two VMs, and keep three of each
  croft.infra.vm_snapshots:
    virtual_machines: [web1, app1]
    keep_last: 3

- name: Go back
  croft.infra.vm_snapshots:
    revert: [{name: web1, snapshot: croft-before-upgrade}]
"""

RETURN = r"""
virtual_machines:
  description: One entry for each VM that was named, with what was done, and croft's snapshots of it, the newest first.
  returned: success
  type: list
  elements: dict
  sample:
    - {name: web1, snapshots: [croft-before-upgrade], actions: [{action: create, snapshot: croft-before-upgrade,
       seconds: 1.4, with_memory: true, agent: null}]}
"""

import time
from datetime import UTC, datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import snapshots as pure
from ansible_collections.croft.infra.plugins.module_utils.guest_freeze import not_frozen
from ansible_collections.croft.infra.plugins.module_utils.open_stores import Stores
from ansible_collections.croft.infra.plugins.module_utils.vm_snapshots import SnapshotError, Snapshots
from ansible_collections.croft.infra.plugins.module_utils.with_stores import REACH, with_stores

PAIRS = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": {key: {"type": "str", "required": True} for key in ("name", "snapshot")},
}


def plan(
    given: dict[str, Any], seen: dict[str, pure.Seen], snapshot: str, now: float
) -> tuple[list[tuple[str, str, str]], list[str]]:
    """((action, VM, snapshot) in order, problems). What was asked by name comes before what time has expired."""
    steps, problems = [], []
    for what in ("revert", "remove"):
        problems += pure.known_problems(given[what], seen, what)
        steps += [
            (what, entry["name"], entry["snapshot"])
            for entry in given[what]
            if what == "revert" or seen[entry["name"]].has(entry["snapshot"])
        ]
    for name in given["virtual_machines"]:
        found = list(seen[name].snapshots)
        if given["create"]:
            problems += pure.create_problems(name, seen[name], snapshot, drop_checkpoints=given["drop_checkpoints"])
            if not seen[name].has(snapshot):
                steps.append(("create", name, snapshot))
                found.append(pure.Snapshot(snapshot, now))
        elif seen[name].state is None:
            problems.append(f"{name}: there is no such VM on this host")
        gone = pure.expired(found, keep_last=given["keep_last"], keep_days=given["keep_days"], now=now)
        steps += [("remove", name, one.name) for one in gone if one.name != snapshot]
    return steps, problems


def carry_out(
    snapshots: Snapshots, seen: dict[str, pure.Seen], step: tuple[str, str, str], patience: int
) -> dict[str, Any]:
    what, name, snapshot = step
    if what == "create":
        return snapshots.create(name, seen[name], snapshot)
    if what == "revert":
        snapshots.revert(name, seen[name], snapshot, patience)
    else:
        snapshots.remove(name, seen[name], snapshot)
    return {}


def run(module: AnsibleModule, stores: Stores) -> None:
    """Look, refuse, and (not in check mode) carry out."""
    snapshots = Snapshots(stores)
    given = module.params
    now = time.time()
    snapshot = given["snapshot"] or f"{pure.PREFIX}{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}"
    named = [entry["name"] for what in ("revert", "remove") for entry in given[what]] + given["virtual_machines"]
    seen = {name: snapshots.look(name) for name in dict.fromkeys(named)}
    steps, problems = plan(given, seen, snapshot, now)
    if problems:
        module.fail_json(msg="\n".join(["Nothing was changed:", *problems]), problems=problems)
    done: dict[str, list[dict[str, Any]]] = {name: [] for name in seen}
    for step in steps:
        try:
            about = {} if module.check_mode else carry_out(snapshots, seen, step, given["stop_timeout"])
        except SnapshotError as error:
            before = "; ".join(f"{name}: {one['action']} {one['snapshot']}" for name in done for one in done[name])
            module.fail_json(msg=f"{error}. Done before: {before or 'nothing'}.", changed=bool(before))
        if about.get("agent"):
            module.warn(not_frozen(step[1], about["agent"], "snapshot"))
        done[step[1]].append({"action": step[0], "snapshot": step[2], **about})
    machines = [
        {
            "name": name,
            "actions": done[name],
            "snapshots": [one.name for one in pure.ours(snapshots.look(name).snapshots)],
        }
        for name in seen
    ]
    module.exit_json(changed=bool(steps), virtual_machines=machines)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "virtual_machines": {"type": "list", "elements": "str", "default": []},
            "create": {"type": "bool", "default": True},
            "snapshot": {"type": "str"},
            "keep_last": {"type": "int"},
            "keep_days": {"type": "float"},
            "revert": PAIRS,
            "remove": PAIRS,
            "drop_checkpoints": {"type": "bool", "default": False},
            **REACH,
            "stop_timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    if module.params["snapshot"]:
        problem = pure.name_problem(module.params["snapshot"])
        if problem:
            module.fail_json(msg=problem)
        module.params["snapshot"] = pure.full_name(module.params["snapshot"])
    with_stores(module, run)


if __name__ == "__main__":
    main()
