# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils.ceph_preflight import (
    Cluster,
    DeadOsd,
    Disk,
    Member,
    Wanted,
    cluster_of,
    member_of,
    method_of,
    notes,
    problems,
    steps,
)

FSID, OTHER = "5d3f0b2e-5f0e-4c52-9b2f-6f2f3a1d7c11", "00000000-0000-4000-8000-000000000000"
NAMES = ("kvm1", "kvm2", "kvm3")
WANTED = Wanted(fsid=FSID, hosts=NAMES, mons=NAMES, mgrs=NAMES)
EMPTY = Disk("/dev/sdb", "/dev/sdb", bytes=10 * 2**30)
LABEL = {"osd_uuid": "u1", "ceph_fsid": FSID, "whoami": "1", "mkfs_done": "yes"}
OURS = replace(EMPTY, signatures=("ceph_bluestore",), osd=LABEL)

DEAD = DeadOsd(1, "u1", "kvm1")


def member(number: int = 1, disk: Disk | None = EMPTY, **change: Any) -> Member:
    address = f"10.0.0.{number}"
    standard = Member(
        f"kvm{number}", address, (f"{address}/24",), 65536, device_mapper=True, disks=(disk,) if disk else ()
    )
    return replace(standard, **change)


def cluster(**change: Any) -> Cluster:
    standard = Cluster(FSID, NAMES, NAMES, usage={1: 0.5, 2: 0.5, 3: 0.5}, osd_uuids=("u1", "u2", "u3"))
    return replace(standard, **change)


MEMBERS = tuple(member(number) for number in (1, 2, 3))


def with_first(disk: Disk | None = EMPTY, **change: Any) -> tuple[Member, ...]:
    return (member(1, disk, **change), *MEMBERS[1:])


@pytest.mark.parametrize(
    ("wanted", "members", "there"),
    [
        pytest.param(WANTED, MEMBERS, None, id="three empty hosts"),
        pytest.param(WANTED, with_first(OURS), cluster(), id="an OSD of ours"),
        pytest.param(WANTED, with_first(OURS), cluster(osds_down=(DEAD,)), id="an OSD of ours that is down"),
        pytest.param(
            WANTED, MEMBERS, cluster(osds_down=(replace(DEAD, host="kvm9"),)), id="one that is down on another host"
        ),
        pytest.param(WANTED, with_first(OURS), None, id="an OSD of ours, and the cluster is silent"),
        pytest.param(
            WANTED, with_first(replace(EMPTY, signatures=("ext4",)), wipe=("/dev/sdb",)), None, id="named to be wiped"
        ),
        pytest.param(WANTED, with_first(replace(OURS, held_by=("dm-0",))), cluster(), id="ours, on a logical volume"),
        pytest.param(WANTED, with_first(mons=("kvm1",)), None, id="one mon of three, from a run that was cut off"),
        pytest.param(replace(WANTED, method="raw"), with_first(device_mapper=False), None, id="raw without LVM"),
        pytest.param(replace(WANTED, public_network="10.0.0.0/24"), MEMBERS, None, id="in the network"),
        pytest.param(
            replace(WANTED, hosts=(*NAMES, "kvm4")), (*MEMBERS, member(4, None)), None, id="a fourth host with no disk"
        ),
    ],
)
def test_nothing_speaks_against_it(wanted: Wanted, members: tuple[Member, ...], there: Cluster | None) -> None:
    assert problems(wanted, members, there) == []


