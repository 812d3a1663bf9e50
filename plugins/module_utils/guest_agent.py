# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest does about its new hardware, through its QEMU guest agent.

A guest whose agent does not answer, or forbids guest-exec (as some distributions do), still has the hardware: what it
did not do is told, and is no failure.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import bindings, words

_SECONDS = 10
_LOOKS = 60

# Runs in the guest. $1 is the disk's serial number, empty: the disk of the root file system. Of that disk the file
# systems that are mounted grow, the partition below one first, when it is the last of its disk.
GROW = r"""
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
disk=
if [ -z "$1" ]; then
    root=$(awk '$2 == "/" && $1 ~ /^\/dev\// { print $1; exit }' /proc/self/mounts)
    [ -n "$root" ] || { echo 'its root file system is on no disk'; exit 1; }
    part=$(basename "$(readlink -f "$root")")
    path=$(readlink -f "/sys/class/block/$part") || exit 1
    [ ! -e "$path/partition" ] || path=$(dirname "$path")
    disk=$(basename "$path")
else
    for path in /sys/block/*; do
        # No `read`, which fails at the end of a file: the kernel ends this one with no newline.
        [ "$(cat "$path/serial" 2>/dev/null)" != "$1" ] || disk=$(basename "$path")
    done
fi
[ -n "$disk" ] || { echo 'it does not see the disk'; exit 1; }
grep "^/dev/$disk" /proc/self/mounts | sort -u -k1,1 >/tmp/.croft-grow.$$
while read -r device place kind _rest; do
    part=$(basename "$(readlink -f "$device")")
    number=
    [ ! -e "/sys/class/block/$part/partition" ] || read -r number <"/sys/class/block/$part/partition"
    if [ -n "$number" ]; then
        if command -v growpart >/dev/null; then
            growpart "/dev/$disk" "$number" >/dev/null || [ $? = 1 ] || { echo "growpart failed"; exit 1; }
        elif command -v sfdisk >/dev/null; then
            echo ', +' | sfdisk -q --no-reread --no-tell-kernel -N "$number" "/dev/$disk" || exit 1
            partx -u -n "$number" "/dev/$disk" || exit 1
        else
            echo 'it has neither growpart nor sfdisk'
            exit 1
        fi
    fi
    case $kind in
    ext*) resize2fs "/dev/$part" 2>&1 || exit 1 ;;
    xfs) xfs_growfs "$place" || exit 1 ;;
    btrfs) btrfs filesystem resize max "$place" || exit 1 ;;
    *) echo "no way is known to grow a file system of type $kind"; exit 1 ;;
    esac
done </tmp/.croft-grow.$$
rm -f /tmp/.croft-grow.$$
"""


# Prints the serial numbers of disks with a mounted file system, with swap, or under another device.
IN_USE = r"""
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
for path in /sys/block/*; do
    serial=$(cat "$path/serial" 2>/dev/null)
    [ -n "$serial" ] || continue
    disk=${path##*/}
    if grep -q "^/dev/$disk" /proc/self/mounts /proc/swaps; then
        echo "$serial"
        continue
    fi
    for holder in "$path"/holders/* "$path/$disk"*/holders/*; do
        [ ! -e "$holder" ] || echo "$serial"
    done
done
"""


def ask(domain: Any, command: str, **arguments: Any) -> Any:
    """The agent's answer to a command. Raises libvirtError when there is none."""
    question: dict[str, Any] = {"execute": command} | ({"arguments": arguments} if arguments else {})
    answer = bindings("libvirt_qemu").qemuAgentCommand(domain, json.dumps(question), _SECONDS, 0)
    return json.loads(answer)["return"]


def run(domain: Any, script: str, *arguments: str) -> tuple[bool, str]:
    """(success, what it said) of a shell script in the guest. Raises libvirtError when the agent does not run it."""
    whole = ["-c", script, "croft", *arguments]
    process = ask(domain, "guest-exec", path="/bin/sh", arg=whole, **{"capture-output": True})["pid"]
    for _look in range(_LOOKS):
        state = ask(domain, "guest-exec-status", pid=process)
        if state["exited"]:
            return state.get("exitcode") == 0, "".join(_text(state, name) for name in ("out-data", "err-data"))
        time.sleep(1)
    return False, f"its agent has not ended that after {_LOOKS} s"


def grow_file_systems(domain: Any, serial: str) -> str | None:
    """Let the file systems on a disk fill it; None when they do, else why not. `serial` empty: the root disk."""
    try:
        done, said = run(domain, GROW, serial)
    except bindings().libvirtError as error:
        return words(error)
    return None if done else " ".join(said.split())[-300:] or "no reason was given"


def _text(state: dict[str, Any], name: str) -> str:
    return base64.b64decode(state.get(name, "")).decode(errors="replace")


def bring_online(domain: Any, wanted: int, wait: Callable[[Callable[[], Any], Any], Any]) -> str | None:
    """Let the guest use all its vCPUs; None when it does, else why not.

    A guest whose kernel takes new CPUs by itself, and one whose agent must bring them online, both end the same way.
    """
    library = bindings()
    try:
        seen = wait(lambda: len(ask(domain, "guest-get-vcpus")), wanted)
        if seen < wanted:
            return f"its kernel sees {seen}"
        ask(domain, "guest-set-vcpus", vcpus=[{"logical-id": number, "online": True} for number in range(wanted)])
    except library.libvirtError as error:
        return words(error)
    return None


def disks_in_use(domain: Any) -> set[str]:
    """Serial numbers of disks that the guest uses; empty when the agent does not say.

    The agent's own list of file systems has serial numbers only where udev runs, and neither swap nor logical volumes.
    """
    try:
        return set(run(domain, IN_USE)[1].split())
    except bindings().libvirtError:
        return set()
