# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the parts of a Ceph cluster are called, and how its keys, labels and addresses are written. Pure."""

from __future__ import annotations

import base64
import ipaddress
import struct
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

CONF = "/etc/ceph/ceph.conf"
ADMIN_KEYRING = "/etc/ceph/ceph.client.admin.keyring"
BOOTSTRAP_KEYRING = "/var/lib/ceph/bootstrap-osd/ceph.keyring"

# cephx: CryptoKey is type (1 = AES), creation time in seconds and nanoseconds, length, secret; ceph/src/auth/Crypto.cc.
_KEY = struct.Struct("<HIIH")
_KEY_TYPE_AES = 1
_KEY_BYTES = 16

# ceph/src/os/bluestore/BlueStore.cc, _write_bdev_label: a line, the OSD's UUID, a newline, the encoded label.
_LABEL_MAGIC = b"bluestore block device\n"
_UUID_CHARACTERS = 36
_LABEL_KEYS = ("ceph_fsid", "whoami", "mkfs_done")  # `osd_key` is there too; a secret, so nobody asks for it
LABEL_BYTES = 4096

MSGR2_PORT = 3300
MSGR1_PORT = 6789


def osds_in_hosts(tree: Mapping[str, Any]) -> dict[int, str]:
    """The host of each OSD, out of `osd tree`."""
    return {
        int(child): str(node["name"]) for node in tree["nodes"] if node["type"] == "host" for child in node["children"]
    }


def cephx_key(secret: bytes, seconds: int) -> str:
    """A cephx secret as keyrings and libvirt have it: base64 of type, time, length and 16 random bytes."""
    if len(secret) != _KEY_BYTES:
        raise ValueError(f"a cephx key has {_KEY_BYTES} bytes, not {len(secret)}")
    return base64.b64encode(_KEY.pack(_KEY_TYPE_AES, seconds, 0, _KEY_BYTES) + secret).decode()


def keyring(entities: Mapping[str, tuple[str, Mapping[str, str]]]) -> str:
    """The text of a keyring file; each entity with its key and its capabilities, which may be none."""
    lines = []
    for entity, (key, caps) in entities.items():
        lines += [f"[{entity}]", f"\tkey = {key}"]
        lines += [f'\tcaps {daemon} = "{cap}"' for daemon, cap in sorted(caps.items())]
    return "".join(f"{line}\n" for line in lines)


def bluestore_label(block: bytes) -> dict[str, str] | None:
    """What the first 4096 bytes of a disk say of the OSD on it: {osd_uuid, ceph_fsid, whoami, mkfs_done}.

    None when it is no BlueStore disk. A key that the label has not is not in the result: `mkfs_done` is written last.
    """
    if not block.startswith(_LABEL_MAGIC):
        return None
    start = len(_LABEL_MAGIC)
    found = {"osd_uuid": block[start : start + _UUID_CHARACTERS].decode("ascii", "replace")}
    for key in _LABEL_KEYS:
        name = struct.pack("<I", len(key)) + key.encode()
        at = block.find(name)
        if at < 0:
            continue
        at += len(name)
        (length,) = struct.unpack_from("<I", block, at)
        found[key] = block[at + 4 : at + 4 + length].decode("ascii", "replace")
    return found


def secret_uuid(fsid: str, user: str) -> str:
    """The UUID of libvirt's secret for a user of a cluster: the same on every host and in every run."""
    return str(uuid.uuid5(uuid.UUID(fsid), user))


def mon_address(address: str, msgr1: bool) -> str:
    """A mon's addresses as monmaptool, `mon add` and mon_host take them: msgr2, and the older protocol when asked."""
    host = f"[{address}]" if ":" in address else address
    parts = [f"v2:{host}:{MSGR2_PORT}/0"] + ([f"v1:{host}:{MSGR1_PORT}/0"] if msgr1 else [])
    return f"[{','.join(parts)}]"


def mon_host(addresses: Iterable[str], msgr1: bool) -> str:
    """The line `mon_host` of ceph.conf."""
    return ",".join(mon_address(address, msgr1) for address in addresses)


def network_of(address: str, interfaces: Sequence[str]) -> str:
    """The network of the interface that carries this address, like 10.98.0.0/24; empty when none does."""
    for text in interfaces:
        interface = ipaddress.ip_interface(text)
        if str(interface.ip) == address:
            return str(interface.network)
    return ""


def in_network(addresses: Iterable[str], network: str) -> str:
    """The first of the addresses (with prefix length) that lies in the network; empty when none does."""
    wanted = ipaddress.ip_network(network, strict=False)
    for text in addresses:
        ip = ipaddress.ip_interface(text).ip
        if ip.version == wanted.version and ip in wanted:
            return str(ip)
    return ""


def ranges(numbers: Iterable[int]) -> str:
    """Numbers of OSDs for people: `osd.0, osd.3`."""
    return ", ".join(f"osd.{number}" for number in sorted(numbers))


def osd_entry(device: str, label: Mapping[str, Any]) -> dict[str, Any]:
    """One OSD of a host: {device, id, uuid}."""
    return {"device": device, "id": int(label["whoami"]), "uuid": str(label["osd_uuid"])}
