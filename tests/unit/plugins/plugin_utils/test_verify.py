# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs, held against what is wished: one line for each difference."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.plugin_utils.verify import verify


def vm(name: str = "web1", **more: Any) -> dict[str, Any]:
    return {"name": name, "state": "running", "io_error": False, "disk_errors": {}, "agent": None, **more}


def host(*machines: dict[str, Any], storage: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"virtual_machines": list(machines), "storage": storage or []}


@pytest.mark.parametrize(
    ("wished", "health", "lines"),
    [
        ([], {}, []),
        ([{"name": "web1"}], {"kvm1": host(vm()), "kvm2": host()}, []),
        ([{"name": "web1", "state": "stopped"}], {"kvm1": host(vm(state="stopped", agent="not asked"))}, []),
        ([{"name": "web1"}], {"kvm1": host()}, ["VM web1: is on no host; run site.yml"]),
        (
            [{"name": "web1"}],
            {"kvm1": host(), "kvm2": None},
            ["host kvm2: could not be asked", "VM web1: is on no host that was asked"],
        ),
        (
            [{"name": "web1"}],
            {"kvm1": host(vm()), "kvm2": host(vm())},
            ["VM web1: runs on kvm1, kvm2 at once; stop all but one now, its disk may be damaged"],
        ),
        # Defined on a second host, and running once.
        ([{"name": "web1"}], {"kvm1": host(vm(state="stopped")), "kvm2": host(vm())}, []),
        ([{"name": "web1"}], {"kvm1": host(vm(state="stopped"))}, ["VM web1 on kvm1: is stopped, wished running"]),
        (
            [{"name": "web1", "state": "stopped"}],
            {"kvm1": host(vm())},
            ["VM web1 on kvm1: is running, wished stopped"],
        ),
        (
            [{"name": "web1"}],
            {"kvm1": host(vm(state="crashed", agent="silent", given_up="its kernel panicked"))},
            [
                "VM web1 on kvm1: is not reset any more when it hangs: its kernel panicked; once that is mended: "
                "croft-guest-health clear web1"
            ],
        ),
        ([{"name": "web1"}], {"kvm1": host(vm(given_up=None)) | {"watch": "nobody"}}, ["host kvm1: nobody"]),
        (
            [{"name": "web1"}],
            {"kvm1": host(vm(state="paused", io_error=True))},
            ["VM web1 on kvm1: is paused by an error of its storage; mend that, then: virsh resume web1"],
        ),
        (
            [{"name": "web1"}],
            {"kvm1": host(vm(disk_errors={"vda": "no space left"}, agent="not connected"))},
            [
                "VM web1 on kvm1: its disk vda has an error: no space left",
                "VM web1 on kvm1: its agent does not answer: not connected",
            ],
        ),
        (
            [],
            {"kvm1": host(vm("old"))},
            [
                "VM old: is on kvm1 and in no list; add it to virtual_machines, or to virtual_machines_absent to have "
                "it removed"
            ],
        ),
        (
            [],
            {name: host(storage=[{"pool": "p", "server": "s", "silent": "timed out"}]) for name in ("kvm1", "kvm2")},
            ["storage pool p: s does not answer kvm1, kvm2: timed out; guests wait for it"],
        ),
        ([], {"kvm1": host(storage=[{"pool": "p", "server": "s", "silent": None}])}, []),
    ],
)
def test_what_is_not_as_it_should_be(
    wished: list[dict[str, Any]], health: dict[str, dict[str, Any] | None], lines: list[str]
) -> None:
    assert verify(wished, health) == lines


def test_what_is_wrong_with_the_cluster_and_its_network_is_told_with_the_rest() -> None:
    assert verify([], {}, ["PG_DEGRADED: 3 objects"], ["kvm1 to kvm2: 3 % of the packets are lost"]) == [
        "storage cluster: PG_DEGRADED: 3 objects",
        "network: kvm1 to kvm2: 3 % of the packets are lost",
    ]
