#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: swarm_facts
short_description: Read what a node and its swarm are, beside what the node shall be
description:
  - Reads Docker's API on the local socket, tries what the kernel can do for overlay networks, and lists images and
    listening ports. Also works where there is no Docker yet.
  - What the node shall be (O(role) and the rest) is handed back, for C(croft.infra.swarm_plan) to compare.
  - Secrets (join tokens, the unlock key) are not read. Changes nothing.
options:
  role:
    description: What the node shall be.
    type: str
    choices: [manager, worker]
    default: worker
  address:
    description: The address by which the other nodes shall reach it. Must be one of the node's.
    type: str
    default: ""
  availability:
    description: Whether it takes tasks.
    type: str
    choices: [active, pause, drain]
    default: active
  labels:
    description: The node's labels, all of them.
    type: dict
    default: {}
attributes:
  check_mode:
    description: The same as without.
    support: full
author: the croft contributors
"""

EXAMPLES = r"""
- name: Read what a node is
  croft.infra.swarm_facts:
    role: manager
    address: 10.0.0.11
  register: __docker_swarm_facts
"""

RETURN = r"""
available:
  description: Whether the engine answers.
  returned: success
  type: bool
reason:
  description: Why it does not.
  returned: success
  type: str
hostname:
  description: The node's name in the swarm.
  returned: success
  type: str
wished:
  description: What the node shall be, as given.
  returned: success
  type: dict
addresses:
  description: The node's own addresses.
  returned: success
  type: list
  elements: str
kernel:
  description: Whether the kernel has C(vxlan), C(ip_vs) and C(esp).
  returned: success
  type: dict
swarm:
  description: The node's own view of its swarm - state, node_id, cluster_id, manager, address, error.
  returned: success
  type: dict
cluster:
  description: What a manager knows - nodes, networks, services, autolock - or why it cannot tell; null elsewhere.
  returned: success
  type: dict
images:
  description: Names of the images on the node.
  returned: success
  type: list
  elements: str
listeners:
  description: Ports that something other than Docker listens on.
  returned: success
  type: list
  elements: dict
tasks:
  description: How many containers of services run on the node.
  returned: success
  type: int
"""

import json
import socket
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import container_kernel, swarm_view
from ansible_collections.croft.infra.plugins.module_utils.docker_api import (
    DockerAnswerError,
    DockerApi,
    DockerMissingError,
)

ARGUMENTS: dict[str, dict[str, Any]] = {
    "role": {"type": "str", "choices": ["manager", "worker"], "default": "worker"},
    "address": {"type": "str", "default": ""},
    "availability": {"type": "str", "choices": ["active", "pause", "drain"], "default": "active"},
    "labels": {"type": "dict", "default": {}},
}


def cluster_of(api: DockerApi) -> dict[str, Any]:
    """What a manager tells of its swarm; ``error`` is set when the swarm has no leader to ask."""
    try:
        swarm = api.get("/swarm")
        networks = api.get("/networks", filters={"driver": ["overlay"]})
        return {
            "id": swarm["ID"],
            "autolock": bool((swarm["Spec"].get("EncryptionConfig") or {}).get("AutoLockManagers")),
            "nodes": [swarm_view.node_of(entry) for entry in api.get("/nodes")],
            "networks": [swarm_view.network_of(entry) for entry in networks],
            "services": [swarm_view.service_of(entry) for entry in api.get("/services")],
            "error": "",
        }
    except DockerAnswerError as error:
        return {"id": "", "autolock": False, "nodes": [], "networks": [], "services": [], "error": str(error)}


def engine_facts(api: DockerApi) -> dict[str, Any]:
    """What the engine tells, or that there is none."""
    try:
        info = api.get("/info")
        swarm = swarm_view.swarm_of(info)
        tasks = api.get("/containers/json", filters={"label": ["com.docker.swarm.task.id"], "status": ["running"]})
        return {
            "available": True,
            "reason": "",
            "hostname": info["Name"],
            "swarm": swarm,
            "cluster": cluster_of(api) if swarm["manager"] else None,
            "images": swarm_view.tags_of(api.get("/images/json")),
            "tasks": len(tasks),
        }
    except DockerMissingError as error:
        return {
            "available": False,
            "reason": str(error),
            "hostname": socket.gethostname(),
            "swarm": swarm_view.swarm_of({}),
            "cluster": None,
            "images": [],
            "tasks": 0,
        }


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    _rc, links, _err = module.run_command(["ip", "-json", "address"], check_rc=True)
    _rc, sockets, _err = module.run_command(["ss", "-Hlntup"], check_rc=True)
    addresses = [entry["local"] for link in json.loads(links) for entry in link["addr_info"]]
    try:
        found = engine_facts(DockerApi())
    except DockerAnswerError as error:
        module.fail_json(msg=f"Docker's engine answers with an error: {error}; look at journalctl -u docker")
    module.exit_json(
        changed=False,
        wished=dict(module.params),
        addresses=addresses,
        kernel=container_kernel.network_features(module.run_command),
        listeners=swarm_view.listeners_of(sockets),
        **found,
    )


if __name__ == "__main__":
    main()
