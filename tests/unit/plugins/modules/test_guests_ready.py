# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils import guests
from ansible_collections.croft.infra.plugins.modules import guests_ready

libvirt = pytest.importorskip("libvirt", reason="Debian package python3-libvirt")
URI = "test:///default"
RunModule = Callable[..., dict[str, Any]]
XML = """<domain type='test'><name>{name}</name><memory unit='MiB'>16</memory><os><type>hvm</type></os><devices>
<serial type='pty'><log file='{log}' append='off'/></serial>
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel></devices></domain>"""


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """No waiting: the naps that would have been taken."""
    taken: list[float] = []
    monkeypatch.setattr(guests_ready.time, "sleep", taken.append)
    return taken


def start(conn: Any, log: Path, name: str) -> Any:
    domain = conn.defineXML(XML.format(name=name, log=log))
    domain.create()
    return domain


def test_the_console_is_read_and_remembered(conn: Any, run_module: RunModule, naps: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("croft: up a\r\n")
    start(conn, log, "a")
    given = {"names": ["a"], "uri": URI}
    assert run_module(guests_ready, given)["ready"] == ["a"]
    assert naps == []
    # On the host that it was migrated to there is an empty log.
    log.write_text("")
    assert run_module(guests_ready, given)["ready"] == ["a"]
    # When it was started anew it has to say it anew.
    conn.lookupByName("a").destroy()
    conn.lookupByName("a").create()
    assert run_module(guests_ready, {**given, "wait": 0})["ready"] == []


def test_a_turn_ends_when_its_time_is_over(conn: Any, run_module: RunModule, naps: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(f"croft: up {name}" if name == "a" else "Booting\n")
        start(conn, tmp_path / name, name)
    given = {"names": ["a", "b"], "uri": URI, "wait": 4}
    seen = run_module(guests_ready, given)
    assert (seen["ready"], seen["waited"], naps) == (["a"], 4, [1, 1, 1, 1])
    assert seen["waiting"] == [
        {
            "name": "b",
            "running": True,
            "why": "agent: not connected; console: no word from it yet",
            "last_line": "Booting",
        }
    ]


def test_guests_that_cannot_come_up_are_not_waited_for(
    conn: Any, run_module: RunModule, naps: Any, tmp_path: Path
) -> None:
    start(conn, tmp_path / "log", "off").destroy()
    found = run_module(guests_ready, {"names": ["off", "none"], "uri": URI, "wait": 9})
    assert naps == []
    assert [guest["why"] for guest in found["waiting"]] == ["is stopped", "is not defined on this host"]


def test_the_agent_is_asked_when_it_is_connected(
    conn: Any, run_module: RunModule, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    start(conn, tmp_path / "log", "a")
    real = guests.domain_xml.describe
    connected = lambda xml: real(xml.replace("agent.0'/>", "agent.0' state='connected'/>"))  # noqa: E731
    monkeypatch.setattr(guests.domain_xml, "describe", connected)
    for answer, expected in ((None, ["a"]), ("no answer", [])):
        monkeypatch.setattr(guests, "agent_answers", lambda _domain, _seconds, answer=answer: answer)
        assert run_module(guests_ready, {"names": ["a"], "uri": URI, "ready": "agent", "wait": 0})["ready"] == expected


def test_without_libvirt(run_module: RunModule) -> None:
    found = run_module(guests_ready, {"names": ["a"], "uri": "test:///no/such/file.xml"})
    assert found["failed"]
    assert found["msg"].startswith("no connection to")
