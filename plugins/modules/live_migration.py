#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: the decisions are in module_utils/migration.py, the hands in module_utils/migrator.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: live_migration
short_description: Move running VMs of this host to other hosts, several at a time
version_added: "0.1.0"
author: [the croft contributors (@croft)]
description:
  - Moves VMs while they run, over TLS. What speaks against a move - the target, its networks, its CPU, the place for
    disks - is found first, of all moves, and reported in one failure before anything moves.
  - A migration that fails leaves the VM running at its source, and the others go on; the module fails at the end and
    says why for each.
  - Where disks are local to the host they are copied as well when O(copy_disks) says so. Only what differs from the
    golden image is copied when the target has that image. The source's volumes are removed when the VM runs at the
    target.
  - On the way the number of MiB left is shown. The migrations go on when the controller goes away.
options:
  moves:
    description: The VMs, each with the C(name) of the VM, the C(target) host and the C(address) of its libvirt.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: The VM., type: str, required: true}
      target: {description: The name of the target host., type: str, required: true}
      address:
        description: Where the target's libvirt is reached; it must stand in the target's certificate.
        type: str
        required: true
  copy_disks:
    description: Whether local disks are copied to the target.
    type: bool
    default: false
  parallel:
    description: How many move at once.
    type: int
    default: 2
  connections:
    description:
      - How many connections carry one VM's memory. One thread encrypts and sends on each, so that two are quicker, and
        cost less, than one. With O(mode=post_copy) it is always one, and with O(bandwidth_mib), which QEMU does not
        keep to over several.
    type: int
    default: 2
  bandwidth_mib:
    description: The most that one migration sends, in MiB/s; no limit with 0.
    type: int
    default: 0
  downtime_ms:
    description: How long a guest may stand still at the end, in milliseconds; QEMU's own limit (300) with 0.
    type: int
    default: 0
  mode:
    description:
      - What is done about a guest that writes faster than the network carries. C(precopy) tries on until O(timeout),
        C(auto_converge) slows its CPUs down, C(post_copy) lets it run at the target and fetches the rest; a network
        that fails then loses the guest.
    type: str
    choices: [precopy, auto_converge, post_copy]
    default: precopy
  timeout:
    description: Seconds after which a migration is given up; the VM stays where it was.
    type: int
    default: 600
  progress_interval:
    description: Seconds between two tellings of how many MiB are left.
    type: int
    default: 10
  maintenance:
    description:
      - Why this host takes nothing new from now on. When nothing speaks against the moves the host is marked before the
        first of them, as M(croft.infra.host_maintenance) does; when something does, it is not marked.
    type: str
extends_documentation_fragment: [croft.infra.libvirt]
requirements: [python3-libvirt]
attributes:
  check_mode: {support: full, description: Everything is looked at, nothing moves.}
  diff_mode: {support: none, description: The result tells what moves.}
"""

EXAMPLES = r"""
- name: Move two VMs to kvm2
  croft.infra.live_migration:
    moves:
      - {name: web1, target: kvm2, address: 10.0.0.12}
      - {name: app1, target: kvm2, address: 10.0.0.12}
    bandwidth_mib: 500
"""

RETURN = r"""
migrations:
  description: How each ended, in the order of O(moves).
  returned: when moves were begun
  type: list
  elements: dict
  sample:
    - {name: web1, source: kvm1, target: kvm2, state: done, total_ms: 2217, downtime_ms: 178, transferred_mib: 107}
    - {name: app1, source: kvm1, target: kvm2, state: failed,
       reason: "operation aborted: migration job: canceled by client"}
"""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import background, maintenance, migration
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    DEFAULT_URI,
    LibvirtFailedError,
    LibvirtMissingError,
    connection,
)
from ansible_collections.croft.infra.plugins.module_utils.migration_arguments import ARGUMENTS
from ansible_collections.croft.infra.plugins.module_utils.migrator import Limits, Migrator

# QEMU, an ordinary user, may fetch memory on demand only where this is 1.
USERFAULTFD = Path("/proc/sys/vm/unprivileged_userfaultfd")


def moved(given: Mapping[str, Any], migrator: Migrator, *, check: bool) -> dict[str, Any]:
    """Look, refuse or move; what the module returns."""
    moves = [migration.Move(move["name"], move["target"], move["address"]) for move in given["moves"]]
    seen = migrator.look(moves)
    problems = migration.problems(moves, seen, copy_disks=given["copy_disks"])
    if given["mode"] == "post_copy" and USERFAULTFD.exists() and USERFAULTFD.read_text().strip() == "0":
        problems.insert(0, migration.NO_POST_COPY)
    if problems:
        return {"failed": True, "msg": "\n".join(["Nothing was moved:", *problems]), "problems": problems}
    if check:
        return {"changed": bool(moves), "migrations": []}
    if given["maintenance"] is not None:
        try:
            maintenance.write_maintenance({"reason": given["maintenance"]})
        except OSError as error:
            return {"failed": True, "msg": f"Nothing was moved: the host cannot be marked: {error}"}
    done = migrator.carry_out(moves, seen, given["parallel"])
    result: dict[str, Any] = {"changed": any(one["state"] == "done" for one in done), "migrations": done}
    failed = [one for one in done if one["state"] != "done"]
    if failed:
        return {**result, "failed": True, "msg": "\n".join(migration.sentence(one) for one in failed)}
    return result


def work(given: Mapping[str, Any], *, check: bool) -> dict[str, Any]:
    """The same over connections of its own."""
    limits = Limits(
        given["bandwidth_mib"] or None,
        given["downtime_ms"] or None,
        given["timeout"],
        given["mode"],
        given["connections"],
    )
    try:
        with connection(given["uri"]) as conn, ExitStack() as stack:
            return moved(given, Migrator(conn, limits, stack), check=check)
    except (LibvirtMissingError, LibvirtFailedError) as error:
        return {"failed": True, "msg": f"{error}; look at what runs where before you go on"}


def main() -> None:
    module = AnsibleModule(
        argument_spec={**ARGUMENTS, "uri": {"type": "str", "default": DEFAULT_URI}}, supports_check_mode=True
    )
    given = module.params
    result: dict[str, Any] | None
    if module.check_mode:
        result = work(given, check=True)
    else:
        try:
            job = background.start(lambda: work(given, check=False))
        except OSError as error:
            module.fail_json(msg=f"Nothing was moved: {error}")
        result = background.result(job, given["progress_interval"]) or {"changed": True, "job_file": str(job)}
    end = module.fail_json if result.get("failed") else module.exit_json
    end(**result)


if __name__ == "__main__":
    main()
