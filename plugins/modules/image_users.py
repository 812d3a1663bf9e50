#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_users
short_description: Who needs the golden images, as far as a host knows
description:
  - Reads what every volume of every active pool of a host is a linked clone of, and every disk of every domain with its
    whole backing chain, those of running VMs and those that start next.
  - A clone in a Ceph cluster is known to the cluster, which M(croft.infra.image_versions) asks.
  - Changes nothing.
version_added: 0.1.0
author: the croft contributors
extends_documentation_fragment: [croft.infra.libvirt]
requirements: [python3-libvirt]
attributes:
  check_mode: {support: full, description: Reads in either mode.}
  diff_mode: {support: none, description: There is nothing that changes.}
seealso:
  - module: croft.infra.image_versions
"""

EXAMPLES = r"""
- name: Read which images are needed
  croft.infra.image_users:
  register: image_users
"""

RETURN = r"""
users:
  description: Who needs a volume, by the volume's name - domains, and volumes as C(POOL/VOLUME).
  returned: success
  type: dict
  sample: {debian-13-4f1c2d9a0b37.qcow2: [VM web1, croft/web1.qcow2]}
"""

import xml.etree.ElementTree as ET
from functools import partial
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils.domain_xml import backing_path
from ansible_collections.croft.infra.plugins.module_utils.image_versions import image_name, volume_of
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    DEFAULT_URI,
    LibvirtFailedError,
    LibvirtMissingError,
    bindings,
    connection,
    quietly,
)


def in_domain(xml: str) -> list[str]:
    """Where all that a domain's disks are made of lies: each source in them, those in their backing chains too."""
    return [
        value
        for disk in ET.fromstring(xml).findall("devices/disk")
        for source in disk.iter("source")
        for key in ("file", "dev", "name", "volume")
        if (value := source.get(key))
    ]


def read(conn: Any) -> dict[str, list[str]]:
    """Who needs a volume that is called like a version of an image."""
    library = bindings()
    found: dict[str, set[str]] = {}
    for domain in conn.listAllDomains(0):
        for flags in (0, library.VIR_DOMAIN_XML_INACTIVE):
            for place in in_domain(domain.XMLDesc(flags)):
                found.setdefault(volume_of(place), set()).add(f"VM {domain.name()}")
    for pool in conn.listAllStoragePools(library.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE):
        # A clone that was made behind libvirt's back counts as well. A pool in which a volume is being made right now
        # cannot be refreshed; libvirt knows what is in it then.
        quietly(partial(pool.refresh, 0))
        for volume in pool.listAllVolumes(0):
            parent = backing_path(volume.XMLDesc(0))
            if parent:
                found.setdefault(volume_of(parent), set()).add(f"{pool.name()}/{volume.name()}")
    return {volume: sorted(its) for volume, its in sorted(found.items()) if image_name(volume)}


def main() -> None:
    module = AnsibleModule(argument_spec={"uri": {"type": "str", "default": DEFAULT_URI}}, supports_check_mode=True)
    try:
        with connection(module.params["uri"]) as conn:
            module.exit_json(changed=False, users=read(conn))
    except LibvirtMissingError as error:
        module.fail_json(msg=f"{error}; without it nobody knows which images the host's VMs need")
    except LibvirtFailedError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
