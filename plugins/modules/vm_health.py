#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: what it sees is judged in plugin_utils/verify.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_health
short_description: See how the VMs of a host are, and whether their storage answers
version_added: "0.1.0"
author: [the croft contributors (@croft)]
description:
  - Asks every running guest's agent, reads errors of disks and why a VM is paused, asks each NFS server, and reads
    which guests role guest_health gave up.
  - Changes nothing and finds nothing wrong by itself; C(playbooks/verify.yml) judges.
extends_documentation_fragment: [croft.infra.libvirt, croft.infra.libvirt.nfs_pools]
requirements: [python3-libvirt]
attributes:
  check_mode: {support: full, description: It only reads.}
"""

EXAMPLES = r"""
- name: See how the VMs are
  croft.infra.vm_health:
  register: croft_health
"""

RETURN = r"""
virtual_machines:
  description: Every VM that croft made.
  returned: success
  type: list
  elements: dict
  sample: [{name: web1, state: running, io_error: false, disk_errors: {}, agent: null, given_up: null}]
storage:
  description: Every NFS server, and why it does not answer; null when it does.
  returned: success
  type: list
  elements: dict
  sample: [{pool: shared, server: 10.0.0.9, silent: null}]
watch:
  description: What is wrong with the service of role guest_health; null when nothing is, and where there is none.
  returned: success
  type: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import domain_xml
from ansible_collections.croft.infra.plugins.module_utils.guest_watch import told
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    DEFAULT_URI,
    DOMAIN_STATES,
    LibvirtFailedError,
    LibvirtMissingError,
    agent_answers,
    bindings,
    connection,
)
from ansible_collections.croft.infra.plugins.module_utils.store import NFS_POOLS

AGENT_SECONDS = 3
SERVER_SECONDS = 5
PAUSED_BY_IO_ERROR = 5  # virDomainPausedReason, VIR_DOMAIN_PAUSED_IOERROR


def look(domain: Any, silent: set[str]) -> dict[str, Any] | None:
    """How one VM is; None of one that croft did not make. ``silent``: servers that do not answer.

    QEMU asks the server for a disk's size when it is asked for errors, and stands still until it answers.
    """
    about = domain_xml.describe(domain.XMLDesc(0))
    if not about.managed:
        return None
    code, reason = domain.state(0)
    state = DOMAIN_STATES.get(code, "unknown")
    errors: dict[str, str] = {}
    agent: str | None = "not asked"
    if state == "running":
        agent = agent_answers(domain, AGENT_SECONDS) if about.agent_connected else "not connected"
    waits = any(place.split("/")[2] in silent for _target, place, _read_only in about.disks if "://" in place)
    if domain.isActive() and not waits:
        try:
            kinds = {1: "I/O error", 2: "no space left"}
            errors = {disk: kinds.get(kind, "error") for disk, kind in domain.diskErrors(0).items()}
        except bindings().libvirtError:
            errors = {}
    io_error = state == "paused" and reason == PAUSED_BY_IO_ERROR
    return {"name": about.name, "state": state, "io_error": io_error, "disk_errors": errors, "agent": agent}


def ask_server(module: AnsibleModule, server: str) -> str | None:
    """Why an NFS server does not answer its NULL procedure, or None."""
    command = ["timeout", str(SERVER_SECONDS), "rpcinfo", "-T", "tcp", server, "nfs"]
    code, out, err = module.run_command(command)
    if code == 0:
        return None
    lines = (err or out).strip().splitlines()
    return lines[-1] if lines else f"no answer within {SERVER_SECONDS} s"


def main() -> None:
    module = AnsibleModule(
        argument_spec={"nfs_pools": NFS_POOLS, "uri": {"type": "str", "default": DEFAULT_URI}},
        supports_check_mode=True,
    )
    storage = [
        {"pool": pool["name"], "server": pool["server"], "silent": ask_server(module, pool["server"])}
        for pool in module.params["nfs_pools"]
    ]
    silent = {one["server"] for one in storage if one["silent"] is not None}
    try:
        with connection(module.params["uri"]) as conn:
            found = [
                look(domain, silent) for domain in sorted(conn.listAllDomains(0), key=lambda domain: domain.name())
            ]
    except (LibvirtMissingError, LibvirtFailedError) as error:
        module.fail_json(msg=str(error))
    watch, given_up = told()
    machines = [vm | {"given_up": given_up.get(vm["name"])} for vm in found if vm is not None]
    module.exit_json(changed=False, virtual_machines=machines, storage=storage, watch=watch)


if __name__ == "__main__":
    main()
