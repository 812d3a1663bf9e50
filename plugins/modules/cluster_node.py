#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_node
short_description: Let a host of a Pacemaker cluster run VMs, or not
description:
  - Sets this node to standby, in which the cluster runs nothing on it and moves away what still runs there, or ends
    that.
  - Does nothing on a host that is in no cluster.
options:
  state:
    description: Whether the cluster may run VMs on this host.
    type: str
    choices: [active, standby]
    required: true
attributes:
  check_mode: {support: full, description: Tells whether it would be changed.}
author: the croft contributors
"""

EXAMPLES = r"""
- name: Have the cluster run nothing here
  croft.infra.cluster_node:
    state: standby
"""

RETURN = r"""
member:
  description: Whether the host is in a cluster.
  returned: always
  type: bool
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils.cluster_moves import clustered


def main() -> None:
    module = AnsibleModule(
        argument_spec={"state": {"type": "str", "choices": ["active", "standby"], "required": True}},
        supports_check_mode=True,
    )
    if not clustered():
        module.exit_json(changed=False, member=False)

    def call(*arguments: str) -> str:
        code, out, err = module.run_command(["crm_standby", *arguments])
        if code:
            words = (err or out).strip().splitlines() or ["no answer"]
            module.fail_json(msg=f"the cluster on this host does not answer: {words[-1]}; is pacemaker running?")
        return str(out)

    # Without an attribute a node is active.
    standby = "value=on" in call("--query")
    changed = standby != (module.params["state"] == "standby")
    if changed and not module.check_mode:
        call("--update", "off" if standby else "on")
    module.exit_json(changed=changed, member=True)


if __name__ == "__main__":
    main()
