# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

from ansible_collections.croft.infra.plugins.module_utils.domain import LINK_KINDS
from ansible_collections.croft.infra.plugins.module_utils.vm_host import network_links


def test_the_kinds_of_network_devices(tmp_path: Path) -> None:
    (tmp_path / "eno1").mkdir()
    # A kernel without VLAN filtering, one where it is off, one where it is on.
    for bridge, filtering in (("br0", None), ("br1", "0\n"), ("br2", "1\n")):
        (tmp_path / bridge / "bridge").mkdir(parents=True)
        if filtering is not None:
            (tmp_path / bridge / "bridge/vlan_filtering").write_text(filtering)
    found = network_links(tmp_path)
    assert found == {"eno1": "device", "br0": "bridge", "br1": "bridge", "br2": "vlan_bridge"}
    assert set(found.values()) == set(LINK_KINDS)
