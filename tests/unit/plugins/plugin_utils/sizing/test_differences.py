# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory says against what the hosts reported."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.report import render_html
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.terminal import render_terminal
from hypothesis import given, settings
from hypothesis import strategies as st
from sizing_cases import found, host, plan, vm

READ = {"sockets": 2, "cores": 16, "threads": 32, "memory_mib": 65536, "disk_gib": 1000.0}


def real(*facts: dict[str, Any], **read: Any) -> dict[str, Any]:
    """A host that declares its capacity and was read, too."""
    own = host(facts=list(facts))
    own["croft_host_facts"]["capacity"] = {**READ, **read}
    return {"kvm1": own, "kvm2": host()}


@pytest.mark.parametrize(
    ("hosts", "vms", "said"),
    [
        (real(), [], []),
        (real(memory_mib=257840), [], ["kvm1 declares 65536 MiB, the host reports 257840"]),
        (real(disk_gib=999.75), [], ["kvm1 declares 1000 GiB, the host reports 999.8"]),
        # NUMA nodes come as a list; what is not declared cannot differ
        (real(numa_nodes=[{"id": 0}, {"id": 1}]), [], []),
        (real(found("web1")), [vm("web1")], []),
        # the seed beside the disk is no difference
        (real(found("web1", disk_gib=10.001)), [vm("web1")], []),
        (
            real(found("web1", vcpus=2, memory_mib=512, disk_gib=8.0)),
            [vm("web1")],
            [
                "web1 is wanted with 1 vCPUs and has 2 on kvm1",
                "web1 is wanted with 1024 MiB and has 512 on kvm1",
                "web1 is wanted with 10 GiB and has 8 on kvm1",
            ],
        ),
        (real(found("web1")), [vm("web1", host="kvm2")], ["web1 is pinned to kvm2 and is on kvm1"]),
        (real(found("web1", state="stopped")), [vm("web1")], ["web1 is wanted running and is stopped on kvm1"]),
        # a disk that could not be read has no size
        (real(found("web1", disk_gib=0.0)), [vm("web1")], []),
        (real(found("web1", state="paused")), [vm("web1")], []),
        (
            real(found("old", managed=False)),
            [],
            ["old on kvm1 (running, 1 vCPUs, 1024 MiB, 10 GiB) is in no list; it counts"],
        ),
        (
            real(found("old")),
            [],
            ["old on kvm1 (running, 1 vCPUs, 1024 MiB, 10 GiB) was made by croft and is in no list; it counts"],
        ),
    ],
)
def test_differences(hosts: dict[str, Any], vms: list[dict[str, Any]], said: list[str]) -> None:
    made = plan(hosts, vms)
    assert [one["message"] for one in made["differences"]] == said
    text = render_terminal(made)
    assert all(line in text for line in said)
    assert ("Where inventory and hosts differ" in render_html(made)) == bool(said)


def test_a_stopped_copy_elsewhere_is_told_apart() -> None:
    hosts = real(found("web1"))
    hosts["kvm2"] = host(facts=[found("web1", state="stopped")])
    (one,) = plan(hosts, [vm("web1")])["differences"]
    assert (one["host"], one["field"], one["inventory"], one["found"]) == ("kvm2", "virtual_machines", None, "web1")
    assert "is a second copy of a wanted VM" in one["message"]


def test_long_lists_are_cut_with_a_count() -> None:
    made = plan(real(*(found(f"old{i:02}") for i in range(14))), [])
    assert "differ in 14:" in render_terminal(made)
    assert "... and 4 more differences" in render_terminal(made)


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 9))
def test_differences_change_no_verdict(threads: int, vcpus: int, disk: int) -> None:
    hosts = real(found("web1", vcpus=vcpus, disk_gib=disk), threads=threads)
    same = real(found("web1"))
    made, other = plan(hosts, [vm("web1")]), plan(same, [vm("web1")])
    assert {**made, "differences": []} == {**other, "differences": []}
    fields = [one["field"] for one in made["differences"]]
    assert fields == ["threads"] * (threads != 32) + ["vcpus"] * (vcpus != 1) + ["disk_gib"] * (disk != 10)
