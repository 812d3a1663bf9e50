#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ceph_identity
short_description: Keep the identity of a Ceph cluster on the controller
description:
  - Makes the cluster's id (fsid) and the keys of its mons and its administrator once for each deployment, and returns
    them in every run.
  - They are kept in one file that only its owner can read. Whoever has it commands the cluster, so keep it as you keep
    a password.
options:
  directory:
    description: Where the file is kept, on the controller.
    type: path
    required: true
  user:
    description: The user that VMs' disks are opened as; libvirt's secret of it has an UUID derived from the cluster.
    type: str
    default: client.libvirt
attributes:
  check_mode:
    description: Makes an identity for this run only and writes nothing.
    support: full
author: the croft contributors
"""

EXAMPLES = r"""
- name: Keep the cluster's identity
  croft.infra.ceph_identity:
    directory: "{{ inventory_dir }}/ceph"
  register: identity
  no_log: true
"""

RETURN = r"""
fsid:
  description: The id of the cluster.
  returned: always
  type: str
mon_key:
  description: The key that mons share.
  returned: always
  type: str
admin_key:
  description: The key of client.admin.
  returned: always
  type: str
secret_uuid:
  description: The UUID of libvirt's secret for the user.
  returned: always
  type: str
"""

import json
import secrets
import time
import uuid
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import ceph
from ansible_collections.croft.infra.plugins.module_utils.private_file import write_privately


def make() -> dict[str, str]:
    """A new identity of random numbers."""
    now = int(time.time())
    return {
        "fsid": str(uuid.uuid4()),
        "mon_key": ceph.cephx_key(secrets.token_bytes(16), now),
        "admin_key": ceph.cephx_key(secrets.token_bytes(16), now),
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "user": {"type": "str", "default": "client.libvirt"},
        },
        supports_check_mode=True,
    )
    path = Path(module.params["directory"], "identity.json")
    changed = not path.exists()
    if changed:
        identity = make()
        if not module.check_mode:
            write_privately(path, json.dumps(identity, indent=2))
    else:
        try:
            read = json.loads(path.read_text())
            identity = {name: str(read[name]) for name in ("fsid", "mon_key", "admin_key")}
            uuid.UUID(identity["fsid"])
        except (OSError, ValueError, KeyError, TypeError):
            module.fail_json(
                msg=f"{path}: is no identity of a cluster; bring it back from a backup, it cannot be made anew"
            )
    secret = ceph.secret_uuid(identity["fsid"], module.params["user"])
    module.exit_json(changed=changed, secret_uuid=secret, **identity)


if __name__ == "__main__":
    main()
