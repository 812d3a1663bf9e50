# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A test boot: does QEMU with this accelerator really run a guest?

/dev/kvm can open, report its API version and create a VM, and still not run a guest: nested or emulated KVM may start
the firmware and real mode code, and die ("KVM internal error") in 64 bit code with paging. So the boot sector here
does what every kernel does first - switch on paging and long mode - and one BMI2 instruction after a write to a page
table, which is where such hosts were seen to fail, before it says its word on the serial port. The guest gets the
accelerator's full CPU (`host` or `max`), since that is the upper bound of what VMs are given.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils.private_file import write_privately

BINARIES = ("qemu-system-x86_64", "/usr/libexec/qemu-kvm")
TOKEN = b"croft: the test boot is up"
CPUS = {"kvm": "host", "tcg": "max"}

# Loaded by the firmware at 7C00h, in real mode. Page tables: PML4 at 1000h, PDPT at 2000h, one page directory at
# 3000h that maps the first 2 MiB to themselves.
_CODE = bytes.fromhex(
    "fa"  # 7C00  cli
    "fc"  # 7C01  cld
    "6631c0"  # 7C02  xor eax,eax
    "8ed8"  # 7C05  mov ds,ax
    "8ec0"  # 7C07  mov es,ax
    "bf0010"  # 7C09  mov di,1000h
    "b9000c"  # 7C0C  mov cx,0C00h
    "66f3ab"  # 7C0F  rep stosd             ; three empty tables
    "c70600100320"  # 7C12  mov word [1000h],2003h  ; present, writable
    "c70600200330"  # 7C18  mov word [2000h],3003h
    "c70600308300"  # 7C1E  mov word [3000h],0083h  ; present, writable, 2 MiB page
    "66b800100000"  # 7C24  mov eax,1000h
    "0f22d8"  # 7C2A  mov cr3,eax
    "0f20e0"  # 7C2D  mov eax,cr4
    "0c20"  # 7C30  or al,20h             ; PAE
    "0f22e0"  # 7C32  mov cr4,eax
    "66b9800000c0"  # 7C35  mov ecx,0C0000080h    ; EFER
    "0f32"  # 7C3B  rdmsr
    "80cc01"  # 7C3D  or ah,1               ; long mode enable
    "0f30"  # 7C40  wrmsr
    "0f0116b87c"  # 7C42  lgdt [7CB8h]
    "0f20c0"  # 7C47  mov eax,cr0
    "660d01000080"  # 7C4A  or eax,80000001h      ; paging, protection
    "0f22c0"  # 7C50  mov cr0,eax
    "ea587c0800"  # 7C53  jmp 8:7C58h           ; now in 64 bit mode
    "31c0"  # 7C58  xor eax,eax
    "0fa2"  # 7C5A  cpuid
    "83f807"  # 7C5C  cmp eax,7             ; is there a leaf 7?
    "722a"  # 7C5F  jb 7C8Bh
    "b807000000"  # 7C61  mov eax,7
    "31c9"  # 7C66  xor ecx,ecx
    "0fa2"  # 7C68  cpuid
    "f6c701"  # 7C6A  test bh,1             ; BMI2?
    "741c"  # 7C6D  jz 7C8Bh
    "b801000000"  # 7C6F  mov eax,1
    "b903000000"  # 7C74  mov ecx,3
    "4889042508300000"  # 7C79  mov [3008h],rax       ; touch a page table
    "c4e271f7c0"  # 7C81  shlx eax,eax,ecx
    "83f808"  # 7C86  cmp eax,8
    "751a"  # 7C89  jne 7CA5h
    "bebe7c0000"  # 7C8B  mov esi,7CBEh         ; the token
    "66bafd03"  # 7C90  mov dx,3FDh           ; COM1, line status
    "ec"  # 7C94  in al,dx
    "a820"  # 7C95  test al,20h           ; ready to send?
    "74fb"  # 7C97  jz 7C94h
    "66baf803"  # 7C99  mov dx,3F8h           ; COM1, data
    "ac"  # 7C9D  lodsb
    "84c0"  # 7C9E  test al,al
    "7403"  # 7CA0  jz 7CA5h
    "ee"  # 7CA2  out dx,al
    "ebeb"  # 7CA3  jmp 7C90h
    "f4"  # 7CA5  hlt
    "ebfd"  # 7CA6  jmp 7CA5h
    "0000000000000000"  # 7CA8  the GDT: null,
    "00000000009a2000"  # 7CB0  and 64 bit code
    "0f00"  # 7CB8  its limit
    "a87c0000"  # 7CBA  and its address
)  # 7CBE  the token


