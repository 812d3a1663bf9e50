# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at a host for Ceph: its disks, addresses, and what of a cluster is on it already. Reads only."""

from __future__ import annotations

import configparser
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils.ceph import CONF, LABEL_BYTES, bluestore_label
from ansible_collections.croft.infra.plugins.module_utils.ceph_connection import (
    CephFailedError,
    CephMissingError,
    connection,
    summary,
)

STATE = Path("/var/lib/ceph")


def run(*argv: str) -> str:
    """Run a command that must succeed and return what it printed. Raises CephFailedError with its last words."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise CephFailedError(f"`{' '.join(argv)}` failed: {said[-1]}")
    return done.stdout


def mounts() -> dict[str, str]:
    """Where block devices are mounted, by their real paths."""
    found = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        source, target = line.split()[:2]
        if source.startswith("/dev/"):
            found[str(Path(source).resolve())] = target
    return found


def has_device_mapper() -> bool:
    """Can this kernel do LVM? The module is loaded when there is one."""
    if shutil.which("modprobe"):
        subprocess.run(["modprobe", "--quiet", "dm_mod"], capture_output=True, check=False)
    return "device-mapper" in Path("/proc/misc").read_text()


def label_on(device: str) -> dict[str, str] | None:
    """The BlueStore label on a device; None when there is none or the device cannot be read."""
    try:
        with Path(device).open("rb") as opened:
            return bluestore_label(opened.read(LABEL_BYTES))
    except OSError:
        return None


def lvm_osds() -> dict[str, dict[str, str]]:
    """OSDs on logical volumes, by the real path of the disk below: ceph-volume writes what a label has into tags."""
    if not shutil.which("pvs"):
        return {}
    out = run("pvs", "--reportformat", "json", "-o", "pv_name,lv_tags")
    found = {}
    for row in json.loads(out)["report"][0]["pv"]:
        tags = dict(tag.split("=", 1) for tag in row["lv_tags"].split(",") if tag.startswith("ceph.") and "=" in tag)
        if tags.get("ceph.type") == "block":
            found[str(Path(row["pv_name"]).resolve())] = {
                "osd_uuid": tags["ceph.osd_fsid"],
                "ceph_fsid": tags["ceph.cluster_fsid"],
                "whoami": tags["ceph.osd_id"],
                "mkfs_done": "yes",
            }
    return found


def disk(path: str, mounted: dict[str, str], on_lvm: dict[str, dict[str, str]]) -> dict[str, Any]:
    """What ceph_preflight.Disk holds, of one path."""
    seen: dict[str, Any] = {
        "path": path,
        "real": os.path.realpath(path),
        "exists": Path(path).exists(),
        "block": False,
        "bytes": 0,
        "signatures": [],
        "mounted_at": "",
        "held_by": [],
        "osd": None,
    }
    if not seen["exists"] or not stat.S_ISBLK(Path(path).stat().st_mode):
        return seen
    real = seen["real"]
    out = run("wipefs", "--json", "--no-act", real)
    block = Path("/sys/class/block") / Path(real).name
    partitions = [part.name for part in block.glob(f"{block.name}*") if (part / "partition").exists()]
    seen |= {
        "block": True,
        "bytes": int((block / "size").read_text()) * 512,
        "signatures": [entry["type"] for entry in json.loads(out)["signatures"]] if out.strip() else [],
        "mounted_at": mounted.get(real) or next((m for p in partitions if (m := mounted.get(f"/dev/{p}"))), ""),
        "held_by": sorted(holder.name for holder in (block / "holders").glob("*")),
        "osd": on_lvm.get(real) or label_on(real),
    }
    if partitions and not seen["signatures"]:
        seen["signatures"] = ["partitions"]
    return seen


def addresses() -> list[str]:
    """The host's addresses with prefix lengths, loopback left out."""
    found = []
    for link in json.loads(run("ip", "-json", "address", "show")):
        if "LOOPBACK" not in link["flags"]:
            found += [
                f"{entry['local']}/{entry['prefixlen']}" for entry in link["addr_info"] if entry["scope"] == "global"
            ]
    return found


def memory_mib() -> int:
    """The host's whole memory."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) // 1024
    return 0


def conf_fsid() -> str:
    """The cluster that ceph.conf names; empty when there is none."""
    reader = configparser.ConfigParser(strict=False, interpolation=None)
    try:
        reader.read_string(Path(CONF).read_text())
    except (OSError, configparser.Error):
        return ""
    return reader.get("global", "fsid", fallback="")


def _lines(paths: Iterable[Path]) -> dict[str, str]:
    found = {}
    for path in paths:
        try:
            found[str(path)] = path.read_text().strip()
        except OSError:
            continue
    return found


def local_osds(on_lvm: dict[str, dict[str, str]]) -> list[dict[str, Any]]:
    """OSDs that the host has, {id, uuid}: those that are activated, and those on logical volumes."""
    found = {int(label["whoami"]): label["osd_uuid"] for label in on_lvm.values()}
    for path, uuid in _lines(sorted(STATE.glob("osd/ceph-*/fsid"))).items():
        found[int(Path(path).parent.name.removeprefix("ceph-"))] = uuid
    return [{"id": number, "uuid": uuid} for number, uuid in sorted(found.items())]


def look(name: str, address: str, devices: Iterable[str], wipe: Iterable[str]) -> dict[str, Any]:
    """All that ceph_preflight wants to know of a host. Raises CephFailedError when a tool refuses to look."""
    mapper = has_device_mapper()
    on_lvm = lvm_osds() if mapper else {}
    mounted = mounts()
    fsids = {CONF: conf_fsid(), **_lines(STATE.glob("osd/ceph-*/ceph_fsid"))}
    try:
        with connection() as cluster:
            answer: dict[str, Any] | None = summary(cluster)
            why = ""
    except (CephMissingError, CephFailedError) as error:
        answer, why = None, str(error)
    return {
        "name": name,
        "address": address,
        "addresses": addresses(),
        "memory_mib": memory_mib(),
        "device_mapper": mapper,
        "fsids": {where: fsid for where, fsid in fsids.items() if fsid},
        "mons": sorted(path.parent.name.removeprefix("ceph-") for path in STATE.glob("mon/ceph-*/done")),
        "mgrs": sorted(path.parent.name.removeprefix("ceph-") for path in STATE.glob("mgr/ceph-*/keyring")),
        "osds": local_osds(on_lvm),
        "disks": [disk(path, mounted, on_lvm) for path in devices],
        "wipe": list(wipe),
        "cluster": answer,
        "cluster_silence": why,
    }
