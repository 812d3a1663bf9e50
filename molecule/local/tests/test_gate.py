# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A refused plan says why with its numbers, and leaves every host as it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

Play = Callable[..., Any]
OnHosts = Callable[[str], dict[str, str]]
# Domains and disks; not the times of disks, which running guests write to.
EVERYTHING = "virsh list --all --uuid | sort; ls /var/lib/croft/pool; cksum /etc/libvirt/qemu/*.xml"


def new_vm(name: str, **change: Any) -> dict[str, Any]:
    return {"name": name, "vcpus": 1, "memory_mib": 192, "disk_gib": 1, "workload": "app", **change}


@pytest.mark.parametrize(
    ("added", "says"),
    [
        pytest.param([new_vm("half", vcpus=8)], ["vm-share", "half", "0.50", "0.40", "6"], id="half a host's CPU"),
        pytest.param(
            [new_vm("half", memory_mib=2048)], ["vm-share", "half", "0.50", "0.40", "1638"], id="half its memory"
        ),
        pytest.param([new_vm("db1", workload="database")], ["io-workload", "db1", "database"], id="a database"),
        pytest.param(
            [new_vm(f"mem{i}", memory_mib=1600) for i in range(6)],
            ["memory-overcommit", "1.0"],
            id="more memory than there is",
        ),
        pytest.param(
            [new_vm(f"cpu{i}", vcpus=6, host="kvm1") for i in range(5)],
            ["cpu-overcommit", "kvm1", "2.0"],
            id="too many vCPUs",
        ),
        pytest.param(
            [new_vm(f"many{i}", memory_mib=64, host="kvm1") for i in range(7)],
            ["consolidation", "kvm1", "11", "10"],
            id="an eleventh VM",
        ),
    ],
)
def test_a_refused_vm_changes_nothing(
    added: list[dict[str, Any]], says: list[str], play: Play, on_hosts: OnHosts, lab_inventory: Mapping[str, Any]
) -> None:
    before = on_hosts(EVERYTHING)
    run = play("site.yml", virtual_machines=[*lab_inventory["virtual_machines"], *added])
    assert run.rc != 0
    for text in says:
        assert text in run.refusal
    assert not run.changed
    assert on_hosts(EVERYTHING) == before


def test_two_bad_entries_are_both_told(play: Play, lab_inventory: Mapping[str, Any]) -> None:
    bad = [new_vm("bad1", memory_mib=-5), new_vm("bad2", workload="databse"), new_vm("web1")]
    run = play("site.yml", virtual_machines=[*lab_inventory["virtual_machines"], *bad], storage_layout="lokal")
    assert run.rc != 0
    for text in ("bad1", "memory_mib", "-5", "bad2", "databse", "database", "web1", "lokal", "local"):
        assert text in run.refusal
    assert "Traceback" not in run.output


def test_a_host_that_does_not_answer_is_named_with_the_rest(play: Play, lab_inventory: Mapping[str, Any]) -> None:
    bad = [*lab_inventory["virtual_machines"], new_vm("bad1", vcpus=0)]
    run = play("site.yml", cmdline="-e ansible_ssh_timeout=3", virtual_machines=bad, ansible_port=2222)
    assert run.rc != 0
    for text in ("kvm1", "kvm2", "kvm3", "unreachable", "bad1"):
        assert text in run.refusal
