# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where another machine's libvirt and QEMU are spoken to."""

from __future__ import annotations

import pytest
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import migration_uri_of, uri_of


@pytest.mark.parametrize(
    ("address", "libvirt", "qemu"),
    [
        ("192.0.2.11", "qemu+tls://192.0.2.11/system", "tcp://192.0.2.11"),
        ("kvm1.example", "qemu+tls://kvm1.example/system", "tcp://kvm1.example"),
        ("2001:db8::11", "qemu+tls://[2001:db8::11]/system", "tcp://[2001:db8::11]"),
    ],
)
def test_another_machine_is_spoken_to_at_its_address(address: str, libvirt: str, qemu: str) -> None:
    assert uri_of(address) == libvirt
    assert migration_uri_of(address) == qemu
