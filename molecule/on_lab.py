# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's machines and the guests on them, as the tests of several scenarios reach them."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

# What takes minutes more and is not run with every change.
slow = pytest.mark.skipif("CROFT_TEST_SLOW" not in os.environ, reason="takes minutes; CROFT_TEST_SLOW=yes runs it")

STATE = Path("/var/lib/croft-lab")
SSH = ["ssh", "-i", str(STATE / "ssh/id_ed25519"), "-oBatchMode=yes", "-oConnectTimeout=20", "-oLogLevel=ERROR"]
KNOWN = f"-oUserKnownHostsFile={STATE}/known_hosts"
# A guest has another key whenever it is made anew.
UNKNOWN = ["-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null"]
HOSTS = {"kvm1": "10.99.0.11", "kvm2": "10.99.0.12", "kvm3": "10.99.0.13"}
SERVER = "10.99.0.14"
# Another one after each start.
BOOT = "cat /proc/sys/kernel/random/boot_id"
INVENTORY = Path(__file__).resolve().parents[1] / "inventories/lab"


def addresses(group_vars: Path) -> dict[str, str]:
    """The VMs of a file of variables, each with its address."""
    entries = yaml.safe_load(group_vars.read_text())["virtual_machines"]
    return {vm["name"]: vm["address"].partition("/")[0] for vm in entries}


# A VM has the same address in every scenario.
GUESTS = addresses(INVENTORY / "group_vars/all.yml")

NEW = {"back1": "10.99.0.151", "clone1": "10.99.0.152"}

# Writes files that never repeat, each with its checksum, one after the other and through to the disk.
_WRITER = (
    "mkdir -p /root/w; cd /root/w; i=0; while :; do i=$((i+1)); head -c 65536 /dev/urandom > f$i; "
    "sha256sum f$i >> sums; sync; sleep 0.2; done >/dev/null 2>&1 & echo $! > /root/writer.pid"
)


def node(address: str, command: str, *, check: bool = True, stdin: str | None = None) -> str:
    """Run a command on a machine of the lab."""
    done = subprocess.run(
        [*SSH, KNOWN, f"root@{address}", command], capture_output=True, text=True, check=False, input=stdin
    )
    assert not check or done.returncode == 0, done.stderr
    return done.stdout + ("" if check else done.stderr)


# What ssh says when the command has not begun: a guest that has just come back needs a moment for its network.
_NOT_YET = ("connect to host", "kex_exchange_identification")


def guest(name: str, command: str) -> str:
    """Run a command in a guest."""
    for _try in range(30):
        done = subprocess.run(
            [*SSH, *UNKNOWN, f"root@{GUESTS[name]}", command], capture_output=True, text=True, check=False, timeout=120
        )
        if done.returncode != 255 or not any(words in done.stderr for words in _NOT_YET):
            break
        time.sleep(2)
    assert done.returncode == 0, f"{name}: {done.stderr}"
    return done.stdout


def bring(play: Callable[..., Any], all_nodes: list[dict[str, Any]], name: str, state: str) -> None:
    """Have one node in another state, and the others as they are."""
    nodes = [{**one, "state": state} if one["name"] == name else one for one in all_nodes]
    run = play("playbooks/lab.yml", lab_nodes=nodes)
    assert run.rc == 0, run.output


def where() -> dict[str, str]:
    """The host of each running VM; fails when one runs twice."""
    found: dict[str, str] = {}
    for host, address in HOSTS.items():
        for name in node(address, "virsh list --name").split():
            assert name not in found, f"{name} runs on {found[name]} and {host}"
            found[name] = host
    return found


@contextmanager
def writing(name: str) -> Iterator[Callable[[], int]]:
    """A guest writes meanwhile; calling what this gives stops the writing and counts what was written and is right."""
    guest(name, _WRITER)

    def count() -> int:
        guest(name, "kill $(cat /root/writer.pid); sync")
        said = guest(name, "cd /root/w && sha256sum -c sums")
        assert said.splitlines()
        assert all(line.endswith(": OK") for line in said.splitlines()), said
        return len(said.splitlines())

    try:
        yield count
    finally:
        # One that is left would write into the files of the next.
        guest(name, "kill $(cat /root/writer.pid) 2>/dev/null; rm -rf /root/w")


