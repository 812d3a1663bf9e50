#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: the decisions are in module_utils/backups.py, the hands in module_utils/vm_backups.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_backup
short_description: Back up the VMs of a host by virtnbdbackup, in one call
version_added: "0.1.0"
author: [the croft contributors (@croft)]
description:
  - Makes a full or an incremental backup of each VM while it runs. The guest's agent freezes its file systems for the
    moment at which the backup begins; when it does not answer that is told.
  - A full backup and the incremental ones after it are a set, a directory C(<directory>/<vm>/<time in UTC>). An
    incremental one follows as long as there are fewer than O(full_after) of them in the set.
  - A VM that is stopped, that has snapshots, or whose disks are not qcow2 (RBD images) gets a complete copy each time.
  - RBD images are written into qcow2 files from a snapshot that is there meanwhile, and held against it.
  - Each backup is held against its checksums. Of one that failed nothing stays, and old sets are removed only after a
    good one.
  - First-boot data is not backed up; it follows from the inventory.
options:
  virtual_machines:
    description: The VMs of this host to back up.
    type: list
    elements: str
    required: true
  directory:
    description: Where backups go.
    type: path
    default: /var/backups/croft
  full:
    description: Begin a new set.
    type: bool
    default: false
  full_after:
    description: So many incremental backups follow a full one.
    type: int
    default: 6
  keep_sets:
    description: So many sets of each VM are kept; 0 keeps all.
    type: int
    default: 4
  verify:
    description: Whether a backup is held against its checksums.
    type: bool
    default: true
extends_documentation_fragment: [croft.infra.libvirt, croft.infra.libvirt.nfs_pools]
requirements: [python3-libvirt, virtnbdbackup]
attributes:
  check_mode: {support: full, description: Reports which backups a real run makes.}
"""

EXAMPLES = r"""
- name: Back up two VMs
  croft.infra.vm_backup:
    virtual_machines: [web1, app1]
    keep_sets: 8
"""

RETURN = r"""
virtual_machines:
  description: One entry for each VM, with what was made; C(agent) says why the guest was not frozen, null when it was.
  returned: success
  type: list
  elements: dict
  sample:
    - {name: web1, set: 20261125T170000Z, level: inc, reason: "", agent: null, bytes: 262691, seconds: 7.2, removed: []}
"""

import shutil

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import backups as pure
from ansible_collections.croft.infra.plugins.module_utils.guest_freeze import not_frozen
from ansible_collections.croft.infra.plugins.module_utils.open_stores import Stores
from ansible_collections.croft.infra.plugins.module_utils.vm_backups import TOOLS, BackupError, Backups
from ansible_collections.croft.infra.plugins.module_utils.with_stores import REACH, with_stores


def run(module: AnsibleModule, stores: Stores) -> None:
    """Look, refuse, and (not in check mode) back up."""
    backups = Backups(stores, module.params["directory"])
    given = module.params
    names = list(dict.fromkeys(given["virtual_machines"]))
    seen = {name: backups.look(name) for name in names}
    problems = pure.problems(names, seen)
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None] if names else []
    if lacking and not module.check_mode:
        problems.append(f"{', '.join(lacking)} is not installed (Debian package virtnbdbackup)")
    if problems:
        module.fail_json(msg="\n".join(["Nothing was backed up:", *problems]), problems=problems)
    upcoming = {
        name: pure.next_backup(seen[name], full_after=given["full_after"], full=given["full"]) for name in names
    }
    if module.check_mode:
        planned = [{"name": name, "level": one.level, "reason": one.reason} for name, one in upcoming.items()]
        module.exit_json(changed=bool(names), virtual_machines=planned)
    done, failed = [], []
    for name in names:
        try:
            about = backups.back_up(name, seen[name], upcoming[name], keep=given["keep_sets"], verify=given["verify"])
        except (BackupError, OSError) as error:
            # The others are worth their backups all the same.
            failed.append(f"{name}: was not backed up: {error}")
            continue
        if about["agent"]:
            module.warn(not_frozen(name, about["agent"], "backup"))
        done.append({"name": name, **about})
    if failed:
        module.fail_json(msg="\n".join(failed), changed=bool(done), virtual_machines=done)
    module.exit_json(changed=bool(done), virtual_machines=done)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "virtual_machines": {"type": "list", "elements": "str", "required": True},
            "directory": {"type": "path", "default": "/var/backups/croft"},
            "full": {"type": "bool", "default": False},
            "full_after": {"type": "int", "default": 6},
            "keep_sets": {"type": "int", "default": 4},
            "verify": {"type": "bool", "default": True},
            **REACH,
        },
        supports_check_mode=True,
    )
    with_stores(module, run)


if __name__ == "__main__":
    main()
