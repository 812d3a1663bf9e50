# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of a drill; times in seconds."""

from __future__ import annotations

from dataclasses import dataclass

SCHEMA_VERSION = "1.0"

# What is broken, in words.
KINDS: dict[str, str] = {
    "host_kill": "A host loses its power",
    "host_isolate": "A host loses its network",
    "vm_kill": "A VM's QEMU is killed",
    "vm_hang": "A guest's kernel crashes",
    "storage_stop": "A storage daemon is stopped",
}
HOST_KINDS = ("host_kill", "host_isolate")
VM_KINDS = ("vm_kill", "vm_hang")

# What can be seen to happen, in the order in which a failover goes.
HAPPENINGS: dict[str, str] = {
    "noticed": "corosync misses a host",
    "lost": "the host is no member of the cluster any more",
    "fencing": "fencing is asked for",
    "fence_failed": "a try to fence failed",
    "fenced": "the host is off",
    "failed": "the cluster sees that the VM is down",
    "starting": "the cluster starts the VM",
    "start_failed": "a start failed",
    "started": "QEMU runs",
    "down": "the guest is silent",
    "up": "the guest answers",
}


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was seen: ``at`` seconds after it was broken; ``source`` who said so."""

    at: float
    what: str
    host: str | None
    vm: str | None
    source: str
    text: str
