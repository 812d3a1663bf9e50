# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster of the lab's hosts, as the tests of several scenarios ask it."""

from __future__ import annotations

import json
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from on_lab import HOSTS, Watch, Writer, guest, node


class Cluster:
    """The cluster of these hosts with these VMs, asked on whichever node answers."""

    def __init__(self, hosts: Collection[str], vms: Collection[str], *, ceph: bool) -> None:
        self.hosts = set(hosts)
        self.vms = set(vms)
        self.ceph = ceph
        self.asked = min(self.hosts)

    def call(self, command: str, *, on: str = "", check: bool = True) -> str:
        return node(HOSTS[on or self.asked], command, check=check)

    def monitor(self, *, on: str = "") -> ET.Element:
        return ET.fromstring(self.call("crm_mon -1 -r --output-as=xml", on=on))

    def online(self, *, on: str = "") -> set[str]:
        nodes = self.monitor(on=on).iterfind("nodes/node")
        return {str(n.get("name")) for n in nodes if n.get("online") == "true" and n.get("pending") != "true"}

    def where(self, *, on: str = "") -> dict[str, str]:
        """The host of each VM that the cluster says runs."""
        found = {}
        for resource in self.monitor(on=on).iterfind(
            "resources/resource[@resource_agent='ocf:heartbeat:VirtualDomain']"
        ):
            at = [str(n.get("name")) for n in resource.iterfind("node")]
            if resource.get("role") == "Started" and len(at) == 1:
                found[str(resource.get("id"))] = at[0]
        return found

    def fenced(self, host: str) -> int:
        """How often the host was turned off, by the cluster or by a person, which is told only when asked verbosely."""
        return self.call(f"stonith_admin --history {host} --verbose --output-as=xml").count('status="success"')

    def wait(self, what: Callable[[], bool], looks: int = 150) -> None:
        """By looks: the clock of a machine that was paused jumps. A node that is busy with a failure may not answer."""
        for _look in range(looks):
            try:
                if what():
                    return
            except (AssertionError, ET.ParseError):
                pass
            time.sleep(2)
        pytest.fail(self.call("crm_mon -1 -rf; stonith_admin --history '*'", check=False))

    def whole(self) -> bool:
        """All nodes are there, all VMs run, all that fences is up, and the storage is healthy."""
        monitor = self.monitor()
        try:
            checks = json.loads(self.call("timeout 20 ceph health -f json"))["checks"] if self.ceph else {}
        except ValueError:
            return False
        # A quarter of an hour after a cut network the mean of its heartbeats is still slow.
        healthy = all(name.startswith("OSD_SLOW_PING_TIME") for name in checks)
        resources = monitor.iterfind("resources/resource")
        up = all(r.get("role") == "Started" and r.get("failed") == "false" for r in resources)
        return healthy and up and self.online() == self.hosts and set(self.where()) == self.vms


@contextmanager
def deaf(one: str, other: str) -> Iterator[None]:
    """Two hosts do not hear each other, though others hear both; one that starts anew hears all."""
    with ExitStack() as undo:
        for here, there in ((one, other), (other, one)):
            node(HOSTS[here], f"ip route add blackhole {HOSTS[there]}/32")
            undo.callback(node, HOSTS[here], f"ip route del blackhole {HOSTS[there]}/32 || true", check=False)
        yield


@contextmanager
def all_write_and_none_runs_twice(cluster: Cluster) -> Iterator[dict[str, Writer]]:
    """All guests write to shared storage meanwhile, and all that their disks acknowledged is there afterwards."""
    writers = {name: Writer(name) for name in cluster.where()}
    watch = Watch()
    watch.start()
    try:
        for writer in writers.values():
            writer.wait(3)
        yield writers
    finally:
        watch.over.set()
        for writer in writers.values():
            writer.stop()
    assert watch.twice == []
    for name, writer in writers.items():
        # A second one that writes would have spoilt the file system of the first.
        assert guest(name, "dmesg | grep -ci 'ext4.*error' || true").strip() == "0"
        assert writer.lost() == [], name