@dataclass(frozen=True)
class Boot:
    """How a test boot went; `reason` says it in words, with QEMU's own last line when it failed."""

    works: bool
    reason: str


def boot_disk() -> bytes:
    """A raw disk image of 1 MiB (firmware takes no smaller one) with the boot sector in front."""
    sector = (_CODE + TOKEN + b"\r\n\0").ljust(510, b"\0") + b"\x55\xaa"
    return sector.ljust(1024 * 1024, b"\0")


def command(binary: str, accelerator: str, disk: str) -> list[str]:
    """QEMU's command line for a test boot with the serial port on standard output."""
    return [
        *(binary, "-accel", accelerator, "-cpu", CPUS[accelerator], "-machine", "q35", "-m", "16"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"),
        *("-drive", f"file={disk},format=raw,if=ide,snapshot=on"),
    ]


def try_boot(
    binary: str, accelerator: str, timeout: int, sleep: Callable[[float], None] = time.sleep, looks_per_second: int = 5
) -> Boot:
    """Boot once, and wait up to `timeout` seconds for the token; counted by looks, since the wall clock may jump."""
    with tempfile.TemporaryDirectory(prefix="croft-boot-") as folder:
        disk, said, complaints = (Path(folder, name) for name in ("disk", "console", "errors"))
        disk.write_bytes(boot_disk())
        with said.open("wb") as console, complaints.open("wb") as errors:
            qemu = subprocess.Popen(
                command(binary, accelerator, str(disk)), stdin=subprocess.DEVNULL, stdout=console, stderr=errors
            )
        try:
            for look in range(timeout * looks_per_second):
                if TOKEN in said.read_bytes():
                    return Boot(True, f"a test boot with {accelerator} answered after {look / looks_per_second:g} s")
                if qemu.poll() is not None:
                    break
                if b"KVM internal error" in complaints.read_bytes():
                    break
                sleep(1 / looks_per_second)
            ended = f"ended with status {qemu.poll()}" if qemu.poll() is not None else f"said nothing in {timeout} s"
        finally:
            qemu.kill()
            qemu.wait()
        return Boot(False, f"a test boot with {accelerator} {ended}: {_complaint(complaints.read_bytes())}")


def surroundings(binary: str, device: str = "/dev/kvm") -> dict[str, Any]:
    """What a test boot's result holds for: this start of the host, this QEMU, this /dev/kvm.

    A module of the kernel that is loaded anew, with nested virtualization switched on say, makes the device anew.
    """
    seen: dict[str, Any] = {"binary": binary, "boot": Path("/proc/sys/kernel/random/boot_id").read_text()}
    for path in (binary, device):
        try:
            about = os.stat(path)
        except OSError:
            seen[path] = None
        else:
            seen[path] = [about.st_dev, about.st_ino, about.st_size, about.st_ctime_ns]
    return seen


def recall(store: Path, around: dict[str, Any]) -> dict[str, Boot]:
    """The test boots that went well or failed in the same surroundings, by accelerator."""
    try:
        noted = json.loads(store.read_text())
        if noted["around"] != around:
            return {}
        return {kind: Boot(bool(works), str(reason)) for kind, (works, reason) in noted["boots"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Nothing noted, or nothing that can be read: then it is tried again.
        return {}


def note(store: Path, around: dict[str, Any], boots: dict[str, Boot]) -> None:
    """Keep what was seen for the next run."""
    told = {"around": around, "boots": {kind: [boot.works, boot.reason] for kind, boot in boots.items()}}
    # Others have their own files beside it, which are not for their owner alone.
    store.parent.mkdir(mode=0o755, exist_ok=True)
    write_privately(store, json.dumps(told))


def _complaint(errors: bytes) -> str:
    """The line that tells most of QEMU's standard error: the first error, else the last line."""
    lines = [line.strip() for line in errors.decode(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line.lower() or "failed" in line.lower()]
    return (telling or lines[-1:] or ["QEMU gave no reason"])[0]
