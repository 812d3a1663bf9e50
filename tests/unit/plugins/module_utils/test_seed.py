# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from ansible_collections.croft.infra.plugins.module_utils import seed
from ansible_collections.croft.infra.plugins.module_utils.seed import FirstBoot

UUID = "e39b45ed-20cd-5005-9a3f-de882b74d056"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAbc ops@example"
BOOT = FirstBoot("web1", UUID, "52:65:9a:7f:b2:af", (KEY,), "10.99.0.101/24", "10.99.0.1", ("1.2.3.4",))


def test_the_files_are_in_plain_block_style_and_fixed_order() -> None:
    assert BOOT.files() == {
        "meta-data": f"instance-id: {UUID}\nlocal-hostname: web1\n",
        "user-data": (f"#cloud-config\nhostname: web1\ndisable_root: false\nssh_authorized_keys:\n  - {KEY}\n"),
        "network-config": (
            "version: 2\nethernets:\n  nic0:\n    match:\n"
            '      macaddress: "52:65:9a:7f:b2:af"\n'
            "    addresses:\n      - 10.99.0.101/24\n"
            "    routes:\n      - to: default\n        via: 10.99.0.1\n"
            "    nameservers:\n      addresses:\n        - 1.2.3.4\n"
        ),
    }


def test_without_an_address_there_is_dhcp() -> None:
    files = replace(BOOT, address=None, ssh_authorized_keys=()).files()
    assert files["network-config"].endswith("    dhcp4: true\n")
    assert "addresses" not in files["network-config"]
    assert "ssh_authorized_keys" not in files["user-data"]


@pytest.mark.parametrize("name", ["web1", "no", "null", "007", "1e3", "0x1", "a-b"])
@pytest.mark.parametrize("key", [KEY, "ssh-rsa AAAA a: b # c", 'ssh-rsa AAAA "q"'])
def test_yaml_reads_back_what_was_meant(name: str, key: str) -> None:
    files = replace(BOOT, name=name, ssh_authorized_keys=(key,), address="fd00::5/64", gateway="fd00::1").files()
    assert yaml.safe_load(files["meta-data"]) == {"instance-id": UUID, "local-hostname": name}
    assert yaml.safe_load(files["user-data"])["hostname"] == name
    assert yaml.safe_load(files["user-data"])["ssh_authorized_keys"] == [key]
    nic = yaml.safe_load(files["network-config"])["ethernets"]["nic0"]
    assert nic["addresses"] == ["fd00::5/64"]
    assert nic["routes"] == [{"to": "default", "via": "fd00::1"}]


MORE = {
    "users": ["default", {"name": "ops", "groups": "sudo"}],
    "runcmd": [["touch", "/x"], 'echo "a: b" # c \\ \u2028 \x85 \x00 \U0001f600'],
    "ssh_authorized_keys": [KEY, "ssh-ed25519 BBBB other"],
}


def test_user_data_comes_behind_what_croft_says() -> None:
    text = replace(BOOT, user_data=json.dumps(MORE)).files()["user-data"]
    read = yaml.safe_load(text)
    assert read == {
        "hostname": "web1",
        "disable_root": False,
        **MORE,
        "ssh_authorized_keys": [KEY, "ssh-ed25519 BBBB other"],
    }
    # The guest without cloud-init reads the keys line by line.
    assert text.startswith(BOOT.files()["user-data"])
    assert all(line.isprintable() for line in text.splitlines())


def test_user_data_may_close_roots_account() -> None:
    text = replace(BOOT, user_data='{"disable_root": true}').files()["user-data"]
    assert yaml.safe_load(text)["disable_root"] is True
    assert text.count("disable_root") == 1


def test_the_digest_follows_the_data() -> None:
    assert BOOT.digest == replace(BOOT).digest
    assert len({BOOT.digest, replace(BOOT, gateway=None).digest, replace(BOOT, ssh_authorized_keys=()).digest}) == 3


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (seed.mark(UUID, ready=True), "ready"),
        (seed.mark(UUID, ready=False), "building"),
        (seed.mark("6c8a32c4-4f2e-5c32-b63d-f9c989770530", ready=True), "foreign"),
        (b"\0" * 512, "empty"),
        (b"", "empty"),
        (b"#!/bin/sh\n", "foreign"),
    ],
)
def test_read_mark(head: bytes, expected: str) -> None:
    assert seed.read_mark(head, UUID) == expected


def test_a_mark_has_512_bytes() -> None:
    assert len(seed.mark(UUID, ready=True)) == seed.MARK_BYTES


@pytest.mark.skipif(shutil.which(seed.ISO_TOOL) is None, reason="Debian package xorriso")
def test_the_iso_is_one_that_cloud_init_finds(tmp_path: Path) -> None:
    image = seed.build_iso(BOOT, seed.ISO_TOOL)
    assert image == seed.build_iso(BOOT, seed.ISO_TOOL)
    assert len(image) % seed.MIB == 0
    assert image[:512] == b"\0" * 512
    # ECMA-119: the primary volume descriptor is sector 16, its volume identifier is at byte 40.
    assert image[0x8001:0x8006] == b"CD001"
    assert image[0x8028:0x8048].rstrip() == b"cidata"
    path = tmp_path / "seed.iso"
    path.write_bytes(seed.mark(UUID, ready=True) + image[512:])
    command = ["xorriso", "-indev", str(path), "-osirrox", "on", "-extract", "/", str(tmp_path / "out")]
    subprocess.run(command, capture_output=True, check=True)
    assert {file.name: file.read_text() for file in (tmp_path / "out").iterdir()} == BOOT.files()


def test_a_tool_that_fails_is_quoted(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\necho first >&2\necho 'no space left' >&2\nexit 32\n")
    tool.chmod(0o755)
    with pytest.raises(RuntimeError, match=r"failed \(32\): no space left"):
        seed.build_iso(BOOT, str(tool))
