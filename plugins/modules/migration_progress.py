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
    description: The C(job_file) that M(croft.infra.live_migration) returned.
    type: path
    required: true
  wait:
    description: Seconds that it waits at most for them to end, before it tells how far the migrations are.
    type: int
    default: 0
extends_documentation_fragment: [croft.infra.libvirt]
attributes:
  check_mode: {support: full, description: It only reads.}
"""

EXAMPLES = r"""
- name: How far are they
  croft.infra.migration_progress:
    names: [web1]
    job_file: /run/croft/jobs/tmpab12.json
"""

RETURN = r"""
result:
  description: What became of them as M(croft.infra.live_migration) returns it; null as long as they are on their way.
  returned: success
  type: dict
progress:
  description: Of each VM that is still on this host with a job that runs.
  returned: success
  type: list
  elements: dict
  sample: [{name: web1, remaining_mib: 120, total_mib: 2048, iteration: 1}]
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import background, migration
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    DEFAULT_URI,
    LibvirtFailedError,
    LibvirtMissingError,
    bindings,
    connection,
)


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
    result = background.result(Path(module.params["job_file"]), module.params["wait"])
    progress = read_progress(module.params["uri"], module.params["names"]) if result is None else []
    module.exit_json(changed=False, result=result, progress=progress)


if __name__ == "__main__":
    main()
