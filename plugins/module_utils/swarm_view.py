# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what Docker's API says to the few facts that decisions about a swarm are made on. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# Who holds a published port on Docker's behalf.
_OWN_PROCESSES = frozenset({"docker-proxy", "dockerd"})


def swarm_of(info: Mapping[str, Any]) -> dict[str, Any]:
    """{state, node_id, address, manager, cluster_id, error} of the answer to ``/info``.

    ``cluster_id`` is known to managers alone, and empty elsewhere.
    """
    swarm = info.get("Swarm") or {}
    return {
        "state": swarm.get("LocalNodeState") or "inactive",
        "node_id": swarm.get("NodeID") or "",
        "address": swarm.get("NodeAddr") or "",
        "manager": bool(swarm.get("ControlAvailable")),
        "cluster_id": (swarm.get("Cluster") or {}).get("ID") or "",
        "error": swarm.get("Error") or "",
    }


def node_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """One entry of ``/nodes``: {id, hostname, role, availability, labels, ready, leader, reachable, address}."""
    spec, manager = entry.get("Spec") or {}, entry.get("ManagerStatus") or {}
    return {
        "id": entry["ID"],
        "hostname": (entry.get("Description") or {}).get("Hostname") or "",
        "role": spec.get("Role") or "worker",
        "availability": spec.get("Availability") or "active",
        "labels": dict(spec.get("Labels") or {}),
        "ready": (entry.get("Status") or {}).get("State") == "ready",
        "leader": bool(manager.get("Leader")),
        "reachable": manager.get("Reachability") == "reachable",
        "address": (entry.get("Status") or {}).get("Addr") or "",
    }


def needed_for_quorum(node_id: str, nodes: Sequence[Mapping[str, Any]]) -> str:
    """Why a manager must not stop now; empty when it may. ``nodes`` as ``node_of`` has them.

    A majority of all managers, dead ones too, must be reachable (docs.docker.com/engine/swarm/raft). Of one or two none
    can be missed at any time, so that it is no question of now.
    """
    managers = [node for node in nodes if node["role"] == "manager"]
    away = sorted(node["hostname"] for node in managers if not node["reachable"] and node["id"] != node_id)
    left, need = len(managers) - len(away) - 1, len(managers) // 2 + 1
    if not away or left >= need or all(node["id"] != node_id for node in managers):
        return ""
    return (
        f"of {len(managers)} managers {left} would be left and the swarm needs {need}; "
        f"bring {', '.join(away)} back first, or take it out (docker_swarm_removed)"
    )


def network_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """One overlay network of ``/networks``: {name, encrypted, attachable, internal, subnet}."""
    config = ((entry.get("IPAM") or {}).get("Config") or [{}])[0] or {}
    return {
        "name": entry["Name"],
        "encrypted": "encrypted" in (entry.get("Options") or {}),
        "attachable": bool(entry.get("Attachable")),
        "internal": bool(entry.get("Internal")),
        "subnet": config.get("Subnet") or "",
    }


def service_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """One entry of ``/services``: {name, stack, ports: [{published, protocol, mode}]}."""
    spec = entry["Spec"]
    ports = (entry.get("Endpoint") or {}).get("Ports") or (spec.get("EndpointSpec") or {}).get("Ports") or []
    return {
        "name": spec["Name"],
        "stack": (spec.get("Labels") or {}).get("com.docker.stack.namespace") or "",
        "ports": [
            {
                "published": port.get("PublishedPort") or 0,
                "protocol": port.get("Protocol") or "tcp",
                "mode": port.get("PublishMode") or "ingress",
            }
            for port in ports
        ],
    }


def tags_of(images: Iterable[Mapping[str, Any]]) -> list[str]:
    """The names under which images are on a node, tags and digests, sorted."""
    names = {name for image in images for key in ("RepoTags", "RepoDigests") for name in image.get(key) or []}
    return sorted(name for name in names if "<none>" not in name)


def listeners_of(sockets: str) -> list[dict[str, Any]]:
    """Who listens, by lines of ``ss --no-header --listening --numeric --processes --tcp --udp``, without Docker itself.

    [{port, protocol, process}], each once.
    """
    found = {}
    for line in sockets.splitlines():
        parts = line.split()
        if len(parts) < 5:  # noqa: PLR2004
            continue
        port = parts[4].rpartition(":")[2]
        process = re.search(r'\(\("([^"]+)"', line)
        name = process.group(1) if process else ""
        if port.isdigit() and name not in _OWN_PROCESSES and name:
            found[(int(port), parts[0])] = name
    return [{"port": port, "protocol": kind, "process": name} for (port, kind), name in sorted(found.items())]
