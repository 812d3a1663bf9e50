# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils import cluster_moves, domain_xml, maintenance
from ansible_collections.croft.infra.plugins.module_utils import libvirt_connection as connecting
from ansible_collections.croft.infra.plugins.module_utils.store import Source, Store
from ansible_collections.croft.infra.plugins.modules import host_capacity, virtual_machines

pytest.importorskip("libvirt", reason="Debian package python3-libvirt")
URI, POOL = "test:///default", "default-pool"
RunModule = Callable[..., dict[str, Any]]


def test_what_runs_is_told_as_it_runs(conn: Any, run_module: RunModule) -> None:
    given = {"pool": POOL, "image": "base.qcow2", "uri": URI}
    entries = [
        {"name": "a", "vcpus": 2, "memory_mib": 64, "disk_gib": 1},
        {"name": "b", "vcpus": 1, "memory_mib": 32, "state": "stopped", "autostart": False},
    ]
    run_module(virtual_machines, {"virtual_machines": entries, **given})
    entries[0]["vcpus"], entries[1]["vcpus"] = 4, 3
    run_module(virtual_machines, {"virtual_machines": entries, **given})
    conn.defineXML("<domain type='test'><name>c</name><memory unit='MiB'>16</memory><os><type>hvm</type></os></domain>")
    found = run_module(host_capacity, {"pool": POOL, "uri": URI}, check=True)
    assert not found["changed"]
    rows = [
        (vm["name"], vm["vcpus"], vm["memory_mib"], vm["disk_gib"], vm["state"], vm["autostart"], vm["managed"])
        for vm in found["virtual_machines"]
    ]
    assert rows == [
        ("a", 2, 64, 1.0, "running", True, True),
        ("b", 3, 32, 0.06, "stopped", False, True),
        ("c", 1, 16, 0.0, "stopped", False, False),
    ]
    (pool,) = found["pools"]
    assert (pool["name"], pool["type"], pool["path"], pool["active"]) == (POOL, "dir", "/default-pool", True)
    assert found["capacity"]["disk_gib"] == pool["capacity_gib"] == 100.0
    assert found["libvirt"]["available"]
    assert found["libvirt"]["version"].count(".") == 2


def test_a_pool_that_is_not_there_yet(conn: Any, run_module: RunModule, tmp_path: Any) -> None:
    found = run_module(host_capacity, {"pool": "none", "pool_path": str(tmp_path / "vms"), "uri": URI})
    assert found["capacity"]["disk_gib"] > 0
    assert set(found["capacity"]) == {
        *("sockets", "cores", "threads", "memory_mib", "numa_nodes", "disk_gib", "disk_free_gib"),
    }


@pytest.mark.usefixtures("conn")
def test_a_host_in_a_cluster_says_so(run_module: RunModule, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cluster_moves, "CONF", tmp_path / "corosync.conf")
    monkeypatch.setattr(cluster_moves.shutil, "which", {"crm_standby": "/usr/sbin/crm_standby"}.get)
    assert run_module(host_capacity, {"pool": POOL, "uri": URI})["clustered"] is False
    cluster_moves.CONF.touch()
    assert run_module(host_capacity, {"pool": POOL, "uri": URI})["clustered"] is True


def test_a_host_without_libvirt_is_no_failure(run_module: RunModule, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: str = "libvirt") -> Any:
        raise connecting.LibvirtMissingError("libvirt is not installed")

    monkeypatch.setattr(connecting, "bindings", missing)
    found = run_module(host_capacity, {"uri": URI})
    assert found["libvirt"] == {"available": False, "version": None, "reason": "libvirt is not installed"}
    assert (found["pools"], found["virtual_machines"]) == ([], [])
    assert found["capacity"]["threads"] >= 1


def test_a_daemon_that_does_not_answer_is_no_failure(run_module: RunModule) -> None:
    found = run_module(host_capacity, {"uri": "test:///no/such/file.xml"})
    assert not found["libvirt"]["available"]
    assert found["libvirt"]["reason"].startswith("no connection to test:///no/such/file.xml: ")


