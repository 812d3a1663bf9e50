# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fence device that is dead is not the end: the next level turns the host off."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from on_lab import BOOT, HOSTS, fatal, node

Play = Callable[..., Any]
Cluster = Any
LAB = "10.99.0.1"
PORTS = {host: 6200 + int(address.rpartition(".")[2]) for host, address in HOSTS.items()}
JOURNAL = "journalctl --unit pacemaker --since=-10min --no-pager | grep 'returned 0'"
IPMI = {
    "username": "admin",
    "password": "{{ lookup('ansible.builtin.file', lab_state_dir ~ '/bmc/password') }}",
    "lanplus": "1",
    "power_wait": "0",
    "cipher": "3",
}
TWO_LEVELS = [
    {
        "agent": "fence_ipmilan",
        "level": 1,
        "options": {**IPMI, "ip": LAB, "ipport": "{{ 6200 + (ansible_host.split('.')[3] | int) }}"},
    },
    {"agent": "fence_ipmilan", "level": 2, "options": {**IPMI, "ip": "{{ lab_bmc }}"}},
]


class Door(threading.Thread):
    """A second way to a BMC, which can be shut: what comes in goes on to it, and its answers come back."""

    def __init__(self, port: int, bmc: str) -> None:
        super().__init__(daemon=True)
        self.bmc = (bmc, 623)
        self.shut = threading.Event()
        self.outside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.outside.bind((LAB, port))

    def run(self) -> None:
        ways: dict[Any, socket.socket] = {}
        with selectors.DefaultSelector() as ready:
            ready.register(self.outside, selectors.EVENT_READ)
            while not self.shut.is_set():
                for key, _mask in ready.select(0.2):
                    if key.data is None:
                        packet, caller = self.outside.recvfrom(4096)
                        if caller not in ways:
                            ways[caller] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                            ways[caller].connect(self.bmc)
                            ready.register(ways[caller], selectors.EVENT_READ, caller)
                        ways[caller].send(packet)
                    else:
                        self.outside.sendto(ways[key.data].recv(4096), key.data)
        for way in (self.outside, *ways.values()):
            way.close()


@pytest.fixture
def doors(play_here: Play, cluster: Cluster, whole_again: None) -> Iterator[dict[str, Door]]:
    """Each host has two ways to be fenced; afterwards it is one again."""
    made = {host: Door(PORTS[host], f"10.99.0.2{address[-1]}") for host, address in HOSTS.items()}
    for door in made.values():
        door.start()
    try:
        run = play_here("site.yml", ha_cluster_fence_devices=TWO_LEVELS)
        assert run.rc == 0, run.output
        yield made
    finally:
        for door in made.values():
            door.shut.set()
        run = play_here("site.yml")
        assert run.rc == 0, run.output
        cluster.wait(cluster.whole)


def test_a_dead_bmc_is_not_the_end(doors: dict[str, Door], cluster: Cluster) -> None:
    victim = cluster.where()["web1"]
    cluster.asked = next(host for host in HOSTS if host != victim)
    begun = node(HOSTS[victim], BOOT)
    doors[victim].shut.set()
    doors[victim].join()
    cluster.call(f"stonith_admin --reboot {victim} --timeout 110")
    # The device that is dead stays so, and the cluster tells.
    cluster.wait(lambda: cluster.online() == set(HOSTS) and set(cluster.where()) == cluster.vms)
    assert node(HOSTS[victim], BOOT) != begun
    told = [node(HOSTS[host], JOURNAL, check=False) for host in HOSTS if host != victim]
    assert any(f"targeting {victim} using fence-{victim}-ipmilan returned 0" in said for said in told), told


def test_a_watchdog_that_is_not_there_is_refused(play_here: Play, cluster: Cluster) -> None:
    own = {"agent": "fence_ipmilan", "level": 1, "options": {**IPMI, "ip": "{{ lab_bmc }}"}}
    run = play_here(
        "site.yml",
        ha_cluster_shared_fence_devices=[{"name": "watchdog", "agent": "fence_watchdog"}],
        ha_cluster_fence_devices=[own, {"name": "watchdog", "level": 2}],
    )
    said = fatal(run)
    for host in HOSTS:
        assert f"{host}: has no /dev/watchdog, by which a fence device of it works" in said
    assert not run.changed
