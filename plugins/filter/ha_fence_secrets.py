# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ha_fence_secrets
short_description: The scripts that tell fence agents their passwords
description:
  - Pacemaker's configuration shows up in diffs and logs, so that P(croft.infra.ha_configuration#filter) writes the name
    of a script into it in place of a password. This gives the scripts. Each host needs all of them, mode 0700, as any
    host may have to fence any other.
  - What it gives is secret; a task that uses it needs C(no_log).
options:
  _input:
    description: Each host with its variables, of which C(ha_cluster_fence_devices) is read.
    type: dict
    required: true
  shared:
    description: The value of C(ha_cluster_shared_fence_devices).
    type: list
    elements: dict
    default: []
  directory:
    description: The folder of the scripts, the value of C(ha_cluster_secrets_dir).
    type: str
    default: /etc/croft/ha/fence
author: the croft contributors
seealso:
  - plugin: croft.infra.ha_configuration
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Write the scripts
  ansible.builtin.copy:
    dest: "{{ item.path }}"
    content: "{{ item.content }}"
    owner: root
    group: root
    mode: "0700"
  loop: "{{ dict(groups.kvm_hosts | zip(groups.kvm_hosts | map('extract', hostvars))) | croft.infra.ha_fence_secrets }}"
  loop_control:
    label: "{{ item.path }}"
  no_log: true
"""

RETURN = r"""
_value:
  description: C(path) and C(content) of each script, by the name of its device.
  type: list
  elements: dict
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.croft.infra.plugins.plugin_utils.ha.fencing import DEVICES, secret_scripts
from ansible_collections.croft.infra.plugins.plugin_utils.ha.parse import SECRETS_DIR


def ha_fence_secrets(hosts: Any, shared: Any = None, directory: str = SECRETS_DIR) -> list[dict[str, str]]:
    """See the documentation above."""
    return secret_scripts({name: own.get(DEVICES) for name, own in hosts.items()}, shared, directory.rstrip("/"))


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"ha_fence_secrets": ha_fence_secrets}
