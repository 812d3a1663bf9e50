# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who a VM is: the UUID and MAC address that follow from its name, and the mark by which croft knows its own domains.

A VM must keep its UUID and MAC when it is defined again, on this host or on another, or the guest sees a new network
card and cloud-init a new instance. Nothing is stored for that: both follow from the name, the same way everywhere.
"""

from __future__ import annotations

import hashlib
import uuid

# A constant of the project: with another one every VM would get another UUID.
VM_NAMESPACE = uuid.UUID("6f0b3b0e-7c1c-5d0e-9d0a-2f8f0c6d3a51")

# The XML namespace of <croft:vm> in a domain's <metadata>; a domain that has it is managed by croft.
METADATA_URI = "urn:croft:infra:vm:1"
METADATA_PREFIX = "croft"

# Set on the running domain only, when the guest said on its console that it is up: it goes with a live migration (the
# console's log does not) and is gone when the domain stops.
GUEST_UP_URI = "urn:croft:infra:guest-up:1"


def vm_uuid(name: str) -> str:
    """The RFC 4122 version 5 UUID of the VM `name`, in its 36 character form."""
    return str(uuid.uuid5(VM_NAMESPACE, name))


def vm_mac(name: str) -> str:
    """The MAC address of the VM `name`: 52, then the first 40 bits of the name's SHA-256.

    52 has the bits of a unicast address that is administered locally (IEEE 802c), as QEMU's own 52:54:00 has; the 24
    bits that QEMU's prefix leaves are too few, two of ten thousand VMs would share an address more often than not. Of n
    VMs two share one with a chance of n^2 / 2^41 (0.005 % for 10,000); whoever defines VMs has to look for that and ask
    for an explicit `mac` then.
    """
    digest = hashlib.sha256(name.encode()).digest()
    return "52:" + ":".join(f"{byte:02x}" for byte in digest[:5])
