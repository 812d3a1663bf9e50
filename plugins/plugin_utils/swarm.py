# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be done so that a swarm is as the inventory wants it, and what speaks against it. Pure.

Input are the facts of module ``croft.infra.swarm_facts`` by host; a host that did not answer has None.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Facts = Mapping[str, Any]
NETWORK_FIELDS = ("encrypted", "attachable", "internal")


def make_plan(
    facts: Mapping[str, Facts | None],
    *,
    removed: Sequence[str] = (),
    networks: Sequence[Mapping[str, Any]] = (),
) -> tuple[dict[str, Any], list[str]]:
    """(plan, problems). Without problems the plan is ready to be carried out.

    The plan: ``manager`` (the host whose engine is asked), ``init`` (whether it makes the swarm), ``stale`` and
    ``remove`` (entries of the swarm to take out: {id, hostname, role}), ``leave`` (hosts that leave), ``join`` ([{host,
    role, address}]), ``nodes`` ([{host, hostname, role, availability, labels, known}]), ``networks`` (those to make),
    ``steps`` (what is done, for people, in order) and ``remarks``.
    """
    wished = {host: fact for host, fact in facts.items() if host not in removed}
    there = {host: fact for host, fact in wished.items() if fact is not None}
    problems = [*_wish_problems(facts, wished, there), *_kernel_problems(there, networks)]
    # One that leaves commands nothing as long as another can.
    speaker = cluster_host(wished) or cluster_host(facts)
    cluster: Facts = (facts[speaker] or {})["cluster"] if speaker else {}
    if not speaker:
        problems += _headless_problems(facts)
    problems += _stranger_problems(there, cluster)
    problems += _network_problems(networks, cluster)
    managers = [host for host, fact in there.items() if fact["wished"]["role"] == "manager"]
    manager = speaker or (managers[0] if managers else "")
    nodes = {node["id"]: node for node in cluster.get("nodes", [])}
    stale, more = _stale(there, nodes)
    problems += more
    out, more = _removed(facts, removed, nodes)
    problems += more
    plan: dict[str, Any] = {
        "manager": manager,
        "init": not speaker,
        "stale": stale,
        "join": [
            {"host": host, "role": fact["wished"]["role"], "address": fact["wished"]["address"]}
            for host, fact in sorted(there.items(), key=lambda pair: pair[1]["wished"]["role"] != "manager")
            if fact["swarm"]["state"] == "inactive" and host != (manager if not speaker else None)
        ],
        "nodes": [_node(host, fact, nodes) for host, fact in there.items()],
        "networks": _new_networks(networks, cluster),
        "leave": [
            h for h in removed if (fact := facts.get(h)) and fact["swarm"]["state"] not in ("inactive", "locked")
        ],
        "remove": out,
        "remarks": _remarks(facts, wished, removed, cluster),
    }
    plan["steps"] = _steps(plan, nodes)
    return plan, problems


def cluster_host(facts: Mapping[str, Facts | None]) -> str:
    """The host whose engine speaks for the swarm: a manager that can command it, the leader before others."""
    able = [
        host
        for host, fact in facts.items()
        if fact and fact["swarm"]["manager"] and fact["cluster"] and not fact["cluster"]["error"]
    ]
    sizes = {host: len((facts[host] or {})["cluster"]["nodes"]) for host in able}
    leads = {
        host: any(
            node["leader"] and node["id"] == (facts[host] or {})["swarm"]["node_id"]
            for node in (facts[host] or {})["cluster"]["nodes"]
        )
        for host in able
    }
    # Of two swarms the larger is taken for the inventory's.
    return max(able, key=lambda host: (sizes[host], leads[host], -able.index(host)), default="")


def task_nodes(facts: Mapping[str, Facts | None], speaker: Facts) -> dict[str, dict[str, Any]]:
    """Facts by host name, of the hosts that answered and take tasks by the speaker's word.

    Each has ip_vs, listeners, images, and what constraints may ask for: id, role, labels.
    """
    ready = {
        node["id"]: node for node in speaker["cluster"]["nodes"] if node["ready"] and node["availability"] == "active"
    }
    return {
        fact["hostname"]: {
            "ip_vs": fact["kernel"]["ip_vs"],
            "listeners": fact["listeners"],
            "images": fact["images"],
            "id": fact["swarm"]["node_id"],
            "role": ready[fact["swarm"]["node_id"]]["role"],
            "labels": ready[fact["swarm"]["node_id"]]["labels"],
        }
        for fact in facts.values()
        if fact and fact["swarm"]["node_id"] in ready
    }


