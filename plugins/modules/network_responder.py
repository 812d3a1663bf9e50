#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: network_responder
short_description: Answer measurements of the network for a while
description:
  - Leaves a small process on the host that answers M(croft.infra.network_probe) on one address and port, for those who
    have its token, and ends by itself. The token is made anew each time and opens nothing else.
  - The host is as before afterwards, so this is no change.
options:
  state:
    description: Start it, or end it.
    type: str
    choices: [present, absent]
    default: present
  address:
    description: The address to listen on.
    type: str
  port:
    description: The port, of UDP and TCP.
    type: int
    default: 5201
  name:
    description: Name of the host, for those who measure.
    type: str
    default: ''
  lifetime:
    description: Seconds until it ends by itself.
    type: int
    default: 600
attributes:
  check_mode:
    description: The same as without.
    support: full
author: the croft contributors
"""

EXAMPLES = r"""
- name: Answer measurements
  croft.infra.network_responder:
    name: kvm1
    address: 10.0.0.11
  register: responder
"""

RETURN = r"""
responder:
  description: Its name, address, port and token, as M(croft.infra.network_probe) takes them; null when it was ended.
  returned: success
  type: dict
"""

import secrets

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import network_probe


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "name": {"type": "str", "default": ""},
            "address": {"type": "str"},
            "port": {"type": "int", "default": 5201},
            "lifetime": {"type": "int", "default": 600},
        },
        required_if=[("state", "present", ("address",))],
        supports_check_mode=True,
    )
    given = module.params
    network_probe.stop()
    responder = None
    if given["state"] == "present":
        responder = {name: given[name] for name in ("name", "address", "port")} | {"token": secrets.token_hex(16)}
        try:
            network_probe.start(given["address"], given["port"], responder["token"], given["lifetime"])
        except OSError as error:
            module.fail_json(
                msg=f"{given['address']} port {given['port']}: cannot be listened on ({error.strerror}); free it, or "
                "use another port"
            )
    module.exit_json(changed=False, responder=responder)


if __name__ == "__main__":
    main()
