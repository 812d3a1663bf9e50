# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody gave a VM by hand."""

from __future__ import annotations

import pytest
from ansible_collections.croft.infra.plugins.module_utils.strays import strays

OWN = """<disk type='file' device='disk'><source file='/pool/web1.qcow2'/><target dev='vda'/></disk>
<disk type='file' device='disk'><source file='/pool/web1-seed.iso'/><target dev='vdb'/><readonly/></disk>
<interface type='network'><mac address='52:00:00:00:00:01'/></interface>"""
DISK = "<disk type='file' device='disk'><source file='/srv/x.img'/><target dev='vdq'/></disk>"
CARD = "<interface type='network'><mac address='52:00:00:00:00:02'/></interface>"


def xml(more: str = "") -> str:
    return f"<domain><name>web1</name><devices>{OWN}{more}</devices></domain>"


@pytest.mark.parametrize(
    ("config", "live", "found"),
    [
        ("", "", ()),
        ("", None, ()),
        (DISK, None, (("disk", "vdq (/srv/x.img)", ""),)),
        (DISK, DISK, (("disk", "vdq (/srv/x.img)", ""),)),
        ("", DISK, (("disk", "vdq (/srv/x.img)", "until it stops"),)),
        (CARD, "", (("network card", "52:00:00:00:00:02", "from its next start on"),)),
        ("<hostdev mode='subsystem' type='pci'/>", None, (("hostdev", "hostdev 1", ""),)),
    ],
)
def test_what_is_not_of_the_wish(config: str, live: str | None, found: tuple[tuple[str, str, str], ...]) -> None:
    assert strays(xml(config), None if live is None else xml(live), []) == found


def test_a_wished_card_is_none() -> None:
    assert strays(xml(CARD), None, ["52:00:00:00:00:02"]) == ()
