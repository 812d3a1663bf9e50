# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is a storage pool defined in libvirt as it is wanted? Pure."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils import libvirt_definition


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


def differences(wanted: str, there: str) -> list[str]:
    """What differs between two definitions, one text each."""
    return libvirt_definition.differences(source_of(wanted), source_of(there))
