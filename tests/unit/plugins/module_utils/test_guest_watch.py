# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service around the decision: what it asks libvirt, and what it has libvirt do."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils import guest_watch
from ansible_collections.croft.infra.plugins.module_utils.guest_health import GIVE_UP, Policy
from ansible_collections.croft.infra.plugins.module_utils.guest_watch import Ear, Heard, Watch, disk_addresses

# libvirt's bindings come with the distribution's Python only. Last, so that nothing else is taken from there.
sys.path.append("/usr/lib/python3/dist-packages")
lv = pytest.importorskip("libvirt", reason="Debian package python3-libvirt")

XML = """<domain><on_crash>{on_crash}</on_crash><devices>
<disk><source file='/pool/web1.qcow2'/><target dev='vda'/></disk>
<disk><source file='/pool/web1-seed.iso'/><target dev='vdb'/><readonly/></disk>
<disk><auth username='libvirt'/><source protocol='rbd' name='vms/web1.raw'/><target dev='vdc'/></disk>
<disk><source protocol='nfs' name='/srv/vms/web1.qcow2'><host name='10.0.0.9'/></source><target dev='vdd'/></disk>
<channel><target name='org.qemu.guest_agent.0' state='{agent}'/></channel>
</devices></domain>"""


class Guest:
    """A libvirt domain as far as it is used."""

    def __init__(self, name: str = "web1") -> None:
        self.label, self.state, self.on_crash, self.agent, self.job = name, 1, "restart", "connected", 0
        self.errors: dict[str, int] = {}
        self.done: list[str] = []
        self.answer = "answers"

    def name(self) -> str:
        return self.label

    def UUIDString(self) -> str:  # noqa: N802
        return f"uuid-{self.label}"

    def ID(self) -> int:  # noqa: N802
        return 1

    def XMLDesc(self, _flags: int) -> str:  # noqa: N802
        return XML.format(on_crash=self.on_crash, agent=self.agent)

    def jobInfo(self) -> list[int]:  # noqa: N802
        return [self.job]

    def diskErrors(self, _flags: int) -> dict[str, int]:  # noqa: N802
        return self.errors

    def reset(self, _flags: int) -> None:
        self.done.append("reset")
        self.state = 3 if self.state == 6 else self.state

    def resume(self) -> None:
        self.done.append("resume")
        self.state = 1

    def setLifecycleAction(self, kind: int, action: int, flags: int) -> None:  # noqa: N802
        assert (kind, flags) == (lv.VIR_DOMAIN_LIFECYCLE_CRASH, lv.VIR_DOMAIN_AFFECT_LIVE)
        words = {lv.VIR_DOMAIN_LIFECYCLE_ACTION_RESTART: "restart", lv.VIR_DOMAIN_LIFECYCLE_ACTION_PRESERVE: "preserve"}
        self.on_crash = words[action]


class Host:
    """A libvirt connection with these guests; it counts its calls."""

    def __init__(self, *guests: Guest) -> None:
        self.guests, self.calls = guests, 0

    def getAllDomainStats(self, _kinds: int, _flags: int) -> list[tuple[Guest, dict[str, int]]]:  # noqa: N802
        self.calls += 1
        return [
            (guest, {"state.state": guest.state, "block.count": 1} | ({} if guest.job else {"block.0.rd.reqs": 5}))
            for guest in self.guests
        ]


class Time:
    at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def watch(time: Time) -> Watch:
    asked = {"web1": frozenset({"agent", "watchdog"}), "web2": frozenset({"agent"})}
    return Watch(Policy(), asked, ask=lambda guest, _seconds: guest.answer, forbids=lambda _guest: None, clock=time)


@pytest.fixture
def looks(watch: Watch, time: Time) -> Callable[..., None]:
    def look(host: Host, times: int = 1, heard: Heard | None = None) -> None:
        for number in range(times):
            time.at += watch.policy.interval
            watch.look(host, {"uuid-web1": heard} if heard and not number else {})

    return look


def verdict(watch: Watch, name: str = "web1") -> str:
    return str(watch.decisions[f"uuid-{name}"].verdict)


