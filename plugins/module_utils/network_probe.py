# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the network between two hosts: a responder on one that ends by itself, a probe on the other."""

from __future__ import annotations

import contextlib
import hmac
import os
import selectors
import signal
import socket
import struct
import time
from pathlib import Path

from ansible_collections.croft.infra.plugins.module_utils import network_quality as pure

PID = Path("/run/croft-network-responder.pid")
_HEAD = struct.Struct("!16sIdd")  # token, number, time sent, the responder's time
_COUNT = struct.Struct("!Qd")  # bytes received, seconds
_IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE, _IP_MTU = 10, 3, 14  # linux/in.h
_IPV6_MTU_DISCOVER, _IPV6_MTU = 23, 24  # linux/in6.h
_HEADERS = {socket.AF_INET: 28, socket.AF_INET6: 48}  # IP and UDP
_CHUNK = 1 << 18
_TRIES = 3
_WAIT = 0.4
_LEAST_MTU = 576


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def udp(address: str) -> socket.socket:
    """A datagram socket whose packets are never cut to pieces, whatever the kernel believes of the path."""
    family = family_of(address)
    opened = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _IP_PMTUDISC_PROBE)
    else:
        opened.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE)
    return opened


class Responder:
    """Answers packets that carry the token, and counts streams that do; nothing else, and only for a while."""

    def __init__(self, address: str, port: int, token: bytes, lifetime: float) -> None:
        self._token = token
        self._ends = time.monotonic() + lifetime
        self._udp = udp(address)
        self._tcp = socket.socket(family_of(address), socket.SOCK_STREAM)
        self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for one in (self._udp, self._tcp):
            one.bind((address, port))
            one.setblocking(False)
        self._tcp.listen()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._udp, selectors.EVENT_READ)
        self._selector.register(self._tcp, selectors.EVENT_READ)

    def serve(self) -> None:
        while (left := self._ends - time.monotonic()) > 0:
            for key, _events in self._selector.select(timeout=min(left, 1)):
                if key.fileobj is self._udp:
                    self._answer()
                elif key.fileobj is self._tcp:
                    self._count()

    def _answer(self) -> None:
        with contextlib.suppress(OSError):
            packet, sender = self._udp.recvfrom(65536)
            if len(packet) < _HEAD.size or not hmac.compare_digest(packet[:16], self._token):
                return
            token, number, sent, _none = _HEAD.unpack_from(packet)
            head = _HEAD.pack(token, number, sent, time.time())
            self._udp.sendto(head + packet[_HEAD.size :], sender)

    def _count(self) -> None:
        with contextlib.suppress(OSError):
            stream, _sender = self._tcp.accept()
            with stream:
                stream.settimeout(5)
                if not hmac.compare_digest(_exactly(stream, 16), self._token):
                    return
                buffer, total, start = bytearray(_CHUNK), 0, time.monotonic()
                while size := stream.recv_into(buffer):
                    total += size
                stream.sendall(_COUNT.pack(total, time.monotonic() - start))


def start(address: str, port: int, token: str, lifetime: float) -> None:
    """Leave a responder behind that outlives this program. Raises OSError when the port cannot be had."""
    server = Responder(address, port, bytes.fromhex(token), lifetime)
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    try:
        PID.write_text(f"{os.getpid()} {_started(os.getpid())}\n")
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        server.serve()
    finally:
        with contextlib.suppress(OSError):
            PID.unlink()
        os._exit(0)


def stop() -> bool:
    """End the responder that start() has left; False when there is none."""
    try:
        pid, began = PID.read_text().split()
    except (OSError, ValueError):
        return False
    # The number may have gone to another process since.
    there = _started(int(pid)) == began
    if there:
        os.kill(int(pid), signal.SIGTERM)
    with contextlib.suppress(OSError):
        PID.unlink()
    return there


def _started(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return ""


def _exactly(stream: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := stream.recv(size - len(data))):
        data += more
    return data


class Probe:
    """Measures from this host to one peer."""

    def __init__(self, host: str, peer: str, address: str, port: int, token: str) -> None:
        self._host, self._peer = host, peer
        self._to = (address, port)
        self._token = bytes.fromhex(token)
        self._headers = _HEADERS[family_of(address)]

    def measure(self, packets: int, seconds: float, mtu: int) -> pure.Measured:
        """All of it; `mtu` 0 asks for the interface's own."""
        address, port = self._to
        with udp(address) as opened:
            try:
                opened.connect(self._to)
            except OSError as error:
                return pure.Measured(self._host, self._peer, f"there is no way to {address}: {error.strerror}")
            opened.settimeout(_WAIT)
            if not any(self._trip(opened, number, 256) for number in range(_TRIES)):
                why = f"no answer from {address} port {port}; open the port (UDP and TCP) or look at the network"
                return pure.Measured(self._host, self._peer, why)
            wanted = mtu or self._interface_mtu(opened)
            fits = pure.largest(lambda size: self._passes(opened, size), _LEAST_MTU, wanted) if wanted else 0
            trips = []
            for number in range(packets):
                if trip := self._trip(opened, number, 1024):
                    trips.append(trip)
                time.sleep(0.002)
        try:
            mbit = self._stream(seconds)
        except OSError as error:
            return pure.Measured(self._host, self._peer, f"no stream to {address} TCP port {port}: {error}")
        numbers = pure.summarize(trips)
        return pure.Measured(
            self._host, self._peer, "", fits, wanted, packets, len(trips), throughput_mbit=round(mbit), **numbers
        )

    def _interface_mtu(self, opened: socket.socket) -> int:
        if opened.family == socket.AF_INET6:
            return opened.getsockopt(socket.IPPROTO_IPV6, _IPV6_MTU)
        return opened.getsockopt(socket.IPPROTO_IP, _IP_MTU)

    def _passes(self, opened: socket.socket, mtu: int) -> bool:
        return any(self._trip(opened, 1 << 31 | number, mtu - self._headers) for number in range(_TRIES))

    def _trip(self, opened: socket.socket, number: int, size: int) -> tuple[float, float, float] | None:
        sent = time.time()
        packet = _HEAD.pack(self._token, number, sent, 0.0)
        try:
            opened.send(packet + bytes(size - len(packet)))
            while True:
                answer = opened.recv(65536)
                received = time.time()
                _token, answered, began, other = _HEAD.unpack_from(answer)
                if (answered, began) == (number, sent) and len(answer) == size:
                    return sent, received, other
        except OSError:
            # No answer in time, nobody listens, or the packet is larger than the interface takes.
            return None

    def _stream(self, seconds: float) -> float:
        data = bytes(_CHUNK)
        with socket.create_connection(self._to, timeout=5) as stream:
            stream.sendall(self._token)
            ends = time.monotonic() + seconds
            while time.monotonic() < ends:
                stream.sendall(data)
            stream.shutdown(socket.SHUT_WR)
            total, took = _COUNT.unpack(_exactly(stream, _COUNT.size))
        return float(total) * 8 / took / 1e6 if took else 0.0
