#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: storage_preflight
short_description: Check storage pools against what a host really has
description:
  - Looks at the disks, the kernel and libvirt's pools, and fails with one line for each thing that speaks against
    the pools.
  - A disk is taken when it is empty or when it carries what an earlier run made for the same pool.
  - Changes nothing.
options:
  pools:
    description: The pools, as role croft.infra.storage_local takes them.
    type: list
    elements: dict
    required: true
  uri:
    description: libvirt's address.
    type: str
    default: qemu:///system
attributes:
  check_mode:
    description: The same as without.
    support: full
author: the croft contributors
"""

EXAMPLES = r"""
- name: Check the pools
  croft.infra.storage_preflight:
    pools:
      - {name: croft, type: dir, path: /var/lib/croft/pool, device: /dev/sdb}
"""

RETURN = r"""
pools:
  description: The pools with their defaults filled in.
  returned: success
  type: list
  elements: dict
  sample:
    - {name: croft, type: dir, path: /var/lib/croft/pool, device: /dev/sdb, devices: [/dev/sdb], filesystem: ext4,
       label: croft-croft, volume_group: croft, owner: root}
libvirt:
  description: Whether libvirt is there to be told of pools.
  returned: success
  type: bool
"""

import json
import stat
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import storage_pools as pure
from ansible_collections.croft.infra.plugins.module_utils.inventory_of_host import pools
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    LibvirtFailedError,
    LibvirtMissingError,
    connection,
)


def pool_targets(uri: str) -> dict[str, str] | None:
    """Return where libvirt has its pools, path by name, or None where there is no libvirt yet.

    Raises LibvirtFailedError when it is there and does not answer.
    """
    try:
        with connection(uri) as conn:
            return {pool["name"]: pool["path"] for pool in pools(conn)}
    except LibvirtMissingError:
        return None


def look_at_device(module: AnsibleModule, path: str, mounts: dict[str, str]) -> pure.Device:
    """Read what is on a device; it is opened for reading only."""
    real = Path(path)
    if not real.exists():
        return pure.Device(exists=False)
    if not stat.S_ISBLK(real.stat().st_mode):
        return pure.Device(block=False)
    _code, out, _err = module.run_command(["wipefs", "--json", "--no-act", str(real.resolve())], check_rc=True)
    found = json.loads(out)["signatures"] if out.strip() else []
    signatures = tuple(pure.Signature(entry["type"], entry.get("label") or "") for entry in found)
    return pure.Device(signatures=signatures, mounted_at=mounts.get(str(real.resolve()), ""))


def look(module: AnsibleModule, targets: dict[str, str]) -> pure.Host:
    """Read what the pools are checked against."""
    mounts = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        source, target = line.split()[:2]
        if source.startswith("/dev/"):
            mounts[str(Path(source).resolve())] = target
    paths = [path for pool in module.params["pools"] for path in pure.pool_devices(pool)]
    groups: dict[str, str] = {}
    mapper = "device-mapper" in Path("/proc/misc").read_text()
    if any(pool.get("type") == "logical" for pool in module.params["pools"]):
        # The device mapper may be a module that nobody has needed yet.
        module.run_command(["modprobe", "--quiet", "dm_mod"])
        mapper = "device-mapper" in Path("/proc/misc").read_text()
        if mapper and module.get_bin_path("pvs"):
            _code, out, _err = module.run_command(
                ["pvs", "--reportformat", "json", "-o", "pv_name,vg_name"], check_rc=True
            )
            groups = {row["pv_name"]: row["vg_name"] for row in json.loads(out)["report"][0]["pv"]}
    return pure.Host(
        devices={path: look_at_device(module, path, mounts) for path in paths},
        pools=targets,
        volume_groups={
            path: groups[real] for path in paths for real in (path, str(Path(path).resolve())) if real in groups
        },
        device_mapper=mapper,
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "pools": {"type": "list", "elements": "dict", "required": True},
            "uri": {"type": "str", "default": "qemu:///system"},
        },
        supports_check_mode=True,
    )
    wished = module.params["pools"]
    try:
        targets = pool_targets(module.params["uri"])
    except LibvirtFailedError as error:
        module.fail_json(msg=str(error))
    problems = pure.pool_problems(wished, look(module, targets or {}))
    if problems:
        module.fail_json(msg="\n".join(problems))
    module.exit_json(changed=False, pools=[pure.complete(pool) for pool in wished], libvirt=targets is not None)


if __name__ == "__main__":
    main()
