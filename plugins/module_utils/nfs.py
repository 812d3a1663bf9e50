# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""NFS exports and the pools on them: what speaks against them, found before anything changes. Pure."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Chosen:
    """What serves or speaks NFS here, and why in one line."""

    name: str
    reason: str


def choose_server(wanted: str, *, kernel: bool) -> Chosen:
    """``kernel`` or ``ganesha``; ``auto`` takes the kernel's server where there is one."""
    if wanted == "auto":
        if kernel:
            return Chosen("kernel", "this kernel has an NFS server")
        return Chosen("ganesha", "this kernel has no NFS server, so NFS-Ganesha serves in its place")
    return Chosen(wanted, f"{wanted} was chosen")


def server_problems(exports: Sequence[Mapping[str, Any]], chosen: Chosen, *, kernel: bool) -> list[str]:
    """One line for each thing that speaks against the exports."""
    problems = []
    if chosen.name == "kernel" and not kernel:
        problems.append(
            "NFS server: this kernel has none (no nfsd); set storage_nfs_server_implementation to auto or ganesha"
        )
    for export in exports:
        where = f"NFS export {export['name']}"
        path, clients = str(export.get("path") or ""), export.get("clients") or []
        if not path.startswith("/") or path == "/":
            problems.append(f"{where}: path is {path!r}; give the absolute path of a directory")
        if not clients:
            problems.append(f"{where}: has no clients; name the hosts' addresses, everybody else is refused")
        problems += [
            f"{where}: client {client} is no IP address or network; NFS checks addresses, give one"
            for client in clients
            if not _is_network(str(client))
        ]
    for key in ("name", "path"):
        counts = Counter(str(export.get(key)) for export in exports)
        problems += [f"NFS exports: {key} {value} is there {n} times; keep one" for value, n in counts.items() if n > 1]
    return problems


def server_pools(exports: Sequence[Mapping[str, Any]], owner: int) -> list[dict[str, Any]]:
    """The exports as directories of the server's own libvirt, as storage_local's pools."""
    taken = ("name", "path", "device", "filesystem")
    return [
        {"type": "dir", "owner": str(owner), **{key: export[key] for key in taken if export.get(key)}}
        for export in exports
    ]


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class Looked:
    """What a host sees of a pool's server.

    ``refused``: the ports that took no connection. ``access``: why the export cannot be read and written by the host
    (None: it can). ``free_gib``: what is left there, None where nobody can tell.
    """

    refused: tuple[int, ...] = ()
    access: str | None = None
    free_gib: float | None = None


# NFSv4 needs one port; QEMU's client speaks NFSv3, which asks the portmapper first.
PORTS = {"mount": (2049,), "libnfs": (111, 2049)}


def pool_problems(pools: Sequence[Mapping[str, Any]], looked: Mapping[str, Looked], least_free_gib: float) -> list[str]:
    """One line for each thing that keeps a host from using the pools: what, where, what to do."""
    problems = []
    for pool in pools:
        where = f"NFS pool {pool['name']}"
        place = f"{pool['server']}:{pool['path']}"
        seen = looked[pool["name"]]
        if seen.refused:
            ports = " and ".join(str(port) for port in seen.refused)
            problems.append(
                f"{where}: {pool['server']} takes no connection at port {ports}; is the server up, and are these open?"
            )
        elif seen.access is not None:
            problems.append(f"{where}: {place} cannot be used: {seen.access}; {_advice(seen.access)}")
        elif seen.free_gib is not None and seen.free_gib < least_free_gib:
            problems.append(
                f"{where}: {place} has {seen.free_gib:g} GiB left, at least {least_free_gib:g} GiB must be; free some, "
                "or grow its file system"
            )
    counts = Counter(pool["name"] for pool in pools)
    problems += [f"NFS pool {name}: is there {n} times; keep one" for name, n in counts.items() if n > 1]
    return problems


def _advice(access: str) -> str:
    """What to do about an error of mount(2) or MOUNT3 (RFC 1813, appendix I)."""
    words = access.lower()
    if any(word in words for word in ("noent", "no such file", "notdir")):
        return "export that directory on the server, or correct the path"
    if any(word in words for word in ("acces", "denied", "perm", "rofs", "read-only")):
        return (
            "the server must export exactly that directory, to this host's address, and the files there must belong to "
            "the user that the export makes of everybody"
        )
    if any(word in words for word in ("nospc", "no space")):
        return "free some space there"
    return "look at the server's log"
