# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where copies of disks are made."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils.identity import vm_uuid
from ansible_collections.croft.infra.plugins.plugin_utils.copies import copies
from ansible_collections.croft.infra.plugins.plugin_utils.storage_moves import on_their_hosts

PLAN = {"virtual_machines": [{"name": "web9", "host": "kvm2"}, {"name": "web8", "host": "kvm1", "uuid": "u"}]}
ONE = {"name": "web1", "as": "web9"}


def test_a_restore_is_made_where_the_plan_puts_the_vm() -> None:
    found, lines = copies([ONE, {"name": "web1", "as": "web8", "set": "s"}], PLAN, optional=["set"])
    assert lines == []
    assert found == {
        "kvm2": [{**ONE, "uuid": vm_uuid("web9")}],
        "kvm1": [{"name": "web1", "as": "web8", "set": "s", "uuid": "u"}],
    }


def test_a_clone_is_made_by_the_host_of_its_source() -> None:
    assert copies([ONE], PLAN, {"web1": "kvm2"})[0] == {"kvm2": [{**ONE, "uuid": vm_uuid("web9")}]}
    assert list(copies([ONE], PLAN, {"web1": "kvm3"}, shared=True)[0]) == ["kvm3"]


@pytest.mark.parametrize(
    ("asked", "sources", "says"),
    [
        ([], None, "give a list"),
        ("web1", None, "give a list"),
        ([{"name": "web1"}], None, "give a mapping with name and as"),
        ([{**ONE, "set": "s"}], None, "give a mapping with name and as"),
        ([{"name": "web1", "as": "web7"}], None, "web7: is not in virtual_machines"),
        ([ONE, ONE], None, "web9: is to be made 2 times"),
        ([ONE], {}, "web1: is on no host"),
        ([ONE], {"web1": "kvm1"}, "pin it there (host: kvm1)"),
        ([{"name": "web9", "as": "web9"}], {"web9": "kvm2"}, "cannot be a copy of itself"),
    ],
)
def test_mistakes_are_told(asked: Any, sources: dict[str, str] | None, says: str) -> None:
    _found, lines = copies(asked, PLAN, sources)
    assert len(lines) == 1
    assert says in lines[0]


FACTS = {
    "kvm1": {"virtual_machines": [{"name": "a", "state": "stopped"}, {"name": "b", "state": "running"}]},
    "kvm2": {"virtual_machines": [{"name": "a", "state": "running"}]},
}


@pytest.mark.parametrize(
    ("asked", "keys", "found", "says"),
    [
        (["a", "b"], [], {"kvm2": ["a"], "kvm1": ["b"]}, None),
        ([{"name": "a", "to": "c"}], ["to"], {"kvm2": [{"name": "a", "to": "c"}]}, None),
        ([{"name": "c", "to": "b"}], ["to"], {"kvm1": [{"name": "c", "to": "b"}]}, None),
        (["c"], [], {}, "c: is on none of the hosts kvm1, kvm2"),
        ("a", [], {}, "give a list of names"),
        ([1], [], {}, "give the name of a VM"),
        (["a"], ["to"], {}, "give a mapping with name, to"),
    ],
)
def test_what_is_asked_goes_to_the_hosts_of_the_vms(
    asked: Any, keys: list[str], found: dict[str, Any], says: str | None
) -> None:
    there, lines = on_their_hosts(asked, FACTS, keys, also=keys[0] if keys else "")
    assert there == found
    assert [says in line for line in lines] == ([] if says is None else [True])
