#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: drill_break
short_description: Kill a VM's QEMU, or crash its guest, for a drill
version_added: "0.1.0"
author: [the croft contributors (@croft)]
description:
  - V(kill) sends SIGKILL to the VM's QEMU, as the kernel does when memory is short.
  - V(hang) has the guest's kernel crash by its agent, so that QEMU runs on and nobody answers.
  - C(playbooks/drill.yml) asks first whether the host is marked for drills; this module does what it is told.
options:
  name:
    description: Name of the VM, which runs on this host.
    type: str
    required: true
  how:
    description: What is broken.
    type: str
    choices: [kill, hang]
    required: true
extends_documentation_fragment: [croft.infra.libvirt]
requirements: [python3-libvirt]
attributes:
  check_mode: {support: full, description: Tells whether the VM runs here and breaks nothing.}
"""

EXAMPLES = r"""
- name: Kill the QEMU of web1
  croft.infra.drill_break:
    name: web1
    how: kill
"""

RETURN = r"""
pid:
  description: The process of the VM's QEMU.
  returned: success
  type: int
broken_at:
  description: When it was broken, in seconds of the host's monotonic clock.
  returned: success
  type: float
"""

import json
import os
import signal
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import drill
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    DEFAULT_URI,
    LibvirtFailedError,
    LibvirtMissingError,
    bindings,
    connection,
)

# The agent has answered by then.
CRASH_SECONDS = 1
# root may write this whatever kernel.sysrq says; the agent runs it as root, and nobody waits for its end.
CRASH = {
    "execute": "guest-exec",
    "arguments": {"path": "/bin/sh", "arg": ["-c", f"sleep {CRASH_SECONDS}; echo c > /proc/sysrq-trigger"]},
}
AGENT_SECONDS = 10


def crash(uri: str, name: str) -> None:
    """Have the guest's kernel crash a second from now."""
    with connection(uri) as conn:
        bindings("libvirt_qemu").qemuAgentCommand(conn.lookupByName(name), json.dumps(CRASH), AGENT_SECONDS, 0)


def break_it(uri: str, name: str, pid: int, how: str) -> float:
    """When it is broken, on this host's monotonic clock."""
    if how == "kill":
        os.kill(pid, signal.SIGKILL)
        return time.monotonic()
    crash(uri, name)
    broken_at = time.monotonic() + CRASH_SECONDS
    # Whoever watches from now on sees what is broken.
    time.sleep(2 * CRASH_SECONDS)
    return broken_at


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "how": {"type": "str", "choices": ["kill", "hang"], "required": True},
            "uri": {"type": "str", "default": DEFAULT_URI},
        },
        supports_check_mode=True,
    )
    uri, name, how = (module.params[key] for key in ("uri", "name", "how"))
    pids = [qemu["pid"] for qemu in drill.qemus() if qemu["name"] == name]
    if not pids:
        module.fail_json(msg=f"{name} does not run on this host, and nothing was broken; plan anew, it may have moved")
    broken_at = time.monotonic()
    if not module.check_mode:
        try:
            broken_at = break_it(uri, name, pids[0], how)
        except (OSError, LibvirtMissingError, LibvirtFailedError) as error:
            module.fail_json(msg=f"{name}: {how} failed: {error}")
    module.exit_json(changed=True, pid=pids[0], broken_at=broken_at)


if __name__ == "__main__":
    main()
