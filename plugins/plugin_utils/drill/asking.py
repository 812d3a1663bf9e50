# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""May this be broken, and what is to be followed? Everything that speaks against it is told before anything happens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from ansible_collections.croft.infra.plugins.plugin_utils.drill.model import HOST_KINDS, KINDS, VM_KINDS
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.reading import NotAPlanError, as_plan
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.values import did_you_mean, say

_MEMBER = {
    "online": ("true", "is not online"),
    "standby": ("false", "is in standby"),
    "maintenance": ("false", "is in maintenance"),
    "pending": ("false", "is still joining"),
    "unclean": ("false", "is unclean"),
}
_RESOURCE = {
    "managed": ("true", "is not managed"),
    "failed": ("false", "has failed"),
    "blocked": ("false", "is blocked"),
}


def prepare(request: Mapping[str, Any], hosts: Mapping[str, bool], plan: Any, status: str) -> dict[str, Any]:
    """``problems`` (lines; then nothing may be broken) and ``follow``, the VMs to watch with where the plan has them.

    ``request``: kind, host, vm, unit, power (lab or fencing), lab_nodes. ``hosts``: host to whether it is marked for
    drills. ``status``: what ``crm_mon --output-as=xml`` says.
    """
    try:
        known = as_plan(plan)
    except NotAPlanError as error:
        return {"problems": [f"plan: {error}"], "follow": [], "victim": None, "lab_nodes": []}
    kind = request.get("kind")
    victim = _victim(request, known)
    problems = list(_asked(request, hosts, known, victim))
    problems += _unhealthy(status)
    follow = [] if problems else _follow(str(kind), request, known, victim)
    return {"problems": problems, "follow": follow, "victim": victim, "lab_nodes": _lab_nodes(request)}


def _victim(request: Mapping[str, Any], plan: Mapping[str, Any]) -> str | None:
    """The host that is touched."""
    if request.get("kind") in VM_KINDS:
        where = plan["placements"].get(request.get("vm"))
        return None if where is None else str(where)
    host = request.get("host")
    return str(host) if host else None


def _asked(
    request: Mapping[str, Any], hosts: Mapping[str, bool], plan: Mapping[str, Any], victim: str | None
) -> Iterator[str]:
    kind = request.get("kind")
    if kind not in KINDS:
        yield f"drill_kind: is {say(kind)}, must be one of {', '.join(KINDS)}"
        return
    if kind in VM_KINDS:
        yield from _asked_vm(request, plan)
    elif victim is None or victim not in hosts:
        yield f"drill_host: is {say(victim)}, no host of the inventory; {did_you_mean(victim, hosts)}"
    if victim is not None and victim in hosts and hosts[victim] is not True:
        yield f"{victim}: is not marked for drills; set drill_allowed: true for it where that is wanted, and only there"
    if kind in HOST_KINDS and victim in plan["hosts"]:
        yield from _asked_host(request, plan, str(victim))
    if kind == "storage_stop" and not request.get("unit"):
        yield "drill_storage_unit: is not set; name the unit to stop, such as ceph-osd@0 or nfs-ganesha"


def _asked_vm(request: Mapping[str, Any], plan: Mapping[str, Any]) -> Iterator[str]:
    name = request.get("vm")
    ha = {vm["name"] for vm in plan["virtual_machines"] if vm["ha"]}
    if name not in ha:
        yield f"drill_vm: is {say(name)}, no VM with ha: true; {did_you_mean(name, ha)}"


