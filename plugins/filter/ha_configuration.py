# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.croft.infra.plugins.plugin_utils.ha.cib import configuration
from ansible_collections.croft.infra.plugins.plugin_utils.ha.fencing import secret_scripts
from ansible_collections.croft.infra.plugins.plugin_utils.ha.parse import read_cluster


def ha_configuration(plan: Any, virtual_machines: Any, hosts: Any, settings: Any) -> dict[str, Any]:
    cluster, problems = read_cluster(plan, virtual_machines, hosts, settings)
    scripts = secret_scripts(
        {name: hosts[name].get("ha_cluster_fence_devices") for name in plan["hosts"]},
        settings.get("ha_cluster_shared_fence_devices"),
        settings["ha_cluster_secrets_dir"],
    )
    return {"xml": configuration(cluster) if cluster else "", "problems": problems, "secrets": scripts}


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"ha_configuration": ha_configuration}
