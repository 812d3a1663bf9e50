# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to a Ceph cluster: librados, one connection for many commands, and errors in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils.ceph import ADMIN_KEYRING, CONF, osds_in_hosts

# Seconds until a cluster without quorum counts as not answering, and until one command does.
CONNECT_SECONDS = 5
COMMAND_SECONDS = 30


class CephMissingError(Exception):
    """There is no Ceph on this host, or it is not told of a cluster; the text says what is missing."""


class CephFailedError(Exception):
    """The cluster does not answer, or refuses a command; the text says what and why."""


def bindings(name: str = "rados") -> ModuleType:
    """Ceph's own Python bindings. Raises CephMissingError."""
    try:
        return import_module(name)
    except ImportError as error:
        raise CephMissingError(f"Ceph's Python bindings ({name}) are not installed (python3-{name})") from error


class Cluster:
    """A connected cluster. Commands are those of the `ceph` program, in the mons' own form."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def command(self, prefix: str, **arguments: Any) -> Any:
        """Send a command to the mons and return its JSON (or text). Raises CephFailedError."""
        return self._send(self._handle.mon_command, prefix, arguments)

    def mgr(self, prefix: str, **arguments: Any) -> Any:
        """Send a command to the active mgr and return its JSON (or text). Raises CephFailedError."""
        return self._send(self._handle.mgr_command, prefix, arguments)

    def raw(self, prefix: str, **arguments: Any) -> bytes:
        """Send a command to the mons whose answer is no JSON, like a map. Raises CephFailedError."""
        call = {"prefix": prefix, **arguments}
        code, out, err = self._handle.mon_command(json.dumps(call), b"", timeout=COMMAND_SECONDS)
        if code:
            raise CephFailedError(f"`ceph {prefix}` failed: {err.strip() or f'error {code}'}")
        return bytes(out)

    @property
    def handle(self) -> Any:
        """The rados.Rados object, for rbd."""
        return self._handle

    def _send(self, sender: Any, prefix: str, arguments: dict[str, Any]) -> Any:
        call = {"prefix": prefix, "format": "json", **arguments}
        code, out, err = sender(json.dumps(call), b"", timeout=COMMAND_SECONDS)
        if code:
            raise CephFailedError(f"`ceph {prefix}` failed: {err.strip() or f'error {code}'}")
        text = out.decode()
        try:
            return json.loads(text) if text.strip() else {}
        except ValueError:
            return text


@contextmanager
def connection(seconds: int = CONNECT_SECONDS) -> Iterator[Cluster]:
    """A connected cluster, as client.admin. Raises CephMissingError or CephFailedError."""
    rados = bindings()
    for needed in (CONF, ADMIN_KEYRING):
        if not Path(needed).exists():
            raise CephMissingError(f"{needed} is not there, so this host knows no cluster")
    options = {
        "keyring": ADMIN_KEYRING,
        "client_mount_timeout": str(seconds),
        "rados_mon_op_timeout": str(COMMAND_SECONDS),
        "log_to_stderr": "false",
        "err_to_stderr": "false",
    }
    handle = rados.Rados(conffile=CONF, name="client.admin", conf=options)
    try:
        handle.connect(timeout=seconds)
    except rados.Error as error:
        handle.shutdown()
        raise CephFailedError(f"the cluster does not answer within {seconds} s: {words(error)}") from error
    try:
        yield Cluster(handle)
    except rados.Error as error:
        raise CephFailedError(f"the cluster failed: {words(error)}") from error
    finally:
        handle.shutdown()


def words(error: Exception) -> str:
    """What librados said, on one line."""
    return " ".join(str(error).split())


def summary(cluster: Cluster) -> dict[str, Any]:
    """What the preflight wants to know of a cluster that answers, as ceph_preflight.cluster_of() reads it."""
    status = cluster.command("status")
    mons = cluster.command("mon dump")
    osds = cluster.command("osd dump")
    tree = cluster.command("osd tree")
    try:
        usage = {
            str(node["id"]): round(float(node["utilization"]) / 100, 4)
            for node in cluster.mgr("osd df", output_method="plain")["nodes"]
            if node["kb"]
        }
    except CephFailedError:
        # Without a mgr nobody knows; the flags of the OSD map tell of full ones all the same.
        usage = {}
    hosts = osds_in_hosts(tree)
    return {
        "fsid": status["fsid"],
        "quorum": status["quorum_names"],
        "mons": [mon["name"] for mon in mons["mons"]],
        "flags": [flag for flag in osds["flags"].split(",") if flag],
        "usage": usage,
        "full_ratio": osds["full_ratio"],
        "nearfull_ratio": osds["nearfull_ratio"],
        "osd_uuids": [osd["uuid"] for osd in osds["osds"]],
        "osds_down": [
            {"id": osd["osd"], "uuid": osd["uuid"], "host": hosts.get(osd["osd"], "")}
            for osd in osds["osds"]
            if not osd["up"]
        ],
        "osd_hosts": [node["name"] for node in tree["nodes"] if node["type"] == "host" and node["children"]],
    }
