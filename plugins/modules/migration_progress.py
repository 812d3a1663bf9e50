#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: migration_progress
short_description: Tell how far migrations of this host are
version_added: "0.1.0"
author: [the croft contributors (@croft)]
description:
  - Reads the jobs of VMs from libvirt. M(croft.infra.live_migration) calls it on the way; it changes nothing.
options:
  names:
    description: The VMs.
    type: list
    elements: str
    required: true
  job_file:
    description: The result file of the task that moves them, as Ansible's asynchronous tasks have one.
    type: path
    required: true
  wait:
    description: Seconds that it waits at most for the task to end, before it tells how far the migrations are.
    type: int
    default: 0
  uri:
    description: The libvirt connection.
    type: str
    default: qemu:///system
attributes:
  check_mode: {support: full, description: It only reads.}
"""

EXAMPLES = r"""
- name: How far are they
  croft.infra.migration_progress:
    names: [web1]
    job_file: ~/.ansible_async/j123.456
"""

RETURN = r"""
result:
  description: What the task returned, null as long as it runs.
  returned: success
  type: dict
progress:
  description: Of each VM that is still on this host with a job that runs.
  returned: success
  type: list
  elements: dict
  sample: [{name: web1, remaining_mib: 120, total_mib: 2048, iteration: 1}]
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import migration
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    DEFAULT_URI,
    LibvirtFailedError,
    LibvirtMissingError,
    bindings,
    connection,
)

LOOKS = 4  # in a second


def read_result(path: Path) -> dict[str, Any] | None:
    """The task's result; None when it runs, and while the file is being written."""
    try:
        result: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return result if "started" not in result or result.get("finished") else None


def await_result(path: Path, wait: int, sleep: Callable[[float], None] = time.sleep) -> dict[str, Any] | None:
    """The same, as soon as it ends, or after so many seconds by looks: the wall clock may jump."""
    for _look in range(wait * LOOKS):
        result = read_result(path)
        if result is not None:
            return result
        sleep(1 / LOOKS)
    return read_result(path)


def read_progress(uri: str, names: Sequence[str]) -> list[dict[str, Any]]:
    """Of each VM that is on its way what is left; nothing when libvirt does not answer: the task itself will say so."""
    progress = []
    try:
        with connection(uri) as conn:
            for name in names:
                try:
                    stats = conn.lookupByName(name).jobStats()
                except bindings().libvirtError:
                    continue
                if stats.get("type"):
                    progress.append({"name": name, **migration.progress(stats)})
    except (LibvirtMissingError, LibvirtFailedError):
        return []
    return progress


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "required": True},
            "job_file": {"type": "path", "required": True},
            "wait": {"type": "int", "default": 0},
            "uri": {"type": "str", "default": DEFAULT_URI},
        },
        supports_check_mode=True,
    )
    result = await_result(Path(module.params["job_file"]), module.params["wait"])
    progress = read_progress(module.params["uri"], module.params["names"]) if result is None else []
    module.exit_json(changed=False, result=result, progress=progress)


if __name__ == "__main__":
    main()
