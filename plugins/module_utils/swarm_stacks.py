# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stack of services becomes in a swarm, what speaks against it, and what must be done for it. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DIGEST_LABEL = "croft.infra.digest"
STACK_LABEL = "com.docker.stack.namespace"
KINDS = ("secrets", "configs")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_SHORT_PORT = re.compile(r"(?:(?P<published>\d+):)?(?P<target>\d+)(?:/(?P<protocol>tcp|udp))?")
_CONSTRAINT = re.compile(r"(?P<key>[a-zA-Z0-9_.-]+?)\s*(?P<sign>==|!=)\s*(?P<value>.+?)")
_STATES_OF_FAILURE = {
    "paused": "the update was paused",
    "rollback_started": "the update failed and is being rolled back",
    "rollback_paused": "the update failed, and so did its rollback",
    "rollback_completed": "the update failed and was rolled back; the earlier version runs on",
}


@dataclass(frozen=True)
class Item:
    """A secret or a config as the swarm gets it; its name says its content, since the swarm never changes one."""

    kind: str
    name: str
    data: str = field(repr=False)


@dataclass(frozen=True)
class Service:
    """A service of a stack. ``digest`` covers everything that its tasks depend on."""

    name: str
    image: str
    replicas: int | None  # None: one on each node
    digest: str


@dataclass(frozen=True)
class Stack:
    """A stack that is ready to be deployed: the compose file with croft's labels and names in it."""

    name: str
    compose: Mapping[str, Any]
    services: tuple[Service, ...]
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Standing:
    """What the swarm has of all stacks: by service name {digest, image, replicas, stack, update}; items by kind."""

    services: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    items: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # kind -> name -> stack


def item_digest(cluster: str, name: str, data: str) -> str:
    """12 hexadecimal digits that tell one content from another and do not help to guess it.

    A password's plain hash could be tried against a list of passwords by whoever may list names; scrypt (RFC 7914) with
    the swarm's id as salt makes each try cost 16 MiB and some 50 ms.
    """
    key = hashlib.scrypt(data.encode(), salt=f"{cluster}/{name}".encode(), n=2**14, r=8, p=1, dklen=6)
    return key.hex()


