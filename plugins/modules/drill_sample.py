#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: what it sees is put together in plugin_utils/drill/timeline.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: drill_sample
short_description: See what a host knows of a failover
version_added: "0.1.0"
author: [the croft contributors (@croft)]
description:
  - Tells which VMs run on the host and since when, what the cluster's daemons wrote to the journal, and, when asked,
    how the cluster is.
  - All times are of the host's monotonic clock, which does not jump. Changes nothing.
options:
  seconds:
    description: How far back the journal is read; 0 reads none of it.
    type: float
    default: 0
  lines:
    description: How many lines of the journal are read at most.
    type: int
    default: 2000
  status:
    description: Whether to ask the cluster how it is, which only a host of a cluster can tell.
    type: bool
    default: false
  agents:
    description: VMs whose guest agents are asked, where they run here.
    type: list
    elements: str
    default: []
  uri:
    description: The libvirt connection for the agents.
    type: str
    default: qemu:///system
attributes:
  check_mode: {support: full, description: It only reads.}
"""

EXAMPLES = r"""
- name: See how the cluster is
  croft.infra.drill_sample:
    status: true
  register: cluster
"""

RETURN = r"""
now:
  description: The host's monotonic clock in seconds.
  returned: success
  type: float
qemu:
  description: VMs that run here, each with the process of its QEMU and when that began.
  returned: success
  type: list
  elements: dict
  sample: [{name: web1, pid: 4711, started: 1234.5}]
journal:
  description: What the cluster's daemons wrote, oldest first.
  returned: success
  type: list
  elements: dict
  sample: [{at: 1230.1, who: pacemaker-controld, text: Node kvm2 state is now lost}]
agents:
  description: Whether the agent of each VM that was asked for and runs here answers.
  returned: success
  type: dict
  sample: {web1: true}
status:
  description: What C(crm_mon --output-as=xml) says; empty when it was not asked or does not answer.
  returned: success
  type: str
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import drill
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    DEFAULT_URI,
    LibvirtFailedError,
    LibvirtMissingError,
    agent_answers,
    connection,
)

AGENT_SECONDS = 1
STATUS = ["crm_mon", "--one-shot", "--inactive", "--output-as=xml"]


def ask_agents(uri: str, names: list[str]) -> dict[str, bool]:
    """Whether each agent answers; a libvirt that is away has none that does."""
    if not names:
        return {}
    try:
        with connection(uri) as conn:
            return {name: agent_answers(conn.lookupByName(name), AGENT_SECONDS) is None for name in names}
    except (LibvirtMissingError, LibvirtFailedError):
        return dict.fromkeys(names, False)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "seconds": {"type": "float", "default": 0.0},
            "lines": {"type": "int", "default": 2000},
            "status": {"type": "bool", "default": False},
            "agents": {"type": "list", "elements": "str", "default": []},
            "uri": {"type": "str", "default": DEFAULT_URI},
        },
        supports_check_mode=True,
    )
    params = module.params
    now = time.monotonic()
    running = drill.qemus()
    said = []
    if params["seconds"] > 0:
        code, out, err = module.run_command(drill.journal_command(params["lines"]))
        if code != 0:
            module.fail_json(msg=f"the journal cannot be read: {err.strip() or out.strip()}")
        said = drill.journal(out, now - params["seconds"])
    status = ""
    if params["status"]:
        binary = module.get_bin_path(STATUS[0])
        if binary:
            code, out, _err = module.run_command([binary, *STATUS[1:]])
            status = out if code == 0 else ""
    asked = [qemu["name"] for qemu in running if qemu["name"] in params["agents"]]
    agents = ask_agents(params["uri"], asked)
    module.exit_json(changed=False, now=now, qemu=running, journal=said, agents=agents, status=status)


if __name__ == "__main__":
    main()
