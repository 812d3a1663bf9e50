# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring stacks into a swarm through a manager's engine, and wait until their tasks run."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils import swarm_stacks as pure
from ansible_collections.croft.infra.plugins.module_utils.docker_api import DockerAnswerError, DockerApi

# AnsibleModule.run_command, with text for the command's standard input.
Run = Callable[..., tuple[int, str, str]]
# A service counts as ready when it was so that many looks in a row, two seconds apart: an update that was just
# asked for has not begun yet, and a task that dies at once has not died yet.
LOOKS = 3
PAUSE = 2.0


class DeployError(Exception):
    """A stack could not be brought to its wish; the message has one line for each service or step that failed."""


def standing(api: DockerApi) -> pure.Standing:
    """What the swarm has now."""
    services = {}
    for entry in api.get("/services"):
        spec = entry["Spec"]
        labels = spec.get("Labels") or {}
        replicated = spec["Mode"].get("Replicated")
        services[spec["Name"]] = {
            "digest": labels.get(pure.DIGEST_LABEL, ""),
            "image": labels.get("com.docker.stack.image") or spec["TaskTemplate"]["ContainerSpec"]["Image"],
            "replicas": None if replicated is None else replicated.get("Replicas", 0),
            "stack": labels.get(pure.STACK_LABEL, ""),
        }
    items: dict[str, dict[str, str]] = {}
    for kind in pure.KINDS:
        labels_of = {entry["Spec"]["Name"]: entry["Spec"].get("Labels") or {} for entry in api.get(f"/{kind}")}
        items[kind] = {
            name: labels.get(pure.STACK_LABEL, "") for name, labels in labels_of.items() if pure.DIGEST_LABEL in labels
        }
    return pure.Standing(services, items)


def deploy(
    api: DockerApi, run: Run, stack: pure.Stack, todo: Sequence[dict[str, str]], options: dict[str, Any]
) -> None:
    """Carry out what ``differences`` found, and wait; raises DeployError.

    ``options``: prune, resolve_image, timeout.
    """
    asked = {(step["kind"], step["name"]) for step in todo if step["action"] == "create"}
    for item in stack.items:
        if (item.kind[:-1], item.name) in asked:
            labels = {pure.STACK_LABEL: stack.name, pure.DIGEST_LABEL: item.name.rpartition("_")[2]}
            body = {"Name": item.name, "Labels": labels, "Data": base64.b64encode(item.data.encode()).decode()}
            api.request("POST", f"/{item.kind}/create", body=body)
    if any(step["kind"] == "service" for step in todo):
        command = ["docker", "stack", "deploy", "--compose-file", "-", "--resolve-image", options["resolve_image"]]
        # What the manager is logged in to, its nodes must be let into too.
        command.append("--with-registry-auth")
        command += ["--prune"] if options["prune"] else []
        code, out, err = run([*command, stack.name], data=json.dumps(stack.compose))
        if code != 0:
            raise DeployError(f"stack {stack.name}: {(err or out).strip()}")
        wait(api, [service.name for service in stack.services], options["timeout"])
    for step in todo:
        if step["action"] == "remove" and step["kind"] != "service":
            _remove_item(api, step)


def _remove_item(api: DockerApi, step: dict[str, str]) -> None:
    """Take a secret or config away that nothing uses; one that an ending task still uses goes in the next run."""
    try:
        (entry,) = api.get(f"/{step['kind']}s", filters={"name": [step["name"]]})
        api.request("DELETE", f"/{step['kind']}s/{entry['ID']}")
    except DockerAnswerError as error:
        if "in use" not in str(error):
            raise


def look(api: DockerApi, name: str) -> tuple[str, str]:
    """A service's progress now."""
    (entry,) = [
        one for one in api.get("/services", filters={"name": [name]}, status="true") if one["Spec"]["Name"] == name
    ]
    status, update = entry["ServiceStatus"], entry.get("UpdateStatus") or {}
    tasks = sorted(
        api.get("/tasks", filters={"service": [name]}), key=lambda task: str(task["UpdatedAt"]), reverse=True
    )
    return pure.progress(
        {
            "update": update.get("State") or "",
            "running": status["RunningTasks"],
            "desired": status["DesiredTasks"],
        },
        [{"state": task["Status"]["State"], "error": task["Status"].get("Err") or ""} for task in tasks],
    )


def wait(api: DockerApi, names: Sequence[str], timeout: float) -> None:
    """Wait until every service is ready; raises DeployError when one failed, or is not ready in ``timeout`` seconds."""
    ready = dict.fromkeys(names, 0)
    failed: dict[str, str] = {}
    # Counted in looks: the wall clock jumps when the machine was paused.
    for _look in range(max(LOOKS, int(timeout / PAUSE))):
        said = {}
        for name in names:
            if name in failed:
                continue
            state, said[name] = look(api, name)
            ready[name] = ready[name] + 1 if state == "ready" else 0
            if state == "failed":
                failed[name] = said[name]
        if all(name in failed or ready[name] >= LOOKS for name in names):
            break
        time.sleep(PAUSE)
    else:
        failed.update({n: f"not ready after {timeout:g} s: {said[n]}" for n in names if n in said and ready[n] < LOOKS})
    if failed:
        raise DeployError("\n".join(f"service {name}: {text}" for name, text in failed.items()))


def remove(api: DockerApi, run: Run, name: str, timeout: float) -> None:
    """Take a stack away, and its secrets and configs; wait until its services and networks are gone."""
    code, out, err = run(["docker", "stack", "rm", name])
    if code != 0:
        raise DeployError(f"stack {name}: {(err or out).strip()}")
    label = {"label": [f"{pure.STACK_LABEL}={name}"]}
    for _look in range(int(timeout / PAUSE) + 1):
        tasks = [task for task in api.get("/tasks", filters=label) if task["Status"]["State"] == "running"]
        if not tasks and not api.get("/services", filters=label):
            break
        time.sleep(PAUSE)
    else:
        raise DeployError(f"stack {name}: not gone after {timeout:g} s; look at docker stack ps {name}")
    for kind in pure.KINDS:
        for entry in api.get(f"/{kind}", filters=label):
            _remove_item(api, {"kind": kind[:-1], "name": entry["Spec"]["Name"]})