def _asked_host(request: Mapping[str, Any], plan: Mapping[str, Any], victim: str) -> Iterator[str]:
    table = next((death for death in plan["failover"] if death["host"] == victim), None)
    stranded = [vm for vm in (table or {"virtual_machines": ()})["virtual_machines"] if vm["ha"] and not vm["to"]]
    for vm in stranded:
        yield f"{victim}: {vm['name']} would not come back: {vm['reason']}; repair the plan first"
    follow = {vm["name"] for vm in plan["virtual_machines"] if vm["ha"] and vm["state"] == "running"}
    if table is None or not any(vm["name"] in follow for vm in table["virtual_machines"]):
        yield f"{victim}: runs no VM with ha: true, so that nothing would be seen; choose another host"
    lab = {node.get("name") for node in request.get("lab_nodes") or ()}
    if request.get("power") == "lab":
        if victim not in lab:
            yield f"{victim}: is no node of the lab; with drill_power: fencing the cluster fences it"
    elif request.get("kind") == "host_isolate":
        yield "drill_kind: host_isolate is for nodes of the lab; elsewhere pull the cable and run drill_kind: host_kill"


def _unhealthy(status: str) -> list[str]:
    """What is not as it should be in the cluster: a drill on top of trouble shows nothing and costs VMs."""
    try:
        root = ElementTree.fromstring(status)
    except ElementTree.ParseError:
        return ["the cluster does not say how it is (crm_mon); is Pacemaker running there?"]
    problems = []
    dc, options = root.find("summary/current_dc"), root.find("summary/cluster_options")
    if dc is None or dc.get("with_quorum") != "true":
        problems.append("the cluster has no quorum")
    if options is None or options.get("stonith-enabled") != "true":
        problems.append("the cluster does not fence (stonith-enabled); a host that is silent would keep its VMs")
    if options is not None and options.get("maintenance-mode") == "true":
        problems.append("the cluster is in maintenance mode")
    for node in root.iterfind("nodes/node"):
        problems += [f"{node.get('name')}: {said}" for said in _not_as(node, _MEMBER)]
    for resource in root.iterfind("resources//resource"):
        name, stopped = resource.get("id"), resource.get("target_role") == "Stopped"
        problems += [f"{name}: {said}" for said in _not_as(resource, _RESOURCE)]
        if resource.get("role") != "Started" and not stopped:
            problems.append(f"{name}: is {str(resource.get('role')).lower()} and not started")
    problems += [
        f"{event.get('target')}: is being fenced ({event.get('action')})"
        for event in root.iterfind("fence_history/fence_event")
        if event.get("status") == "pending"
    ]
    return [f"{line}; a drill needs a healthy cluster" for line in problems]


def _not_as(element: ElementTree.Element, wanted: Mapping[str, tuple[str, str]]) -> list[str]:
    return [said for key, (good, said) in wanted.items() if element.get(key, good) != good]


def _follow(kind: str, request: Mapping[str, Any], plan: Mapping[str, Any], victim: str | None) -> list[dict[str, Any]]:
    """Each VM with ``from``, ``planned`` (None: any host), ``restarts`` and its ``address``, by name."""
    planned: dict[str, str | None] = {}
    if kind in HOST_KINDS:
        table = next(death for death in plan["failover"] if death["host"] == victim)
        planned = {vm["name"]: vm["to"] for vm in table["virtual_machines"] if vm["ha"]}
    elif kind in VM_KINDS:
        planned = {str(request["vm"]): None}
    return [
        {
            "name": vm["name"],
            "from": vm["host"],
            "planned": planned.get(vm["name"]),
            "restarts": vm["name"] in planned,
            "address": None if vm["address"] is None else str(vm["address"]).partition("/")[0],
        }
        for vm in sorted(plan["virtual_machines"], key=lambda vm: str(vm["name"]))
        if vm["ha"] and vm["state"] == "running"
    ]


def _lab_nodes(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The lab's nodes with the victim's state changed."""
    state = {"host_kill": "powered_off", "host_isolate": "isolated"}.get(str(request.get("kind")))
    nodes: Sequence[Mapping[str, Any]] = request.get("lab_nodes") or ()
    return [
        {**node, "state": state} if state and node.get("name") == request.get("host") else dict(node) for node in nodes
    ]
