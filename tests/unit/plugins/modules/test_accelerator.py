# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils.boot_probe import Boot, recall, surroundings
from ansible_collections.croft.infra.plugins.modules import accelerator

RunModule = Callable[..., dict[str, Any]]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """A host with or without QEMU and /dev/kvm, and what guests do on it."""
    monkeypatch.setattr(accelerator, "STORE", tmp_path / "croft/accelerator.json")

    def make(*works: str, device: bool = True, qemu: bool = True) -> None:
        monkeypatch.setattr(accelerator.os.path, "exists", lambda _path: device)
        monkeypatch.setattr(accelerator.shutil, "which", lambda name: f"/usr/bin/{name}" if qemu else None)
        monkeypatch.setattr(
            accelerator, "try_boot", lambda _binary, kind, _timeout: Boot(kind in works, f"{kind} seen")
        )

    return make


CASES = [
    ("auto", ("kvm", "tcg"), "kvm", "kvm seen"),
    ("auto", ("tcg",), "tcg", "kvm seen; tcg seen"),
    ("tcg", ("kvm", "tcg"), "tcg", "tcg seen"),
    ("kvm", ("kvm", "tcg"), "kvm", "kvm seen"),
]


@pytest.mark.parametrize("case", CASES)
def test_a_boot_decides(host: Any, run_module: RunModule, case: tuple[str, tuple[str, ...], str, str]) -> None:
    wanted, works, expected, reason = case
    host(*works)
    for check in (True, False):
        found = run_module(accelerator, {"accelerator": wanted}, check=check)
        assert (found["changed"], found["accelerator"], found["reason"]) == (False, expected, reason)


def test_what_was_seen_holds_until_something_is_different(
    host: Any, run_module: RunModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    around = {"boot": "1"}
    monkeypatch.setattr(accelerator, "surroundings", lambda _binary: dict(around))
    host("tcg")
    # Checking notes nothing.
    assert run_module(accelerator, {}, check=True)["reason"] == "kvm seen; tcg seen"
    assert run_module(accelerator, {})["reason"] == "kvm seen; tcg seen"
    host("kvm", "tcg")
    again = run_module(accelerator, {})
    assert again["accelerator"] == "tcg"
    assert again["reason"] == "kvm seen (seen by an earlier run); tcg seen (seen by an earlier run)"
    # Another time to wait, and who insists, are worth a try.
    assert run_module(accelerator, {"timeout": 20})["accelerator"] == "kvm"
    assert run_module(accelerator, {})["accelerator"] == "kvm"
    host()
    assert run_module(accelerator, {"accelerator": "kvm"})["reason"] == "kvm seen (seen by an earlier run)"
    around["boot"] = "2"
    assert "no guest boots" in run_module(accelerator, {})["msg"]
    host("kvm")
    assert run_module(accelerator, {"accelerator": "kvm"})["reason"] == "kvm seen"


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"around": {}, "boots": [1]}', '{"around": {}, "boots": {"kvm": 1}}']
)
def test_a_note_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    store = tmp_path / "note.json"
    store.write_text(text)
    assert recall(store, {}) == {}


def test_the_surroundings_tell_another_device(tmp_path: Path) -> None:
    binary, device = tmp_path / "qemu", tmp_path / "kvm"
    binary.write_text("")
    before = surroundings(str(binary), str(device))
    assert before == surroundings(str(binary), str(device))
    device.write_text("")
    assert surroundings(str(binary), str(device)) != before


def test_without_the_device_tcg_is_taken(host: Any, run_module: RunModule) -> None:
    host("kvm", "tcg", device=False)
    found = run_module(accelerator, {})
    assert found["accelerator"] == "tcg"
    assert found["reason"].startswith("there is no /dev/kvm")


@pytest.mark.parametrize(
    ("wanted", "reason"), [("kvm", "kvm seen"), ("tcg", "tcg seen"), ("auto", "kvm seen; tcg seen")]
)
def test_a_host_where_no_guest_boots(host: Any, run_module: RunModule, wanted: str, reason: str) -> None:
    host()
    assert run_module(accelerator, {"accelerator": wanted})["msg"] == f"no guest boots on this host: {reason}"


def test_without_qemu(host: Any, run_module: RunModule) -> None:
    host(qemu=False)
    assert "QEMU is not installed" in run_module(accelerator, {})["msg"]
    found = run_module(accelerator, {}, check=True)
    assert (found["accelerator"], len(found["warnings"])) == ("kvm", 1)


def test_a_timeout_below_one(host: Any, run_module: RunModule) -> None:
    host("tcg")
    assert run_module(accelerator, {"timeout": 0})["msg"] == "timeout is 0; give a whole number of at least 1"
