#!/usr/bin/python3
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pacemaker's alert for hosts that store on Ceph: what was fenced is off, and its OSDs need not be waited for.

Ceph takes an OSD for down when others have missed it for `osd_heartbeat_grace` (20 s), and then waits until a promise
that the lost one may have given to answer reads (a lease of 16 s) has run out. Until then VMs that were restarted
elsewhere stand still. A host that was fenced is off for certain, so that neither needs to be waited for.

Installed as /usr/lib/croft/ceph-fenced; Pacemaker calls it on every node, as its user hacluster, and hands over what
happened in the environment. Nothing but the standard library and librados' bindings is used.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from importlib import import_module
from typing import Any

CEPH_CONF = "/etc/ceph/ceph.conf"
USER = "croft-fenced"
SECONDS = 20
OFF = ("off", "reboot")


def fenced(environment: Mapping[str, str]) -> tuple[str, float] | None:
    """(host, when) of a fencing that succeeded; None for whatever else happened. Seconds since 1970."""
    if environment.get("CRM_alert_kind") != "fencing" or environment.get("CRM_alert_rc") != "0":
        return None
    if environment.get("CRM_alert_task") not in OFF:
        return None
    try:
        at = float(environment.get("CRM_alert_timestamp_epoch", ""))
    except ValueError:
        at = time.time()
    return environment["CRM_alert_node"], at


def dead(osds: Iterable[int], dump: Mapping[str, Any], at: float) -> list[int]:
    """Those of the OSDs that the map has up since before their host was turned off at ``at``.

    One that was missed after that, and is up, has started again meanwhile.
    """
    missed = {int(one["osd"]): _seconds(str(one["down_stamp"])) for one in dump["osd_xinfo"]}
    up = {int(one["osd"]) for one in dump["osds"] if one["up"]}
    return [osd for osd in sorted(osds) if osd in up and missed.get(osd, 0) < at]


def _seconds(stamp: str) -> float:
    """Of Ceph's 2026-11-27T23:56:17.802518+0000; 0 for its 0.000000, which is never."""
    try:
        return datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()
    except ValueError:
        return 0


def mark(ask: Any, host: str, at: float) -> list[int]:
    """Have the mons take a host's OSDs for dead; returns which. ``ask``: runs a command of the mons."""
    try:
        there = ask("osd ls-tree", name=host)
    except FileNotFoundError:
        # It stores nothing.
        return []
    osds = dead(there, ask("osd dump"), at)
    if osds:
        ask("osd down", ids=[str(osd) for osd in osds], definitely_dead=True)
    return osds


def main() -> int:
    event = fenced(os.environ)
    if event is None:
        return 0
    rados = import_module("rados")
    options = dict.fromkeys(("client_mount_timeout", "rados_mon_op_timeout"), str(SECONDS))
    try:
        with rados.Rados(
            conffile=CEPH_CONF, name=f"client.{USER}", conf={**options, "log_to_file": "false"}
        ) as cluster:

            def ask(prefix: str, **arguments: Any) -> Any:
                command = json.dumps({"prefix": prefix, "format": "json", **arguments})
                code, said, error = cluster.mon_command(command, b"", timeout=SECONDS)
                if code:
                    raise OSError(-code, f"{prefix}: {error}")
                return json.loads(said) if said.strip() else None

            done = mark(ask, *event)
    except (rados.Error, OSError) as error:
        sys.stderr.write(f"croft: the OSDs of {event[0]} were not marked down: {error}\n")
        return 1
    sys.stdout.write(f"croft: {event[0]} was fenced; OSDs marked down: {done}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
