# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.croft.infra.plugins.modules import ceph_preflight

RunModule = Callable[..., dict[str, Any]]
FSID = "5d3f0b2e-5f0e-4c52-9b2f-6f2f3a1d7c11"
NAMES = ["kvm1", "kvm2", "kvm3"]


def facts(number: int) -> dict[str, Any]:
    disk = {
        "path": "/dev/sdb", "real": "/dev/sdb", "exists": True, "block": True, "bytes": 2**34, "signatures": [],
        "mounted_at": "", "held_by": [], "osd": None,
    }  # fmt: skip
    address = f"10.0.0.{number}"
    return {
        "name": f"kvm{number}", "address": address, "addresses": [f"{address}/24"], "memory_mib": 65536,
        "device_mapper": True, "fsids": {}, "mons": [], "osds": [], "disks": [disk], "wipe": [], "cluster": None,
    }  # fmt: skip


def given(**change: Any) -> dict[str, Any]:
    hosts = [facts(number) for number in (1, 2, 3)]
    return {"hosts": hosts, "fsid": FSID, "expected": NAMES, "mons": NAMES, "mgrs": NAMES, **change}


def test_what_would_be_made(run_module: RunModule) -> None:
    outcome = run_module(ceph_preflight, given())
    assert not outcome["changed"]
    assert len(outcome["steps"]) == 6
    assert outcome["methods"] == dict.fromkeys(NAMES, "lvm")
    assert (outcome["bootstrap"], outcome["known_osds"]) == (True, None)
    assert outcome["mon_host"].startswith("[v2:10.0.0.1:3300/0],[v2:10.0.0.2")


def test_all_problems_at_once_with_those_of_others(run_module: RunModule) -> None:
    outcome = run_module(ceph_preflight, given(mons=NAMES[:2], min_size=1, others=["network kvm1 -> kvm2: lost"]))
    assert outcome["failed"]
    assert len(outcome["msg"].splitlines()) == 3
    assert outcome["msg"].startswith("network kvm1")
