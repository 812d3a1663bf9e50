# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils.migration import (
    GIB,
    MIB,
    DiskSeen,
    Move,
    Seen,
    incremental,
    outcome,
    problems,
    progress,
    sentence,
)

MOVE = Move("web1", "kvm2", "10.0.0.12")
LOCAL = DiskSeen("vda", "/p/web1.qcow2", shared=False, bytes=GIB, image_on_target=True)
SEED = DiskSeen("vdb", "/p/web1-seed.iso", shared=False, bytes=MIB, read_only=True)
NFS = DiskSeen("vda", "nfs://10.0.0.9/srv/vms/web1.qcow2", shared=True)
FREE = {"pools": {LOCAL.place: "vms", SEED.place: "vms"}, "pool_free": {"vms": GIB + MIB}}


def said(seen: Seen, *, copy_disks: bool = True) -> list[str]:
    lines = problems([MOVE], {"web1": seen}, copy_disks=copy_disks)
    assert all(line.startswith("web1 to kvm2: ") for line in lines)
    return [line.removeprefix("web1 to kvm2: ") for line in lines]


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({}, []),
        ({"state": None, "silent": "x", "managed": False}, ["there is no such VM on this host"]),
        ({"managed": False}, ["it was not made by croft; move it by hand"]),
        ({"state": "stopped"}, ["it is stopped; only a running VM migrates live"]),
        ({"state": "paused"}, ["it is paused; only a running VM migrates live"]),
        # Of a target that does not answer nothing else is known.
        ({"silent": "no route", "at_target": True}, ["the target's libvirt does not answer at 10.0.0.12: no route"]),
        ({"at_target": True}, ["the target has a domain of that name; remove one of them"]),
        (
            {"lacking": ("dmz", "lan")},
            [f"the network {name} is not active there; run site.yml for that host" for name in ("dmz", "lan")],
        ),
        ({"cpu": "no avx"}, ["its CPU cannot run there: no avx; give the VM a cpu_model that all hosts have"]),
        ({"disks": (NFS,)}, []),
        ({"disks": (LOCAL, SEED), **FREE}, []),
        (
            {"disks": (LOCAL,), "pool_free": {"vms": GIB}},
            ["its disk /p/web1.qcow2 is in no storage pool of this host, so there is no place for it there"],
        ),
        (
            {"disks": (LOCAL,), "pools": FREE["pools"], "pool_free": {"vms": None}},
            ["the storage pool vms is not active there, and its disk /p/web1.qcow2 is in that pool here"],
        ),
        (
            {"disks": (LOCAL,), "pools": FREE["pools"]},
            ["the storage pool vms is not active there, and its disk /p/web1.qcow2 is in that pool here"],
        ),
        (
            {"disks": (DiskSeen("vda", LOCAL.place, shared=False, on_target=True),), **FREE},
            ["the target's pool vms has a volume of the name of /p/web1.qcow2; remove or rename that one"],
        ),
        # A disk that is only read is made anew there.
        ({"disks": (DiskSeen("vdb", SEED.place, shared=False, read_only=True, on_target=True),), **FREE}, []),
        (
            {"disks": (LOCAL, SEED), "pools": FREE["pools"], "pool_free": {"vms": GIB + MIB - 1}},
            ["its disks need 1.0 GiB in the target's pool vms, 1.0 GiB are left; free some there"],
        ),
        (
            {"disks": (LOCAL,), "pools": FREE["pools"], "pool_free": {"vms": 0}},
            ["its disks need 1.0 GiB in the target's pool vms, 0.0 GiB are left; free some there"],
        ),
    ],
)
def test_what_forbids_a_move(changes: dict[str, Any], lines: list[str]) -> None:
    assert said(Seen(**{"state": "running", **changes})) == lines


def test_local_disks_are_copied_on_demand_only() -> None:
    seen = Seen("running", disks=(NFS, LOCAL, SEED))
    assert said(seen, copy_disks=False) == [
        "its disk /p/web1.qcow2, /p/web1-seed.iso is local to this host; say migrate_disks: true to copy it as well"
    ]
    assert said(Seen("running", disks=(NFS,)), copy_disks=False) == []


def test_all_problems_of_all_moves_at_once() -> None:
    moves = [MOVE, Move("app1", "kvm3", "10.0.0.13"), MOVE]
    seen = {"web1": Seen("paused", managed=False, cpu="no avx"), "app1": Seen()}
    lines = problems(moves, seen, copy_disks=False)
    assert [line.partition(":")[0] for line in lines] == [
        *["web1 to kvm2"] * 3,
        "app1 to kvm3",
        *["web1 to kvm2"] * 3,
        "web1",
    ]
    assert lines[-1] == "web1: is to be moved 2 times at once; once is enough"


WITHOUT = DiskSeen("vdc", "/p/data.qcow2", shared=False)


@pytest.mark.parametrize(
    ("disks", "expected"),
    [
        ((), False),
        ((NFS,), False),
        ((SEED,), False),
        ((LOCAL,), True),
        ((LOCAL, SEED, NFS), True),
        ((LOCAL, WITHOUT), False),
        ((DiskSeen("vda", "/p/a", shared=False, image_on_target=False),), False),
    ],
)
def test_only_what_differs_is_copied_where_every_image_is_there(disks: tuple[DiskSeen, ...], expected: bool) -> None:
    assert incremental(disks) is expected


def test_progress_is_of_memory_and_disks() -> None:
    stats = {
        "memory_remaining": 3 * MIB,
        "disk_remaining": 2 * MIB - 1,
        "memory_total": 8 * MIB,
        "disk_total": 16 * MIB,
    }
    assert progress({**stats, "memory_iteration": 4}) == {"remaining_mib": 4, "total_mib": 24, "iteration": 4}
    assert progress({"type": 2}) == {"remaining_mib": 0, "total_mib": 0, "iteration": 0}


def test_what_a_migration_came_to() -> None:
    stats = {"time_elapsed": 2217, "downtime": 178, "memory_processed": 100 * MIB, "disk_processed": 7 * MIB}
    assert outcome(stats) == {"total_ms": 2217, "downtime_ms": 178, "transferred_mib": 107}
    assert outcome({"downtime": 0})["downtime_ms"] == 0
    assert outcome({}) == {"total_ms": 0, "downtime_ms": None, "transferred_mib": 0}


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (
            {"state": "done", "total_ms": 2217, "downtime_ms": 178, "transferred_mib": 107},
            "web1: kvm1 > kvm2 in 2.2 s, down for 178 ms, 107 MiB",
        ),
        (
            {"state": "done", "total_ms": 50, "downtime_ms": None, "transferred_mib": 1},
            "web1: kvm1 > kvm2 in 0.1 s, 1 MiB",
        ),
        ({"state": "failed", "reason": "canceled by client"}, "web1: still on kvm1: canceled by client"),
    ],
)
def test_how_a_migration_ended(result: dict[str, Any], expected: str) -> None:
    assert sentence({"name": "web1", "source": "kvm1", "target": "kvm2", **result}) == expected
