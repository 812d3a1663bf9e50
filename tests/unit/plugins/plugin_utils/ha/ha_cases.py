# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clusters for the tests, and Pacemaker's own scheduler (crm_simulate) to ask what it makes of their configuration."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from ansible_collections.croft.infra.plugins.plugin_utils.ha.cib import configuration
from ansible_collections.croft.infra.plugins.plugin_utils.ha.model import Cluster
from ansible_collections.croft.infra.plugins.plugin_utils.ha.parse import read_cluster
from sizing_cases import breaks, plan, vm

# What Pacemaker 2.1 and 3.0 both read.
SCHEMA = "pacemaker-3.9"
FEATURES = "3.16.1"
Vm = dict[str, Any]


def fenced(own: dict[str, Any]) -> dict[str, Any]:
    """The hosts with a BMC each."""
    return {
        name: {
            **variables,
            "ha_cluster_fence_devices": [
                {"agent": "fence_ipmilan", "options": {"ip": f"10.0.0.{number}", "username": "croft", "password": "pw"}}
            ],
        }
        for number, (name, variables) in enumerate(own.items(), 21)
    }


def vms(count: int, prefix: str = "vm", **more: Any) -> list[Vm]:
    return [vm(f"{prefix}{number}", **{"ha": True, **more}) for number in range(1, count + 1)]


@dataclass
class Case:
    """A cluster as it is wanted, its plan, and what is in its configuration."""

    hosts: dict[str, dict[str, Any]]
    vms: list[Vm]
    plan: dict[str, Any]
    cluster: Cluster
    xml: str

    @property
    def ha(self) -> dict[str, str]:
        """HA VM that runs to the host that the plan has for it."""
        run = {entry["name"] for entry in self.vms if entry.get("ha") and entry.get("state") != "stopped"}
        return {name: to for name, to in self.plan["placements"].items() if name in run}


def case(own: dict[str, dict[str, Any]], wished: list[Vm], policy: Any = None, **settings: Any) -> Case:
    """Plan the cluster and configure it; both must pass."""
    made = plan(own, wished, policy, storage_layout="centralized")
    cluster, problems = read_cluster(made, wished, own, settings)
    assert cluster is not None, problems
    return Case(own, wished, made, cluster, configuration(cluster))


# --- Pacemaker --------------------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What the scheduler did: its actions in order, and which VM then runs where (each host of it)."""

    actions: list[tuple[str, str, str]]
    running: dict[str, list[str]]

    def fenced(self) -> list[str]:
        return [node for what, _, node in self.actions if what == "fence"]

    def of(self, name: str) -> list[tuple[str, str]]:
        return [(what, node) for what, resource, node in self.actions if resource == name]


def live(case: Case, where: Mapping[str, str]) -> str:
    """A CIB of the configuration in which all nodes are online and the VMs run where ``where`` says."""
    cib = Element(
        "cib",
        {
            "crm_feature_set": FEATURES,
            "validate-with": SCHEMA,
            "epoch": "1",
            "num_updates": "0",
            "admin_epoch": "0",
            "have-quorum": "1",
            "dc-uuid": sorted(case.hosts)[0],
        },
    )
    tree = ElementTree.fromstring(case.xml)
    cib.append(tree)
    status = SubElement(cib, "status")
    for node in sorted(case.hosts):
        online = {"in_ccm": "true", "crmd": "online", "join": "member", "expected": "member"}
        state = SubElement(status, "node_state", {"id": node, "uname": node, **online})
        resources = SubElement(SubElement(state, "lrm", id=node), "lrm_resources")
        for primitive in tree.iter("primitive"):
            _recorded(resources, primitive, node, running=where.get(primitive.get("id", "")) == node)
    return ElementTree.tostring(cib, encoding="unicode")


def _recorded(parent: Element, primitive: Element, node: str, *, running: bool) -> None:
    """What a node's executor remembers of a resource: whether it found it there."""
    kinds = {key: primitive.get(key, "") for key in ("class", "provider", "type") if primitive.get(key)}
    name = primitive.get("id", "")
    entry = SubElement(parent, "lrm_resource", {"id": name, **kinds})
    code = "0" if running else "7"
    key = f"1:1:{code}:00000000-0000-0000-0000-000000000000"
    SubElement(
        entry,
        "lrm_rsc_op",
        {
            "id": f"{name}_last_0",
            "operation_key": f"{name}_monitor_0",
            "operation": "monitor",
            "crm_feature_set": FEATURES,
            "transition-key": key,
            "transition-magic": f"0:{code};{key}",
            "on_node": node,
            "call-id": "1",
            "rc-code": code,
            "op-status": "0",
            "interval": "0",
        },
    )


