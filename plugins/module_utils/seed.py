# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM's first-boot data (cloud-init's NoCloud) and the ISO 9660 image that carries it.

The YAML is written line by line in a fixed order and plain block style, so that a guest without cloud-init can read it
with awk, and so that equal wishes give equal bytes.

The first 512 bytes of an ISO 9660 image are not used by the file system (ECMA-119, 6.2.1, "system area"). croft writes
there whose data this is and whether the VM's disk is complete: that is how a later run tells a half-made disk from a
stranger's.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ISO_TOOL = "xorrisofs"
MARK_BYTES = 512
MIB = 1024 * 1024

_MARK = re.compile(rb"\Acroft first-boot data\nvm: ([0-9a-f-]{36})\ndisk: (building|ready)\n")
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_PLAIN_KEY = re.compile(r"[a-z][A-Za-z0-9@.-]* [A-Za-z0-9+/=]+( [A-Za-z0-9@._-]+)*")
# Characters that JSON leaves as they are and YAML does not take, or takes for the end of a line (YAML 1.1, 5.1).
_NOT_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
# Words that YAML 1.1 reads as something else than text.
_YAML_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})


@dataclass(frozen=True)
class FirstBoot:
    """What a VM is told when it boots for the first time.

    `address` is an interface address with its prefix length ("10.0.0.5/24"), or None for DHCP. `more` has the MAC
    address and the interface address of each further network card. `user_data` is the cloud-config besides croft's own,
    as JSON; its keys go before croft's, and its SSH keys behind them.
    """

    name: str
    uuid: str
    mac: str
    ssh_authorized_keys: tuple[str, ...] = ()
    address: str | None = None
    gateway: str | None = None
    nameservers: tuple[str, ...] = ()
    more: tuple[tuple[str, str], ...] = ()
    user_data: str = ""

    def files(self) -> dict[str, str]:
        """The three NoCloud files, by name."""
        name = _scalar(self.name)
        more = json.loads(self.user_data) if self.user_data else {}
        keys = dict.fromkeys((*self.ssh_authorized_keys, *more.pop("ssh_authorized_keys", ())))
        user = ["#cloud-config", f"hostname: {name}"]
        if "disable_root" not in more:
            user.append("disable_root: false")
        if keys:
            user.append("ssh_authorized_keys:")
            user += [f"  - {_key(key)}" for key in keys]
        user += [f"{_flow(key)}: {_flow(value)}" for key, value in sorted(more.items())]
        return {
            "meta-data": f"instance-id: {self.uuid}\nlocal-hostname: {name}\n",
            "user-data": "\n".join(user) + "\n",
            "network-config": "\n".join(self._network()) + "\n",
        }

    def _network(self) -> list[str]:
        lines = self._first_card()
        for number, (mac, address) in enumerate(self.more, start=1):
            lines += [f"  nic{number}:", "    match:", f'      macaddress: "{mac}"']
            lines += ["    addresses:", f"      - {address}"]
        return lines

    def _first_card(self) -> list[str]:
        lines = ["version: 2", "ethernets:", "  nic0:", "    match:", f'      macaddress: "{self.mac}"']
        if self.address is None:
            return [*lines, "    dhcp4: true"]
        lines += ["    addresses:", f"      - {self.address}"]
        if self.gateway:
            lines += ["    routes:", "      - to: default", f"        via: {self.gateway}"]
        if self.nameservers:
            lines += ["    nameservers:", "      addresses:"]
            lines += [f"        - {server}" for server in self.nameservers]
        return lines

    @property
    def digest(self) -> str:
        """16 hex digits that change when any of the three files does."""
        text = "".join(f"{name}\0{content}\0" for name, content in sorted(self.files().items()))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _scalar(text: str) -> str:
    return text if _PLAIN.fullmatch(text) and text.lower() not in _YAML_WORDS else json.dumps(text)


def _key(text: str) -> str:
    return text if _PLAIN_KEY.fullmatch(text) else json.dumps(text)


def _flow(value: Any) -> str:
    """A value on one line, in the form that JSON and YAML share: what YAML does not take raw is escaped."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return _NOT_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def mark(uuid: str, *, ready: bool) -> bytes:
    """The first 512 bytes of the seed of the VM `uuid`; `ready` says that its root disk is complete."""
    text = f"croft first-boot data\nvm: {uuid}\ndisk: {'ready' if ready else 'building'}\n"
    return text.encode().ljust(MARK_BYTES, b"\0")


def read_mark(head: bytes, uuid: str) -> str:
    """What the first bytes of a seed volume say to the VM `uuid`: building, ready, foreign, or empty (only zeros)."""
    found = _MARK.match(head)
    if found is None:
        return "foreign" if head.strip(b"\0") else "empty"
    return found.group(2).decode() if found.group(1).decode() == uuid else "foreign"


def build_iso(first_boot: FirstBoot, tool: str) -> bytes:
    """The NoCloud ISO 9660 image (label cidata), with no mark, padded with zeros to a multiple of 1 MiB.

    The same data gives the same bytes: xorriso takes every time stamp from SOURCE_DATE_EPOCH.
    Raises RuntimeError with the tool's last line when it fails.
    """
    with tempfile.TemporaryDirectory(prefix="croft-seed-") as folder:
        source, image = Path(folder, "seed"), Path(folder, "seed.iso")
        source.mkdir()
        for name, content in first_boot.files().items():
            path = source / name
            path.write_text(content)
            path.chmod(0o600)
            os.utime(path, (0, 0))
        os.utime(source, (0, 0))
        command = [tool, "-quiet", "-volid", "cidata", "-joliet", "-rational-rock", "-output", str(image), str(source)]
        run = subprocess.run(
            command, env={**os.environ, "SOURCE_DATE_EPOCH": "0"}, capture_output=True, text=True, check=False
        )
        if run.returncode != 0:
            last = (run.stderr.strip().splitlines() or ["no message"])[-1]
            raise RuntimeError(f"{tool} failed ({run.returncode}): {last}")
        data = image.read_bytes()
    return data.ljust(-(-len(data) // MIB) * MIB, b"\0")
