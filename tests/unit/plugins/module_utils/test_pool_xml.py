# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.croft.infra.plugins.module_utils import pool_xml
from ansible_collections.croft.infra.plugins.module_utils.libvirt_definition import with_uuid

XML = """
<pool type='rbd'>
  <name>vms</name>
  <source>
    <host name='10.0.0.11' port='3300'/>
    <host name='10.0.0.12' port='3300'/>
    <name>vms</name>
    <auth type='ceph' username='libvirt'><secret uuid='74025c6c-d645-5e4e-afff-6a34f71f8bab'/></auth>
  </source>
</pool>
"""
SWAPPED = XML.replace("10.0.0.11", "X").replace("10.0.0.12", "10.0.0.11").replace("X", "10.0.0.12")


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (XML, []),
        (SWAPPED, []),
        (
            XML.replace("10.0.0.12", "10.0.0.2"),
            ["hosts: 10.0.0.11:3300, 10.0.0.12:3300 (was 10.0.0.11:3300, 10.0.0.2:3300)"],
        ),
        (XML.replace("username='libvirt'", "username='other'"), ["user: libvirt (was other)"]),
        (
            "<pool type='dir'><name>vms</name><target><path>/srv</path></target></pool>",
            [
                "type: rbd (was dir)",
                "name: vms (was none)",
                "hosts: 10.0.0.11:3300, 10.0.0.12:3300 (was none)",
                "user: libvirt (was none)",
                "secret: 74025c6c-d645-5e4e-afff-6a34f71f8bab (was none)",
            ],
        ),
    ],
)
def test_what_differs_is_told(there: str, said: list[str]) -> None:
    assert pool_xml.differences(XML, there) == said


def test_a_definition_gets_the_uuid_of_the_pool_that_is_there() -> None:
    once = with_uuid(XML, "first")
    assert "<uuid>first</uuid>" in once
    again = with_uuid(once, "second")
    assert "<uuid>second</uuid>" in again
    assert "first" not in again
    assert pool_xml.differences(XML, again) == []
