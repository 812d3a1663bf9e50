# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Pacemaker cluster, asked on one of its nodes through Pacemaker's own commands."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import pacemaker


class Cluster:
    """The cluster of this node."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module

    def call(self, *command: str, ok: tuple[int, ...] = (0,)) -> str:
        """What the command printed; the module fails with its last line when it ends with another code."""
        code, out, err = self.module.run_command(list(command))
        if code not in ok:
            words = (err or out).strip().splitlines() or ["no output"]
            self.module.fail_json(msg=f"`{' '.join(command)}` failed: {words[-1]}")
        return str(out)

    def cib(self) -> str:
        return self.call("cibadmin", "--query")

    def state(self) -> pacemaker.State:
        """An empty state while the cluster is starting."""
        code, out, _err = self.module.run_command(["crm_mon", "--output-as=xml", "--one-shot", "--inactive"])
        try:
            return pacemaker.read_state(out) if code == 0 else pacemaker.State()
        except ET.ParseError:
            return pacemaker.State()
