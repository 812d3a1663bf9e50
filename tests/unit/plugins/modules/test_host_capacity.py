# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils import libvirt_connection as connecting
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
