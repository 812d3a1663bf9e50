#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_maintenance
short_description: Mark a host so that the plan puts nothing new on it
description:
  - Writes C(/etc/croft/maintenance.json), or takes it away. M(croft.infra.host_capacity) reads it, and the plan heeds
    it.
options:
  reason:
    description: Why the host takes nothing new; the plan shows it.
    type: str
    default: drained
  state:
    description: Whether the host is marked.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    description: Tells whether it would be changed.
    support: full
author: the croft contributors
"""

EXAMPLES = r"""
- name: Take nothing new
  croft.infra.host_maintenance:
    reason: new memory

- name: Take VMs again
  croft.infra.host_maintenance:
    state: absent
"""

RETURN = r"""
before:
  description: What the mark said before; null where there was none.
  returned: success
  type: dict
  sample: {reason: drained}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import maintenance


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "reason": {"type": "str", "default": "drained"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    before = maintenance.read_maintenance()
    wanted = {"reason": module.params["reason"]} if module.params["state"] == "present" else None
    try:
        if before != wanted and not module.check_mode:
            maintenance.write_maintenance(wanted)
    except OSError as error:
        module.fail_json(msg=f"the mark cannot be changed: {error}")
    module.exit_json(changed=before != wanted, before=before)


if __name__ == "__main__":
    main()
