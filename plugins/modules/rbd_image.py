#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rbd_image
short_description: A golden image in a pool of a Ceph cluster
description:
  - Writes a disk image into a pool, with a protected snapshot C(golden) of which disks are linked clones. It is written
    under another name and gets its own last, so that an image that has the name is whole; one that was cut off is
    written anew.
  - An image that is there is never written to; give another content another name.
options:
  name:
    description: What the image is called in the pool.
    type: str
    required: true
  pool:
    description: The pool.
    type: str
    required: true
  user:
    description: The user of the cluster, whose keyring is in C(/etc/ceph).
    type: str
    default: client.admin
  path:
    description: The file on this host, in any format that QEMU reads.
    type: path
    required: true
requirements: [python3-rados, python3-rbd, qemu-utils, qemu-block-extra]
attributes:
  check_mode: {support: full, description: Tells whether the image would be written; the file need not be there.}
  diff_mode: {support: none, description: There is nothing to show.}
author: the croft contributors
"""

EXAMPLES = r"""
- name: Have the golden image in the pool
  croft.infra.rbd_image:
    name: debian-13-4f1c2d.raw
    pool: vms
    user: client.libvirt
    path: /var/tmp/debian-13.qcow2
"""

RETURN = r"""
present:
  description: Whether the image was there before.
  returned: success
  type: bool
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils.ceph_connection import CephFailedError, CephMissingError
from ansible_collections.croft.infra.plugins.module_utils.rbd_images import ImageError, import_file, rbd_images


def ensure(module: AnsibleModule, name: str, pool: str, user: str, path: str) -> bool:
    """Write the image where it is not there; whether it was."""
    made = f"{name}.part"
    with rbd_images(pool, user) as images:
        names = images.names()
        if name in names:
            return True
        if module.check_mode:
            return False
        if not Path(path).is_file():
            raise ImageError(f"{path} is not there; copy the image to this host first")
        if made in names:
            images.remove(made)
        import_file(path, pool, user, made)
        images.close_golden(made, name)
    return False


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "pool": {"type": "str", "required": True},
            "user": {"type": "str", "default": "client.admin"},
            "path": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        present = ensure(module, **module.params)
    except CephMissingError as error:
        if not module.check_mode:
            module.fail_json(msg=f"{error}; nothing was changed")
        present = False
    except (CephFailedError, ImageError) as error:
        module.fail_json(msg=f"image {module.params['name']}: {error}")
    module.exit_json(changed=not present, present=present)


if __name__ == "__main__":
    main()
