# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils.nfs import (
    Chosen,
    Looked,
    choose_server,
    pool_problems,
    server_pools,
    server_problems,
)

KERNEL, GANESHA = Chosen("kernel", ""), Chosen("ganesha", "")
SHARED: dict[str, Any] = {"name": "shared", "path": "/srv/vms", "clients": ["10.0.0.11", "10.0.0.0/24", "fd00::/64"]}
POOL = {"name": "shared", "server": "10.0.0.9", "path": "/srv/vms"}


@pytest.mark.parametrize(
    ("wanted", "kernel", "name", "reason"),
    [
        ("auto", True, "kernel", "this kernel has an NFS server"),
        ("auto", False, "ganesha", "this kernel has no NFS server"),
        ("kernel", False, "kernel", "kernel was chosen"),
        ("kernel", True, "kernel", "kernel was chosen"),
        ("ganesha", True, "ganesha", "ganesha was chosen"),
    ],
)
def test_what_serves_is_chosen_with_a_reason(wanted: str, kernel: bool, name: str, reason: str) -> None:
    chosen = choose_server(wanted, kernel=kernel)
    assert chosen.name == name
    assert chosen.reason.startswith(reason)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"clients": ["10.0.0.11/24"]}, []),  # the address of a host with its prefix length names its network
        ({"path": "srv"}, ["NFS export shared: path is 'srv'; give the absolute path of a directory"]),
        ({"path": "/"}, ["NFS export shared: path is '/'; give the absolute path of a directory"]),
        ({"path": None}, ["NFS export shared: path is ''; give the absolute path of a directory"]),
        (
            {"clients": []},
            ["NFS export shared: has no clients; name the hosts' addresses, everybody else is refused"],
        ),
        (
            {"clients": ["kvm1", "10.0.0.300", "*"]},
            [
                f"NFS export shared: client {client} is no IP address or network; NFS checks addresses, give one"
                for client in ("kvm1", "10.0.0.300", "*")
            ],
        ),
    ],
)
def test_what_speaks_against_an_export(changes: dict[str, Any], said: list[str]) -> None:
    assert server_problems([{**SHARED, **changes}], KERNEL, kernel=True) == said


def test_exports_that_are_there_twice_and_a_kernel_without_a_server() -> None:
    exports = [SHARED, {**SHARED, "name": "more"}, {**SHARED, "path": "/srv/more"}]
    lines = [
        "NFS exports: name shared is there 2 times; keep one",
        "NFS exports: path /srv/vms is there 2 times; keep one",
    ]
    assert server_problems(exports, KERNEL, kernel=True) == lines
    assert server_problems([SHARED], GANESHA, kernel=False) == []
    (line,) = server_problems([SHARED], KERNEL, kernel=False)
    assert line.startswith("NFS server: this kernel has none (no nfsd); set storage_nfs_server_implementation")


def test_exports_are_pools_of_the_server() -> None:
    disk = {**SHARED, "device": "/dev/sdb", "filesystem": "xfs"}
    assert server_pools([SHARED, disk, {**SHARED, "device": ""}], 64055) == [
        {"type": "dir", "owner": "64055", "name": "shared", "path": "/srv/vms"},
        {
            "type": "dir",
            "owner": "64055",
            "name": "shared",
            "path": "/srv/vms",
            "device": "/dev/sdb",
            "filesystem": "xfs",
        },
        {"type": "dir", "owner": "64055", "name": "shared", "path": "/srv/vms"},
    ]


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (Looked(), None),
        (Looked(free_gib=1.0), None),
        (Looked(free_gib=0.99), "10.0.0.9:/srv/vms has 0.99 GiB left, at least 1 GiB must be; free some"),
        (Looked(refused=(2049,)), "10.0.0.9 takes no connection at port 2049; is the server up"),
        (Looked(refused=(111, 2049), access="lost"), "10.0.0.9 takes no connection at port 111 and 2049"),
        (Looked(access="mount.nfs: access denied by server", free_gib=0.0), "10.0.0.9:/srv/vms cannot be used: mount"),
    ],
)
def test_what_keeps_a_host_from_a_pool(seen: Looked, said: str | None) -> None:
    lines = pool_problems([POOL], {"shared": seen}, 1.0)
    if said is None:
        assert lines == []
    else:
        assert len(lines) == 1
        assert lines[0].startswith(f"NFS pool shared: {said}")


@pytest.mark.parametrize(
    ("access", "advice"),
    [
        (
            "mount.nfs: mounting 10.0.0.9:/x failed, reason given by server: No such file or directory",
            "export that dir",
        ),
        ("MNT3ERR_NOENT", "export that directory"),
        ("NFS3ERR_NOTDIR", "export that directory"),
        ("mount.nfs: access denied by server while mounting", "the server must export exactly that directory"),
        ("MNT3ERR_ACCES", "the server must export exactly that directory"),
        ("Operation not permitted", "the server must export exactly that directory"),
        ("Read-only file system", "the server must export exactly that directory"),
        ("NFS3ERR_ROFS", "the server must export exactly that directory"),
        ("No space left on device", "free some space there"),
        ("NFS3ERR_NOSPC", "free some space there"),
        ("Connection reset by peer", "look at the server's log"),
    ],
)
def test_an_error_of_the_server_comes_with_advice(access: str, advice: str) -> None:
    (line,) = pool_problems([POOL], {"shared": Looked(access=access)}, 1.0)
    assert line.partition(f"{access}; ")[2].startswith(advice)


def test_all_pools_are_judged_and_one_that_is_there_twice() -> None:
    other = {**POOL, "name": "other", "path": "/srv/other"}
    looked = {"shared": Looked(free_gib=0.5), "other": Looked(refused=(2049,))}
    lines = pool_problems([POOL, other, other], looked, 1.0)
    assert [line.partition(": ")[0] for line in lines] == [
        f"NFS pool {n}" for n in ("shared", "other", "other", "other")
    ]
    assert lines[-1] == "NFS pool other: is there 2 times; keep one"
