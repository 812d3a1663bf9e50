#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: what is changed is decided in module_utils/pacemaker.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pacemaker_configuration
short_description: Bring a Pacemaker cluster to a configuration, in one call from one of its nodes
description:
  - Compares the cluster's configuration with the wanted one and applies the difference as one patch; either all of it
    holds or nothing of it.
  - What the cluster itself or its operators own stays - ids and attributes of nodes (standby), maintenance mode, moves
    that are under way, resources that are neither fence devices nor VMs with a definition below O(config_dir).
  - A VM that is not in the wanted configuration any more runs on, without the cluster.
  - A change that would stop or restart a VM which runs and shall run is refused, unless O(may_restart) names it.
  - Waits first until the nodes are online, and afterwards until each fence device has answered to its status and each
    VM runs on one node.
options:
  configuration:
    description: The wanted C(<configuration>) as text. Its nodes are matched by their names.
    type: str
    required: true
  config_dir:
    description: Where the definitions of VMs lie; tells our VMs from those of others.
    type: path
    default: /etc/croft/ha
  may_restart:
    description: VMs that the change may stop or restart.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds to wait for the nodes, and again for what shall run. 0 does not wait.
    type: int
    default: 300
requirements: [pacemaker-cli-utils]
attributes:
  check_mode: {support: full, description: The cluster need not be there yet.}
  diff_mode: {support: full, description: Shows the configuration before and after.}
author: the croft contributors
"""

EXAMPLES = r"""
- name: Have the cluster keep the VMs running
  croft.infra.pacemaker_configuration:
    configuration: "{{ rendered.xml }}"
  run_once: true
"""

RETURN = r"""
leaving:
  description: VMs that the cluster keeps running no more; they run on.
  returned: always
  type: list
  elements: str
here:
  description: The VMs that run on each node.
  returned: when it waited
  type: dict
  sample: {kvm1: [web1], kvm2: [app1, web2]}
"""

import shutil
import tempfile
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import pacemaker
from ansible_collections.croft.infra.plugins.module_utils.pacemaker_cli import Cluster

PAUSE = 2


class Configured(Cluster):
    """The cluster of this node, and what is done with its configuration."""

    def apply(self, live: str, target: str) -> None:
        with tempfile.TemporaryDirectory(prefix="croft-") as folder:
            old, new, patch = (Path(folder, name) for name in ("old.xml", "new.xml", "patch.xml"))
            old.write_text(live)
            new.write_text(target)
            # 1 says that they differ.
            patch.write_text(self.call("crm_diff", "-o", str(old), "-n", str(new), "--no-version", ok=(0, 1)))
            self.call("cibadmin", "--patch", "--xml-file", str(patch))

    def disturbed(self, target: str) -> dict[str, str]:
        """What would be done to each resource that runs, as Pacemaker's own simulation tells it."""
        with tempfile.NamedTemporaryFile("w", prefix="croft-", suffix=".xml") as file:
            file.write(target)
            file.flush()
            out = self.call("crm_simulate", "--simulate", "--xml-file", file.name, "--output-as=xml")
        actions = ET.fromstring(out).iterfind("actions/rsc_action")
        return {str(a.get("resource")): str(a.get("action")) for a in actions if a.get("action") in ("Stop", "Restart")}


def wait(cluster: Cluster, wanted: str, timeout: int, *, nodes_only: bool) -> list[str]:
    """Look until all is up; returns what is not. Counted by looks: the wall clock may jump."""
    left: list[str] = []
    for _look in range(max(1, timeout // PAUSE)):
        state = cluster.state()
        nodes = pacemaker.expected(wanted)[0]
        if nodes_only:
            left = [f"{node}: is not online in the cluster" for node in sorted(nodes - state.online)]
        else:
            left = pacemaker.lacking(state, wanted)
        if not left:
            return []
        time.sleep(PAUSE)
    return left if nodes_only else [*left, *cluster.state().failures]


def vms_by_node(state: pacemaker.State, wanted: str) -> dict[str, list[str]]:
    """The VMs that run on each node."""
    found: dict[str, list[str]] = {}
    for name in sorted(pacemaker.expected(wanted)[2]):
        for node in state.running.get(name, ()):
            found.setdefault(node, []).append(name)
    return found


def refuse_restarts(module: AnsibleModule, cluster: Configured, change: pacemaker.Change) -> None:
    """A change of options is not worth the stop of a VM that nobody agreed to."""
    vms = pacemaker.expected(module.params["configuration"])[2] - set(module.params["may_restart"])
    # What the cluster would do anyway is not this change's doing.
    before, after = cluster.disturbed(cluster.cib()), cluster.disturbed(change.cib)
    hit = sorted(name for name in vms & set(after) if before.get(name) != after[name])
    if hit:
        module.fail_json(
            msg="\n".join(
                f"{name}: the new configuration would {after[name].lower()} it; nothing was changed. Allow it with "
                "may_restart, or stop it first"
                for name in hit
            )
        )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "configuration": {"type": "str", "required": True},
            "config_dir": {"type": "path", "default": "/etc/croft/ha"},
            "may_restart": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    wanted, timeout = module.params["configuration"], module.params["timeout"]
    cluster = Configured(module)
    if shutil.which("cibadmin") is None or (module.check_mode and not cluster.state().online):
        if not module.check_mode:
            module.fail_json(msg="there is no cluster on this node; role ha_cluster makes one")
        module.warn("taken as made by an earlier step: the cluster")
        module.exit_json(changed=True, leaving=[], here={}, diff={"before": "", "after": wanted})
    if timeout and not module.check_mode:
        left = wait(cluster, wanted, timeout, nodes_only=True)
        if left:
            module.fail_json(msg="\n".join(["Nothing was configured:", *left]))
    live = cluster.cib()
    try:
        change = pacemaker.wanted_change(live, wanted, module.params["config_dir"])
    except pacemaker.ConfigurationError as error:
        module.fail_json(msg=f"configuration: {error}")
    result: dict[str, Any] = {
        "changed": change.changed,
        "leaving": list(change.leaving),
        "here": {},
        "diff": {"before": change.before, "after": change.after},
    }
    if change.changed:
        refuse_restarts(module, cluster, change)
    if module.check_mode:
        module.exit_json(**result)
    if change.changed:
        cluster.apply(live, change.cib)
        for name in (*change.leaving, *change.dropped):
            # What the cluster remembers of it goes, too: it stops nothing that leaves, and would go on to look at it.
            cluster.call("crm_resource", "--refresh", "--resource", name, "--force", ok=(0, 105))
    if timeout:
        left = wait(cluster, wanted, timeout, nodes_only=False)
        if left:
            module.fail_json(msg="\n".join([f"After {timeout} s:", *left]), **result)
        result["here"] = vms_by_node(cluster.state(), wanted)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
