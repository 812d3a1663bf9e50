# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import struct
import uuid

import pytest
from ansible_collections.croft.infra.plugins.module_utils import ceph

FSID = "5d3f0b2e-5f0e-4c52-9b2f-6f2f3a1d7c11"
OSD = "b263c2ee-50d5-4e2e-9a50-2131caddce91"


def label(**entries: str) -> bytes:
    """The start of a disk as BlueStore writes it: a line, the UUID, and keys and values each after its length."""
    encoded = b"".join(
        struct.pack("<I", len(part)) + part for pair in entries.items() for part in (pair[0].encode(), pair[1].encode())
    )
    return (b"bluestore block device\n" + OSD.encode() + b"\n" + b"\x02\x01\x98\x01\x00\x00" + encoded).ljust(
        4096, b"\0"
    )


@pytest.mark.parametrize(
    ("block", "says"),
    [
        pytest.param(bytes(4096), None, id="an empty disk"),
        pytest.param(b"\xeb\x3c\x90" + bytes(4093), None, id="another file system"),
        pytest.param(b"", None, id="a disk of no bytes"),
        pytest.param(
            label(ceph_fsid=FSID, kv_backend="rocksdb", mkfs_done="yes", osd_key="AQ==", whoami="12"),
            {"osd_uuid": OSD, "ceph_fsid": FSID, "whoami": "12", "mkfs_done": "yes"},
            id="an OSD; its key is not told",
        ),
        pytest.param(
            label(ceph_fsid=FSID, whoami="3"), {"osd_uuid": OSD, "ceph_fsid": FSID, "whoami": "3"}, id="half made"
        ),
        pytest.param(label(), {"osd_uuid": OSD}, id="only begun"),
    ],
)
def test_a_label(block: bytes, says: dict[str, str] | None) -> None:
    assert ceph.bluestore_label(block) == says


def test_a_key_is_what_ceph_reads() -> None:
    key = base64.b64decode(ceph.cephx_key(bytes(range(16)), 1700000000))
    assert struct.unpack("<HIIH", key[:12]) == (1, 1700000000, 0, 16)
    assert key[12:] == bytes(range(16))
    with pytest.raises(ValueError, match="16 bytes"):
        ceph.cephx_key(b"short", 0)


def test_a_keyring() -> None:
    text = ceph.keyring({"mon.": ("AQA=", {"mon": "allow *"}), "client.a": ("AQB=", {})})
    assert text == '[mon.]\n\tkey = AQA=\n\tcaps mon = "allow *"\n[client.a]\n\tkey = AQB=\n'


def test_the_secret_is_the_same_for_a_user_and_another_for_another() -> None:
    assert ceph.secret_uuid(FSID, "client.libvirt") == ceph.secret_uuid(FSID, "client.libvirt")
    assert ceph.secret_uuid(FSID, "client.libvirt") != ceph.secret_uuid(FSID, "client.other")
    assert uuid.UUID(ceph.secret_uuid(FSID, "client.libvirt")).version == 5


@pytest.mark.parametrize(
    ("address", "msgr1", "text"),
    [
        ("10.0.0.1", False, "[v2:10.0.0.1:3300/0]"),
        ("10.0.0.1", True, "[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0]"),
        ("fd00::1", False, "[v2:[fd00::1]:3300/0]"),
    ],
)
def test_addresses_of_a_mon(address: str, msgr1: bool, text: str) -> None:
    assert ceph.mon_address(address, msgr1) == text


def test_all_mons() -> None:
    assert ceph.mon_host(["10.0.0.1", "10.0.0.2"], False) == "[v2:10.0.0.1:3300/0],[v2:10.0.0.2:3300/0]"


def test_addresses_in_networks() -> None:
    assert ceph.in_network(["10.0.0.1/24", "10.1.0.1/24"], "10.1.0.0/24") == "10.1.0.1"
    assert ceph.in_network(["10.0.0.1/24", "fd00::1/64"], "fd00::/64") == "fd00::1"
    assert ceph.in_network(["10.0.0.1/24"], "10.2.0.0/24") == ""
