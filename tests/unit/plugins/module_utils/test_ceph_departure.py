# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils.ceph_departure import (
    Group,
    Osd,
    Pool,
    View,
    at_rest,
    disk_problems,
    host_problems,
    replacement,
    steps,
    view_of,
)

FSID = "5d3f0b2e-5f0e-4c52-9b2f-6f2f3a1d7c11"
CLEAN = frozenset({"active", "clean"})
OSDS = tuple(Osd(n, f"u{n}", f"kvm{n + 1}", kb=100, kb_used=20) for n in range(4))
GROUPS = (Group("1.0", 1, CLEAN, (0, 1, 2)), Group("1.1", 1, CLEAN, (1, 2, 3)))
VIEW = View(
    OSDS, (Pool(1, "vms", 3, 2),), GROUPS, ("kvm1", "kvm2", "kvm3"), ("kvm1", "kvm2", "kvm3"),
    hosts=("kvm1", "kvm2", "kvm3", "kvm4"), users=("mgr.kvm4", "client.admin"),
)  # fmt: skip
MONS = ["kvm1", "kvm2", "kvm3"]
THREE = replace(VIEW, osds=OSDS[:3], groups=GROUPS[:1])


def osd(number: int, **change: Any) -> tuple[Osd, ...]:
    return tuple(replace(one, **change) if one.id == number else one for one in OSDS)


@pytest.mark.parametrize(
    ("view", "host", "says"),
    [
        pytest.param(VIEW, "kvm4", [], id="the fourth of four"),
        pytest.param(VIEW, "never", [], id="gone already"),
        pytest.param(replace(VIEW, osds=osd(3, up=False)), "kvm4", [], id="a dead one"),
        pytest.param(VIEW, "kvm3", ["is named in ceph_mon_hosts"], id="a mon's host"),
        pytest.param(
            replace(VIEW, osds=OSDS[1:]),
            "kvm4",
            ["without it 2 hosts have OSDs that run, pool vms keeps 3"],
            id="too few",
        ),
        pytest.param(
            replace(VIEW, osds=osd(0, up=False)),
            "kvm4",
            ["without it 2 hosts have OSDs that run"],
            id="another is down",
        ),
        pytest.param(
            replace(VIEW, osds=tuple(replace(one, kb_used=70) for one in OSDS)), "kvm4", ["be 93% full"], id="no room"
        ),
        pytest.param(
            replace(VIEW, groups=(replace(GROUPS[0], states=frozenset({"down"})),)),
            "kvm4",
            ["placement groups 1.0 are not active"],
            id="data that cannot be reached",
        ),
        pytest.param(
            replace(VIEW, groups=(replace(GROUPS[0], states=frozenset({"remapped", "peering"})),)),
            "kvm4",
            [],
            id="cut off while the groups find each other",
        ),
        pytest.param(
            replace(VIEW, mons=(*MONS, "kvm4"), quorum=("kvm1", "kvm2", "kvm4")),
            "kvm4",
            ["its mon does not leave while mon.kvm3"],
            id="its mon is needed",
        ),
    ],
)
def test_may_a_host_leave(view: View, host: str, says: list[str]) -> None:
    lines = host_problems(view, host, MONS)
    assert len(lines) == len(says), lines
    for line, text in zip(lines, says, strict=True):
        assert text in line


@pytest.mark.parametrize(
    ("view", "number", "host", "says"),
    [
        pytest.param(THREE, 1, "kvm2", "", id="one of three"),
        pytest.param(THREE, 9, "kvm2", "osd.9: is not in the cluster, which has osd.0 on kvm1", id="no such OSD"),
        pytest.param(THREE, 1, "kvm1", "osd.1: is on kvm2, not on kvm1", id="another host's"),
        pytest.param(
            replace(THREE, groups=(Group("1.0", 1, frozenset({"active", "undersized", "degraded"}), (0, 2)),)),
            1,
            "kvm2",
            "",
            id="dead, the others have it",
        ),
        pytest.param(
            replace(THREE, groups=(Group("1.0", 1, frozenset({"active", "undersized", "degraded"}), (0, 2)),)),
            0,
            "kvm1",
            "would have fewer copies",
            id="one of the two that are left",
        ),
        pytest.param(
            replace(THREE, groups=(Group("1.0", 1, frozenset({"active", "recovering", "degraded"}), (0, 1, 2)),)),
            0,
            "kvm1",
            "are being repaired",
            id="while the others are repaired",
        ),
        pytest.param(
            replace(THREE, groups=(Group("1.0", 1, frozenset({"peering"}), (0, 1, 2)),)),
            0,
            "kvm1",
            "just finding each other",
            id="in a moment of change",
        ),
    ],
)
def test_may_a_disk_go(view: View, number: int, host: str, says: str) -> None:
    lines = disk_problems(view, number, host)
    assert len(lines) == bool(says), lines
    assert says in "".join(lines)