def failed(cib: str, *dead: str, quorate: bool = True) -> str:
    """The CIB after these nodes left without a word. (The event of crm_simulate breaks its XML in Pacemaker 3.0.)"""
    root = ElementTree.fromstring(cib)
    root.set("have-quorum", str(int(quorate)))
    for node in dead:
        state = root.find(f"status/node_state[@uname='{node}']")
        assert state is not None
        state.attrib.update({"in_ccm": "false", "crmd": "offline"})
    return ElementTree.tostring(root, encoding="unicode")


def simulate(cib: str, directory: Path, *, ends: bool = True) -> tuple[Outcome, str]:
    """Let the scheduler act until it is done, or (``ends`` False) can do no more; also the CIB that it leaves."""
    before, after = directory / "before.xml", directory / "after.xml"
    before.write_text(cib)
    command = ["crm_simulate", "--simulate", "--output-as=xml", f"--xml-file={before}", f"--save-output={after}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0 or not ends, done.stdout + done.stderr
    root = ElementTree.fromstring(done.stdout)
    transition, revised = root.find("transition"), root.find("revised_cluster_status")
    assert revised is not None, done.stdout
    actions = [] if transition is None else [_action(entry) for entry in transition]
    return Outcome([action for action in actions if action[0]], _running(revised)), after.read_text()


def _action(entry: Element) -> tuple[str, str, str]:
    """What is done, to which resource, where; what the scheduler only remembers is nothing."""
    if entry.tag == "fencing_action":
        return "fence", "", entry.get("target", "")
    if entry.tag == "rsc_action":
        return entry.get("op", ""), entry.get("resource", ""), entry.get("node", "")
    return "", "", ""


def _running(status: Element) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for resource in status.iter("resource"):
        if "VirtualDomain" in resource.get("resource_agent", ""):
            started = resource.get("role") == "Started"
            found[resource.get("id", "")] = [node.get("name", "") for node in resource.iter("node")] if started else []
    return found


def settled(case: Case, directory: Path) -> str:
    """The CIB in which all VMs run where the plan has them: the scheduler leaves every one where it is.

    The first run is for the digests of the resources' parameters, which only the scheduler can make.
    """
    _, recorded = simulate(live(case, case.ha), directory)
    outcome, rest = simulate(recorded, directory)
    assert outcome.actions == [], outcome.actions
    wished = {entry["name"]: [case.ha[entry["name"]]] for entry in case.vms if entry["name"] in case.ha}
    assert {name: nodes for name, nodes in outcome.running.items() if nodes} == wished
    return rest


def kill(case: Case, cib: str, directory: Path, *dead: str) -> Outcome:
    """All these hosts fail at once, with a majority left; what must hold for any death is checked. ``cib``: settled."""
    outcome, _ = simulate(failed(cib, *dead), directory)
    assert sorted(outcome.fenced()) == sorted(dead)
    where: dict[str, str | None] = {}
    for name, nodes in outcome.running.items():
        assert len(nodes) <= 1, f"{name} runs on {nodes}"
        if nodes:
            assert nodes[0] not in dead
            where[name] = nodes[0]
    for name, was in case.ha.items():
        if was in dead:
            # Not before its host is off.
            off = outcome.actions.index(("fence", "", was))
            assert not [action for action in outcome.actions[:off] if action[:2] == ("start", name)]
        else:
            # What runs is not touched.
            assert where[name] == was
            assert [what for what, _ in outcome.of(name) if what != "monitor"] == []
    others = [entry for entry in case.vms if not entry.get("ha")]
    where |= {entry["name"]: case.plan["placements"][entry["name"]] for entry in others}
    alive = {name: own for name, own in case.hosts.items() if name not in dead}
    there = {name: to for name, to in where.items() if to in alive}
    assert (
        breaks(alive, [entry for entry in case.vms if entry["name"] in there], there, "centralized", failover=False)
        == []
    )
    return outcome
