#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: libvirt_secret
short_description: Keep a Ceph user's key in libvirt
description:
  - Defines a persistent secret of usage type C(ceph), with which QEMU opens RBD disks, and sets its value where it
    differs. The value is neither shown nor put on a command line.
options:
  uuid:
    description: The secret's UUID.
    type: str
    required: true
  name:
    description: Its usage name, unique on the host, like C(client.libvirt secret).
    type: str
    required: true
  value:
    description: The key, in base64 as Ceph writes it.
    type: str
    required: true
extends_documentation_fragment: [croft.infra.libvirt]
attributes:
  check_mode:
    description: Tells whether it would be changed.
    support: full
requirements: [python3-libvirt]
author: the croft contributors
"""

EXAMPLES = r"""
- name: Let QEMU open disks as client.libvirt
  croft.infra.libvirt_secret:
    uuid: "{{ identity.secret_uuid }}"
    name: client.libvirt secret
    value: "{{ key }}"
"""

RETURN = r"""
actions:
  description: What was done - C(define), C(set value), or nothing.
  returned: success
  type: list
  elements: str
"""

import base64
import binascii
from typing import Any
from xml.sax.saxutils import escape

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    DEFAULT_URI,
    LibvirtFailedError,
    LibvirtMissingError,
    connection,
    found,
)


def definition(uuid: str, name: str) -> str:
    """The secret's XML: kept over restarts; readable by root alone, who reads libvirt's files anyway."""
    usage = f"<usage type='ceph'><name>{escape(name)}</name></usage>"
    return f"<secret ephemeral='no' private='no'><uuid>{escape(uuid)}</uuid>{usage}</secret>"


def value_of(secret: Any) -> bytes | None:
    """Its value, or None when it has none yet."""
    return found(lambda: bytes(secret.value()), "VIR_ERR_NO_SECRET")


def apply(conn: Any, given: dict[str, Any], value: bytes, check: bool) -> list[str]:
    """Define it and set its value where they differ; return what was done."""
    actions = []
    secret = found(lambda: conn.secretLookupByUUIDString(given["uuid"]), "VIR_ERR_NO_SECRET")
    if secret is None or secret.usageID() != given["name"]:
        actions.append("define")
        if secret is not None and not check:
            # libvirt refuses to change the usage of a secret that is there.
            secret.undefine()
        secret = None if check else conn.secretDefineXML(definition(given["uuid"], given["name"]), 0)
    if secret is None or value_of(secret) != value:
        actions.append("set value")
        if secret is not None:
            secret.setValue(value, 0)
    return actions


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "uuid": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "value": {"type": "str", "required": True, "no_log": True},
            "uri": {"type": "str", "default": DEFAULT_URI},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        value = base64.b64decode(given["value"], validate=True)
    except binascii.Error:
        module.fail_json(
            msg=f"secret {given['name']}: the value is not base64; give the key as `ceph auth get-key` shows it"
        )
    try:
        with connection(given["uri"]) as conn:
            actions = apply(conn, given, value, module.check_mode)
    except (LibvirtMissingError, LibvirtFailedError) as error:
        module.fail_json(msg=f"secret {given['name']}: {error}")
    module.exit_json(changed=bool(actions), actions=actions)


if __name__ == "__main__":
    main()
