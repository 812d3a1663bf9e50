# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is changed while a VM runs, what waits for a restart, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils.devices import GIB, ExtraDisk, Nic, Shape
from ansible_collections.croft.infra.plugins.module_utils.domain import (
    Actual,
    Domain,
    Host,
    Image,
    Wish,
    actions,
    needs_restart,
    problems,
    remarks,
)
from ansible_collections.croft.infra.plugins.module_utils.identity import vm_mac, vm_uuid
from ansible_collections.croft.infra.plugins.module_utils.seed import FirstBoot

DATA, LOG = ExtraDisk("data", 10 * GIB), ExtraDisk("log", GIB)
FIRST, SECOND = Nic("lan", vm_mac("web1"), "network", "lan"), Nic("dmz", "52:54:00:00:00:02", "network", "dmz")
SHAPE = Shape(max_vcpus=4, max_memory_mib=4096, disks=(DATA,), nics=(FIRST, SECOND))
WISH = Wish(
    name="web1",
    uuid=vm_uuid("web1"),
    mac=vm_mac("web1"),
    vcpus=2,
    memory_mib=1024,
    image="base.qcow2",
    network="lan",
    first_boot=FirstBoot("web1", vm_uuid("web1"), vm_mac("web1")),
    disk_bytes=10 * GIB,
    shape=SHAPE,
)
FIELDS = WISH.fields()
RUNNING = Domain(
    uuid=WISH.uuid,
    managed=True,
    state="running",
    autostart=True,
    config=FIELDS,
    live=FIELDS,
    disk_path="/p/web1.qcow2",
    disk_bytes=10 * GIB,
    extra={"data": 10 * GIB},
    memory_range=(1024, 4096),
    free_slots=3,
    agent=True,
)
STOPPED = replace(RUNNING, state="stopped", live=None, memory_range=None, free_slots=0, agent=False)
HOST = Host(pool_type="dir", images={"base.qcow2": Image("/p/base.qcow2", "qcow2", GIB)}, networks={"lan": True})


def shaped(**change: Any) -> Wish:
    return replace(WISH, shape=replace(SHAPE, **change))


GROWTH: list[tuple[str, Wish, Domain, list[str], list[str]]] = [
    ("as wished", WISH, RUNNING, [], []),
    ("vCPUs", replace(WISH, vcpus=4), RUNNING, ["redefine", "set_vcpus"], []),
    ("too many vCPUs", replace(WISH, vcpus=5), RUNNING, ["redefine"], ["vcpus"]),
    ("fewer vCPUs", replace(WISH, vcpus=1), RUNNING, ["redefine"], ["vcpus"]),
    ("a larger maximum", shaped(max_vcpus=8), RUNNING, ["redefine"], ["max_vcpus"]),
    ("memory", replace(WISH, memory_mib=2048), RUNNING, ["redefine", "set_memory"], []),
    ("less than its base", replace(WISH, memory_mib=512), RUNNING, ["redefine"], ["memory_mib"]),
    (
        "memory of a VM that cannot grow",
        replace(WISH, memory_mib=2048),
        replace(RUNNING, memory_range=None),
        ["redefine"],
        ["memory_mib"],
    ),
    ("the root disk", replace(WISH, disk_bytes=20 * GIB), RUNNING, ["grow_disk", "grow_file_system"], []),
    (
        "a root disk, no agent",
        replace(WISH, disk_bytes=20 * GIB),
        replace(RUNNING, agent=False),
        ["grow_disk"],
        [],
    ),
    ("a disk", shaped(disks=(replace(DATA, bytes=20 * GIB),)), RUNNING, ["grow_volume", "grow_file_system"], []),
    ("a new disk", shaped(disks=(DATA, LOG)), RUNNING, ["create_volume", "redefine", "attach_disk"], []),
    (
        "no slot is free",
        shaped(disks=(DATA, LOG)),
        replace(RUNNING, free_slots=0),
        ["create_volume", "redefine"],
        ["disks"],
    ),
    ("a disk less", shaped(disks=()), RUNNING, ["redefine", "detach_disk"], []),
    (
        "one disk in another's slot",
        shaped(disks=(LOG,)),
        replace(RUNNING, free_slots=0),
        ["create_volume", "redefine", "detach_disk", "attach_disk"],
        [],
    ),
    ("a card less", shaped(nics=(FIRST,)), RUNNING, ["redefine", "detach_nic"], []),
    (
        "a card elsewhere",
        shaped(nics=(FIRST, replace(SECOND, source="lan"))),
        RUNNING,
        ["redefine", "detach_nic", "attach_nic"],
        [],
    ),
    ("a TPM", shaped(tpm=True), RUNNING, ["redefine"], ["tpm"]),
    ("an order", shaped(start_order=1), replace(RUNNING, autostart=False), ["redefine"], []),
    ("libvirt starts it no more", shaped(start_order=1), RUNNING, ["redefine", "set_autostart"], []),
    ("off", replace(WISH, vcpus=4, state="stopped"), STOPPED, ["redefine"], []),
    (
        "off, a new disk",
        replace(shaped(disks=(DATA, LOG)), state="stopped"),
        STOPPED,
        ["create_volume", "redefine"],
        [],
    ),
    ("a restart is allowed", replace(WISH, vcpus=5, allow_restart=True), RUNNING, ["redefine", "restart"], []),
    ("and not needed", replace(WISH, vcpus=4, allow_restart=True), RUNNING, ["redefine", "set_vcpus"], []),
]


