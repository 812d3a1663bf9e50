# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from ansible_collections.croft.infra.plugins.module_utils.boot_probe import (
    _CODE,
    BINARIES,
    TOKEN,
    Boot,
    boot_disk,
    command,
    try_boot,
)

QEMU = shutil.which(BINARIES[0])


def script(folder: Path, text: str) -> str:
    """A program in QEMU's place."""
    path = folder / "qemu"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_the_disk_has_a_boot_sector() -> None:
    disk = boot_disk()
    assert len(disk) == 1024 * 1024
    assert disk[510:512] == b"\x55\xaa"
    assert TOKEN in disk[:510]


def test_the_code_points_at_the_token() -> None:
    # mov esi,token and lgdt's operand are absolute addresses.
    disk = boot_disk()
    assert 0x7C00 + disk.index(TOKEN) == int.from_bytes(disk[0x8C:0x90], "little") == 0x7C00 + len(_CODE)


@pytest.mark.parametrize(("accelerator", "cpu"), [("kvm", "host"), ("tcg", "max")])
def test_command(accelerator: str, cpu: str) -> None:
    line = " ".join(command("qemu", accelerator, "/d"))
    assert line.startswith(f"qemu -accel {accelerator} -cpu {cpu} ")
    assert "-nodefaults" in line


def test_a_guest_that_answers(tmp_path: Path) -> None:
    boot = try_boot(script(tmp_path, f"echo '{TOKEN.decode()}'; exec sleep 60"), "kvm", 5)
    assert boot.works
    assert boot.reason.startswith("a test boot with kvm answered after")


FAILURES = [
    (
        "echo 'Could not access KVM kernel module' >&2; exit 1",
        "ended with status 1: Could not access KVM kernel module",
    ),
    (
        "echo a >&2; echo 'error: failed to set MSR' >&2; echo end >&2; exit 6",
        "ended with status 6: error: failed to set MSR",
    ),
    ("exit 3", "ended with status 3: QEMU gave no reason"),
    (
        "echo 'KVM internal error. Suberror: 1' >&2; exec sleep 60",
        "said nothing in 2 s: KVM internal error. Suberror: 1",
    ),
    ("exec sleep 60", "said nothing in 2 s: QEMU gave no reason"),
]


@pytest.mark.parametrize(("text", "expected"), FAILURES)
def test_a_guest_that_does_not(tmp_path: Path, text: str, expected: str) -> None:
    assert try_boot(script(tmp_path, text), "kvm", 2) == Boot(False, f"a test boot with kvm {expected}")


@pytest.mark.skipif(QEMU is None, reason="Debian package qemu-system-x86")
def test_a_real_guest_boots_with_tcg() -> None:
    assert QEMU is not None
    boot = try_boot(QEMU, "tcg", 30)
    assert boot.works, boot.reason
