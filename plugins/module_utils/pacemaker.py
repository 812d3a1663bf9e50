# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pacemaker's configuration: from what a cluster has to what is wanted, and what its monitor says. Pure.

The wanted configuration is whole, yet not all that stands in a cluster is ours: ids of nodes, what operators set on a
node (standby), moves that are under way (constraints named cli-...), and resources that others made stay as they are.
"""

from __future__ import annotations

import copy
import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

# Properties that the cluster or its operators set and no inventory does.
KEPT_PROPERTIES = frozenset(
    {"cluster-infrastructure", "cluster-name", "dc-version", "have-watchdog", "last-lrm-refresh"}
    | {"maintenance-mode", "stop-all-resources"}
)
REPLACED = (
    "crm_config", "nodes", "resources", "constraints", "alerts", "fencing-topology", "rsc_defaults", "op_defaults"
)  # fmt: skip
# What croft names, so that it may take it away.
_OWN_ALERT = "croft-"
_ANY_ORDER = ("nvpair", "op", "node", "primitive", "rsc_location", "rsc_order", "rsc_colocation", "fencing-level")


class ConfigurationError(Exception):
    """The text is no configuration of a cluster; says why."""


@dataclass(frozen=True)
class Change:
    """The whole CIB as it shall be, and what that does."""

    cib: str
    changed: bool
    before: str
    after: str
    leaving: tuple[str, ...] = ()  # VMs that the cluster manages no more, and that run on
    dropped: tuple[str, ...] = ()  # fence devices that are wanted no more
    missing: tuple[str, ...] = ()  # nodes that are wanted and were never seen in the cluster


@dataclass(frozen=True)
class State:
    """What the cluster's monitor tells. ``running``: resource to the nodes on which it is active."""

    online: frozenset[str] = frozenset()
    standby: frozenset[str] = frozenset()
    quorate: bool = False
    running: dict[str, tuple[str, ...]] = field(default_factory=dict)
    busy: frozenset[str] = frozenset()
    failures: tuple[str, ...] = ()
    nodes: frozenset[str] = frozenset()
    virtual_machines: frozenset[str] = frozenset()
    unclean: frozenset[str] = frozenset()  # nodes that are to be fenced and are not yet


def wanted_change(live: str, wanted: str, config_dir: str) -> Change:
    """The live CIB with the wanted configuration in it. Raises ConfigurationError."""
    try:
        cib, target = ET.fromstring(live), ET.fromstring(wanted)
    except ET.ParseError as error:
        raise ConfigurationError(f"is no XML: {error}") from error
    if target.tag != "configuration":
        raise ConfigurationError(f"begins with <{target.tag}>, must be <configuration>")
    configuration = cib.find("configuration")
    if configuration is None:
        raise ConfigurationError("the cluster's own has no <configuration>")
    before = copy.deepcopy(configuration)
    gone = _gone(configuration, target, config_dir)
    missing = _merge_nodes(configuration, target)
    _merge_properties(configuration, target)
    _merge_resources(configuration, target, config_dir)
    _merge_constraints(configuration, target)
    others = [alert for alert in _section(configuration, "alerts") if not alert.get("id", "").startswith(_OWN_ALERT)]
    _replace(configuration, "alerts", [*copy.deepcopy(list(_section(target, "alerts"))), *others])
    for section in ("fencing-topology", "rsc_defaults", "op_defaults"):
        _replace(configuration, section, list(_section(target, section)))
    old, new = readable(before), readable(configuration)
    return Change(
        cib=ET.tostring(cib, encoding="unicode"),
        changed=old != new,
        before=old,
        after=new,
        leaving=tuple(sorted(str(one.get("id")) for one in gone if one.get("class") != "stonith")),
        dropped=tuple(sorted(str(one.get("id")) for one in gone if one.get("class") == "stonith")),
        missing=tuple(sorted(missing)),
    )


def _section(root: ET.Element, tag: str) -> ET.Element:
    found = root.find(tag)
    return ET.Element(tag) if found is None else found


def _replace(configuration: ET.Element, tag: str, children: Iterable[ET.Element]) -> None:
    """The section with these children; those that are there already in the order in which they are, so that nothing
    counts as moved."""
    section = configuration.find(tag)
    children = list(children)
    if section is None:
        if not children:
            return
        section = ET.SubElement(configuration, tag)
    place = {child.get("id"): index for index, child in enumerate(section)}
    there = {child.get("id"): child for child in section}
    # What is the same but for its order stays the very element that it is.
    kept = [
        there[child.get("id")] if readable(there.get(child.get("id"))) == readable(child) else child
        for child in children
    ]
    section[:] = sorted(kept, key=lambda child: place.get(child.get("id"), len(place)))