def test_a_guest_that_hangs_is_reset_and_others_are_not(
    watch: Watch, looks: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    web1, web2, stranger = Guest(), Guest("web2"), Guest("other")
    host = Host(web1, web2, stranger)
    looks(host)
    web1.answer = stranger.answer = "silent"
    looks(host, 12)
    assert (web1.done, web2.done, stranger.done) == (["reset"], [], [])
    # One call for all of them.
    assert host.calls == 13
    assert set(watch.decisions) == {"uuid-web1", "uuid-web2"}
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("<5>web1: suspect: its agent has not answered")
    assert said[1].startswith("<4>web1: reset, since its agent has not answered for 120 s")


def test_a_panic_that_is_heard_while_libvirt_is_busy_with_the_guest_is_counted_at_the_next_look(
    watch: Watch, looks: Callable[..., None]
) -> None:
    web1 = Guest()
    host = Host(web1)
    looks(host)
    web1.job = 1
    looks(host, heard=Heard(panics=1))
    looks(host, heard=Heard(booted=True))
    web1.job = 0
    looks(host, 3)
    assert watch.as_dict()["virtual_machines"]["uuid-web1"]["resets"] == 1


def test_what_forbids_a_reset_is_looked_for_only_before_one(
    watch: Watch, looks: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    web1, asked = Guest(), []
    watch.forbids = lambda guest: asked.append(guest.name()) or "its storage is away"  # type: ignore[func-returns-value]
    looks(Host(web1), 3)
    web1.answer = "silent"
    looks(Host(web1), 11)
    assert not asked
    looks(Host(web1), 6)
    assert (asked, web1.done) == (["web1"], [])
    assert capsys.readouterr().out.splitlines()[-1].endswith("not reset, since its storage is away")


def test_a_guest_that_libvirt_cannot_ask_is_not_judged(watch: Watch, looks: Callable[..., None]) -> None:
    web1 = Guest()
    looks(Host(web1))
    web1.answer, web1.job = "silent", 2
    looks(Host(web1), 60)
    assert (web1.done, verdict(watch)) == ([], "healthy")
    # What was while nobody could look does not count.
    web1.job = 0
    looks(Host(web1), 5)
    assert not web1.done


def test_panics_are_counted_and_the_fourth_is_left_for_people(watch: Watch, looks: Callable[..., None]) -> None:
    web1 = Guest()
    host = Host(web1)
    looks(host)
    for count in range(3):
        assert web1.on_crash == "restart", count
        looks(host, heard=Heard(panics=1, booted=True))
    assert web1.on_crash == "preserve"
    web1.state = 6
    looks(host, 2, heard=Heard(panics=1))
    assert (verdict(watch), web1.done) == (GIVE_UP, ["reset"])
    # libvirt tells of this reset, too.
    looks(host, 2, heard=Heard(booted=True))
    watch.clear(["web1"])
    looks(host)
    assert (web1.done, web1.on_crash) == (["reset", "reset", "resume"], "restart")


def test_a_panic_that_libvirt_deals_with_at_this_moment_is_left_to_it(watch: Watch, looks: Callable[..., None]) -> None:
    web1 = Guest()
    web1.state = 6
    looks(Host(web1), 2)
    assert not web1.done


def test_what_it_knows_survives_a_restart(watch: Watch, looks: Callable[..., None], time: Time) -> None:
    web1 = Guest()
    looks(Host(web1), heard=Heard(panics=1))
    state = json.loads(json.dumps(watch.as_dict()))
    assert state["virtual_machines"]["uuid-web1"]["resets"] == 1
    other = Watch(watch.policy, watch.asked, clock=time)
    other.remember(state)
    assert other.memories == watch.memories
    # Of a VM that went away the resets are kept for an hour.
    looks(Host(), 2)
    assert watch.as_dict()["virtual_machines"]["uuid-web1"]["verdict"] == "away"
    time.at += watch.policy.reset_window
    looks(Host())
    assert not watch.memories


def test_events_are_heard_and_a_panic_ends_the_waiting() -> None:
    callbacks: dict[int, Callable[..., None]] = {}

    def register(_domain: Any, kind: int, callback: Callable[..., None], _opaque: Any) -> None:
        callbacks[kind] = callback

    ear, web1, web2 = Ear(lv), Guest(), Guest("web2")
    ear.listen(SimpleNamespace(domainEventRegisterAny=register))
    callbacks[lv.VIR_DOMAIN_EVENT_ID_WATCHDOG](None, web1, 0, None)
    callbacks[lv.VIR_DOMAIN_EVENT_ID_LIFECYCLE](None, web2, lv.VIR_DOMAIN_EVENT_STARTED, 0, None)
    callbacks[lv.VIR_DOMAIN_EVENT_ID_LIFECYCLE](None, web2, lv.VIR_DOMAIN_EVENT_CRASHED, 0, None)
    callbacks[lv.VIR_DOMAIN_EVENT_ID_REBOOT](None, web2, None)
    # It would fail by time-out.
    assert ear.heard(3600) == {"uuid-web1": Heard(fired=True), "uuid-web2": Heard(panics=1, booted=True)}
    assert ear.heard(0) == {}


def test_disks_are_named_as_qemu_names_them() -> None:
    assert list(disk_addresses(Guest().XMLDesc(0))) == [
        ("vda", "/pool/web1.qcow2"),
        ("vdc", "rbd:vms/web1.raw:id=libvirt"),
        ("vdd", "nfs://10.0.0.9/srv/vms/web1.qcow2"),
    ]


@pytest.mark.parametrize(
    ("job", "bad", "errors", "says"),
    [
        (0, None, {}, None),
        (2, None, {}, "libvirt works on it"),
        (0, "no answer within 10 s", {}, "the storage of its disk vda does not answer: no answer within 10 s"),
        (0, None, {"vda": 2}, "its disk vda has an error"),
    ],
)
def test_obstacles(
    job: int, bad: str | None, errors: dict[str, int], says: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest_watch, "unreadable", lambda _address: bad)
    guest = Guest()
    guest.job, guest.errors = job, errors
    found = guest_watch.obstacle(guest)
    assert found == says or (says and found and found.startswith(says))


def test_storage_that_does_not_answer_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "qemu-io"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    tool.write_text("#!/bin/sh\nexit 0\n")
    tool.chmod(0o755)
    assert guest_watch.unreadable("/x") is None
    tool.write_text("#!/bin/sh\necho 'cannot open /x'\nexit 1\n")
    assert guest_watch.unreadable("/x") == "cannot open /x"
    tool.write_text("#!/bin/sh\necho 'cannot open /x: Permission denied'\nexit 1\n")
    assert guest_watch.unreadable("/x") is None
    tool.write_text("#!/bin/sh\nexec sleep 30\n")
    monkeypatch.setattr(guest_watch, "_STORAGE_SECONDS", 0.2)
    assert guest_watch.unreadable("/x") == "no answer within 0.2 s"


@pytest.mark.parametrize(
    ("answer", "port", "says"),
    [
        (None, "connected", "answers"),
        (86, "connected", "silent"),
        (112, "connected", "silent"),
        (86, "disconnected", "closed"),
        (68, "connected", "busy"),
    ],
)
def test_an_agent_that_is_silent_is_another_than_one_that_ended(
    answer: int | None, port: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def command(*_arguments: Any) -> str:
        if answer is None:
            return "{}"
        error = lv.libvirtError("no")
        error.err = (answer, 0, "no", 2, None, None, None, -1, -1)
        raise error

    monkeypatch.setattr(pytest.importorskip("libvirt_qemu"), "qemuAgentCommand", command)
    guest = Guest()
    guest.agent = port
    assert guest_watch.ask_agent(guest, 1) == says


def test_what_it_gave_up_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFIG", "STATE", "CLEAR"):
        monkeypatch.setattr(guest_watch, name, tmp_path / name)
    assert guest_watch.told() == (None, {})
    guest_watch.CONFIG.write_text("{}")
    assert "nobody watches" in str(guest_watch.told()[0])
    machine = {"name": "web1", "verdict": GIVE_UP, "reason": "it hangs", "resets": 3}
    state = {"at": guest_watch.now(), "late_after": 60, "virtual_machines": {"u": machine}}
    guest_watch.STATE.write_text(json.dumps(state))
    assert guest_watch.told() == (None, {"web1": "it hangs"})
    assert guest_watch.show() == "web1: give_up (it hangs), resets 3\n"
    guest_watch.CLEAR.mkdir()
    assert guest_watch.main(["", "clear", "web1", "../web2"]) == 0
    assert {path.name for path in guest_watch.CLEAR.iterdir()} == {"web1", "web2"}
    assert guest_watch.main(["", "oh"]) == 2
