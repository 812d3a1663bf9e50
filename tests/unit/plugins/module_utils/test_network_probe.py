# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading

import pytest
from ansible_collections.croft.infra.plugins.module_utils import network_probe

TOKEN = "0123456789abcdef" * 2


@pytest.fixture(params=["127.0.0.1", "::1"])
def responder(request: pytest.FixtureRequest) -> tuple[str, int]:
    """A responder on this machine's loopback, for as long as the test."""
    address = str(request.param)
    with network_probe.udp(address) as finder:
        try:
            finder.bind((address, 0))
        except OSError:
            pytest.skip(f"this machine has no {address}")
        port = finder.getsockname()[1]
    server = network_probe.Responder(address, port, bytes.fromhex(TOKEN), 5)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    return address, port


def test_a_network_is_measured(responder: tuple[str, int]) -> None:
    address, port = responder
    seen = network_probe.Probe("a", "b", address, port, TOKEN).measure(packets=20, seconds=0.1, mtu=1500)
    assert (seen.reason, seen.mtu, seen.sent, seen.received) == ("", 1500, 20, 20)
    assert 0 < seen.latency_ms < 100
    assert seen.throughput_mbit > 10
    assert abs(seen.clock_ms) < 100


def test_strangers_get_no_answer(responder: tuple[str, int]) -> None:
    address, port = responder
    seen = network_probe.Probe("a", "b", address, port, "ff" * 16).measure(packets=1, seconds=0.1, mtu=1500)
    assert seen.reason.startswith(f"no answer from {address} port {port}")


def test_nobody_listens() -> None:
    seen = network_probe.Probe("a", "b", "127.0.0.1", 1, TOKEN).measure(packets=1, seconds=0.1, mtu=0)
    assert seen.reason.startswith("no answer")
