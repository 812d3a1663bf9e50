# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils.boot_probe import Boot
from ansible_collections.croft.infra.plugins.modules import accelerator

RunModule = Callable[..., dict[str, Any]]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A host with or without QEMU and /dev/kvm, and what guests do on it."""

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
