#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: the decisions are in module_utils/nfs.py and module_utils/store.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nfs_preflight
short_description: Choose how a host of VMs reaches NFS pools, and check that it can
version_added: "0.1.0"
author: [the croft contributors (@croft)]
description:
  - Finds out whether the kernel has an NFS client, then tries each pool's server with the client that was chosen - its
    ports, the export, and whether a file can be written there.
  - Fails with one line for each thing that keeps the host from using a pool. Leaves nothing on the server but an empty
    file C(.croft-check) in each export.
options:
  pools:
    description: The pools, as role croft.infra.storage_nfs takes them.
    type: list
    elements: dict
    required: true
  least_free_gib:
    description: A pool with less than this left is refused.
    type: float
    default: 1.0
  reach:
    description: Whether the servers are tried; without it only the clients are chosen.
    type: bool
    default: true
attributes:
  check_mode:
    support: full
    description: Problems are warnings, since an earlier step of a run may make what is missing.
"""

EXAMPLES = r"""
- name: Check the pools
  croft.infra.nfs_preflight:
    pools: [{name: shared, server: 10.0.0.9, path: /srv/vms}]
"""

RETURN = r"""
mounted:
  description: The pools that the kernel mounts.
  returned: success
  type: list
  elements: dict
direct:
  description: The pools that QEMU opens itself.
  returned: success
  type: list
  elements: dict
reason:
  description: Why QEMU opens pools itself, in one line; empty when it opens none.
  returned: success
  type: str
"""

import os
import shutil
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import nfs
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    LibvirtFailedError,
    LibvirtMissingError,
    connection,
    uri_of,
)
from ansible_collections.croft.infra.plugins.module_utils.store import client, has_nfs

PATIENCE = 5
CHECK = ".croft-check"
# Together more than the 90 seconds of grace that are the longest default.
GRACE_ATTEMPTS, GRACE_PAUSE = 50, 2


def refused_ports(server: str, ports: tuple[int, ...]) -> tuple[int, ...]:
    """The ports at which the server takes no connection within some seconds."""
    refused = []
    for port in ports:
        try:
            socket.create_connection((server, port), timeout=PATIENCE).close()
        except OSError:
            refused.append(port)
    return tuple(refused)


def last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no reason was given"


def try_mount(module: AnsibleModule, pool: dict[str, Any]) -> nfs.Looked:
    """Mount the export at a temporary directory, write a file, and look at what is left."""
    place = tempfile.mkdtemp(prefix="croft-nfs-")
    options = "nfsvers=4.2,soft,timeo=50,retrans=1"
    try:
        code, _out, err = module.run_command(
            ["mount", "-t", "nfs", "-o", options, f"{pool['server']}:{pool['path']}", place]
        )
        if code:
            return nfs.Looked(access=last_line(err))
        try:
            Path(place, CHECK).touch()
            left = os.statvfs(place)
        except OSError as error:
            return nfs.Looked(access=str(error.strerror))
        finally:
            module.run_command(["umount", place])
        return nfs.Looked(free_gib=round(left.f_frsize * left.f_bavail / 1024**3, 2))
    finally:
        Path(place).rmdir()


def try_qemu(module: AnsibleModule, pool: dict[str, Any]) -> nfs.Looked:
    """Have QEMU's client make a file, as a guest's QEMU would write to one."""
    url = f"nfs://{pool['server']}{pool['path'].rstrip('/')}/{CHECK}"
    command = ["timeout", "20", "qemu-img", "create", "-q", "-f", "raw", url, "0"]
    code, _out, err = module.run_command(command)
    for _attempt in range(GRACE_ATTEMPTS):
        # A server that was just started admits nothing new for a while, so that its clients can claim what they held.
        if code == 0 or "temporarily unavailable" not in err:
            break
        time.sleep(GRACE_PAUSE)
        code, _out, err = module.run_command(command)
    return nfs.Looked(access=last_line(err)) if code else ask_libvirt(pool)


def ask_libvirt(pool: dict[str, Any]) -> nfs.Looked:
    """Whether the server's libvirt, which makes the volumes, answers, and what is left in its pool."""
    try:
        with connection(uri_of(pool["server"])) as conn:
            there = conn.storagePoolLookupByName(pool["name"])
            return nfs.Looked(free_gib=round(there.info()[3] / 1024**3, 2))
    except (LibvirtMissingError, LibvirtFailedError) as error:
        return nfs.Looked(access=f"its libvirt makes no volumes: {error}")


def look(module: AnsibleModule, pool: dict[str, Any], how: str) -> nfs.Looked:
    """What this host sees of a pool's server."""
    refused = refused_ports(pool["server"], nfs.PORTS[how])
    if refused:
        return nfs.Looked(refused=refused)
    if how == "mount":
        return try_mount(module, pool) if shutil.which("mount.nfs") else nfs.Looked()
    block_driver = any(Path("/usr/lib").glob("*/qemu/block-nfs.so"))
    return try_qemu(module, pool) if block_driver and shutil.which("qemu-img") else nfs.Looked()


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "pools": {"type": "list", "elements": "dict", "required": True},
            "least_free_gib": {"type": "float", "default": 1.0},
            "reach": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    pools = module.params["pools"]
    if module.get_bin_path("modprobe"):
        module.run_command(["modprobe", "--quiet", "nfsv4"])
    kernel = has_nfs(Path("/proc/filesystems").read_text())
    how = {pool["name"]: client(pool.get("client"), kernel_has_nfs=kernel) for pool in pools}
    problems = [
        f"NFS pool {pool['name']}: this kernel has no NFS client to mount it with; set its client to auto or libnfs"
        for pool in pools
        if how[pool["name"]] == "mount" and not kernel
    ]
    if module.params["reach"] and not problems:
        looked = {pool["name"]: look(module, pool, how[pool["name"]]) for pool in pools}
        problems = nfs.pool_problems(pools, looked, module.params["least_free_gib"])
    if problems and not module.check_mode:
        module.fail_json(msg="\n".join(problems))
    for problem in problems:
        # An earlier step of the same run may make what is missing.
        module.warn(problem)
    direct = [pool for pool in pools if how[pool["name"]] == "libnfs"]
    why = "as chosen" if kernel else "this kernel has no NFS client"
    names = ", ".join(pool["name"] for pool in direct)
    module.exit_json(
        changed=False,
        mounted=[pool for pool in pools if how[pool["name"]] == "mount"],
        direct=direct,
        reason=f"QEMU opens the disks in {names} itself (libnfs): {why}" if direct else "",
    )


if __name__ == "__main__":
    main()
