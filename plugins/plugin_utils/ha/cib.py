# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Cluster as the configuration section of Pacemaker's CIB, the same text for the same cluster.

Ids are made of the names of what they belong to, so that a change of one thing is a change of its lines alone. Only
what Pacemaker 2.1 and 3.0 both know is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from ansible_collections.croft.infra.plugins.plugin_utils.ha.fencing import WATCHDOG
from ansible_collections.croft.infra.plugins.plugin_utils.ha.model import (
    Cluster,
    FenceDevice,
    Group,
    HaVm,
    Settings,
)

NEVER = "-INFINITY"
ALWAYS = "INFINITY"
# A device is asked how it is now and then: a dead one is found before it is needed.
_DEVICE_MONITOR = 60


def configuration(cluster: Cluster) -> str:
    """``<configuration>...</configuration>``.

    The nodes have no ids of corosync's here: whoever writes this into a cluster matches them by their names (uname).
    """
    root = Element("configuration")
    _properties(SubElement(root, "crm_config"), cluster)
    nodes = SubElement(root, "nodes")
    for node in cluster.nodes:
        entry = SubElement(nodes, "node", id=node.name, uname=node.name)
        _pairs(entry, "utilization", f"{node.name}-utilization", node.capacity)
    resources = SubElement(root, "resources")
    for device in cluster.devices:
        _device(resources, device, cluster.settings)
    for vm in cluster.vms:
        _vm(resources, vm, cluster.settings)
    _constraints(SubElement(root, "constraints"), cluster)
    if cluster.levels:
        topology = SubElement(root, "fencing-topology")
        for level in cluster.levels:
            SubElement(
                topology,
                "fencing-level",
                {
                    "id": f"fencing-{level.host}-{level.level}",
                    "target": level.host,
                    "index": str(level.level),
                    "devices": ",".join(level.devices),
                },
            )
    if cluster.alerts:
        alerts = SubElement(root, "alerts")
        for name, path in sorted(cluster.alerts.items()):
            alert = SubElement(alerts, "alert", id=name, path=path)
            SubElement(SubElement(alert, "select"), "select_fencing")
    settings = cluster.settings
    _pairs(
        SubElement(root, "rsc_defaults"),
        "meta_attributes",
        "croft-rsc-defaults",
        {
            "failure-timeout": _seconds(settings.failure_timeout),
            "migration-threshold": settings.migration_threshold,
            "resource-stickiness": settings.stickiness,
        },
    )
    _pairs(
        SubElement(root, "op_defaults"),
        "meta_attributes",
        "croft-op-defaults",
        {"record-pending": "true", "timeout": _seconds(settings.monitor_timeout)},
    )
    indent(root)
    return tostring(root, encoding="unicode") + "\n"


def _properties(parent: Element, cluster: Cluster) -> None:
    settings = cluster.settings
    delay = settings.priority_fencing_delay
    watched = any(device.agent == WATCHDOG for device in cluster.devices)
    _pairs(
        parent,
        "cluster_property_set",
        "cib-bootstrap-options",
        {
            "cluster-recheck-interval": _seconds(settings.recheck_interval),
            "migration-limit": settings.migration_limit,
            "no-quorum-policy": settings.no_quorum_policy,
            "placement-strategy": settings.placement_strategy,
            **({"priority-fencing-delay": _seconds(delay)} if delay else {}),
            # One failed start is no verdict: storage may be busy with the failure that led to it.
            "start-failure-is-fatal": "false",
            # A VM that is taken out of the cluster runs on.
            "stop-orphan-resources": "false",
            "stonith-enabled": "true" if cluster.devices else "false",
            "stonith-timeout": _seconds(settings.fencing_timeout),
            # After twice what the watchdog waits, a host that it watches is off for certain (sbd(8)).
            **({"stonith-watchdog-timeout": _seconds(2 * settings.watchdog_timeout)} if watched else {}),
        },
    )


def _constraints(parent: Element, cluster: Cluster) -> None:
    for device in cluster.devices:
        if device.own:
            for host in device.hosts:
                _location(parent, device.name, host, NEVER)
    for vm in cluster.vms:
        for host, score in vm.prefers.items():
            _location(parent, vm.name, host, score)
        for host in vm.never:
            _location(parent, vm.name, host, NEVER)
    for group in (*cluster.together, *cluster.apart):
        _colocations(parent, group)
    for first, then in cluster.order:
        SubElement(
            parent,
            "rsc_order",
            {"id": f"order-{first}-{then}", "kind": "Optional", "first": first, "then": then, "symmetrical": "false"},
        )