def _wish_problems(
    facts: Mapping[str, Facts | None], wished: Mapping[str, Facts | None], there: Mapping[str, Facts]
) -> list[str]:
    lines = []
    managers = [host for host, fact in wished.items() if fact is None or fact["wished"]["role"] == "manager"]
    known = [host for host, fact in there.items() if fact["wished"]["role"] == "manager"]
    if not known:
        lines.append("managers: no host that answers has docker_swarm_role manager; name 1, 3, 5 or 7")
    # A host that does not answer may be either, so an even count is refused only when all answered.
    elif len(there) == len(wished) and len(managers) % 2 == 0:
        lines.append(
            f"managers: are {len(managers)} ({', '.join(managers)}); an even number survives no more failures than "
            f"one less: "
            f"make it {len(managers) - 1} or {len(managers) + 1}"
        )
    names: dict[str, str] = {}
    for host, fact in facts.items():
        if fact is None:
            continue
        twin = names.setdefault(fact["hostname"], host)
        if twin != host:
            lines.append(f"{host}: has the same host name {fact['hostname']} as {twin}; give each its own")
        if not fact["available"]:
            # A check of an empty host ends before; here the engine should be.
            lines.append(
                f"{host}: Docker does not answer ({fact['reason']}); run role docker_engine, look at its journal"
            )
        if fact["swarm"]["state"] in ("error", "pending"):
            lines.append(
                f"{host}: its swarm is in state {fact['swarm']['state']} "
                f"({fact['swarm']['error'] or 'no reason given'}); "
                "look at journalctl -u docker there"
            )
        if fact["swarm"]["state"] == "locked":
            lines.append(
                f"{host}: its swarm is locked and no key was at hand; put docker_swarm_unlock_file in its place, or "
                f"unlock it by "
                "hand with docker swarm unlock"
            )
    for host, fact in there.items():
        address = fact["wished"]["address"]
        if address not in fact["addresses"]:
            lines.append(
                f"{host}: docker_swarm_address is {address!r}, which the host does not have; give one of "
                f"{', '.join(_usable(fact['addresses']))}"
            )
    return lines


def _usable(addresses: Iterable[str]) -> list[str]:
    found = [ipaddress.ip_address(text) for text in addresses]
    return [str(address) for address in found if not address.is_loopback and not address.is_link_local]


