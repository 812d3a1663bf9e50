# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the filter reads of the hosts' variables."""

from __future__ import annotations

from typing import Any

from ansible_collections.croft.infra.plugins.filter.verified import FilterModule

verified = FilterModule().filters()["verified"]


def test_every_result_that_a_host_has_is_read() -> None:
    well: dict[str, Any] = {"virtual_machines": [], "storage": []}
    hostvars: dict[str, Any] = {
        "kvm1": {"croft_health": well, "croft_cluster_health": {"missing": ["OSD_DOWN: 1 osds down"]}},
        "kvm2": {"croft_health": well, "network_check_measured": {"problems": ["kvm2 to kvm1: 9 ms"]}},
        "kvm3": {"croft_health": {"unreachable": True}},
    }
    assert verified({"web1": {}}, ["kvm1", "kvm2", "kvm3"], hostvars) == [
        "host kvm3: could not be asked",
        "storage cluster: OSD_DOWN: 1 osds down",
        "network: kvm2 to kvm1: 9 ms",
        "VM web1: is on no host that was asked",
    ]
