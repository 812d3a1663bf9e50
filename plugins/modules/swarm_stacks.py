#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: swarm_stacks
short_description: Bring stacks of services into a swarm, and wait until their tasks run
description:
  - Checks all stacks against all nodes first - images, published ports, what the kernel lacks - and fails with one
    line for each problem before anything is changed.
  - A service is updated only when something that its tasks depend on has changed. A secret or config whose content
    changed becomes a new one under a new name, since Swarm never changes one, and the services that use it are
    updated.
  - Waits until the tasks run (and are healthy, where the image or the service has a health check). An update that
    fails is rolled back by Swarm, unless the compose file says otherwise, and the module fails with what the tasks
    said.
  - Runs on the one manager among O(hosts) that speaks for the swarm and is skipped on the others.
options:
  stacks:
    description:
      - The stacks. Each has C(name) and C(compose), the content of a compose file; it may have C(secrets) and
        C(configs), content by name, and C(state), V(present) or V(absent).
    type: list
    elements: dict
    required: true
  hosts:
    description: The hosts of the swarm.
    type: list
    elements: str
    required: true
  facts:
    description: Name of the variable with what M(croft.infra.swarm_facts) told of each host.
    type: str
    default: __swarm_stacks_facts
  secrets:
    description: Content of the secrets by stack and name. Is taken out of O(stacks), so that no log shows it.
    type: dict
    default: {}
  nodes:
    description: What the nodes that take tasks have. Is filled in from O(facts).
    type: dict
  prune:
    description: Remove services that a stack has no more.
    type: bool
    default: true
  resolve_image:
    description: Whether the registry is asked what an image's name stands for at the moment.
    type: str
    choices: [always, changed, never]
    default: changed
  timeout:
    description: Seconds to wait for each stack.
    type: int
    default: 300
attributes:
  check_mode:
    description: Tells what would be done.
    support: full
  diff_mode:
    description: Shows the steps.
    support: full
author: the croft contributors
"""

EXAMPLES = r"""
- name: Run the shop
  croft.infra.swarm_stacks:
    hosts: "{{ ansible_play_hosts_all }}"
    stacks:
      - name: shop
        compose: "{{ lookup('ansible.builtin.file', 'shop.yml') | from_yaml }}"
        secrets:
          db_password: "{{ vault_db_password }}"
"""

RETURN = r"""
steps:
  description: What was done (in check mode, would be done), in order.
  returned: success
  type: list
  elements: str
  sample: [create secret shop_db_password_0123456789ab, update service shop_web]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import swarm_deploy, swarm_view
from ansible_collections.croft.infra.plugins.module_utils import swarm_stacks as pure
from ansible_collections.croft.infra.plugins.module_utils.docker_api import (
    DockerAnswerError,
    DockerApi,
    DockerMissingError,
)

ARGUMENTS: dict[str, dict[str, Any]] = {
    "stacks": {"type": "list", "elements": "dict", "required": True},
    "hosts": {"type": "list", "elements": "str"},
    "facts": {"type": "str"},
    "secrets": {"type": "dict", "default": {}, "no_log": True},
    "nodes": {"type": "dict", "required": True},
    "prune": {"type": "bool", "default": True},
    "resolve_image": {"type": "str", "choices": ["always", "changed", "never"], "default": "changed"},
    "timeout": {"type": "int", "default": 300},
}


def image_problems(
    api: DockerApi, run_command: swarm_deploy.Run, wishes: list[dict[str, Any]], nodes: dict[str, Any]
) -> list[str]:
    """One line for each image that some node lacks and no registry gives.

    The engine is asked first, as it knows mirrors and registries without TLS; it has no credentials, the client has.
    """
    lines = []
    for image, (where, lacking) in pure.missing_images(wishes, nodes).items():
        try:
            api.get(f"/distribution/{image}/json")
        except (DockerAnswerError, DockerMissingError) as error:
            if run_command(["docker", "manifest", "inspect", image])[0] == 0:
                continue
            lines.append(
                f"{where}: image {image} is not on {', '.join(lacking)} and its registry does not give it ({error}); "
                "push it, log in, or bring it to the nodes"
            )
    return lines


def run(module: AnsibleModule, api: DockerApi) -> list[str]:
    """Check, decide and carry out; return the steps."""
    nodes, secrets = module.params["nodes"], module.params["secrets"]
    wishes = [{**stack, "secrets": secrets.get(stack.get("name"), {})} for stack in module.params["stacks"]]
    problems = pure.wish_problems(wishes)
    if problems:
        module.fail_json(msg="\n".join(problems))
    others = [swarm_view.service_of(entry) for entry in api.get("/services")]
    problems = [*pure.swarm_problems(wishes, nodes, others), *image_problems(api, module.run_command, wishes, nodes)]
    if problems:
        module.fail_json(msg="\n".join(problems))
    cluster = api.get("/swarm")["ID"]
    there = swarm_deploy.standing(api)
    steps: list[str] = []
    failures: list[str] = []
    for wish in wishes:
        if wish.get("state") == "absent":
            if any(service["stack"] == wish["name"] for service in there.services.values()):
                steps.append(f"remove stack {wish['name']}")
                if not module.check_mode:
                    swarm_deploy.remove(api, module.run_command, wish["name"], module.params["timeout"])
            continue
        stack = pure.render(wish, lambda name, data: pure.item_digest(cluster, name, data))
        todo = pure.differences(stack, there, module.params["prune"])
        steps += [f"{step['action']} {step['kind']} {step['name']}" for step in todo]
        if todo and not module.check_mode:
            try:
                swarm_deploy.deploy(api, module.run_command, stack, todo, module.params)
            except swarm_deploy.DeployError as error:
                # The other stacks are tried all the same.
                failures.append(str(error))
    if failures:
        module.fail_json(msg="\n".join(failures), changed=True, steps=steps)
    return steps


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        steps = run(module, DockerApi())
    except (DockerMissingError, DockerAnswerError, swarm_deploy.DeployError) as error:
        module.fail_json(msg=str(error))
    diff = {"before": "", "after": "".join(f"{step}\n" for step in steps)}
    module.exit_json(changed=bool(steps), steps=steps, diff=diff)


if __name__ == "__main__":
    main()
