# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Definitions that libvirt keeps, of pools and networks: under which UUID, and how two of them differ. Pure."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Any


def with_uuid(xml: str, uuid: str) -> str:
    """The definition under the UUID of what is there: libvirt takes it for a second one without it."""
    root = ET.fromstring(xml)
    found = root.find("uuid")
    if found is None:
        found = ET.SubElement(root, "uuid")
    found.text = uuid
    return ET.tostring(root, encoding="unicode")


def differences(new: Mapping[str, Any], old: Mapping[str, Any]) -> list[str]:
    """What differs, in the order of the new, one text each, like `hosts: 10.0.0.11:3300 (was 10.0.0.1:3300)`."""
    return [f"{key}: {_text(new[key])} (was {_text(old[key])})" for key in new if new[key] != old[key]]


def _text(value: Any) -> str:
    return (", ".join(value) if isinstance(value, list) else str(value)) or "none"
