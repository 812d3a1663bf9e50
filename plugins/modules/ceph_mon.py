#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ceph_mon
short_description: Make a Ceph mon on a host
description:
  - Makes the store of a mon. The first mons of a cluster get a map with all of them in it; one that joins a cluster is
    added to its map and gets that.
  - A store that is there is left alone. The daemon is started elsewhere.
options:
  name:
    description: Name of the mon, the host's.
    type: str
    required: true
  fsid:
    description: The id of the cluster.
    type: str
    required: true
  mons:
    description: Names and addresses of all mons that are wanted.
    type: dict
    required: true
  mon_key:
    description: The key that mons share.
    type: str
    required: true
  admin_key:
    description: The key of client.admin.
    type: str
    required: true
  msgr1:
    description: Whether mons listen for the older protocol too.
    type: bool
    default: false
  bootstrap:
    description: Whether the mon may be one of the first of a cluster. Without it a cluster must answer.
    type: bool
    default: false
attributes:
  check_mode:
    description: Tells whether a store would be made.
    support: full
author: the croft contributors
"""

EXAMPLES = r"""
- name: Make the mon
  croft.infra.ceph_mon:
    name: kvm1
    fsid: "{{ identity.fsid }}"
    mons: {kvm1: 10.0.0.11, kvm2: 10.0.0.12, kvm3: 10.0.0.13}
    mon_key: "{{ identity.mon_key }}"
    admin_key: "{{ identity.admin_key }}"
    bootstrap: true
"""

RETURN = r"""
joined:
  description: Whether the mon was added to a cluster that was there.
  returned: success
  type: bool
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import ceph
from ansible_collections.croft.infra.plugins.module_utils.ceph_connection import (
    CephFailedError,
    CephMissingError,
    connection,
)
from ansible_collections.croft.infra.plugins.module_utils.ceph_host import run

ADMIN_CAPS = dict.fromkeys(("mds", "mgr", "mon", "osd"), "allow *")


def joined_map(given: dict[str, Any]) -> bytes | None:
    """Add the mon to the map of the cluster that answers and return the map; None when no cluster answers."""
    try:
        with connection() as cluster:
            if given["name"] not in {mon["name"] for mon in cluster.command("mon dump")["mons"]}:
                address = ceph.mon_address(given["mons"][given["name"]], given["msgr1"])
                cluster.command("mon add", name=given["name"], addr=address)
            return cluster.raw("mon getmap")
    except CephMissingError:
        return None
    except CephFailedError:
        if given["bootstrap"]:
            return None
        raise


def first_map(given: dict[str, Any], path: Path) -> None:
    """Write the map of a new cluster, with all mons in it."""
    mons = [
        part
        for name, address in sorted(given["mons"].items())
        for part in ("--addv", name, ceph.mon_address(address, given["msgr1"]))
    ]
    run("monmaptool", "--create", "--fsid", given["fsid"], *mons, "--set-min-mon-release", "pacific", str(path))


def make(given: dict[str, Any]) -> bool:
    """Make the store; return whether it joins a cluster. Raises CephFailedError."""
    with tempfile.TemporaryDirectory(prefix="croft-mon-", dir="/var/lib/ceph/tmp") as name:
        here = Path(name)
        shutil.chown(here, "ceph", "ceph")
        known = joined_map(given)
        if known is None:
            first_map(given, here / "monmap")
        else:
            (here / "monmap").write_bytes(known)
        keys = {"mon.": (given["mon_key"], {"mon": "allow *"}), "client.admin": (given["admin_key"], ADMIN_CAPS)}
        (here / "keyring").touch(mode=0o600)
        (here / "keyring").write_text(ceph.keyring(keys))
        for file in here.iterdir():
            shutil.chown(file, "ceph", "ceph")
        store = Path(f"/var/lib/ceph/mon/ceph-{given['name']}")
        # A store without the mark `done` is what a run that was cut off has left; no mon ever started from it.
        if store.exists():
            shutil.rmtree(store)
        run(
            "ceph-mon", "--mkfs", "--setuser", "ceph", "--setgroup", "ceph", "--id", given["name"],
            "--monmap", str(here / "monmap"), "--keyring", str(here / "keyring"), "--fsid", given["fsid"],
        )  # fmt: skip
        (store / "done").touch()
        shutil.chown(store / "done", "ceph", "ceph")
    return known is not None


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "fsid": {"type": "str", "required": True},
            "mons": {"type": "dict", "required": True},
            "mon_key": {"type": "str", "required": True, "no_log": True},
            "admin_key": {"type": "str", "required": True, "no_log": True},
            "msgr1": {"type": "bool", "default": False},
            "bootstrap": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    given = module.params
    there = Path(f"/var/lib/ceph/mon/ceph-{given['name']}/done").exists()
    joins = False
    if not there and not module.check_mode:
        try:
            joins = make(given)
        except CephFailedError as error:
            module.fail_json(msg=f"{given['name']}: no mon was made; {error}")
    after = f"mon.{given['name']} at {given['mons'].get(given['name'], '?')}\n"
    module.exit_json(changed=not there, joined=joins, diff={"before": after if there else "", "after": after})


if __name__ == "__main__":
    main()