@pytest.mark.parametrize(
    ("wanted", "members", "there", "says"),
    [
        pytest.param(
            WANTED,
            MEMBERS,
            cluster(osds_down=(DEAD,)),
            ["kvm1: osd.1 is down and on none of the disks in ceph_osd_devices; have the new disk take its place"],
            id="a new disk beside an OSD that lost its own",
        ),
        pytest.param(
            replace(WANTED, hosts=NAMES[:2], mons=NAMES[:1], mgrs=()),
            MEMBERS[:2],
            None,
            ["cluster: has 2 hosts, Ceph needs 3", "ceph_mon_hosts: names 1 mon"],
            id="two hosts",
        ),
        pytest.param(
            replace(WANTED, mons=NAMES[:2]), MEMBERS, None, ["ceph_mon_hosts: names 2 mons and an even"], id="even mons"
        ),
        pytest.param(
            replace(WANTED, mons=("kvm1", "kvm2", "kvm9"), mgrs=("kvm8",)),
            MEMBERS,
            None,
            ["mon on kvm9: is not a host", "mgr on kvm8: is not a host"],
            id="a mon and a mgr elsewhere",
        ),
        pytest.param(
            WANTED, MEMBERS[:2], None, ["kvm3: does not answer", "2 of its hosts have OSD"], id="a host is away"
        ),
        pytest.param(WANTED, with_first(None), None, ["cluster: 2 of its hosts have OSD disks"], id="too few disks"),
        pytest.param(replace(WANTED, min_size=1), MEMBERS, None, ["pool: min_size 1 with size 3"], id="min_size 1"),
        pytest.param(replace(WANTED, min_size=3), MEMBERS, None, ["equals size 3"], id="min_size is the size"),
        pytest.param(
            WANTED,
            with_first(replace(EMPTY, signatures=("ext4",))),
            None,
            ["kvm1: disk /dev/sdb is not empty (ext4); name another disk, or name this one in ceph_wipe_devices"],
            id="somebody's data",
        ),
        pytest.param(
            WANTED,
            with_first(replace(EMPTY, signatures=("ext4",), mounted_at="/srv"), wipe=("/dev/sdb",)),
            None,
            ["kvm1: disk /dev/sdb is in use (ext4, mounted at /srv)"],
            id="in use, whatever may be wiped",
        ),
        pytest.param(
            WANTED,
            with_first(replace(OURS, osd={**LABEL, "ceph_fsid": OTHER})),
            None,
            [f"kvm1: disk /dev/sdb is osd.1 of another cluster ({OTHER})"],
            id="another cluster's OSD",
        ),
        pytest.param(
            WANTED,
            with_first(replace(OURS, osd={**LABEL, "osd_uuid": "gone"})),
            cluster(),
            ["kvm1: disk /dev/sdb was osd.1, which the cluster has no more"],
            id="an OSD that was taken out",
        ),
        pytest.param(
            WANTED, with_first(replace(EMPTY, exists=False)), None, ["/dev/sdb is not there"], id="no such disk"
        ),
        pytest.param(WANTED, with_first(replace(EMPTY, block=False)), None, ["not a block device"], id="a file"),
        pytest.param(
            WANTED,
            with_first(disks=(EMPTY, replace(EMPTY, path="/dev/disk/by-id/x"))),
            None,
            ["kvm1: disk /dev/disk/by-id/x is the same disk as /dev/sdb"],
            id="one disk by two names",
        ),
        pytest.param(
            WANTED, with_first(wipe=("/dev/sdc",)), None, ["ceph_wipe_devices names /dev/sdc"], id="a slip of the pen"
        ),
        pytest.param(
            WANTED,
            with_first(fsids={"/etc/ceph/ceph.conf": OTHER}),
            None,
            [f"kvm1: is in cluster {OTHER} (by /etc/ceph"],
            id="wrong fsid",
        ),
        pytest.param(
            WANTED,
            with_first(
                replace(OURS, osd={**LABEL, "ceph_fsid": OTHER}), fsids={"/a": OTHER, "/b": OTHER}, wipe=("/dev/sdb",)
            ),
            None,
            [f"kvm1: is in cluster {OTHER} (by /a and /b), not in {FSID}"],
            id="in another cluster with its disk, told once",
        ),
        pytest.param(WANTED, MEMBERS, cluster(fsid=OTHER), [f"cluster: the one that answers is {OTHER}"], id="another"),
        pytest.param(
            WANTED,
            MEMBERS,
            cluster(usage={1: 0.96, 2: 0.86, 3: 0.5}),
            ["osd.1: is full (96%, limit 95%)", "osd.2: is near full (86%, limit 85%)"],
            id="full OSDs",
        ),
        pytest.param(
            WANTED, with_first(address="10.9.9.9"), None, ["kvm1: has no address 10.9.9.9; set"], id="another's address"
        ),
        pytest.param(
            replace(WANTED, public_network="10.5.0.0/24", cluster_network="10.6.0.0/24"),
            MEMBERS,
            None,
            ["is not in ceph_public_network", "no address in ceph_cluster_network"] * 3,
            id="other networks",
        ),
        pytest.param(
            WANTED, with_first(memory_mib=2048), None, ["kvm1: 1 OSD of 4096 MiB need 4096 MiB"], id="too little memory"
        ),
        pytest.param(
            replace(WANTED, method="lvm", encrypted=True),
            with_first(device_mapper=False),
            None,
            ["device mapper, which LVM needs", "device mapper, which encryption"],
            id="no device mapper",
        ),
        pytest.param(
            replace(WANTED, method="raw", encrypted=True), MEMBERS, None, ["not raw"] * 3, id="raw and encrypted"
        ),
        pytest.param(
            WANTED,
            (*(member(n, mons=(f"kvm{n}",)) for n in (1, 2)), MEMBERS[2]),
            None,
            ["mons of kvm1 and kvm2: are there and have no quorum"],
            id="mons without quorum",
        ),
    ],
)
def test_what_speaks_against_it(
    wanted: Wanted, members: tuple[Member, ...], there: Cluster | None, says: list[str]
) -> None:
    lines = problems(wanted, members, there)
    assert len(lines) == len(says), lines
    for line, text in zip(lines, says, strict=True):
        assert text in line
        assert "\n" not in line