def render(wish: Mapping[str, Any], digest_of: Callable[[str, str], str]) -> Stack:
    """Return the stack of a wish without problems (see ``wish_problems``).

    ``digest_of(name, data)`` gives the digest of a secret's or config's content.
    """
    name = wish["name"]
    compose = json.loads(json.dumps(wish["compose"]))
    items = []
    for kind in KINDS:
        for key, data in (wish.get(kind) or {}).items():
            full = f"{name}_{key}_{digest_of(f'{name}_{key}', str(data))}"
            items.append(Item(kind, full, str(data)))
            compose.setdefault(kind, {})[key] = {"external": True, "name": full}
    # Read by `docker stack deploy` of every version; newer ones ignore it.
    compose.setdefault("version", "3.8")
    services = []
    for key, service in compose["services"].items():
        deploy = service.setdefault("deploy", {})
        deploy.setdefault("update_config", {}).setdefault("failure_action", "rollback")
        shared = {part: compose.get(part) for part in (*KINDS, "networks", "volumes")}
        text = json.dumps([service, shared], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        labels = deploy.setdefault("labels", {})
        if isinstance(labels, list):
            labels = dict(entry.partition("=")[::2] for entry in labels)
        deploy["labels"] = {**labels, DIGEST_LABEL: digest}
        replicas = None if deploy.get("mode") == "global" else int(deploy.get("replicas", 1))
        services.append(Service(f"{name}_{key}", service["image"], replicas, digest))
    return Stack(name, compose, tuple(services), tuple(items))


def wish_problems(wishes: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is wrong with the stacks by themselves, one line each."""
    lines = []
    names = [str(wish.get("name")) for wish in wishes]
    lines += [f"stack {name}: is there twice; keep one" for name in sorted({n for n in names if names.count(n) > 1})]
    for wish in wishes:
        where = f"stack {wish.get('name')}"
        if not _NAME.fullmatch(str(wish.get("name"))):
            lines.append(f"{where}: the name has to be 1 to 32 lower case letters, digits and hyphens")
        if wish.get("state") == "absent":
            continue
        compose = wish.get("compose")
        services = compose.get("services") if isinstance(compose, Mapping) else None
        if not isinstance(compose, Mapping) or not isinstance(services, Mapping) or not services:
            lines.append(f"{where}: compose has no services; give the content of a compose file")
            continue
        for key, service in services.items():
            lines += _service_problems(f"{where}: service {key}", service, wish, compose)
    return lines


def _service_problems(where: str, service: Any, wish: Mapping[str, Any], compose: Mapping[str, Any]) -> list[str]:
    if not isinstance(service, Mapping):
        return [f"{where}: is {service!r}; give a mapping with image"]
    lines = []
    if not service.get("image"):
        build = "; Swarm does not build, so build it and push it to a registry first" if "build" in service else ""
        lines.append(f"{where}: has no image{build or '; name one'}")
    for kind in KINDS:
        for entry in service.get(kind) or []:
            source = entry.get("source") if isinstance(entry, Mapping) else entry
            if source not in (wish.get(kind) or {}) and source not in (compose.get(kind) or {}):
                lines.append(f"{where}: uses {kind[:-1]} {source}, which the stack does not have; add it to {kind}")
    for port in service.get("ports") or []:
        if ports_of({"ports": [port]}) is None:
            lines.append(f"{where}: port {port!r} cannot be read; give target, published and mode")
    replicas = (service.get("deploy") or {}).get("replicas", 1)
    if isinstance(replicas, bool) or not re.fullmatch(r"\d+", str(replicas)):
        lines.append(f"{where}: replicas is {replicas!r}; give a whole number")
    return lines


def candidates(service: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The nodes that a service's constraints let it run on; a constraint on what is not known here excludes none."""
    given = ((service.get("deploy") or {}).get("placement") or {}).get("constraints") or []
    parsed = [match for text in given if (match := _CONSTRAINT.fullmatch(str(text).strip()))]
    return {
        name: node
        for name, node in nodes.items()
        if all(_meets(match["key"], match["sign"], match["value"], name, node) for match in parsed)
    }


def _meets(key: str, sign: str, value: str, name: str, node: Mapping[str, Any]) -> bool:
    if key.startswith("node.labels."):
        # Swarm takes a label that is not there for an empty one.
        have = str((node.get("labels") or {}).get(key.removeprefix("node.labels."), ""))
    else:
        known = {"node.hostname": name, "node.role": node.get("role"), "node.id": node.get("id")}.get(key)
        if known is None:
            return True
        have = str(known)
    return (have.lower() == value.lower()) == (sign == "==")


def ports_of(service: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """[{published, protocol, mode}] of a compose service's ports, short and long form; None when one is unreadable."""
    found = []
    for port in service.get("ports") or []:
        if isinstance(port, Mapping):
            published, mode = port.get("published"), port.get("mode", "ingress")
            if not str(port.get("target", "")).isdigit() or not str(published or 0).isdigit():
                return None
            found.append({"published": int(published or 0), "protocol": port.get("protocol", "tcp"), "mode": mode})
            continue
        match = _SHORT_PORT.fullmatch(str(port))
        if not match:
            return None
        published = int(match["published"] or 0)
        found.append({"published": published, "protocol": match["protocol"] or "tcp", "mode": "ingress"})
    return [port for port in found if port["published"]]


def swarm_problems(
    wishes: Sequence[Mapping[str, Any]], nodes: Mapping[str, Mapping[str, Any]], others: Iterable[Mapping[str, Any]]
) -> list[str]:
    """What in the swarm speaks against the stacks.

    ``nodes`` are facts by host name, of nodes that take tasks: {ip_vs, listeners, images, id, role, labels}; ``others``
    are the services that stand ({name, stack, ports}).
    """
    lines: list[str] = []
    ours = {wish["name"] for wish in wishes}
    taken = {
        (port["published"], port["protocol"]): f"service {other['name']}"
        for other in others
        if other["stack"] not in ours
        for port in other["ports"]
        if port["published"]
    }
    without = [name for name, node in nodes.items() if not node["ip_vs"]]
    for wish in wishes:
        for key, service in (wish["compose"]["services"] if wish.get("state") != "absent" else {}).items():
            where = f"stack {wish['name']}: service {key}"
            its = candidates(service, nodes)
            ports = ports_of(service) or []
            if without:
                lines += _ip_vs_problems(where, service, ports, without)
            for port in ports:
                number = (port["published"], port["protocol"])
                if number in taken:
                    lines.append(f"{where}: port {number[0]}/{number[1]} is published by {taken[number]}; take another")
                taken.setdefault(number, f"service {wish['name']}_{key}")
                holders = [
                    f"{listener['process']} on {name}"
                    for name, node in (its if port["mode"] == "host" else nodes).items()
                    for listener in node["listeners"]
                    if (listener["port"], listener["protocol"]) == number
                ]
                if holders:
                    lines.append(
                        f"{where}: port {number[0]}/{number[1]} is held by {', '.join(holders)}; take another, or "
                        f"stop that"
                    )
    return lines


def _ip_vs_problems(
    where: str, service: Mapping[str, Any], ports: Sequence[Mapping[str, Any]], without: Sequence[str]
) -> list[str]:
    lines = []
    kernel = f"the kernel of {', '.join(without)} has no IP_VS"
    for port in ports:
        if port["mode"] != "host":
            lines.append(
                f"{where}: port {port['published']} is in ingress mode and {kernel}: nothing would answer on it; set "
                f"mode: host"
            )
    if (service.get("deploy") or {}).get("endpoint_mode", "vip") != "dnsrr":
        lines.append(
            f"{where}: has a virtual address and {kernel}: its name would lead nowhere; set deploy.endpoint_mode: dnsrr"
        )
    return lines


def missing_images(
    wishes: Sequence[Mapping[str, Any]], nodes: Mapping[str, Mapping[str, Any]]
) -> dict[str, tuple[str, list[str]]]:
    """Images that some node lacks and so must come from a registry: image -> (where it is wanted, nodes without)."""
    found: dict[str, tuple[str, list[str]]] = {}
    for wish in wishes:
        for key, service in (wish["compose"]["services"] if wish.get("state") != "absent" else {}).items():
            image = str(service["image"])
            names = {image, f"{image}:latest"} if ":" not in image.rpartition("/")[2] else {image}
            its = candidates(service, nodes)
            lacking = [name for name, node in its.items() if not names & set(node["images"])]
            if lacking:
                found.setdefault(image, (f"stack {wish['name']}: service {key}", lacking))
    return found


def differences(stack: Stack, standing: Standing, prune: bool) -> list[dict[str, str]]:
    """What must be done for a stack: [{action, kind, name}], in order; empty when it stands as wished."""
    todo = []
    for item in stack.items:
        if item.name not in standing.items.get(item.kind, {}):
            todo.append({"action": "create", "kind": item.kind[:-1], "name": item.name})
    for service in stack.services:
        there = standing.services.get(service.name)
        if there is None:
            todo.append({"action": "create", "kind": "service", "name": service.name})
        elif not _as_wished(service, there):
            todo.append({"action": "update", "kind": "service", "name": service.name})
    wanted = {service.name for service in stack.services} | {item.name for item in stack.items}
    if prune:
        todo += [
            {"action": "remove", "kind": "service", "name": name}
            for name, there in sorted(standing.services.items())
            if there["stack"] == stack.name and name not in wanted
        ]
    # What no service of the stack uses any more; whose name ends in a digest, so that it is surely ours.
    todo += [
        {"action": "remove", "kind": kind[:-1], "name": name}
        for kind in KINDS
        for name, owner in sorted(standing.items.get(kind, {}).items())
        if owner == stack.name and name not in wanted
    ]
    return todo


def _as_wished(service: Service, there: Mapping[str, Any]) -> bool:
    """Whether a service stands as wished: by its digest, and by what people change by hand (scale, image)."""
    image = str(there["image"]).partition("@")[0]
    same_image = image in (service.image, f"{service.image}:latest", service.image.partition("@")[0])
    return there["digest"] == service.digest and there["replicas"] == service.replicas and same_image


def progress(service: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """(state, what is to say) of a service while one waits: state is ready, waiting or failed.

    ``service``: {update (state of the update, or empty), message, running, desired}; ``tasks``: {state, error}, newest
    first.
    """
    errors = list(dict.fromkeys(task["error"] for task in tasks if task["error"]))
    said = f"; a task said: {errors[0]}" if errors else ""
    count = f"{service['running']} of {service['desired']} tasks run"
    failure = _STATES_OF_FAILURE.get(service["update"])
    if failure and service["update"] != "rollback_started":
        return "failed", f"{failure} ({count}){said}"
    if service["update"] in ("updating", "rollback_started") or service["running"] < service["desired"]:
        return "waiting", f"{count}{said}"
    return "ready", count
