#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: what is wrong and what differs is decided in module_utils/host_networks.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: libvirt_networks
short_description: Have networks in libvirt, defined as wanted, active and started with the host
description:
  - Makes all networks of a host in one call; what is wrong with them is told at once, one line each, before any is
    made.
  - A network that is there and differs is defined anew, which M(community.libvirt.virt_net) does not. When no VM that
    runs has a card in it, it is stopped and started; else it stays what it is until somebody does that, and every run
    tells so.
  - A network that is not listed is left alone.
options:
  networks:
    description: The networks.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Its name.
        type: str
        required: true
      mode:
        description: >-
          V(nat) hides the guests behind the host, V(route) lets others route to them, V(isolated) joins the guests of
          this host alone, V(bridge) stands for a O(networks[].bridge) that the host has.
        type: str
        choices: [nat, route, isolated, bridge]
        default: nat
      bridge:
        description: The host's bridge; for other modes the name that libvirt's own gets.
        type: str
        default: ""
      address:
        description: The host's address in it, with the prefix length. It is the guests' router.
        type: str
        default: ""
      dhcp_first:
        description: The first address that libvirt's DHCP server gives; none without it.
        type: str
        default: ""
      dhcp_last:
        description: The last one.
        type: str
        default: ""
extends_documentation_fragment: [croft.infra.libvirt]
attributes:
  check_mode: {support: full, description: Tells what would be done.}
  diff_mode: {support: full, description: "Shows what is done, one line each."}
requirements: [python3-libvirt]
author: the croft contributors
"""

EXAMPLES = r"""
- name: Have a network behind the host
  croft.infra.libvirt_networks:
    networks:
      - {name: inside, address: 192.168.100.1/24, dhcp_first: 192.168.100.10, dhcp_last: 192.168.100.99}
"""

RETURN = r"""
actions:
  description: What was done (in check mode, would be done), in order.
  returned: success
  type: list
  elements: str
  sample: ["inside: define", "inside: start", "inside: start with the host"]
needs_restart:
  description: Networks that go on as they were, since VMs use them, with the names of these.
  returned: success
  type: dict
  sample: {inside: [web1]}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import host_networks as pure
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    DEFAULT_URI,
    LibvirtFailedError,
    LibvirtMissingError,
    bindings,
    connection,
    found,
)
from ansible_collections.croft.infra.plugins.module_utils.libvirt_definition import with_uuid


def make(conn: Any, wanted: pure.Network) -> None:
    """Define and start it; one that does not start is not left there."""
    made = conn.networkDefineXML(pure.xml_of(wanted))
    try:
        made.create()
        made.setAutostart(1)
    except bindings().libvirtError:
        made.undefine()
        raise


def apply(conn: Any, wanted: pure.Network, check: bool) -> tuple[list[str], list[str]]:
    """Have it as wanted; returns what was done, and the VMs for whose sake it is not started anew."""
    network = found(lambda: conn.networkLookupByName(wanted.name), "VIR_ERR_NO_NETWORK")
    if network is None:
        if not check:
            make(conn, wanted)
        return ["define", "start", "start with the host"], []
    inactive = bindings().VIR_NETWORK_XML_INACTIVE
    active = bool(network.isActive())
    stale = active and bool(pure.differences(wanted, pure.read(network.XMLDesc(0))))
    running = bindings().VIR_CONNECT_LIST_DOMAINS_ACTIVE
    hold = pure.users((one.XMLDesc(0) for one in conn.listAllDomains(running)), wanted.name) if stale else []
    differing = pure.differences(wanted, pure.read(network.XMLDesc(inactive)))
    anew = stale and not hold
    actions = []
    if anew:
        actions.append("stop")
        if not check:
            network.destroy()
    if differing:
        actions.append(f"define anew, {'; '.join(differing)}")
        if not check:
            conn.networkDefineXML(with_uuid(pure.xml_of(wanted), network.UUIDString()))
    if anew or not active:
        actions.append("start")
        if not check:
            network.create()
    if not network.autostart():
        actions.append("start with the host")
        if not check:
            network.setAutostart(1)
    return actions, hold


def main() -> None:
    text = {"type": "str", "default": ""}
    module = AnsibleModule(
        argument_spec={
            "networks": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "mode": {"type": "str", "default": "nat", "choices": ["nat", "route", "isolated", "bridge"]},
                    "bridge": text,
                    "address": text,
                    "dhcp_first": text,
                    "dhcp_last": text,
                },
            },
            "uri": {"type": "str", "default": DEFAULT_URI},
        },
        supports_check_mode=True,
    )
    wanted = [pure.network_of(given) for given in module.params["networks"]]
    lines = pure.problems(wanted)
    if lines:
        module.fail_json(msg="\n".join(lines))
    actions: list[str] = []
    needs_restart = {}
    now = ""
    try:
        with connection(module.params["uri"]) as conn:
            for one in wanted:
                now = f"network {one.name}: "
                done, hold = apply(conn, one, module.check_mode)
                actions += [f"{one.name}: {action}" for action in done]
                if hold:
                    needs_restart[one.name] = hold
                    module.warn(
                        f"network {one.name} goes on as it was, since {', '.join(hold)} use it; it changes when it is "
                        "stopped and started without them"
                    )
    except (LibvirtMissingError, LibvirtFailedError) as error:
        module.fail_json(msg=f"{now}{error}")
    after = "".join(f"{action}\n" for action in actions)
    module.exit_json(
        changed=bool(actions), actions=actions, needs_restart=needs_restart, diff={"before": "", "after": after}
    )


if __name__ == "__main__":
    main()