def _merge_properties(configuration: ET.Element, target: ET.Element) -> None:
    own = [
        pair
        for pair in configuration.iterfind("crm_config/cluster_property_set/nvpair")
        if pair.get("name") in KEPT_PROPERTIES
    ]
    wanted = copy.deepcopy(_section(target, "crm_config"))
    first = wanted.find("cluster_property_set")
    if first is None:
        first = ET.SubElement(wanted, "cluster_property_set", {"id": "cib-bootstrap-options"})
    first.extend(own)
    _replace(configuration, "crm_config", list(wanted))


def _merge_nodes(configuration: ET.Element, target: ET.Element) -> list[str]:
    """Give each node its utilization; returns the nodes that the cluster has never seen."""
    live = {node.get("uname"): node for node in configuration.iterfind("nodes/node")}
    missing = []
    for node in target.iterfind("nodes/node"):
        name = node.get("uname", "")
        if name not in live:
            missing.append(name)
            continue
        wanted = node.find("utilization")
        here = live[name].find("utilization")
        if readable(wanted) == readable(here):
            continue
        if here is not None:
            live[name].remove(here)
        if wanted is not None:
            live[name].append(copy.deepcopy(wanted))
    return missing


def _is_ours(resource: ET.Element, config_dir: str) -> bool:
    """Fence devices are the inventory's; of VMs those whose definition croft keeps."""
    if resource.get("class") == "stonith":
        return True
    config = resource.find("instance_attributes/nvpair[@name='config']")
    return config is not None and config.get("value", "").startswith(f"{config_dir.rstrip('/')}/")


def _gone(configuration: ET.Element, target: ET.Element, config_dir: str) -> list[ET.Element]:
    """Our resources that are there and not wanted."""
    wanted = {resource.get("id") for resource in target.iterfind("resources/primitive")}
    return [
        resource
        for resource in configuration.iterfind("resources/primitive")
        if _is_ours(resource, config_dir) and resource.get("id") not in wanted
    ]


def _merge_resources(configuration: ET.Element, target: ET.Element, config_dir: str) -> None:
    others = [
        resource
        for resource in _section(configuration, "resources")
        if resource.tag != "primitive" or not _is_ours(resource, config_dir)
    ]
    _replace(configuration, "resources", [*copy.deepcopy(list(_section(target, "resources"))), *others])


def _merge_constraints(configuration: ET.Element, target: ET.Element) -> None:
    """Those of the inventory, those of moves that are under way, and those between resources that are not ours."""
    ours = {resource.get("id") for resource in target.iterfind("resources/primitive")}
    there = {element.get("id") for element in configuration.iterfind("resources//*[@id]")}

    def stays(constraint: ET.Element) -> bool:
        names = {constraint.get(key) for key in ("rsc", "with-rsc", "first", "then")} - {None}
        if not names <= there:
            return False
        return str(constraint.get("id")).startswith("cli-") or not names & ours

    wanted = copy.deepcopy(list(_section(target, "constraints")))
    ids = {constraint.get("id") for constraint in wanted}
    kept = [c for c in _section(configuration, "constraints") if c.get("id") not in ids and stays(c)]
    _replace(configuration, "constraints", [*wanted, *kept])


def readable(element: ET.Element | None) -> str:
    """The element as text that is the same for what means the same, an element on a line; empty without one."""
    if element is None:
        return ""
    lines: list[str] = []
    _lines(element, 0, lines)
    return "".join(f"{line}\n" for line in lines)


def _lines(element: ET.Element, depth: int, lines: list[str]) -> None:
    attributes = "".join(f' {key}="{value}"' for key, value in sorted(element.attrib.items()))
    lines.append(f"{'  ' * depth}<{element.tag}{attributes}>")
    children = [child for child in element if child.tag not in REPLACED or len(child)]
    if all(child.tag in _ANY_ORDER for child in children) or element.tag == "configuration":
        children.sort(key=lambda child: (child.tag, child.get("id", "")))
    for child in children:
        _lines(child, depth + 1, lines)