@pytest.mark.parametrize(
    ("wish", "domain", "steps", "waits"), [row[1:] for row in GROWTH], ids=[row[0] for row in GROWTH]
)
def test_growth(wish: Wish, domain: Domain, steps: list[str], waits: list[str]) -> None:
    actual = Actual(domain)
    assert [step.action for step in actions(wish, actual)] == steps
    assert [entry["field"] for entry in needs_restart(wish, actual)] == waits


REFUSED = [
    (
        shaped(disks=(LOG,)),
        Actual(RUNNING, taken={"log": "db1"}),
        "the volume of its disk log is in use by the domain db1",
    ),
    (shaped(disks=(DATA, LOG)), Actual(RUNNING, spare={"log": 2 * GIB}), "disks: log is 1 GiB, its volume has 2 GiB"),
    (
        shaped(disks=(replace(DATA, bytes=GIB),)),
        Actual(RUNNING),
        "disks: data is 1 GiB, it has 10 GiB; a disk is never",
    ),
    (WISH, Actual(replace(RUNNING, extra={"data": None})), "the volume of its disk data is not there"),
    (
        shaped(disks=()),
        Actual(replace(RUNNING, mounted=frozenset({"data"}))),
        "its disk data shall be detached and is in use",
    ),
    (
        shaped(firmware="uefi"),
        Actual(replace(RUNNING, config=replace(FIELDS, firmware="bios"))),
        "its firmware is bios, wanted uefi",
    ),
]


@pytest.mark.parametrize(("wish", "actual", "text"), REFUSED, ids=[row[2] for row in REFUSED])
def test_what_is_refused(wish: Wish, actual: Actual, text: str) -> None:
    assert any(found.startswith(f"web1: {text}") for found in problems([wish], {"web1": actual}, HOST))


def test_a_guest_without_agent_is_told_of() -> None:
    (text,) = remarks(replace(WISH, disk_bytes=20 * GIB), Actual(replace(RUNNING, agent=False)))
    assert "let the file system fill disk vda by hand" in text


def test_an_old_volume_is_taken_again() -> None:
    steps = actions(shaped(disks=(DATA, LOG)), Actual(RUNNING, spare={"log": GIB}))
    assert [step.action for step in steps] == ["redefine", "attach_disk"]
