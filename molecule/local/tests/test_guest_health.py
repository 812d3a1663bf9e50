# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that hang are reset, and those that are busy, paused or hang too often are not.

All of them do so at the same time: what is waited for is the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from on_lab import HOSTS, guest, node, where

Play = Callable[..., Any]
# Who does what.
STOPS, PANICS, BUSY, PAUSED = "web1", "app1", "cache1", "mon1"
ASKED = {STOPS: ["agent", "watchdog"], PANICS: ["agent"], BUSY: ["agent", "watchdog"], PAUSED: ["agent"]}
TIMES = {"interval": 2, "agent_timeout": 2, "silence": 8, "quiet": 35, "grace": 60}
PATIENCE = 400
# Above everything else in the guest, its agent and what feeds its watchdog among it, and through to the disk.
SPIN = (
    "dd if=/dev/zero of=/root/busy bs=64k count=16 && sync && echo -1 > /proc/sys/kernel/sched_rt_runtime_us; "
    "setsid timeout 600 chrt -f 60 sh -c 'while :; do "
    "/usr/bin/dd if=/dev/zero of=/root/busy bs=4k count=1 conv=notrunc oflag=direct; done' & "
    "setsid timeout 600 chrt -f 50 sh -c 'while :; do :; done'"
)


@dataclass
class Watched:
    """The VMs, each with its host, and the wishes of the inventory."""

    hosts: Mapping[str, str]
    wishes: list[dict[str, Any]]

    def on_host(self, name: str, command: str) -> str:
        return node(HOSTS[self.hosts[name]], command)

    def about(self, name: str) -> dict[str, Any]:
        """What the service knows of it."""
        state = json.loads(self.on_host(name, "cat /run/croft/guest_health.json"))
        return next(one for one in state["virtual_machines"].values() if one["name"] == name)

    def wait(self, name: str, done: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Wait until it is as it should be; the wall clock may jump, so looks are counted."""
        about: dict[str, Any] = {}
        for _look in range(PATIENCE // 2):
            about = self.about(name)
            if done(about):
                return about
            time.sleep(2)
        log = self.on_host(name, "journalctl -u croft-guest-health -n 40 --no-pager -o cat")
        raise AssertionError(f"{name} is {about}\n{log}")

    def wait_until_up(self, name: str) -> None:
        """Its own run, not the one that ended a moment ago, and its network, too, which comes after its agent."""
        run = int(self.on_host(name, f"virsh domid {name}"))
        self.wait(name, lambda about: about["memory"]["run"] == run and about["reason"] == "its agent answers")
        guest(name, "true")


@pytest.fixture(scope="module")
def wishes(lab_inventory: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{**vm, "health": ASKED.get(vm["name"], [])} for vm in lab_inventory["virtual_machines"]]


@pytest.fixture
def watched(wishes: list[dict[str, Any]], play: Play) -> Iterator[Watched]:
    times = {f"guest_health_{name}": value for name, value in TIMES.items()}
    run = play("site.yml", virtual_machines=wishes, **times)
    assert run.rc == 0, run.output
    again = play("playbooks/guest_health.yml", virtual_machines=wishes, **times)
    assert not again.changed, again.output
    found = Watched(where(), wishes)
    # Their watchdogs are there from the next start on.
    for name in (STOPS, BUSY):
        found.on_host(name, f"virsh destroy {name} && virsh start {name}")
    for name in ASKED:
        found.wait_until_up(name)
    yield found
    # Wherever the test ended: the tests after it find guests that run.
    found.on_host(PANICS, f"croft-guest-health clear {PANICS}")
    found.on_host(PAUSED, f"[ $(virsh domstate {PAUSED}) != paused ] || virsh resume {PAUSED}")
    found.on_host(BUSY, f"virsh reset {BUSY}")
    for name in ASKED:
        found.wait_until_up(name)
    # Nobody asks any more.
    assert play("playbooks/guest_health.yml").rc == 0


def test_guests_that_hang_are_reset_and_others_are_not(watched: Watched, play: Play) -> None:
    runs = {name: watched.on_host(name, f"virsh domid {name}") for name in ASKED}
    hang(BUSY, SPIN)
    watched.on_host(PAUSED, f"virsh suspend {PAUSED}")
    hang(STOPS, "kill -STOP -1")
    hang(PANICS, "echo c > /proc/sysrq-trigger")

    stopped = watched.wait(STOPS, lambda about: about["resets"])
    log = watched.on_host(STOPS, "journalctl -u croft-guest-health --no-pager -o cat")
    assert f"{STOPS}: reset, since its agent has not answered for" in log
    assert "its watchdog ran out" in log
    assert stopped["resets"] == 1
    assert watched.wait(PANICS, lambda about: about["resets"])["resets"] == 1
    watched.wait_until_up(STOPS)
    watched.wait_until_up(PANICS)
    assert guest(STOPS, "hostname").strip() == STOPS

    busy, paused = watched.about(BUSY), watched.about(PAUSED)
    assert busy["resets"] == paused["resets"] == 0
    assert paused["reason"] == "is paused"
    watched.on_host(PAUSED, f"virsh resume {PAUSED}")
    watched.wait_until_up(PAUSED)
    # A reset keeps the QEMU process: a cluster sees nothing.
    assert runs == {name: watched.on_host(name, f"virsh domid {name}") for name in ASKED}

    gives_up_after_three(watched, play)


def gives_up_after_three(watched: Watched, play: Play) -> None:
    """The same guest panics until nobody boots it any more, which is told in one line, and undone by an act."""
    for count in (2, 3):
        hang(PANICS, "echo c > /proc/sysrq-trigger")
        watched.wait(PANICS, lambda about, count=count: about["resets"] == count)
        watched.wait_until_up(PANICS)
    hang(PANICS, "echo c > /proc/sysrq-trigger")
    about = watched.wait(PANICS, lambda about: about["verdict"] == "give_up")
    assert about["reason"] == "its kernel panicked; was reset 3 times in 60 min, and is left so"
    assert watched.on_host(PANICS, f"virsh domstate {PANICS}").strip() == "paused"
    told = watched.on_host(PANICS, "journalctl -u croft-guest-health -p err --no-pager -o cat")
    assert f"{PANICS}: not reset any more: its kernel panicked" in told

    verify = play("playbooks/verify.yml", virtual_machines=watched.wishes)
    lines = [line for res in verify.results("ansible.builtin.assert", "runner_on_failed") for line in res["res"]["msg"]]
    about_it = [line.partition(f"VM {PANICS} on {watched.hosts[PANICS]}: ")[2] for line in lines if PANICS in line]
    assert [line.partition(":")[0] for line in about_it] == ["is not reset any more when it hangs", "state"], lines

    watched.on_host(PANICS, f"croft-guest-health clear {PANICS}")
    watched.wait(PANICS, lambda about: about["resets"] == 1)
    watched.wait_until_up(PANICS)


def hang(name: str, command: str) -> None:
    """A guest that hangs does not say so: the command comes a moment after the answer."""
    guest(name, f"(sleep 1; {command}) >/dev/null 2>&1 </dev/null &")