def test_steps_of_an_empty_and_of_a_built_cluster() -> None:
    raw = member(1, device_mapper=False)
    assert steps(WANTED, [raw], None) == [
        "kvm1: make a mon at 10.0.0.1",
        "kvm1: make an OSD on /dev/sdb (10 GiB, raw)",
    ]
    data = member(1, replace(EMPTY, signatures=("ext4",)), wipe=("/dev/sdb",), mons=("kvm1",))
    assert steps(WANTED, [data], None) == ["kvm1: wipe /dev/sdb (ext4) and make an OSD on /dev/sdb (10 GiB, lvm)"]
    built = member(1, OURS, mons=("kvm1",))
    assert steps(WANTED, [built], cluster()) == []
    assert steps(WANTED, [built], cluster(mons=(*NAMES, "old"))) == ["cluster: take mon.old out"]


def test_methods_and_notes() -> None:
    raw = member(1, device_mapper=False, osds={"u9": 9})
    assert [method_of(WANTED, one) for one in (raw, member(2))] == ["raw", "lvm"]
    assert method_of(replace(WANTED, method="raw"), member(2)) == "raw"
    assert notes(WANTED, [raw]) == [
        "kvm1: the kernel has no device mapper, so OSDs lie on raw disks, without LVM",
        "kvm1: osd.9 lies on a disk that ceph_osd_devices does not name; it is left alone",
    ]


def test_facts_are_read() -> None:
    disk = {name: getattr(OURS, name) for name in Disk.__dataclass_fields__}
    facts = {
        "name": "kvm1", "address": "10.0.0.1", "addresses": ["10.0.0.1/24"], "memory_mib": 1, "device_mapper": False,
        "fsids": {}, "mons": [], "osds": [{"id": 1, "uuid": "u1"}], "disks": [disk], "wipe": [],
    }  # fmt: skip
    read = member_of(facts)
    assert read.disks == (OURS,)
    assert read.osds == {"u1": 1}
    assert cluster_of(None) is None
    assert cluster_of({
        "fsid": FSID, "quorum": [], "mons": [], "flags": [], "usage": {"1": 0.5}, "full_ratio": 0.95,
        "nearfull_ratio": 0.85, "osd_hosts": [], "osd_uuids": ["u1"],
        "osds_down": [{"id": 1, "uuid": "u1", "host": "kvm1"}],
    }) == Cluster(FSID, usage={1: 0.5}, osd_uuids=("u1",), osds_down=(DeadOsd(1, "u1", "kvm1"),))  # fmt: skip
