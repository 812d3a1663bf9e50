# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.croft.infra.plugins.filter.addressed_interfaces import addressed_interfaces

LINK_LOCAL = [{"address": "fe80::1", "scope": "link"}]


def test_only_interfaces_with_an_address_are_named() -> None:
    facts = {
        "interfaces": ["eth0", "br-vms", "eth1.5", "eth2", "eth3"],
        "eth0": {"ipv4": {"address": "192.0.2.1"}},
        "br_vms": {"ipv6": [*LINK_LOCAL, {"address": "2001:db8::1", "scope": "global"}]},
        "eth1_5": {"ipv4": {"address": "192.0.2.9"}},
        "eth2": {"ipv6": LINK_LOCAL},
        "eth3": {},
    }
    assert addressed_interfaces(facts) == ["br-vms", "eth0", "eth1.5"]


def test_what_are_no_facts_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="host's facts"):
        addressed_interfaces(["eth0"])  # type: ignore[arg-type]
