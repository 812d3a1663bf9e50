# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils import libvirt_connection
from ansible_collections.croft.infra.plugins.modules import libvirt_secret

RunModule = Callable[..., dict[str, Any]]
KEY = base64.b64encode(b"sixteen bytes it is").decode()
GIVEN = {"uuid": "74025c6c-d645-5e4e-afff-6a34f71f8bab", "name": "client.libvirt secret", "value": KEY}


class NoSecretError(Exception):
    def get_error_code(self) -> int:
        return 66


class Library:
    libvirtError = NoSecretError  # noqa: N815
    VIR_ERR_NO_SECRET = 66


class Secret:
    """One secret as libvirt has it: a usage, and a value that may be missing. libvirt's test driver keeps none."""

    def __init__(self, kept: dict[str, Any], name: str) -> None:
        self._kept, self.name, self.data = kept, name, None

    def usageID(self) -> str:  # noqa: N802
        return self.name

    def value(self) -> bytes:
        if self.data is None:
            raise NoSecretError
        return self.data

    def setValue(self, data: bytes, _flags: int) -> None:  # noqa: N802
        self.data = data

    def undefine(self) -> None:
        self._kept.clear()


class Connection:
    def __init__(self) -> None:
        self.kept: dict[str, Secret] = {}

    def secretLookupByUUIDString(self, uuid: str) -> Secret:  # noqa: N802
        if uuid not in self.kept:
            raise NoSecretError
        return self.kept[uuid]

    def secretDefineXML(self, xml: str, _flags: int) -> Secret:  # noqa: N802
        name = xml.split("<name>")[1].split("</name>", maxsplit=1)[0]
        self.kept[GIVEN["uuid"]] = Secret(self.kept, name)
        return self.kept[GIVEN["uuid"]]


@pytest.fixture
def libvirtd(monkeypatch: pytest.MonkeyPatch) -> Connection:
    made = Connection()

    @contextmanager
    def connect(_uri: str) -> Iterator[Connection]:
        yield made

    monkeypatch.setattr(libvirt_secret, "connection", connect)
    monkeypatch.setattr(libvirt_connection, "bindings", lambda: Library)
    return made


def test_a_secret_is_kept_and_then_left_alone(libvirtd: Connection, run_module: RunModule) -> None:
    foretold = run_module(libvirt_secret, GIVEN, check=True)
    assert not libvirtd.kept
    made = run_module(libvirt_secret, GIVEN)
    assert foretold["actions"] == made["actions"] == ["define", "set value"]
    assert libvirtd.kept[GIVEN["uuid"]].data == base64.b64decode(KEY)
    assert not run_module(libvirt_secret, GIVEN)["changed"]
    assert KEY not in str(made)


def test_another_key_and_another_name(libvirtd: Connection, run_module: RunModule) -> None:
    run_module(libvirt_secret, GIVEN)
    other = {**GIVEN, "value": base64.b64encode(b"another").decode()}
    assert run_module(libvirt_secret, other)["actions"] == ["set value"]
    assert run_module(libvirt_secret, {**other, "name": "client.x secret"})["actions"] == ["define", "set value"]


def test_a_value_that_is_no_key(libvirtd: Connection, run_module: RunModule) -> None:
    outcome = run_module(libvirt_secret, {**GIVEN, "value": "no key!"})
    assert outcome["failed"]
    assert "not base64" in outcome["msg"]
