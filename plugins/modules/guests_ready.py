#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: the judgement is in module_utils/guests.py. The action plugin of this name calls it again and again."""

from __future__ import annotations

DOCUMENTATION = r"""
module: guests_ready
short_description: Wait until guests say that they are up
version_added: "0.1.0"
author: [the croft contributors (@croft)]
description:
  - "Waits until each named guest answers through its guest agent or says C(croft: up <name>) on its console."
  - Shows a progress line while it waits, and fails in the end with the guests that did not answer, what their console
    said last and what to look at.
  - Runs through an action plugin of the same name, which calls the module in short turns. In check mode nothing was
    started, so nothing is waited for.
options:
  names:
    description: The guests, by the names of their domains.
    type: list
    elements: str
    required: true
  ready:
    description: Who has to answer - the guest's C(agent), its C(console), or C(either) of them.
    type: str
    choices: [agent, console, either]
    default: either
  timeout:
    description: Seconds to wait in all, counted by looks, not by the clock.
    type: int
    default: 180
  wait:
    description:
      - Seconds of the first turn. A progress line is shown after each, and each is half as long again, up to 30.
    type: int
    default: 10
extends_documentation_fragment: [croft.infra.libvirt]
requirements: [python3-libvirt]
attributes:
  check_mode: {support: full, description: Skipped with a message.}
"""

EXAMPLES = r"""
- name: Wait for the guests
  croft.infra.guests_ready:
    names: [web1, web2]
    ready: either
    timeout: 300
"""

RETURN = r"""
ready:
  description: The guests that are up.
  returned: always
  type: list
  elements: str
  sample: [web1]
waiting:
  description: The others, each with what is known of it.
  returned: always
  type: list
  elements: dict
  sample: [{name: web2, running: true, why: "agent: not connected; console: no word from it yet", last_line: "Booting"}]
waited:
  description: Seconds waited, counted by looks.
  returned: always
  type: int
  sample: 12
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils.guests import WAYS, judge, look
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    DEFAULT_URI,
    LibvirtFailedError,
    LibvirtMissingError,
    connection,
)


def turn(conn: Any, names: list[str], ready: str, wait: int) -> dict[str, Any]:
    """Look once a second, up to `wait` times, until all are up, or those that are not are switched off."""
    up: set[str] = set()
    for waited in range(wait + 1):
        waiting = [found for name in names if name not in up and (found := judge(name, look(conn, name, ready), ready))]
        up = set(names) - {guest["name"] for guest in waiting}
        # No guest that is switched off will come up by waiting for it.
        if not any(guest["running"] for guest in waiting) or waited == wait:
            break
        time.sleep(1)
    return {"ready": [name for name in names if name in up], "waiting": waiting, "waited": waited}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "required": True},
            "ready": {"type": "str", "choices": list(WAYS), "default": "either"},
            "timeout": {"type": "int", "default": 180},
            "wait": {"type": "int", "default": 10},
            "uri": {"type": "str", "default": DEFAULT_URI},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        with connection(given["uri"]) as conn:
            seen = turn(conn, given["names"], given["ready"], max(0, given["wait"]))
    except (LibvirtMissingError, LibvirtFailedError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **seen)


if __name__ == "__main__":
    main()