def fatal(run: Any) -> str:
    """What the failed tasks said."""
    assert run.rc != 0, run.output
    events = [e["event_data"]["res"]["msg"] for e in run.events if e["event"] == "runner_on_failed"]
    return "\n".join(str(text) for text in events)


def actions(run: Any, action: str) -> dict[str, list[str]]:
    """What was done with each VM, by the results of all hosts."""
    found: dict[str, list[str]] = {}
    for one in run.results(action):
        for vm in one["res"]["virtual_machines"]:
            found.setdefault(vm["name"], []).extend(step["action"] for step in vm["actions"])
    return found


def new_vm(name: str, host: str) -> dict[str, Any]:
    """A VM that is restored or cloned, pinned to a host."""
    GUESTS[name] = NEW[name]
    return {"name": name, "vcpus": 1, "memory_mib": 192, "disk_gib": 1, "host": host, "address": f"{NEW[name]}/24"}


def start_twice() -> None:
    """Define a VM that runs on a second host, too, and see its start refused there."""
    name, host = next(iter(where().items()))
    other = next(peer for peer in HOSTS if peer != host)
    xml = node(HOSTS[host], f"virsh dumpxml --inactive {name}")
    node(HOSTS[other], "virsh define /dev/stdin", stdin=xml)
    try:
        said = node(HOSTS[other], f"virsh start {name}", check=False)
        assert f"{name} runs on {host}; migrate it, or stop it there first" in said
        assert where()[name] == host
    finally:
        node(HOSTS[other], f"virsh undefine {name}")


def places() -> dict[str, list[str]]:
    """The hosts on which each VM runs, by the processes on this machine: no node has to answer for it."""
    found: dict[str, list[str]] = {}
    for entry in Path("/proc").iterdir():
        try:
            argv = (entry / "cmdline").read_bytes().split(b"\0")
            if b"qemu-system" not in argv[0] or b"-name" not in argv:
                continue
            vm = re.match(r"guest=([^,]+)", argv[argv.index(b"-name") + 1].decode())
            host = (entry / "root/etc/hostname").read_text().strip()
        except (OSError, IndexError):
            continue
        if vm:
            found.setdefault(vm[1], []).append(host)
    return found


class Watch(threading.Thread):
    """Looks all the time whether a VM runs on two hosts."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.twice: list[tuple[str, list[str]]] = []
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.3):
            self.twice += [(name, at) for name, at in places().items() if len(at) > 1]


class Writer:
    """A guest that writes file after file, and what its disk has acknowledged: when, number and checksum of each."""

    def __init__(self, name: str, file_bytes: int = 65536) -> None:
        self.name = name
        self.said: list[tuple[float, str, str]] = []
        # It says so only when it is on the disk.
        loop = (
            f"rm -rf /root/a; mkdir /root/a; i=0; while :; do i=$((i+1)); head -c {file_bytes} /dev/urandom > "
            "/root/a/$i; s=$(sha256sum < /root/a/$i); sync; echo $i $s; done"
        )
        # The connection has to outlast a network that is cut for a minute.
        command = [*SSH, *UNKNOWN, "-oServerAliveInterval=0", f"root@{GUESTS[name]}", loop]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            words = line.split()
            # The last line may be half of one.
            if len(words) > 2:
                self.said.append((time.monotonic(), words[0], words[1]))

    def wait(self, count: int) -> None:
        """Until so many more writes are acknowledged."""
        wanted = len(self.said) + count
        for _look in range(300):
            if len(self.said) >= wanted:
                return
            time.sleep(0.5)
        raise AssertionError(f"{self.name} has stopped writing")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._thread.join(10)

    def stall(self) -> float:
        """The longest time in seconds without an acknowledged write."""
        times = [at for at, _number, _checksum in self.said]
        return max(later - at for at, later in pairwise(times))

    def lost(self) -> list[str]:
        """The acknowledged writes that are not on the disk as they were."""
        said = guest(self.name, "sync; cd /root/a; find . -type f -exec sha256sum {} +; rm -rf /root/a")
        there = {line.split()[1].removeprefix("./"): line.split()[0] for line in said.splitlines()}
        return [number for _at, number, checksum in self.said if there.get(number) != checksum]
