# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils import store
from ansible_collections.croft.infra.plugins.module_utils.store import NFS_OWNER, Source, Store, has_nfs, stores

SHARED: dict[str, Any] = {"name": "shared", "server": "10.0.0.9", "path": "/srv/vms"}
DIRECT = Store("shared", "qemu+tls://10.0.0.9/system", Source("nfs", "10.0.0.9", "/srv/vms", NFS_OWNER))
OLD, NEW = "nodev\tsysfs\nnodev\tnfs\n\text4\n", "nodev\tsysfs\nnodev\tnfs\nnodev\tnfs4\n\text4\n"


@pytest.mark.parametrize(
    ("wanted", "kernel", "expected"),
    [
        ("auto", True, "mount"),
        ("auto", False, "libnfs"),
        (None, True, "mount"),
        (None, False, "libnfs"),
        ("mount", False, "mount"),
        ("libnfs", True, "libnfs"),
    ],
)
def test_the_client(wanted: str | None, kernel: bool, expected: str) -> None:
    assert store.client(wanted, kernel_has_nfs=kernel) == expected


@pytest.mark.parametrize(
    ("filesystems", "expected"), [(NEW, True), (OLD, False), ("", False), ("nodev\tnfs4ish\n\n", False)]
)
def test_whether_the_kernel_mounts_nfs4(filesystems: str, expected: bool) -> None:
    assert has_nfs(filesystems) is expected


@pytest.mark.parametrize(
    ("directory", "path"), [("/srv/vms", "/srv/vms/a.qcow2"), ("/srv/vms/", "/srv/vms/a.qcow2"), ("/", "/a.qcow2")]
)
def test_where_a_server_has_a_volume(directory: str, path: str) -> None:
    source = Source("nfs", "10.0.0.9", directory, 1)
    assert source.path("a.qcow2") == path
    assert source.location("a.qcow2") == f"nfs://10.0.0.9{path}"


@pytest.mark.parametrize(
    ("pool", "entries", "kernel", "expected"),
    [
        ("local", [], True, (Store("local"), [])),
        ("local", [SHARED], False, (Store("local"), [DIRECT])),
        ("shared", [SHARED], False, (DIRECT, [DIRECT])),
        ("shared", [SHARED], True, (Store("shared"), [])),
        ("shared", [{**SHARED, "client": "mount"}], False, (Store("shared"), [])),
        ("shared", [{**SHARED, "client": "libnfs"}], True, (DIRECT, [DIRECT])),
    ],
)
def test_the_store_of_a_pool(
    pool: str, entries: list[dict[str, Any]], kernel: bool, expected: tuple[Store, list[Store]]
) -> None:
    assert stores(pool, entries, kernel_has_nfs=kernel) == expected


@pytest.mark.parametrize(("owner", "expected"), [(None, NFS_OWNER), (1000, 1000), (0, 0)])
def test_the_owner_of_volumes(owner: int | None, expected: int) -> None:
    main, _others = stores("shared", [{**SHARED, "owner": owner}], kernel_has_nfs=False)
    assert main.source is not None
    assert main.source.owner == expected


def test_a_pool_of_the_host_has_the_connection_that_was_given() -> None:
    main, others = stores("local", [SHARED], kernel_has_nfs=False, uri="test:///default")
    assert (main, others) == (Store("local", "test:///default"), [DIRECT])


@pytest.mark.parametrize(("filesystems", "direct"), [(NEW, False), (OLD, True)])
def test_the_kernel_of_this_host_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, filesystems: str, direct: bool
) -> None:
    (tmp_path / "filesystems").write_text(filesystems)
    real = store.Path
    monkeypatch.setattr(store, "Path", lambda path: real(str(path).replace("/proc", str(tmp_path))))
    main, others = store.host_stores("shared", [SHARED], "test:///default")
    assert (main, others) == ((DIRECT, [DIRECT]) if direct else (Store("shared", "test:///default"), []))
