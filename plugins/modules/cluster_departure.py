#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: what may go is decided in module_utils/pacemaker.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_departure
short_description: Take a host out of a Pacemaker cluster that goes on without it
description:
  - Runs on one of the nodes that stay. A step may be called again; what is done is no change.
  - What speaks against it is told all at once, one line each, before the cluster is asked to forget anything.
options:
  host:
    description: The host that leaves.
    type: str
    required: true
  hosts:
    description: Those that stay.
    type: list
    elements: str
    required: true
  third_vote:
    description: Whether a quorum device votes with them.
    type: bool
    default: false
  dead:
    description: The host never comes back. It must have been fenced, since its VMs run elsewhere then.
    type: bool
    default: false
  known:
    description: The hosts of the inventory. A name that is neither there nor in the cluster is a mistake.
    type: list
    elements: str
    default: []
  step:
    description: V(check) changes nothing. V(forget) has the cluster forget the host, which is stopped.
    type: str
    choices: [check, forget]
    default: check
requirements: [pacemaker-cli-utils]
attributes:
  check_mode: {support: full, description: Tells what would be done.}
author: the croft contributors
"""

EXAMPLES = r"""
- name: See that the others go on without it
  croft.infra.cluster_departure:
    host: kvm4
    hosts: [kvm1, kvm2, kvm3]
"""

RETURN = r"""
member:
  description: Whether the cluster knows the host.
  returned: success
  type: bool
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import pacemaker
from ansible_collections.croft.infra.plugins.module_utils.pacemaker_cli import Cluster


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str", "required": True},
            "hosts": {"type": "list", "elements": "str", "required": True},
            "third_vote": {"type": "bool", "default": False},
            "dead": {"type": "bool", "default": False},
            "known": {"type": "list", "elements": "str", "default": []},
            "step": {"type": "str", "choices": ["check", "forget"], "default": "check"},
        },
        supports_check_mode=True,
    )
    host, forget = module.params["host"], module.params["step"] == "forget"
    cluster = Cluster(module)
    state = cluster.state()
    if not state.nodes:
        module.fail_json(msg="the cluster on this host does not answer; is pacemaker running?")
    member = host in state.nodes
    if not forget:
        rest, known, third_vote, dead = (module.params[name] for name in ("hosts", "known", "third_vote", "dead"))
        lines = pacemaker.departure_problems(state, pacemaker.Departure(host, rest, known, third_vote, dead))
        if lines:
            module.fail_json(msg="\n".join(lines))
    elif member and not module.check_mode:
        cluster.call("crm_node", "--force", "--remove", host)
    module.exit_json(changed=member and forget, member=member)


if __name__ == "__main__":
    main()
