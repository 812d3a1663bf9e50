# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils.devices import (
    GIB,
    ExtraDisk,
    Nic,
    Shape,
    extra_gib,
    read_shape,
)
from ansible_collections.croft.infra.plugins.module_utils.identity import vm_mac

SIZES = {"vcpus": 2, "memory_mib": 512}


def test_an_entry_without_them_wishes_nothing() -> None:
    assert read_shape("web1", SIZES, "lan") == (Shape(), [])


def test_all_fields() -> None:
    entry = {
        **SIZES,
        "max_vcpus": "4",
        "max_memory_mib": 2048,
        "disks": [{"name": "data", "size_gib": 10}, {"name": "log", "size_gib": 1}],
        "networks": [
            {"address": "10.0.0.5/24"},
            {"bridge": "br0", "vlan": 10, "bandwidth": {"inbound_kib_s": 1000}},
            {"macvtap": "eth1", "name": "fast", "mac": "52:54:00:AA:00:01"},
        ],
        "cpu_model": "EPYC",
        "firmware": "uefi",
        "tpm": "yes",
        "hugepages": False,
        "numa_node": 0,
        "start_order": 10,
        "start_delay": 5,
    }
    shape, problems = read_shape("web1", entry, "lan")
    assert problems == []
    assert (shape.max_vcpus, shape.max_memory_mib, shape.cpu_model, shape.firmware) == (4, 2048, "EPYC", "uefi")
    assert (shape.tpm, shape.hugepages, shape.numa_node) == (True, False, 0)
    assert shape.start == "order 10, then wait 5 s"
    assert shape.disks == (ExtraDisk("data", 10 * GIB), ExtraDisk("log", GIB))
    assert extra_gib(entry) == 11
    assert shape.nics == (
        Nic("lan", vm_mac("web1"), "network", "lan", address="10.0.0.5/24"),
        Nic("br0-10", vm_mac("web1/br0-10"), "bridge", "br0", vlan=10, inbound=1000),
        Nic("fast", "52:54:00:aa:00:01", "macvtap", "eth1"),
    )
    assert [nic.path for nic in shape.nics] == ["lan", "bridge br0, VLAN 10, in 1000 KiB/s", "macvtap eth1"]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"max_vcpus": 1}, "max_vcpus is 1, less than vcpus, which is 2"),
    ({"max_memory_mib": 511}, "max_memory_mib is 511, less than memory_mib, which is 512"),
    ({"max_memory_mib": 513}, "max_memory_mib is 513; memory that can grow comes in blocks of 2 MiB"),
    ({"disks": "data"}, "disks is 'data'; give a list of mappings"),
    ({"disks": [{"name": "Data", "size_gib": 1}]}, "disks[0].name is 'Data'; give 1 to 20 lower case letters"),
    ({"disks": [{"name": "data"}]}, "disks[0].size_gib is missing"),
    ({"disks": [{"name": "d", "size_gib": 1, "size": 2}]}, "disks[0].size is not known; known are name, size_gib"),
    ({"disks": [{"name": "d", "size_gib": 1}] * 2}, "disks has the name d 2 times"),
    ({"networks": [{"network": "a", "bridge": "b"}]}, "networks[0].bridge is there beside network"),
    (
        {"networks": [{"macvtap": "eno1", "vlan": 9}]},
        "networks[0].vlan is not for macvtap; put it upon the host's device",
    ),
    ({"networks": [{"vlan": 4095}]}, "networks[0].vlan is 4095; give a whole number of at least 1, at most 4094"),
    ({"networks": [{"mac": "01:00:00:00:00:00"}]}, "networks[0].mac is '01:00:00:00:00:00'; give a unicast"),
    ({"networks": [{"address": "10.0.0.5"}]}, "networks[0].address is '10.0.0.5'; give an address with its prefix"),
    ({"networks": [{"bandwidth": {"inbound": 1}}]}, "networks[0].bandwidth.inbound is not known"),
    ({"networks": [{}, {}]}, "networks has the name lan 2 times"),
    ({"networks": [{"network": "a"}], "network": "b"}, "network is 'b' beside networks, whose first has a"),
    ({"firmware": "efi"}, "firmware is 'efi'; give bios, uefi or uefi-secure"),
    ({"tpm": "2.0"}, "tpm is '2.0'; give true or false"),
    ({"start_delay": 5}, "start_delay has no effect without start_order"),
]


@pytest.mark.parametrize(("change", "problem"), BAD, ids=[text for _change, text in BAD])
def test_what_is_wrong_is_told(change: dict[str, Any], problem: str) -> None:
    _shape, problems = read_shape("web1", SIZES | change, "lan")
    assert any(text.startswith(problem) for text in problems), problems


def test_what_the_plan_filled_in_is_no_contradiction() -> None:
    entry = SIZES | {"networks": [{"bridge": "br0", "mac": "52:54:00:00:00:01"}], "network": "br0"}
    assert read_shape("web1", entry | {"mac": vm_mac("web1"), "address": None}, "lan")[1] == []