def test_the_maintenance_is_among_the_facts(
    conn: Any, run_module: RunModule, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(maintenance, "MARK", tmp_path / "maintenance.json")
    given = {"pool": POOL, "uri": URI}
    assert run_module(host_capacity, given)["maintenance"] is None
    (tmp_path / "maintenance.json").write_text('{"reason": "new memory"}')
    assert run_module(host_capacity, given, check=True)["maintenance"] == {"reason": "new memory"}


SHARED = {"name": "shared", "server": "10.0.0.9", "path": "/srv/vms"}


def test_the_size_of_a_pool_on_a_server_and_of_disks_there(
    conn: Any, run_module: RunModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source("nfs", "10.0.0.9", "/srv/vms", 64055)
    server = Store(POOL, URI, source)
    monkeypatch.setattr(host_capacity, "host_stores", lambda _pool, _nfs, _uri: (server, [server]))
    conn.storagePoolLookupByName(POOL).createXML(domain_xml.volume_xml("a.qcow2", 5 << 30, "qcow2"), 0)
    conn.defineXML(
        "<domain type='test'><name>a</name><memory unit='MiB'>16</memory><os><type>hvm</type></os><devices>"
        + domain_xml.disk_xml(domain_xml.Disk(source.path("a.qcow2"), "qcow2", source=source), "vda")
        + "</devices></domain>"
    )
    found = run_module(host_capacity, {"pool": POOL, "nfs_pools": [SHARED], "uri": URI})
    assert [(vm["name"], vm["disk_gib"]) for vm in found["virtual_machines"]] == [("a", 5.0)]
    assert found["capacity"]["disk_gib"] == 100.0


@pytest.mark.parametrize("uri", ["test:///no/such/file.xml", URI])
def test_of_a_server_that_does_not_answer_nothing_is_known(
    conn: Any, run_module: RunModule, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    # Whether its libvirt is away, or has no such pool (yet).
    server = Store("shared", uri, Source("nfs", "10.0.0.9", "/srv/vms", 64055))
    monkeypatch.setattr(host_capacity, "host_stores", lambda _pool, _nfs, _uri: (server, [server]))
    found = run_module(host_capacity, {"pool": "shared", "nfs_pools": [SHARED], "uri": URI})
    assert (found["capacity"]["disk_gib"], found["capacity"]["disk_free_gib"]) == (None, None)
    assert found["libvirt"]["available"]
    assert [pool["name"] for pool in found["pools"]] == [POOL]


def test_of_a_disk_on_a_server_that_does_not_answer_nobody_is_asked(
    conn: Any, run_module: RunModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source("nfs", "10.0.0.9", "/srv/vms", 64055)
    away = Store("shared", "test:///no/such/file.xml", source)
    monkeypatch.setattr(host_capacity, "host_stores", lambda pool, _nfs, uri: (Store(pool, uri), [away]))
    conn.defineXML(
        "<domain type='test'><name>a</name><memory unit='MiB'>16</memory><os><type>hvm</type></os><devices>"
        + domain_xml.disk_xml(domain_xml.Disk(source.path("a.qcow2"), "qcow2", source=source), "vda")
        + "</devices></domain>"
    )
    found = run_module(host_capacity, {"pool": POOL, "nfs_pools": [SHARED], "uri": URI})
    # QEMU would ask the server, and stand still, with its guest, until it answers.
    assert [(vm["name"], vm["disk_gib"]) for vm in found["virtual_machines"]] == [("a", 0.0)]
    assert found["capacity"]["disk_gib"] == 100.0


def test_a_pool_that_is_not_active_has_no_size(conn: Any, run_module: RunModule, tmp_path: Any) -> None:
    pool = conn.storagePoolLookupByName(POOL)
    pool.destroy()
    try:
        found = run_module(host_capacity, {"pool": POOL, "pool_path": str(tmp_path), "uri": URI})
    finally:
        pool.create()
    assert found["pools"][0]["active"] is False
    assert found["capacity"]["disk_gib"] not in (0, 100.0)


def test_the_disks_of_ceph_are_the_capacity(conn: Any, run_module: RunModule, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def sizes(paths: list[str]) -> tuple[float, list[str]]:
        asked.append(paths)
        return 7450.5, paths[1:]

    monkeypatch.setattr(host_capacity, "devices_gib", sizes)
    given = {"pool": POOL, "uri": URI}
    found = run_module(host_capacity, {**given, "osd_devices": ["/dev/sdb"]}, check=True)
    assert (found["capacity"]["disk_gib"], found["capacity"]["disk_free_gib"]) == (7450.5, 7450.5)
    assert (found["warnings"], found["changed"]) == ([], False)
    found = run_module(host_capacity, {**given, "osd_devices": ["/dev/sdb", "/dev/sdx", "/dev/sdy"]})
    assert found["warnings"] == ["no block device, counted as 0 GiB: /dev/sdx, /dev/sdy"]
    assert run_module(host_capacity, {**given, "osd_devices": []})["capacity"]["disk_gib"] == 100.0
    assert len(asked) == 2
