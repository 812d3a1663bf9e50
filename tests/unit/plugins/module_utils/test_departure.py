# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which VMs leave, what of them goes, and what is never touched."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils.departure import (
    Found,
    Leaving,
    on_no_host,
    own,
    problems,
    read_leaving,
    remarks,
    steps,
)
from ansible_collections.croft.infra.plugins.module_utils.identity import vm_uuid

WEB1 = Leaving("web1", vm_uuid("web1"))
WITH_DISKS = Leaving("web1", vm_uuid("web1"), disks=True)
DISKS = ("/pool/web1.qcow2", "/pool/web1-seed.iso")


def test_a_name_keeps_its_disks_and_a_mapping_says() -> None:
    found, lines = read_leaving(["web1", {"name": "app1", "disks": True}, {"name": "db1", "disks": "no"}])
    assert lines == []
    assert [(one.name, one.disks) for one in found] == [("web1", False), ("app1", True), ("db1", False)]
    assert found[0].uuid == vm_uuid("web1")


@pytest.mark.parametrize(
    ("entries", "wished", "line"),
    [
        (["web1"], ["web1"], "web1: is in virtual_machines and in virtual_machines_absent; take it out of one"),
        (["web1", "web1"], [], "web1: is 2 times in virtual_machines_absent; once is enough"),
        (
            [{"disks": True}],
            [],
            "virtual_machines_absent[0]: is {'disks': True}; give a VM's name, or a mapping with name",
        ),
        ([{"name": "web1", "disk": True}], [], "web1: disk is no field here; known are name, disks, uuid"),
        ([{"name": "web1", "disks": "perhaps"}], [], "web1: disks is 'perhaps'; give true or false"),
        ([{"name": "web1", "uuid": "x"}], [], "web1: uuid is 'x'; give a UUID"),
    ],
)
def test_mistakes_are_told(entries: list[Any], wished: list[str], line: str) -> None:
    _found, lines = read_leaving(entries, wished)
    assert len(lines) == 1
    assert lines[0].startswith(line)


@pytest.mark.parametrize(
    ("one", "found", "words"),
    [
        (WEB1, Found(), []),
        (WEB1, Found("running", volumes=DISKS), ["stop", "undefine"]),
        (WITH_DISKS, Found("running", volumes=DISKS), ["stop", "delete_disk", "delete_disk", "undefine"]),
        (WITH_DISKS, Found("stopped"), ["undefine"]),
        (WITH_DISKS, Found(None, volumes=DISKS), ["delete_disk", "delete_disk"]),
        (WEB1, Found(None, volumes=DISKS), []),
    ],
)
def test_the_steps(one: Leaving, found: Found, words: list[str]) -> None:
    assert [step.action for step in steps(one, found)] == words


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (Found(), None),
        (Found("running"), None),
        (Found("stopped", managed=False), "was not made by croft"),
        (Found("paused"), "is paused and cannot be asked to shut down"),
    ],
)
def test_what_forbids_to_begin(found: Found, says: str | None) -> None:
    lines = problems([WEB1], {"web1": found})
    assert [says in line for line in lines] == ([] if says is None else [True])


@pytest.mark.parametrize(
    ("place", "read_only", "its"),
    [
        ("/pool/web1.qcow2", False, True),
        ("/pool/web1.data.qcow2", False, True),
        ("rbd:///vms/web1.raw", False, True),
        ("/pool/web1-seed.iso", True, True),
        ("/pool/web1.iso", True, False),
        ("/pool/web10.qcow2", False, False),
        ("/pool/web1-old.qcow2", False, False),
        ("/srv/data.qcow2", False, False),
    ],
)
def test_which_disks_are_its_own(place: str, read_only: bool, its: bool) -> None:
    assert own(place, "web1", read_only=read_only) is its


def test_disks_that_stay_are_told() -> None:
    assert "its disks stay: /pool/web1.qcow2" in remarks(WEB1, Found("running", volumes=DISKS))[0]
    assert (
        "they stay: /srv/data.img" in remarks(WITH_DISKS, Found("running", volumes=DISKS, kept=("/srv/data.img",)))[0]
    )


HAS, HAS_NOT = [{"name": "web1", "here": True}], [{"name": "web1", "here": False}]


@pytest.mark.parametrize(
    ("results", "left"),
    [([HAS_NOT, HAS_NOT], ["web1"]), ([HAS_NOT, HAS], []), ([HAS_NOT, None], []), ([None], [])],
    ids=["nowhere", "on one", "one was not asked", "none was asked"],
)
def test_disks_without_a_vm_go_when_every_host_was_asked(results: list[Any], left: list[str]) -> None:
    assert on_no_host(["web1"], results) == left
