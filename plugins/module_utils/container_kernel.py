# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this machine's kernel can do for containers: tried in a network namespace that is thrown away, not looked up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class Runner(Protocol):
    """AnsibleModule.run_command, as far as it is used here."""

    def __call__(self, args: Sequence[str]) -> tuple[int, str, str]: ...


# What a service's encrypted overlay network asks of the kernel: ESP with AES-GCM (docker/libnetwork,
# overlay/encryption.go).
_ESP = (
    "ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 1 reqid 1 mode transport "
    "aead 'rfc4106(gcm(aes))' 0x0123456789012345678901234567890123456789 64"
)


def in_namespace(run: Runner, command: str) -> bool:
    """Whether a shell command works in a network namespace of its own."""
    return run(["unshare", "--net", "sh", "-c", command])[0] == 0


def bridge(run: Runner) -> bool:
    """Whether the kernel makes a bridge and a veth pair."""
    return in_namespace(run, "ip link add b0 type bridge && ip link add v0 type veth peer name v1")


def network_features(run: Runner) -> dict[str, bool]:
    """{vxlan, ip_vs, esp}: what overlay networks, virtual addresses of services and encryption need."""
    run(["modprobe", "--quiet", "--all", "ip_vs", "esp4"])
    return {
        "vxlan": in_namespace(run, "ip link add v0 type vxlan id 1 dstport 4789"),
        "ip_vs": Path("/proc/net/ip_vs").exists(),
        "esp": in_namespace(run, _ESP),
    }


def overlay_mount(run: Runner, directory: str) -> bool:
    """Whether an overlay with its upper directory in this (empty, temporary) directory can be mounted."""
    script = (
        'cd "$0" && mkdir lower upper work merged && '
        "mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged && touch merged/x && rm merged/x"
    )
    return run(["unshare", "--mount", "sh", "-c", script, directory])[0] == 0
