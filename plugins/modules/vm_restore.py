#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: the decisions are in module_utils/backups.py and adoption.py, the hands in vm_backups.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_restore
short_description: Make disks of backups that M(croft.infra.vm_backup) made
version_added: "0.1.0"
author: [the croft contributors (@croft)]
description:
  - Holds a set against its checksums, makes the root disk anew as of its last backup or an earlier one, and puts it
    into the pool as the disk of a VM that M(croft.infra.virtual_machines) then makes.
  - With O(restore[].as) the VM's own name its disk is replaced, and what was written since the backup is lost. The VM
    must be stopped for that.
  - Of a restore that failed nothing stays.
options:
  restore:
    description: What to restore here.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: The VM that was backed up., type: str, required: true}
      as: {description: The VM that gets the disk., type: str, required: true}
      uuid: {description: The UUID of that VM., type: str, required: true}
      set: {description: The set; the newest without it., type: str}
      until: {description: 'The last backup of the set that counts, as in virtnbdbackup.2; all without it.', type: str}
  directory:
    description: Where backups are.
    type: path
    default: /var/backups/croft
  scratch:
    description: Where the disk is put together before it goes into the pool.
    type: path
    default: /var/tmp
  pool:
    description: The libvirt storage pool of new disks.
    type: str
    default: default
extends_documentation_fragment: [croft.infra.libvirt, croft.infra.libvirt.nfs_pools]
requirements: [python3-libvirt, virtnbdbackup, qemu-utils]
attributes:
  check_mode: {support: full, description: Looks whether everything is there.}
"""

EXAMPLES = r"""
- name: Restore as another VM
  croft.infra.vm_restore:
    restore: [{name: web1, as: web9, uuid: 6f4a39d1-8a1c-5f7e-9a7e-0c0a4a1f9d11}]
    pool: croft
"""

RETURN = r"""
restored:
  description: What was restored, from which set.
  returned: success
  type: list
  elements: dict
  sample: [{name: web1, as: web9, set: 20261125T170000Z, seconds: 12.4}]
"""

import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import adoption, vm_backups
from ansible_collections.croft.infra.plugins.module_utils import backups as pure
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    LibvirtFailedError,
    bindings,
    words,
)
from ansible_collections.croft.infra.plugins.module_utils.open_stores import Stores
from ansible_collections.croft.infra.plugins.module_utils.rbd_images import ImageError
from ansible_collections.croft.infra.plugins.module_utils.vm_copies import lookup
from ansible_collections.croft.infra.plugins.module_utils.with_stores import POOL, REACH, with_stores


def place_problems(stores: Stores, entry: dict[str, Any]) -> list[str]:
    """Why the disk cannot go where it shall."""
    name, new = entry["name"], entry["as"]
    store = stores.main
    if store.pool is None or not store.pool.isActive():
        return [f"{new}: the storage pool is not there or not active; run playbooks/storage.yml"]
    place = adoption.look(stores.conn, store, new, entry["uuid"])
    if name != new or not place.domain:
        found = adoption.problem(new, place)
        return [found] if found else []
    domain = stores.conn.lookupByName(name)
    lines = []
    if domain.isActive():
        lines.append(f"{name}: runs; write state: stopped into its entry and run playbooks/virtual_machines.yml first")
    if domain.snapshotNum(0):
        lines.append(
            f"{name}: has {domain.snapshotNum(0)} snapshots inside of the disk that would be replaced; remove them"
        )
    if place.seed not in ("building", "ready"):
        lines.append(f"{name}: its disk in the pool is not marked as its own; restore under another name")
    return lines


def restore(stores: Stores, entry: dict[str, Any], place: Path, scratch: str) -> None:
    with tempfile.TemporaryDirectory(prefix="croft-restore-", dir=scratch) as folder:
        file = vm_backups.restore(place, Path(folder), entry["until"])
        command = ["qemu-img", "info", "--output=json", str(file)]
        about = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        size = int(about["virtual-size"])
        free = int(stores.main.pool.info()[3])
        if free < file.stat().st_size:
            raise vm_backups.BackupError(
                f"the pool has {free >> 20} MiB left, the disk needs {file.stat().st_size >> 20} MiB; free some"
            )
        domain = lookup(stores.conn, entry["as"])
        if domain is not None:
            # What libvirt knew of the old disk is not in the new one.
            for checkpoint in domain.listAllCheckpoints(0):
                checkpoint.delete(bindings().VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY)
        adoption.adopt(
            stores.main,
            entry["as"],
            entry["uuid"],
            lambda root: stores.main.import_disk(root, size, str(file)),
            replace=domain is not None,
        )


def run(module: AnsibleModule, stores: Stores) -> None:
    """Look, refuse, and (not in check mode) restore."""
    given = module.params
    base = Path(given["directory"])
    sets = {entry["name"]: vm_backups.read_sets(base / entry["name"])[0] for entry in given["restore"]}
    problems = pure.restore_problems(given["restore"], sets, given["directory"])
    for entry in given["restore"]:
        problems += place_problems(stores, entry)
    if problems:
        module.fail_json(msg="\n".join(["Nothing was restored:", *problems]), problems=problems)
    done: list[dict[str, Any]] = []
    for entry in given["restore"]:
        name = entry["name"]
        chosen = entry["set"] or max(one.name for one in sets[name])
        started = time.monotonic()
        if not module.check_mode:
            try:
                restore(stores, entry, base / name / chosen, given["scratch"])
            except (vm_backups.BackupError, ImageError, LibvirtFailedError, bindings().libvirtError, OSError) as error:
                module.fail_json(
                    msg=f"{name}: was not restored as {entry['as']}: {words(error)}. Restored before: "
                    f"{', '.join(one['as'] for one in done) or 'none'}.",
                    changed=bool(done),
                )
        seconds = round(time.monotonic() - started, 1)
        done.append({"name": name, "as": entry["as"], "set": chosen, "seconds": seconds})
    module.exit_json(changed=bool(done), restored=done)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "restore": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    **{key: {"type": "str", "required": True} for key in ("name", "as", "uuid")},
                    **{key: {"type": "str"} for key in ("set", "until")},
                },
            },
            "directory": {"type": "path", "default": "/var/backups/croft"},
            "scratch": {"type": "path", "default": "/var/tmp"},
            "pool": POOL,
            **REACH,
        },
        supports_check_mode=True,
    )
    if not module.params["restore"]:
        module.exit_json(changed=False, restored=[])
    with_stores(module, run)


if __name__ == "__main__":
    main()