def read_state(monitor: str) -> State:
    """From `crm_mon --output-as=xml --inactive`."""
    root = ET.fromstring(monitor)
    dc = root.find("summary/current_dc")
    running: dict[str, tuple[str, ...]] = {}
    busy = set()
    for resource in root.iterfind("resources//resource"):
        name = str(resource.get("id"))
        active = resource.get("role") in ("Started", "Promoted", "Unpromoted") and resource.get("failed") == "false"
        nodes = [str(node.get("name")) for node in resource.iterfind("node")] if active else []
        running[name] = (*running.get(name, ()), *nodes)
        if resource.get("pending"):
            busy.add(name)
    failures = tuple(
        f"{failure.get('op_key', '').rpartition('_')[0] or failure.get('id')} on {failure.get('node')}: "
        f"{failure.get('exitreason') or failure.get('exitstatus')}"
        for failure in root.iterfind("failures/failure")
    )
    nodes_ = list(root.iterfind("nodes/node"))
    return State(
        online=frozenset(
            str(n.get("name")) for n in nodes_ if n.get("online") == "true" and n.get("pending") != "true"
        ),
        standby=frozenset(str(n.get("name")) for n in nodes_ if n.get("standby") == "true"),
        quorate=dc is not None and dc.get("with_quorum") == "true",
        running=running,
        busy=frozenset(busy),
        failures=failures,
        nodes=frozenset(str(n.get("name")) for n in nodes_),
        virtual_machines=frozenset(
            str(r.get("id"))
            for r in root.iterfind("resources//resource")
            if str(r.get("resource_agent")).endswith(":VirtualDomain")
        ),
        unclean=frozenset(str(n.get("name")) for n in nodes_ if n.get("unclean") == "true"),
    )


@dataclass(frozen=True)
class Departure:
    """A host that shall leave the cluster of it and `others`.

    `known` are the hosts of the inventory, of which one may have gone before. `third_vote`: a quorum device votes, too.
    `dead`: the host does not come back.
    """

    host: str
    others: Collection[str]
    known: Collection[str] = ()
    third_vote: bool = False
    dead: bool = False


def departure_problems(state: State, wish: Departure) -> list[str]:
    """What speaks against a departure; nothing when the host may go, or is gone."""
    host, others = wish.host, wish.others
    if host not in state.nodes:
        there = ", ".join(sorted(state.nodes))
        stranger = f"{host}: is neither in the cluster, which has {there}, nor in the inventory; name one of it"
        return [] if host in wish.known else [stranger]
    lines = [
        f"{other}: is not online in the cluster, which can spare no other host meanwhile; bring it back first"
        for other in sorted(set(others) - state.online)
    ]
    if len(others) < (2 if wish.third_vote else 3):
        lines.append(
            f"{host}: without it {len(others)} hosts are left, which cannot outvote a dead one; a cluster has three, "
            "or two with ha_cluster_quorum_device"
        )
    if wish.dead and host in state.online:
        lines.append(f"{host}: is online in the cluster; leave ha_cluster_remove_host_is_dead away")
    elif wish.dead and host in state.unclean:
        lines.append(
            f"{host}: is not fenced yet, so its VMs may still run there; when it is surely off: "
            f"stonith_admin --confirm {host}"
        )
    elif not wish.dead and host not in state.online:
        lines.append(
            f"{host}: is not online in the cluster; bring it back, or if it never comes back say so with "
            "ha_cluster_remove_host_is_dead=true"
        )
    runs = sorted(name for name, nodes in state.running.items() if host in nodes and name in state.virtual_machines)
    if runs:
        lines.append(f"{host}: runs {', '.join(runs)}; drain it first (playbooks/drain.yml -e drain_host={host})")
    return lines


def expected(configuration: str) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """(nodes, fence devices, VMs) that shall be up under a wanted configuration."""
    root = ET.fromstring(configuration)
    nodes = frozenset(str(node.get("uname")) for node in root.iterfind("nodes/node"))
    devices, vms = set(), set()
    for resource in root.iterfind("resources/primitive"):
        role = resource.find("meta_attributes/nvpair[@name='target-role']")
        if resource.get("class") == "stonith":
            devices.add(str(resource.get("id")))
        elif role is None or role.get("value") != "Stopped":
            vms.add(str(resource.get("id")))
    return nodes, frozenset(devices), frozenset(vms)


def lacking(state: State, wanted: str) -> list[str]:
    """What is not up yet, one line each; empty when all is."""
    nodes, devices, vms = expected(wanted)
    found = [f"{node}: is not online in the cluster" for node in sorted(nodes - state.online)]
    found += [] if state.quorate else ["the cluster has no quorum"]
    for kind, names in (("fence device", devices), ("VM", vms)):
        found += [
            f"{kind} {name}: {'runs on ' + ' and '.join(at) if at else 'does not run'}"
            for name in sorted(names)
            for at in [state.running.get(name, ())]
            if len(at) != 1
        ]
    return found
