# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab should be against what it is, and the steps from one to the other.

The lab is a few systemd-nspawn machines on one bridge of one physical machine. Everything here is pure: the machine
is looked at and changed in ``lab_machine``. What stands is always read from the machine itself (processes, mounts, loop
devices, links), never from a record, so that a lab whose owner crashed is taken away as thoroughly as any other.
"""

from __future__ import annotations

import ipaddress
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STATES = ("present", "isolated", "powered_off", "absent")
# A link's name has at most 15 characters and ours are `vb-<node>` (nspawn's own) and `vm-<node>`.
NODE_NAME = re.compile(r"^[a-z][a-z0-9-]{0,11}$")


@dataclass(frozen=True)
class Disk:
    """A disk of a node: a sparse file on the machine, a loop device in the node."""

    name: str
    size_gib: int


@dataclass(frozen=True)
class Node:
    """A node as it is wished."""

    name: str
    address: str
    state: str = "present"
    disks: tuple[Disk, ...] = ()
    bmc: str | None = None  # the address of its baseboard management controller


@dataclass(frozen=True)
class Network:
    """The bridge that the nodes and their guests share, and the way out of it."""

    bridge: str
    interface: ipaddress.IPv4Interface

    @property
    def prefix_length(self) -> int:
        return self.interface.network.prefixlen

    @property
    def nft_table(self) -> str:
        """Named after the bridge: two labs on one machine do not touch each other's."""
        return self.bridge.replace("-", "_")


@dataclass
class Found:
    """A node as the machine shows it."""

    name: str
    exists: bool = False
    record: Mapping[str, Any] = field(default_factory=dict)
    supervisor: int | None = None
    leader: int | None = None
    mounted: bool = False
    loops: Mapping[str, str] = field(default_factory=dict)  # disk name -> /dev/loopN
    connected: bool = False
    bmc: str | None = None  # the address at which its simulated BMC answers

    @property
    def running(self) -> bool:
        return self.supervisor is not None

    @property
    def ended(self) -> bool:
        """Its system is gone, and nspawn still waits for the kernel to take its network away, minutes at times."""
        return self.running and self.leader is None


@dataclass
class Machine:
    """The machine as it is: its nodes by name, and what the lab's network left on it."""

    nodes: dict[str, Found]
    bridge: bool = False
    nat: bool = False
    forwarding: bool = False


@dataclass(frozen=True)
class Step:
    """One thing to do. ``node`` is empty for what concerns the machine."""

    kind: str
    node: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.node}".rstrip()


def parse_nodes(raw: Sequence[Mapping[str, Any]], network: Network) -> tuple[list[Node], list[str]]:
    """Make nodes of the module's argument; return them and one line for each thing that is wrong with them."""
    nodes: list[Node] = []
    problems: list[str] = []
    names: set[str] = set()
    addresses: dict[str, str] = {str(network.interface.ip): "the machine"}
    for entry in raw:
        name, address, state = str(entry["name"]), str(entry["address"]), str(entry.get("state") or "present")
        where = f"lab node {name}"
        if not NODE_NAME.match(name):
            problems.append(f"{where}: the name must match {NODE_NAME.pattern} (12 characters at most)")
        if name in names:
            problems.append(f"{where}: the name is there twice; give each node a name of its own")
        names.add(name)
        bmc = (entry.get("bmc") or {}).get("address")
        for what, at, owner in (("address", address, name), ("the BMC's address", bmc, f"the BMC of {name}")):
            if at is not None:
                problems.extend(f"{where}: {what} {told}" for told in _address_problems(str(at), network, addresses))
                addresses.setdefault(str(at), owner)
        disks = tuple(Disk(str(d["name"]), int(d["size_gib"])) for d in entry.get("disks") or ())
        problems.extend(
            f"{where}: disk {d.name} has {d.size_gib} GiB; give a whole number >= 1" for d in disks if d.size_gib < 1
        )
        nodes.append(Node(name, address, state, disks, str(bmc) if bmc else None))
    return nodes, problems


def _address_problems(address: str, network: Network, taken: Mapping[str, str]) -> list[str]:
    try:
        inside = ipaddress.IPv4Address(address) in network.interface.network
    except ValueError:
        inside = False
    if not inside:
        return [f"{address} is not one of the lab's network {network.interface.network}"]
    return [f"{address} is taken by {taken[address]}"] if address in taken else []


def record_of(node: Node, image: str) -> dict[str, Any]:
    """What a node was made from; a node that stands and was made from something else is not what was asked for."""
    return {
        "image": image,
        "address": node.address,
        "disks": {disk.name: disk.size_gib for disk in node.disks},
    }


