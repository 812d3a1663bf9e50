# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.plugin_utils.vm_inventory import guests_of

WEB = {"name": "web1", "vcpus": 1, "workload": "web", "address": "10.0.0.5/24"}


def test_a_vm_is_a_host_with_its_address_and_groups() -> None:
    (guest,), problems = guests_of([WEB])
    assert problems == []
    assert (guest.name, guest.groups) == ("web1", ("virtual_machines", "virtual_machines_web"))
    assert guest.variables["ansible_host"] == "10.0.0.5"
    assert guest.variables["vm_vcpus"] == 1


def test_a_mapping_by_name_is_the_same_as_a_list() -> None:
    entry = {key: value for key, value in WEB.items() if key != "name"}
    assert guests_of({"web1": entry})[0] == guests_of([WEB])[0]


def test_a_vm_by_dhcp_has_its_name_alone() -> None:
    ((guest,), _) = guests_of([{"name": "a", "workload": "message-queue"}], group="vms")
    assert "ansible_host" not in guest.variables
    assert guest.groups == ("vms", "vms_message_queue")


@pytest.mark.parametrize(
    ("placements", "pin", "host"),
    [({"web1": "kvm2"}, "kvm1", "kvm2"), ({"web1": None}, "kvm1", "kvm1"), (None, None, None)],
)
def test_the_plans_word_counts_before_the_pin(placements: Any, pin: str | None, host: str | None) -> None:
    ((guest,), _) = guests_of([{**WEB, "host": pin}], placements=placements)
    assert guest.variables.get("vm_host") == host


def test_a_stopped_vm_is_there_only_when_asked_for() -> None:
    stopped = {**WEB, "state": "stopped"}
    assert guests_of([stopped])[0] == []
    assert len(guests_of([stopped], stopped=True)[0]) == 1


def test_all_mistakes_are_told_at_once() -> None:
    _, problems = guests_of([WEB, WEB, "x", {"vcpus": 1}, {"name": "b", "address": "10.0.0.300/24"}])
    assert len(problems) == 4
    assert any("web1: this name is there 2 times" in line for line in problems)
    assert guests_of("web1")[1] == ["virtual_machines[0]: is 'web1'; give a mapping with a name"]


def test_the_address_of_the_first_card_counts() -> None:
    cards = [{"network": "lan", "address": "10.0.0.7/24"}, {"network": "dmz", "address": "10.1.0.7/24"}]
    ((guest,), problems) = guests_of([{"name": "a", "networks": cards}])
    assert problems == []
    assert guest.variables["ansible_host"] == "10.0.0.7"
    assert guest.variables["vm_networks"] == cards
