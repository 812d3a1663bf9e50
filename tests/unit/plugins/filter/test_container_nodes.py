# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.croft.infra.plugins.filter.container_nodes import container_nodes

GROUPS = {"swarm_workers": ["b", "vm1"], "swarm_managers": ["a", "b"], "virtual_machines": ["vm1"], "kvm_hosts": ["a"]}


@pytest.mark.parametrize(
    ("groups", "known", "nodes"),
    [
        ({}, True, []),
        (GROUPS, True, ["a", "b", "vm1"]),
        (GROUPS, False, ["b"]),
        ({"docker_nodes": ["z"], **GROUPS}, True, ["z", "a", "b", "vm1"]),
    ],
)
def test_nodes_of_the_groups_each_once(groups: Any, known: bool, nodes: list[str]) -> None:
    assert container_nodes(groups, known=known) == nodes


def test_something_else_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="takes the variable groups"):
        container_nodes(["a"])
