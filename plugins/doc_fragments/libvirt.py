# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that modules share, as their documentation has them."""

from __future__ import annotations


class ModuleDocFragment:
    # How a module reaches libvirt.
    DOCUMENTATION = r"""
options:
  uri:
    description: The libvirt connection.
    type: str
    default: qemu:///system
"""

    # The deployment's pools on NFS servers.
    NFS_POOLS = r"""
options:
  nfs_pools:
    description: NFS pools of the deployment, as M(croft.infra.virtual_machines) takes them.
    type: list
    elements: dict
    default: []
"""
