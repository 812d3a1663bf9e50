#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_definitions
short_description: Keep the definitions of a cluster's VMs on each of its hosts
description:
  - Writes libvirt's XML of each VM into C(<name>.xml), from which the cluster starts it. Only root can read it.
  - All files of a host in one call. A file is replaced as a whole, never written in place.
options:
  directory:
    description: Where they are kept.
    type: path
    default: /etc/croft/ha
  definitions:
    description: XML by the VM's name. A VM that is not named keeps its file.
    type: dict
    default: {}
  keep:
    description: Names of all VMs of the cluster. With it the files of all others go.
    type: list
    elements: str
attributes:
  check_mode: {support: full, description: Writes nothing.}
  diff_mode: {support: full, description: Shows the definitions that change.}
author: the croft contributors
"""

EXAMPLES = r"""
- name: Have the definitions on each host
  croft.infra.vm_definitions:
    definitions: "{{ made.definitions }}"
"""

RETURN = r"""
written:
  description: VMs whose definition was written.
  returned: always
  type: list
  elements: str
removed:
  description: VMs whose definition was removed.
  returned: always
  type: list
  elements: str
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils.private_file import write_privately


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "default": "/etc/croft/ha"},
            "definitions": {"type": "dict", "default": {}},
            "keep": {"type": "list", "elements": "str"},
        },
        supports_check_mode=True,
    )
    folder, keep = Path(module.params["directory"]), module.params["keep"]
    there = {file.stem: file.read_text() for file in folder.glob("*.xml")}
    wanted = {str(name): str(text) for name, text in module.params["definitions"].items()}
    written = sorted(name for name, text in wanted.items() if there.get(name) != text)
    removed = [] if keep is None else sorted(set(there) - set(keep))
    if not module.check_mode:
        for name in written:
            write_privately(folder / f"{name}.xml", wanted[name])
        for name in removed:
            (folder / f"{name}.xml").unlink()
    module.exit_json(
        changed=bool(written or removed),
        written=written,
        removed=removed,
        diff={
            "before": "".join(there.get(name, "") for name in [*written, *removed]),
            "after": "".join(wanted[name] for name in written),
        },
    )


if __name__ == "__main__":
    main()