def _kernel_problems(there: Mapping[str, Facts], networks: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    without = [host for host, fact in there.items() if not fact["kernel"]["vxlan"]]
    if networks and without:
        lines.append(
            f"{', '.join(without)}: the kernel has no vxlan, so no overlay network reaches the node; use another "
            f"kernel, or take "
            "docker_swarm_networks away and publish ports with mode: host"
        )
    plain = [host for host, fact in there.items() if not fact["kernel"]["esp"]]
    secret = [network["name"] for network in networks if network.get("encrypted")]
    if secret and plain:
        lines.append(
            f"networks {', '.join(secret)}: are encrypted, and the kernel of {', '.join(plain)} has no ESP with "
            f"AES-GCM, so no packet "
            "would pass; use another kernel, or leave encrypted out where the wire is trusted"
        )
    return lines


def _headless_problems(facts: Mapping[str, Facts | None]) -> list[str]:
    """A swarm that is there and that nobody can command."""
    lines = []
    for host, fact in facts.items():
        if not fact or fact["swarm"]["state"] != "active":
            continue
        if fact["cluster"] and fact["cluster"]["error"]:
            lines.append(
                f"{host}: its swarm has lost its quorum ({fact['cluster']['error'].rstrip('.')}); bring its other "
                f"managers back, or "
                "make one of them the only manager with docker swarm init --force-new-cluster"
            )
        else:
            lines.append(
                f"{host}: is in a swarm and no host of this run is a manager of it; run on its managers too, or take "
                f"the node out with "
                "docker swarm leave if that swarm is not wanted"
            )
    return lines


def _stranger_problems(there: Mapping[str, Facts], cluster: Facts) -> list[str]:
    ids = {node["id"] for node in cluster.get("nodes", [])}
    return [
        f"{host}: is a node of another swarm ({fact['swarm']['cluster_id'] or 'node ' + fact['swarm']['node_id']}); "
        f"if nobody needs that "
        "one, take the node out with docker swarm leave --force there, and run this again"
        for host, fact in there.items()
        if cluster and fact["swarm"]["state"] == "active" and fact["swarm"]["node_id"] not in ids
    ]


def _network_problems(networks: Sequence[Mapping[str, Any]], cluster: Facts) -> list[str]:
    lines: list[str] = []
    known = {network["name"]: network for network in cluster.get("networks", [])}
    names = [network["name"] for network in networks]
    lines.extend(
        f"network {name}: is there twice; keep one" for name in sorted({n for n in names if names.count(n) > 1})
    )
    for wish in networks:
        there = known.get(wish["name"])
        if not there:
            continue
        for name in NETWORK_FIELDS:
            if bool(wish.get(name)) != there[name]:
                lines.append(
                    f"network {wish['name']}: {name} is {there[name]} in the swarm and {bool(wish.get(name))} in the "
                    f"inventory; a network "
                    "does not change while it is used: give the new one another name"
                )
        if wish.get("subnet") and wish["subnet"] != there["subnet"]:
            lines.append(
                f"network {wish['name']}: subnet is {there['subnet']} in the swarm and {wish['subnet']} in the "
                f"inventory; give the new one "
                "another name"
            )
    return lines


def _stale(there: Mapping[str, Facts], nodes: Mapping[str, Facts]) -> tuple[list[dict[str, str]], list[str]]:
    """Entries that a host left behind when it was made anew: the same host name, another id."""
    stale, problems = [], []
    for host, fact in there.items():
        for node in nodes.values():
            if node["hostname"] != fact["hostname"] or node["id"] == fact["swarm"]["node_id"]:
                continue
            if node["ready"]:
                problems.append(
                    f"{host}: another machine ({node['address']}) is in the swarm under the same name "
                    f"{node['hostname']}; rename one"
                )
            else:
                stale.append(_entry(node))
    return stale, problems


def _removed(
    facts: Mapping[str, Facts | None], removed: Sequence[str], nodes: Mapping[str, Facts]
) -> tuple[list[dict[str, str]], list[str]]:
    out, problems = [], []
    for name in removed:
        fact = facts.get(name)
        hostname = fact["hostname"] if fact else name
        for node in nodes.values():
            if node["hostname"] != hostname:
                continue
            if node["ready"] and not fact:
                problems.append(
                    f"{name}: is up in the swarm and did not answer this run, so it cannot leave; make it answer, or "
                    f"stop its engine"
                )
            out.append(_entry(node))
    return out, problems


def _entry(node: Facts) -> dict[str, str]:
    return {"id": node["id"], "hostname": node["hostname"], "role": node["role"]}


def _node(host: str, fact: Facts, nodes: Mapping[str, Facts]) -> dict[str, Any]:
    known = nodes.get(fact["swarm"]["node_id"])
    wish = fact["wished"]
    # A label's value is text to Swarm.
    labels = {str(key): str(value) for key, value in wish["labels"].items()}
    return {
        "host": host,
        "hostname": fact["hostname"],
        "role": wish["role"],
        "availability": wish["availability"],
        "labels": labels,
        "known": known is not None,
        "changes": known is not None
        and (known["role"], known["availability"], known["labels"]) != (wish["role"], wish["availability"], labels),
    }


def _new_networks(networks: Sequence[Mapping[str, Any]], cluster: Facts) -> list[dict[str, Any]]:
    known = {network["name"] for network in cluster.get("networks", [])}
    return [dict(network) for network in networks if network["name"] not in known]


def _remarks(
    facts: Mapping[str, Facts | None], wished: Mapping[str, Facts | None], removed: Sequence[str], cluster: Facts
) -> list[str]:
    lines = [f"{host}: did not answer and stays as it is" for host, fact in wished.items() if fact is None]
    without = [host for host, fact in wished.items() if fact and not fact["kernel"]["ip_vs"]]
    if without:
        lines.append(
            f"{', '.join(without)}: the kernel has no IP_VS. Virtual addresses of services and ports in ingress mode "
            f"do not answer there, "
            "though Docker lists them. What works: endpoint_mode: dnsrr, the name tasks.SERVICE, and ports with mode: "
            "host"
        )
    names = {fact["hostname"] for fact in facts.values() if fact} | set(facts) | set(removed)
    lines.extend(
        f"{node['hostname']}: is in the swarm and not in the inventory; it stays, unless docker_swarm_removed names it"
        for node in cluster.get("nodes", [])
        if node["hostname"] not in names
    )
    return lines


def _steps(plan: Mapping[str, Any], nodes: Mapping[str, Facts]) -> list[str]:
    steps = [
        f"take the dead entry of {entry['hostname']} out ({entry['role']} {entry['id']})" for entry in plan["stale"]
    ]
    if plan["init"]:
        steps.append(f"make the swarm on {plan['manager']}")
    steps += [f"join {entry['host']} as {entry['role']} at {entry['address']}" for entry in plan["join"]]
    steps += [
        f"set {node['host']} to {node['role']}, {node['availability']}, labels {node['labels'] or 'none'}"
        for node in plan["nodes"]
        if node["changes"]
    ]
    steps += [f"make network {network['name']}" for network in plan["networks"]]
    steps += [f"drain {entry['hostname']} and take it out ({entry['role']})" for entry in plan["remove"]]
    return steps
