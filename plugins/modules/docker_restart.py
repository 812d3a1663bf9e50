#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_restart
short_description: Restart Docker's engine, and wait until its node takes part in its swarm again
version_added: "0.1.0"
author: [the croft contributors (@croft)]
description:
  - Restarts C(docker.service) with its unit read anew, and waits until the engine answers.
  - A manager whose swarm is locked is unlocked with O(unlock_key). A node of a swarm is waited for until the swarm
    counts on it again, so that hosts that run this task one after the other (C(throttle=1)) keep their quorum.
  - Refuses, before anything is stopped, to restart a manager without which the swarm would have no quorum.
options:
  unlock_key:
    description: The key of the swarm, where managers are locked after a restart; empty for none.
    type: str
    default: ""
  timeout:
    description: How many seconds the engine and its node are waited for.
    type: int
    default: 120
attributes:
  check_mode: {support: full, description: Tells whether it would be refused, and restarts nothing.}
"""

EXAMPLES = r"""
- name: Restart Docker
  croft.infra.docker_restart:
    unlock_key: "{{ swarm_key }}"
  throttle: 1
"""

RETURN = r"""
locked:
  description: Whether the node is a manager that waits for its key, since none was given.
  returned: success
  type: bool
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import swarm_view
from ansible_collections.croft.infra.plugins.module_utils.docker_api import (
    DockerAnswerError,
    DockerApi,
    DockerMissingError,
)

ARGUMENTS: dict[str, dict[str, Any]] = {
    "unlock_key": {"type": "str", "default": "", "no_log": True},
    "timeout": {"type": "int", "default": 120},
}


def managers_of(api: DockerApi) -> tuple[str, list[dict[str, Any]]]:
    """(the node's own id, all nodes of its swarm as it tells), both empty when it is no manager that can tell."""
    try:
        swarm = swarm_view.swarm_of(api.get("/info"))
        if not swarm["manager"]:
            return "", []
        return swarm["node_id"], [swarm_view.node_of(entry) for entry in api.get("/nodes")]
    except (DockerMissingError, DockerAnswerError):
        # Stopped, or a swarm without quorum: a restart takes nothing away.
        return "", []


def awaited(api: DockerApi, key: str) -> str:
    """What is still waited for; empty when the node is back, or locked and there is no key."""
    try:
        swarm = swarm_view.swarm_of(api.get("/info"))
        if swarm["state"] == "locked":
            if not key:
                return ""
            api.request("POST", "/swarm/unlock", body={"UnlockKey": key})
            return "it was unlocked and has not joined its swarm again"
        if swarm["state"] == "pending" or swarm["error"]:
            return swarm["error"] or "it has not joined its swarm again"
        if swarm["manager"]:
            nodes = [swarm_view.node_of(entry) for entry in api.get("/nodes")]
            own = next((node for node in nodes if node["id"] == swarm["node_id"]), None)
            if own is None or not (own["ready"] and own["reachable"]):
                return "its swarm does not count on it yet"
    except (DockerMissingError, DockerAnswerError) as error:
        return str(error)
    return ""


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    api = DockerApi()
    why = swarm_view.needed_for_quorum(*managers_of(api))
    if why:
        module.fail_json(msg=f"Docker is not restarted: {why}")
    if module.check_mode:
        module.exit_json(changed=True, locked=False)
    module.run_command(["systemctl", "daemon-reload"], check_rc=True)
    rc, _out, err = module.run_command(["systemctl", "restart", "docker.service"])
    if rc:
        module.fail_json(msg=f"Docker did not start: {err.strip()}; see journalctl -u docker")
    end = time.monotonic() + module.params["timeout"]
    while (missing := awaited(api, module.params["unlock_key"])) and time.monotonic() < end:
        time.sleep(1)
    if missing:
        module.fail_json(
            changed=True,
            msg=f"Docker was restarted, and after {module.params['timeout']} s: {missing}; see journalctl -u docker",
        )
    locked = swarm_view.swarm_of(api.get("/info"))["state"] == "locked"
    if locked:
        module.warn(
            "Docker was restarted, and this manager is locked; unlock it, role docker_swarm does so with its key"
        )
    module.exit_json(changed=True, locked=locked)


if __name__ == "__main__":
    main()
