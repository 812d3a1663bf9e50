#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: the decisions are in module_utils/nfs.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nfs_server_preflight
short_description: Choose what serves NFS on a machine, and check what it shall export
version_added: "0.1.0"
author: [the croft contributors (@croft)]
description:
  - Finds out whether the kernel can serve NFS, and fails with one line for each thing that speaks against the exports.
  - Loads the kernel's module when there is one; changes nothing else.
options:
  exports:
    description: The exports, as role croft.infra.storage_nfs_server takes them.
    type: list
    elements: dict
    required: true
  implementation:
    description: What shall serve; C(auto) is the kernel's server where there is one, else NFS-Ganesha.
    type: str
    choices: [auto, kernel, ganesha]
    default: auto
  owner:
    description: User and group, as a number, that the disks belong to.
    type: int
    default: 64055
attributes:
  check_mode: {support: full, description: The same as without.}
"""

EXAMPLES = r"""
- name: Check the exports
  croft.infra.nfs_server_preflight:
    exports: [{name: shared, path: /srv/vms, clients: [10.0.0.11, 10.0.0.12]}]
"""

RETURN = r"""
implementation:
  description: C(kernel) or C(ganesha).
  returned: success
  type: str
reason:
  description: Why that one, in one line.
  returned: success
  type: str
pools:
  description: The exports as pools of the server's libvirt, as role croft.infra.storage_local takes them.
  returned: success
  type: list
  elements: dict
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import nfs
from ansible_collections.croft.infra.plugins.module_utils.store import NFS_OWNER


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "exports": {"type": "list", "elements": "dict", "required": True},
            "owner": {"type": "int", "default": NFS_OWNER},
            "implementation": {"type": "str", "choices": ["auto", "kernel", "ganesha"], "default": "auto"},
        },
        supports_check_mode=True,
    )
    exports = module.params["exports"]
    # It may be a module that nobody has needed yet.
    if module.get_bin_path("modprobe"):
        module.run_command(["modprobe", "--quiet", "nfsd"])
    kernel = "nfsd" in Path("/proc/filesystems").read_text().split()
    chosen = nfs.choose_server(module.params["implementation"], kernel=kernel)
    problems = nfs.server_problems(exports, chosen, kernel=kernel)
    if problems:
        module.fail_json(msg="\n".join(problems))
    pools = nfs.server_pools(exports, module.params["owner"])
    module.exit_json(changed=False, implementation=chosen.name, reason=chosen.reason, pools=pools)


if __name__ == "__main__":
    main()