def stale(nodes: Iterable[Node], machine: Machine, image: str, recreate: Iterable[str]) -> list[str]:
    """One line for each node that stands but was made from something else, and may not be made anew."""
    allowed = set(recreate)
    lines = []
    for node in nodes:
        found = machine.nodes.get(node.name)
        if not found or not found.exists or node.state == "absent" or node.name in allowed:
            continue
        wanted = record_of(node, image)
        differs = [key for key in wanted if found.record.get(key) != wanted[key]]
        if differs:
            lines.append(
                f"lab node {node.name}: it was made with another {' and '.join(differs)}; name it in lab_recreate to "
                "make it anew (its disks are lost), or run make clean"
            )
    return lines


def steps(nodes: Sequence[Node], machine: Machine, image: str, recreate: Iterable[str] = ()) -> list[Step]:
    """Tell what must be done, in order, so that the machine has the nodes as wished.

    Nodes that stand on the machine and are not wished any more are taken away only when every wished node is absent:
    then the lab as a whole goes, with its network.
    """
    todo: list[Step] = []
    take_all = all(node.state == "absent" for node in nodes)
    allowed = set(recreate)
    if not take_all:
        network = (
            ("create bridge", machine.bridge),
            ("allow forwarding", machine.forwarding),
            ("create nat", machine.nat),
        )
        todo.extend(Step(kind) for kind, there in network if not there)
    wished = {node.name: node for node in nodes}
    leaving = [name for name in machine.nodes if name not in wished] if take_all else []
    for name in [*wished, *leaving]:
        found = machine.nodes.get(name) or Found(name)
        node = wished.get(name)
        todo.extend(_node_steps(node, found, name, image, name in allowed))
    if take_all:
        todo += [Step("remove nat")] if machine.nat else []
        todo += [Step("remove bridge")] if machine.bridge else []
        if machine.nat or machine.bridge or machine.nodes:
            todo.append(Step("restore forwarding"))
    return todo


def _node_steps(node: Node | None, found: Found, name: str, image: str, may_recreate: bool) -> list[Step]:
    state = node.state if node else "absent"
    bmc = node.bmc if node and state != "absent" else None
    return _bmc_steps(bmc, found, name) + _power_steps(node, found, name, image, may_recreate)


def _bmc_steps(address: str | None, found: Found, name: str) -> list[Step]:
    """First, so that a BMC that is taken away does not switch its node on again."""
    if address == found.bmc:
        return []
    return ([Step("stop bmc", name)] if found.bmc else []) + ([Step("start bmc", name)] if address else [])


def _power_steps(node: Node | None, found: Found, name: str, image: str, may_recreate: bool) -> list[Step]:
    state = node.state if node else "absent"
    is_stale = bool(node and found.exists and found.record != record_of(node, image))
    if state == "absent" or (is_stale and may_recreate):
        todo = _take_away(found, name)
        found = Found(name)
    else:
        todo = []
    if state == "absent":
        return todo
    if not found.exists:
        todo.append(Step("create", name))
    if state == "powered_off":
        return todo + _cut(found, name) + _let_go(found, name)
    connected = found.connected
    if not found.running or found.ended:
        # Mounts and loop devices outlive a node that died.
        todo += [*_cut(found, name), *_let_go(found, name), Step("start", name)]
        connected = True
    if connected != (state == "present"):
        todo.append(Step("connect" if state == "present" else "isolate", name))
    return todo


def _take_away(found: Found, name: str) -> list[Step]:
    return _cut(found, name) + _let_go(found, name) + ([Step("remove", name)] if found.exists else [])


def _cut(found: Found, name: str) -> list[Step]:
    return [Step("cut power", name)] if found.running else []


def _let_go(found: Found, name: str) -> list[Step]:
    holds = found.running or found.mounted or bool(found.loops)
    return [Step("release", name)] if holds else []


def nspawn_command(node: str, root: str, bridge: str, devices: Iterable[str]) -> list[str]:
    """The command that boots a node.

    ``--register=no --keep-unit`` works with and without systemd as the machine's PID 1. The second link, `vm0`, is the
    node's port for its guests; nspawn leaves its other end (`vm-<node>`) for us to plug into the bridge.
    """
    return [
        "systemd-nspawn",
        "--quiet",
        f"--machine={node}",
        f"--directory={root}",
        "--boot",
        "--register=no",
        "--keep-unit",
        "--console=pipe",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        "--capability=all",
        "--private-users=no",
        f"--network-bridge={bridge}",
        f"--network-veth-extra=vm-{node}:vm0",
        *(f"--bind={device}" for device in devices),
    ]


