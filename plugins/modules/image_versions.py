#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_versions
short_description: Remove old versions of golden images from a pool when no clone needs them
description:
  - A version of an image is the volume C(NAME-HASH.qcow2) of a libvirt pool, or C(NAME-HASH.raw) of a pool of a Ceph
    cluster. Of other names than O(names) nothing is touched.
  - Kept are the current versions, each that somebody needs, and of each image the newest O(keep) besides.
  - Who needs one is asked of all hosts first (M(croft.infra.image_users)), and of the Ceph cluster, which also refuses
    to remove what has clones.
version_added: 0.1.0
author: the croft contributors
options:
  pool:
    description: The libvirt pool, or with O(ceph_user) the pool of the Ceph cluster.
    type: str
    required: true
  ceph_user:
    description: The user of the cluster, whose keyring is in C(/etc/ceph).
    type: str
  names:
    description: The images whose versions are looked at.
    type: list
    elements: str
    required: true
  current:
    description: The volumes that new disks are made of.
    type: list
    elements: str
    required: true
  users:
    description: Who needs a volume, as RV(croft.infra.image_users#module:users) has it, one entry for each host.
    type: list
    elements: dict
    required: true
  keep:
    description: How many versions of each image stay besides the current one and those in use.
    type: int
    default: 1
  remove:
    description: Remove those that may go; else it is only told which.
    type: bool
    default: false
extends_documentation_fragment: [croft.infra.libvirt]
requirements: [python3-libvirt, python3-rados and python3-rbd for a Ceph cluster]
attributes:
  check_mode: {support: full, description: Tells what would be removed.}
  diff_mode: {support: none, description: RV(versions) says it.}
seealso:
  - module: croft.infra.image_users
"""

EXAMPLES = r"""
- name: Read which images are needed
  croft.infra.image_users:
  register: image_users

- name: Remove the versions that nobody needs
  croft.infra.image_versions:
    pool: croft
    names: [debian-13]
    current: [debian-13-4f1c2d9a0b37.qcow2]
    users: "{{ groups['kvm_hosts'] | map('extract', hostvars, ['image_users', 'users']) }}"
    remove: true
"""

RETURN = r"""
versions:
  description: Each version of the images, the newest of each first.
  returned: success
  type: list
  elements: dict
  contains:
    volume: {description: Its volume., type: str}
    remove: {description: Whether it was removed, or may be., type: bool}
    why: {description: Why it stays or goes., type: str}
removed:
  description: The volumes that were removed, or would be in check mode.
  returned: success
  type: list
  elements: str
"""

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils.ceph_connection import CephFailedError, CephMissingError
from ansible_collections.croft.infra.plugins.module_utils.image_versions import Version, image_name, verdicts
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    DEFAULT_URI,
    LibvirtFailedError,
    LibvirtMissingError,
    connection,
)
from ansible_collections.croft.infra.plugins.module_utils.rbd_images import rbd_images

Pool = tuple[list[Version], dict[str, list[str]], Callable[[str], None]]


def made(volume_xml: str) -> float:
    """When a volume was last written to, from its XML: for an image that is when it came into the pool."""
    return float(ET.fromstring(volume_xml).findtext("target/timestamps/mtime") or 0)


@contextmanager
def libvirt_pool(name: str, uri: str) -> Iterator[Pool]:
    """The versions in a pool of libvirt, their users in it, and what removes one. Raises LibvirtFailedError."""
    with connection(uri) as conn:
        pool = next((one for one in conn.listAllStoragePools(0) if one.name() == name), None)
        if pool is None or not pool.isActive():
            raise LibvirtFailedError(f"the storage pool {name} is not {'defined' if pool is None else 'active'}")
        pool.refresh(0)
        volumes = {volume.name(): volume for volume in pool.listAllVolumes(0)}
        versions = [Version(volume, made(its.XMLDesc(0))) for volume, its in volumes.items() if image_name(volume)]
        yield versions, {}, lambda volume: volumes[volume].delete(0)


@contextmanager
def ceph_pool(name: str, user: str) -> Iterator[Pool]:
    """The same of a pool of the cluster; the clones of an image are its users, also those in other pools."""
    with rbd_images(name, user) as images:
        found = {volume: images.golden(volume) for volume in images.names() if image_name(volume)}
        golden = {volume: about for volume, about in found.items() if about is not None}
        versions = [Version(volume, about.made) for volume, about in golden.items()]
        yield versions, {volume: list(about.clones) for volume, about in golden.items()}, images.remove


def prune(module: AnsibleModule, pool: Pool) -> None:
    params = module.params
    versions, users, remove = pool
    for told in params["users"]:
        for volume, its in told.items():
            users[volume] = [*users.get(volume, []), *its]
    judged = verdicts(versions, params["names"], params["current"], users, params["keep"])
    going = [one["volume"] for one in judged if one["remove"]] if params["remove"] else []
    for volume in going if not module.check_mode else []:
        remove(volume)
    module.exit_json(changed=bool(going), versions=judged, removed=going)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "pool": {"type": "str", "required": True},
            "ceph_user": {"type": "str"},
            "names": {"type": "list", "elements": "str", "required": True},
            "current": {"type": "list", "elements": "str", "required": True},
            "users": {"type": "list", "elements": "dict", "required": True},
            "keep": {"type": "int", "default": 1},
            "remove": {"type": "bool", "default": False},
            "uri": {"type": "str", "default": DEFAULT_URI},
        },
        supports_check_mode=True,
    )
    params = module.params
    if params["keep"] < 0:
        module.fail_json(msg=f"keep is {params['keep']}; give 0 or more")
    opened = ceph_pool(params["pool"], params["ceph_user"]) if params["ceph_user"] else None
    try:
        with opened or libvirt_pool(params["pool"], params["uri"]) as pool:
            prune(module, pool)
    except (LibvirtMissingError, LibvirtFailedError, CephMissingError, CephFailedError) as error:
        module.fail_json(
            msg=f"images of pool {params['pool']}: {error}; look and run again, what nobody needs goes then"
        )


if __name__ == "__main__":
    main()
