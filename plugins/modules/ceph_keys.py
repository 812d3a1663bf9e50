#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ceph_keys
short_description: Read keys of a Ceph cluster's users
description:
  - Returns the keys of users that are there, for their keyrings on other hosts and libvirt's secrets. Call it with
    C(no_log).
  - A user that is not there is left out.
options:
  users:
    description: Names of the users, like C(client.libvirt) or C(mgr.kvm1).
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    description: The same as without.
    support: full
requirements: [python3-rados]
author: the croft contributors
"""

EXAMPLES = r"""
- name: Read the key of the VMs' user
  croft.infra.ceph_keys:
    users: [client.libvirt]
  register: keys
  no_log: true
"""

RETURN = r"""
keys_by_user:
  description: The key of each user that is there.
  returned: success
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils.ceph_connection import (
    CephFailedError,
    CephMissingError,
    connection,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={"users": {"type": "list", "elements": "str", "required": True}}, supports_check_mode=True
    )
    try:
        with connection() as cluster:
            found = {entry["entity"]: entry["key"] for entry in cluster.command("auth ls")["auth_dump"]}
    except (CephMissingError, CephFailedError) as error:
        module.fail_json(msg=str(error))
    keys = {user: found[user] for user in module.params["users"] if user in found}
    module.exit_json(changed=False, keys_by_user=keys)


if __name__ == "__main__":
    main()