def disk(path: str, uuid: str = "", fsid: str = FSID) -> dict[str, Any]:
    return {"path": path, "osd": {"osd_uuid": uuid, "ceph_fsid": fsid, "whoami": "1"} if uuid else None}


@pytest.mark.parametrize(
    ("change", "disks", "following", "says"),
    [
        pytest.param({"up": False}, [disk("/dev/b")], "destroy", "", id="dead, and a new disk"),
        pytest.param({}, [disk("/dev/b")], "destroy", "", id="alive on a disk that is not named any more"),
        pytest.param({"up": False, "destroyed": True}, [disk("/dev/b")], "prepare", "", id="cut off after destroying"),
        pytest.param(
            {"up": False, "destroyed": True, "uuid": "0"},
            [disk("/dev/b", "u1")],
            "prepare",
            "",
            id="the same disk again",
        ),
        pytest.param({"up": False}, [disk("/dev/b", "u1")], "start", "", id="cut off before starting"),
        pytest.param({}, [disk("/dev/b", "u1")], "start", "", id="done"),
        pytest.param({}, [disk("/dev/a", "u1"), disk("/dev/b")], "start", "take that disk out", id="both are named"),
        pytest.param({"up": False}, [disk("/dev/a", "u3")], "prepare", "none of its host's", id="no new disk"),
        pytest.param({"up": False}, [disk("/dev/a"), disk("/dev/b")], "prepare", "/dev/a, /dev/b are new", id="two"),
    ],
)
def test_how_far_a_replacement_is(change: dict[str, Any], disks: Any, following: str, says: str) -> None:
    view = replace(VIEW, osds=osd(1, **change))
    came, lines = replacement(view, 1, disks, FSID)
    assert came == following
    assert bool(lines) is bool(says)
    assert says in "".join(lines)


def test_the_steps() -> None:
    (out,) = steps("out", VIEW, "kvm4", None)
    assert out.arguments == {"ids": ["3"]}
    assert steps("out", replace(VIEW, osds=osd(3, in_=False)), "kvm4", None) == []
    assert [step.prefix for step in steps("purge", VIEW, "kvm4", None)] == [
        "osd down", "osd purge", "osd crush rm", "auth rm",
    ]  # fmt: skip
    assert all("force" not in step.arguments for step in steps("purge", VIEW, "kvm4", None))
    gone = replace(VIEW, osds=OSDS[:3], hosts=tuple(MONS), users=())
    assert steps("purge", gone, "kvm4", None) == []
    assert [step.prefix for step in steps("destroy", VIEW, "kvm2", 1)] == ["osd down", "osd destroy"]
    assert steps("destroy", replace(VIEW, osds=osd(1, destroyed=True)), "kvm2", 1) == []
    assert steps("check", VIEW, "kvm4", None) == []


def test_a_view_is_read() -> None:
    view = view_of(
        {"nodes": [{"type": "host", "name": "kvm1", "children": [0]}, {"type": "osd", "name": "osd.0", "id": 0}]},
        {
            "osds": [{"osd": 0, "uuid": "u0", "up": 1, "in": 1, "state": ["exists", "up"]}],
            "pools": [{"pool": 1, "pool_name": "vms", "size": 3, "min_size": 2}],
            "nearfull_ratio": 0.85,
        },
        [{"id": 0, "kb": 100, "kb_used": 20}],
        [{"pgid": "1.0", "state": "active+clean", "acting": [0, 2147483647]}],
        ({"mons": [{"name": "kvm1"}], "quorum": [0]}, [{"entity": "mgr.kvm1"}]),
    )
    assert view.osds == (Osd(0, "u0", "kvm1", kb=100, kb_used=20),)
    assert view.groups == (Group("1.0", 1, CLEAN, (0,)),)
    assert (view.hosts, view.users, view.quorum) == (("kvm1",), ("mgr.kvm1",), ("kvm1",))


@pytest.mark.parametrize(
    ("states", "still"),
    [("active+clean", True), ("active+undersized+degraded", True), ("peering", False), ("creating+peering", False)],
)
def test_groups_that_find_each_other_are_not_at_rest(states: str, *, still: bool) -> None:
    group = replace(GROUPS[0], states=frozenset(states.split("+")))
    assert at_rest(replace(VIEW, groups=(group, *GROUPS[1:]))) is still
