# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is a storage pool defined in libvirt as it is wanted? Pure."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any


def source_of(xml: str) -> dict[str, Any]:
    """What a pool's XML says of where its volumes are: {type, name, hosts, user, secret}; hosts in no order."""
    root = ET.fromstring(xml)
    auth, secret = root.find("source/auth"), root.find("source/auth/secret")
    return {
        "type": root.get("type", ""),
        "name": root.findtext("source/name", ""),
        "hosts": sorted(
            f"{host.get('name', '')}:{host.get('port', '')}".rstrip(":") for host in root.findall("source/host")
        ),
        "user": "" if auth is None else auth.get("username", ""),
        "secret": "" if secret is None else secret.get("uuid", ""),
    }


def with_uuid(xml: str, uuid: str) -> str:
    """The definition under the UUID of the pool that is there: libvirt takes it for a second pool without it."""
    root = ET.fromstring(xml)
    found = root.find("uuid")
    if found is None:
        found = ET.SubElement(root, "uuid")
    found.text = uuid
    return ET.tostring(root, encoding="unicode")


def differences(wanted: str, there: str) -> list[str]:
    """What differs between two definitions, one text each, like `hosts: 10.0.0.11:3300 (was 10.0.0.1:3300)`."""
    new, old = source_of(wanted), source_of(there)
    return [f"{key}: {_text(new[key])} (was {_text(old[key])})" for key in new if new[key] != old[key]]


def _text(value: Any) -> str:
    return (", ".join(value) if isinstance(value, list) else str(value)) or "none"
