#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: what differs is decided in module_utils/pool_xml.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: libvirt_pool
short_description: Have a storage pool in libvirt, defined as wanted, active and started with the host
description:
  - Defines the pool, and defines it anew when it is there with another source (type, name, hosts, user, secret), which
    M(community.libvirt.virt_pool) does not.
  - A pool that was active is stopped and started, so that the new definition holds. That touches no volume, and no VM
    that runs from one.
options:
  name:
    description: The pool's name.
    type: str
    required: true
  xml:
    description: Its definition, with the same name and without a UUID.
    type: str
    required: true
extends_documentation_fragment: [croft.infra.libvirt]
attributes:
  check_mode: {support: full, description: Tells what would be done.}
  diff_mode: {support: full, description: "Shows what is done, one line each."}
requirements: [python3-libvirt]
author: the croft contributors
"""

EXAMPLES = r"""
- name: Have the pool of a Ceph cluster
  croft.infra.libvirt_pool:
    name: vms
    xml: "{{ lookup('ansible.builtin.template', 'pool.xml.j2') }}"
"""

RETURN = r"""
actions:
  description: What was done (in check mode, would be done), in order.
  returned: success
  type: list
  elements: str
  sample: ["stop", "define anew, hosts: 10.0.0.14:3300 (was 10.0.0.11:3300)", "start"]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import pool_xml
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    DEFAULT_URI,
    LibvirtFailedError,
    LibvirtMissingError,
    connection,
    found,
)
from ansible_collections.croft.infra.plugins.module_utils.libvirt_definition import with_uuid


def apply(conn: Any, name: str, xml: str, check: bool) -> list[str]:
    """Define, start and mark the pool where it is not so yet; return what was done."""
    pool = found(lambda: conn.storagePoolLookupByName(name), "VIR_ERR_NO_STORAGE_POOL")
    if pool is None:
        if not check:
            made = conn.storagePoolDefineXML(xml, 0)
            made.create(0)
            made.setAutostart(1)
        return ["define", "start", "start with the host"]
    actions = []
    active = bool(pool.isActive())
    differing = pool_xml.differences(xml, pool.XMLDesc(0))
    if differing:
        # An active pool would keep the old definition until it is stopped.
        actions += ["stop"] * active + [f"define anew, {'; '.join(differing)}"]
        if not check:
            if active:
                pool.destroy()
            conn.storagePoolDefineXML(with_uuid(xml, pool.UUIDString()), 0)
    if differing or not active:
        actions.append("start")
        if not check:
            pool.create(0)
    if not pool.autostart():
        actions.append("start with the host")
        if not check:
            pool.setAutostart(1)
    return actions


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "xml": {"type": "str", "required": True},
            "uri": {"type": "str", "default": DEFAULT_URI},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        with connection(given["uri"]) as conn:
            actions = apply(conn, given["name"], given["xml"], module.check_mode)
    except (LibvirtMissingError, LibvirtFailedError) as error:
        module.fail_json(msg=f"storage pool {given['name']}: {error}")
    after = "".join(f"{action}\n" for action in actions)
    module.exit_json(changed=bool(actions), actions=actions, diff={"before": "", "after": after})


if __name__ == "__main__":
    main()
