# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the disks of VMs lie: a libvirt storage pool, and how QEMU on a host reaches a volume of it.

A pool of the host itself (a directory, an NFS share that the kernel mounts, a volume group) is asked through the
host's libvirt, and QEMU opens its volumes by path. Where the kernel has no NFS client QEMU opens them with its own; the
volumes are then made by the libvirt of the server, which has them as a directory. A pool of RBD images is asked through
the host's libvirt too, and tells itself how QEMU opens them. Whoever uses a store does not see which.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import DEFAULT_URI, uri_of

# The user that QEMU runs as on Debian (libvirt-qemu); the server makes everybody who comes over NFS this one.
NFS_OWNER = 64055
CLIENTS = ("auto", "mount", "libnfs")

# The argument of modules that reach volumes.
NFS_POOLS = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": {
        "name": {"type": "str", "required": True},
        "server": {"type": "str", "required": True},
        "path": {"type": "path", "required": True},
        "client": {"type": "str", "choices": list(CLIENTS), "default": "auto"},
        "owner": {"type": "int", "default": NFS_OWNER},
    },
}


@dataclass(frozen=True)
class Source:
    """Where QEMU itself opens volumes: ``nfs``, a directory of a host, or ``rbd``, a pool of a Ceph cluster.

    ``owner`` is the numeric user and group that files must belong to. The cluster is the one that the host's
    /etc/ceph/ceph.conf tells of; ``user`` opens its images, with the key that libvirt keeps as ``secret`` (a UUID).
    """

    protocol: str
    host: str
    directory: str
    owner: int | None = None
    user: str = ""
    secret: str = ""

    def path(self, volume: str) -> str:
        """The volume's path on the server or in the cluster, as a disk's <source name=...> has it."""
        return f"{self.directory.rstrip('/')}/{volume}"

    def location(self, volume: str) -> str:
        return f"{self.protocol}://{self.host}/{self.path(volume).lstrip('/')}"


@dataclass(frozen=True)
class Store:
    """A pool, the libvirt that has it, and how QEMU reaches its volumes (None: by path)."""

    pool: str
    uri: str = DEFAULT_URI
    source: Source | None = None


def stores(
    pool: str, nfs_pools: Iterable[Mapping[str, Any]], *, kernel_has_nfs: bool, uri: str = DEFAULT_URI
) -> tuple[Store, list[Store]]:
    """The store of ``pool``, and those NFS pools whose server QEMU speaks to itself.

    An NFS pool has ``name``, ``server``, ``path`` and perhaps ``client`` and ``owner``. A pool that is none of them is
    the host's own, and so is one that the kernel mounts.
    """
    remote = []
    for entry in nfs_pools:
        if client(entry.get("client"), kernel_has_nfs=kernel_has_nfs) == "libnfs":
            server = str(entry["server"])
            # 0 is an owner, too.
            owner = NFS_OWNER if entry.get("owner") is None else int(entry["owner"])
            source = Source("nfs", server, str(entry["path"]), owner)
            remote.append(Store(str(entry["name"]), uri_of(server), source))
    return next((one for one in remote if one.pool == pool), Store(pool, uri)), remote


def host_stores(pool: str, nfs_pools: Iterable[Mapping[str, Any]], uri: str = DEFAULT_URI) -> tuple[Store, list[Store]]:
    """The same, with what this host's kernel can do."""
    kernel = has_nfs(Path("/proc/filesystems").read_text())
    return stores(pool, nfs_pools, kernel_has_nfs=kernel, uri=uri)


def client(wanted: str | None, *, kernel_has_nfs: bool) -> str:
    """``mount`` or ``libnfs``: what was chosen, else the kernel's client where there is one."""
    if wanted in ("mount", "libnfs"):
        return str(wanted)
    return "mount" if kernel_has_nfs else "libnfs"


def has_nfs(filesystems: str) -> bool:
    """Whether /proc/filesystems names NFSv4."""
    return any(line.split()[-1:] == ["nfs4"] for line in filesystems.splitlines())