def start_command(unit: str, command: Sequence[str], systemd: bool, log: str) -> list[str]:
    """Wrap the command so that it outlives the run that started it: a transient unit where systemd is PID 1."""
    if not systemd:
        return list(command)
    return [
        "systemd-run",
        "--quiet",
        "--collect",
        f"--unit=croft-lab-{unit}",
        "--slice=machine.slice",
        "--property=Delegate=yes",
        "--property=KillMode=mixed",
        "--property=TasksMax=infinity",
        f"--property=StandardOutput=append:{log}",
        "--setenv=SYSTEMD_SECCOMP=0",
        *command,
    ]


def supervisor_of(argv: Sequence[str]) -> str | None:
    """The node's name when this is the command line of a node's nspawn process, else None."""
    if not argv or Path(argv[0]).name != "systemd-nspawn":
        return None
    for argument in argv[1:]:
        if argument.startswith("--machine="):
            return argument.removeprefix("--machine=")
    return None


def supervisor_root(argv: Sequence[str]) -> str:
    """The node's root directory on its nspawn command line, or the empty string."""
    for argument in argv:
        if argument.startswith("--directory="):
            return argument.removeprefix("--directory=")
    return ""


def bmc_files(node: str, address: str, password: str, program: str) -> dict[str, str]:
    """Configuration of ipmi_sim, by file name: a BMC that answers at the address and has the program switch the power.

    The program gets the arguments given here and then `get power` or `set power 0|1`.
    """
    allowed = "".join(
        f"    allowed_auths_{level} none md2 md5 straight\n" for level in ("callback", "user", "operator", "admin")
    )
    return {
        f"{node}.conf": (
            f'name "{node}"\nset_working_mc 0x20\n'
            f"  startlan 1\n    addr {address} 623\n    priv_limit admin\n{allowed}"
            # Without an id of its own it does not speak IPMI 2.
            f"    guid {uuid.uuid5(uuid.NAMESPACE_DNS, node).hex}\n  endlan\n"
            f'  chassis_control "{program} {node}"\n'
            '  user 1 true "" "" user 10 none md2 md5 straight\n'
            f'  user 2 true "admin" "{password}" admin 10 none md2 md5 straight\n'
        ),
        f"{node}.emu": (
            "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n"
            "sel_enable 0x20 1000 0x0a\nmc_enable 0x20\n"
        ),
    }


def bmc_command(node: str, folder: str) -> list[str]:
    """The command of a node's BMC, with the files of bmc_files() in the folder."""
    return ["ipmi_sim", "-c", f"{folder}/{node}.conf", "-f", f"{folder}/{node}.emu", "-s", f"{folder}/{node}", "-n"]


def bmc_of(argv: Sequence[str], folder: str) -> str | None:
    """The node's name when this is the command line of a BMC with its files in the folder, else None."""
    if Path(argv[0] if argv else "").name != "ipmi_sim" or "-c" not in argv[:-1]:
        return None
    conf = Path(argv[argv.index("-c") + 1])
    return conf.stem if str(conf.parent) == folder else None


def hosts_file(nodes: Sequence[Node]) -> str:
    """The names that a node knows: those of all that are not absent."""
    peers = sorted((node for node in nodes if node.state != "absent"), key=lambda node: node.name)
    return "127.0.0.1 localhost\n::1 localhost\n" + "".join(f"{peer.address} {peer.name}\n" for peer in peers)


def node_files(node: Node, nodes: Sequence[Node], network: Network, disks: Mapping[str, str]) -> dict[str, str]:
    """Files that make a node of the image, by path below its root: its name, address, peers and disks."""
    return {
        "etc/hostname": f"{node.name}\n",
        "etc/hosts": hosts_file(nodes),
        "etc/systemd/network/10-host0.network": (
            "[Match]\nName=host0\n\n[Network]\n"
            f"Address={node.address}/{network.prefix_length}\nGateway={network.interface.ip}\n"
            "LinkLocalAddressing=no\nIPv6AcceptRA=no\n"
        ),
        "etc/croft-lab/disks": "".join(f"{name} {device}\n" for name, device in sorted(disks.items())),
    }


def nft_rules(network: Network) -> str:
    """The way out for the nodes: masquerading, and TCP segments cut to what the machine's own uplink carries."""
    return (
        f"table inet {network.nft_table} {{\n"
        "  chain postrouting {\n"
        "    type nat hook postrouting priority srcnat;\n"
        f"    ip saddr {network.interface.network} ip daddr != {network.interface.network} masquerade\n"
        "  }\n"
        "  chain forward {\n"
        "    type filter hook forward priority mangle;\n"
        f'    iifname "{network.bridge}" tcp flags syn tcp option maxseg size set rt mtu\n'
        "  }\n"
        "}\n"
    )
