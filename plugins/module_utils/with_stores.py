# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules share that work on VMs and their volumes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    DEFAULT_URI,
    LibvirtFailedError,
    LibvirtMissingError,
)
from ansible_collections.croft.infra.plugins.module_utils.open_stores import Stores, opened
from ansible_collections.croft.infra.plugins.module_utils.store import NFS_POOLS, Store, host_stores

# Their arguments; `pool` is that of new disks, for those that make any.
REACH = {"nfs_pools": NFS_POOLS, "uri": {"type": "str", "default": DEFAULT_URI}}
POOL = {"type": "str", "default": "default"}


def with_stores(module: Any, run: Callable[[Any, Stores], None]) -> None:
    """Call ``run`` with the stores open, and fail with one line when libvirt does."""
    given = module.params
    uri, pool = given["uri"], given.get("pool")
    main, remote = host_stores(pool or "", given["nfs_pools"], uri)
    try:
        with opened(uri, main if pool else Store("", uri), remote) as stores:
            run(module, stores)
    except (LibvirtMissingError, LibvirtFailedError) as error:
        module.fail_json(msg=str(error))