def _device(parent: Element, device: FenceDevice, settings: Settings) -> None:
    primitive = SubElement(parent, "primitive", {"id": device.name, "class": "stonith", "type": device.agent})
    plugs = {host: plug for host, plug in sorted(device.hosts.items()) if plug is not None}
    _pairs(
        primitive,
        "instance_attributes",
        f"{device.name}-instance_attributes",
        {
            **device.options,
            "pcmk_host_check": "static-list",
            "pcmk_host_list": " ".join(sorted(device.hosts)),
            **({"pcmk_host_map": ";".join(f"{host}:{plug}" for host, plug in plugs.items())} if plugs else {}),
            **{f"pcmk_{what}_timeout": _seconds(settings.fencing_timeout) for what in ("off", "reboot")},
            # What the inventory says of these wins.
            **{key: value for key, value in device.options.items() if key.startswith("pcmk_")},
        },
    )
    _operations(primitive, device.name, {"monitor": (settings.monitor_timeout, _DEVICE_MONITOR)})


def _vm(parent: Element, vm: HaVm, settings: Settings) -> None:
    primitive = SubElement(
        parent, "primitive", {"id": vm.name, "class": "ocf", "provider": "heartbeat", "type": "VirtualDomain"}
    )
    _pairs(
        primitive,
        "instance_attributes",
        f"{vm.name}-instance_attributes",
        {
            # What a VM takes is the sizing rules' to say.
            "autoset_utilization_cpu": "false",
            "autoset_utilization_host_memory": "false",
            "autoset_utilization_hv_memory": "false",
            "config": f"{settings.config_dir}/{vm.name}.xml",
            "hypervisor": "qemu:///system",
            # As croft's own migrations: libvirt to libvirt, and the memory encrypted, too.
            "migrate_options": "--p2p --tls",
            "migration_transport": "tls",
        },
    )
    _pairs(
        primitive,
        "meta_attributes",
        f"{vm.name}-meta_attributes",
        {
            "allow-migrate": "true",
            **({"priority": vm.priority} if vm.priority else {}),
            **({} if vm.running else {"target-role": "Stopped"}),
        },
    )
    _pairs(primitive, "utilization", f"{vm.name}-utilization", vm.takes)
    _operations(
        primitive,
        vm.name,
        {
            "migrate_from": (settings.migrate_timeout, 0),
            "migrate_to": (settings.migrate_timeout, 0),
            "monitor": (settings.monitor_timeout, settings.monitor_interval),
            "start": (settings.start_timeout, 0),
            "stop": (settings.stop_timeout, 0),
        },
    )


def _colocations(parent: Element, group: Group) -> None:
    """Together: each with the first. Apart: each with each that comes before it."""
    apart = group.score is not None and group.score < 0
    pairs: Iterable[tuple[str, str]] = (
        combinations(group.vms, 2) if apart else ((group.vms[0], other) for other in group.vms[1:])
    )
    for first, other in pairs:
        SubElement(
            parent,
            "rsc_colocation",
            {
                "id": f"{'apart' if apart else 'together'}-{group.name}-{other}-{first}",
                "score": ALWAYS if group.score is None else str(group.score),
                "rsc": other,
                "with-rsc": first,
            },
        )


def _location(parent: Element, resource: str, host: str, score: int | str) -> None:
    kind = "never" if score == NEVER else "prefers"
    name = f"{resource}-{kind}-{host}"
    SubElement(parent, "rsc_location", {"id": name, "rsc": resource, "node": host, "score": str(score)})


def _operations(parent: Element, name: str, operations: Mapping[str, tuple[int, int]]) -> None:
    """``operations``: name to time-out and interval."""
    listed = SubElement(parent, "operations")
    for operation, (timeout, interval) in operations.items():
        SubElement(
            listed,
            "op",
            {
                "id": f"{name}-{operation}",
                "name": operation,
                "interval": _seconds(interval),
                "timeout": _seconds(timeout),
            },
        )


def _pairs(parent: Element, tag: str, name: str, values: Mapping[str, object]) -> None:
    block = SubElement(parent, tag, id=name)
    for key, value in sorted(values.items()):
        SubElement(block, "nvpair", {"id": f"{name}-{key}", "name": key, "value": str(value)})


def _seconds(value: int) -> str:
    return f"{value}s"
