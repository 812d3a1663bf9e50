# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.croft.infra.plugins.module_utils.identity import vm_mac, vm_uuid


def test_identities_do_not_change_over_time() -> None:
    # VMs that were made with these have them for good: another value here breaks every deployment.
    assert vm_uuid("web1") == "e39b45ed-20cd-5005-9a3f-de882b74d056"
    assert vm_mac("web1") == "52:65:9a:7f:b2:af"


def test_names_have_their_own() -> None:
    names = [f"web{number}" for number in range(200)]
    assert len({vm_uuid(name) for name in names}) == 200
    assert len({vm_mac(name) for name in names}) == 200
