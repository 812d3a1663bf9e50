# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what an inventory says and what hosts reported to ``Inputs``; each problem is one line, none stops the rest.

A line reads ``where: what it is, what it must be; what to do``.
"""

from __future__ import annotations

import ipaddress
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from fractions import Fraction
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils import devices, identity
from ansible_collections.croft.infra.plugins.module_utils.guest_health import SIGNALS
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.container_input import (
    container_names,
    parse_containers,
    parse_nodes,
)
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.model import (
    LAYOUTS,
    RULED_FIELDS,
    STATES,
    WORKLOADS,
    Host,
    Inputs,
    RunningVm,
    VirtualMachine,
)
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.policy import parse_policy
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.values import (
    MISSING,
    Problems,
    as_choice,
    as_flag,
    as_number,
    as_whole,
    did_you_mean,
    say,
)

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
_GROUP = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?\Z")
_WORD = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.+-]{0,253}[A-Za-z0-9])?\Z")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")
_MULTICAST = 0x01

_SIZES = {
    "vcpus": ("vCPUs", "give the number of virtual CPUs"),
    "memory_mib": ("MiB", "give the memory that the guest gets"),
    "disk_gib": ("GiB", "give the size of the root disk"),
}
# User data may hold secrets and decides nothing about a VM's place: the plan takes it and does not keep it.
_NOT_KEPT = ("user_data",)
_VM_KEYS = (*RULED_FIELDS, *sorted(devices.FIELDS), *_NOT_KEPT)
# In place of the network that the deployment names for cards that name none; that is for the host to know.
_DEPLOYMENT_NETWORK = "deployment"
_CAPACITY_KEYS = ("sockets", "cores", "threads", "memory_mib", "disk_gib", "numa_nodes")
_RESERVED_KEYS = ("cpus", "memory_mib", "osds")
HOST_VARIABLES = ("croft_capacity", "host_reserved", "croft_host_facts", "ceph_osd_devices")


def read_inputs(  # noqa: PLR0913
    hosts: Sequence[str],
    host_variables: Mapping[str, Mapping[str, Any]],
    virtual_machines: Any,
    *,
    policy: Any = None,
    storage_layout: Any = "local",
    today: date,
    containers: Any = None,
    nodes: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[Inputs | None, list[str]]:
    """Validate everything that a plan is made from.

    ``host_variables[name]`` may hold ``HOST_VARIABLES`` (the OSDs' disks count in the distributed layout only);
    ``virtual_machines`` is a list of entries or a mapping by name; ``today`` decides which waivers hold. Who asks for
    VMs alone leaves ``containers`` and ``nodes`` (their nodes' variables by name) out; waivers of containers then pass.

    Returns the inputs and no problem, or None and all problems, one line each.
    """
    problems = Problems()
    layout = as_choice(storage_layout, LAYOUTS, "storage_layout", problems) or "local"
    vms = parse_virtual_machines(virtual_machines, problems, hosts)
    # A policy's OSD memory is needed to judge a reserve, its waivers need the names: hosts' names are known before.
    rules = parse_policy(
        policy,
        problems,
        hosts,
        (vm.name for vm in vms),
        containers=None if containers is None else container_names(containers),
        nodes=nodes,
    )
    parsed_hosts: list[Host] = []
    present: list[RunningVm] = []
    # Containers alone need no hypervisor.
    if hosts or vms or not containers:
        parsed_hosts, present = parse_hosts(
            hosts, host_variables, problems, layout, int(rules.rules["host-overhead"]["osd_memory_mib"])
        )
    parsed_containers = parse_containers(containers, problems, nodes or {})
    parsed_nodes = parse_nodes(nodes or {}, problems, vms=vms, hosts=parsed_hosts) if parsed_containers else []
    _check_presence(vms, present, problems)
    _check_pins(vms, present, parsed_hosts, problems)
    if problems.found:
        return None, problems.lines
    inputs = Inputs(
        hosts=tuple(sorted(parsed_hosts, key=lambda host: host.name)),
        virtual_machines=tuple(sorted(vms, key=lambda vm: vm.name)),
        present=tuple(sorted(present, key=lambda vm: (vm.host, vm.name, not vm.managed))),
        policy=rules,
        storage_layout=layout,
        today=today,
        containers=tuple(parsed_containers),
        nodes=tuple(parsed_nodes),
    )
    return inputs, []


def _check_pins(
    vms: Sequence[VirtualMachine], present: Sequence[RunningVm], hosts: Sequence[Host], problems: Problems
) -> None:
    """A VM that is to be made cannot be pinned to a host that takes nothing new."""
    resting = {host.name: host.maintenance for host in hosts if host.maintenance is not None}
    there = {vm.name for vm in present if vm.managed}
    for vm in vms:
        if vm.host in resting and vm.name not in there:
            problems.add(
                f"VM {vm.name}",
                f"is pinned to {vm.host}, which takes nothing new ({resting[vm.host]}); end its maintenance with "
                "playbooks/undrain.yml, or take the pin out",
            )


# --- virtual machines -------------------------------------------------------------------------------------------------


def parse_virtual_machines(raw: Any, problems: Problems, hosts: Iterable[str] = ()) -> list[VirtualMachine]:
    """Read ``virtual_machines``; entries with a problem are left out, their problems are in ``problems``."""
    entries = _entries(raw, problems)
    seen: dict[str, int] = {}
    for _, entry in entries:
        name = entry.get("name")
        if isinstance(name, str):
            seen[name] = seen.get(name, 0) + 1
    for name, count in seen.items():
        if count > 1:
            problems.add(f"virtual_machines[{name}]", f"is named {count} times; give each VM a name of its own")
    known_hosts = tuple(hosts)
    parsed = [_parse_vm(where, entry, problems, known_hosts) for where, entry in entries]
    vms = [vm for vm in parsed if vm is not None]
    for field, what in (("uuid", "uuid"), ("mac", "MAC address"), ("address", "address")):
        _check_unique(vms, field, what, problems)
    return vms


def _entries(raw: Any, problems: Problems) -> list[tuple[str, dict[str, Any]]]:
    if raw is None or raw is MISSING:
        problems.add("virtual_machines", "is missing; give a list of VMs (an empty list when there is none)")
        return []
    if isinstance(raw, Mapping):
        pairs = [(str(name), {} if entry is None else entry, True) for name, entry in raw.items()]
    elif isinstance(raw, Sequence) and not isinstance(raw, (str, bytes)):
        pairs = [(str(index), entry, False) for index, entry in enumerate(raw)]
    else:
        problems.add("virtual_machines", f"is {say(raw)}, must be a list of VMs or a mapping by name")
        return []
    entries = []
    for key, entry, by_name in pairs:
        if not isinstance(entry, Mapping):
            problems.add(
                f"virtual_machines[{key}]", f"is {say(entry)}, must be a mapping such as {{name: web1, vcpus: 2}}"
            )
            continue
        item = dict(entry)
        if by_name and item.setdefault("name", key) != key:
            problems.add(
                f"virtual_machines[{key}].name", f"is {say(item['name'])}, must be its key '{key}' or left out"
            )
            continue
        name = item.get("name")
        entries.append((f"virtual_machines[{name if isinstance(name, str) and name else key}]", item))
    return entries


def _parse_vm(where: str, raw: Mapping[str, Any], problems: Problems, hosts: tuple[str, ...]) -> VirtualMachine | None:
    before = len(problems.found)
    for key in raw:
        if key not in _VM_KEYS:
            problems.add(f"{where}.{key}", f"is not known; {did_you_mean(key, _VM_KEYS)}")
    # YAML's "host:" with nothing after it means: not given.
    given = {key: value for key, value in raw.items() if value is not None}
    name = _parse_name(raw.get("name", MISSING), f"{where}.name", problems)
    sizes: dict[str, int | None] = {}
    for key, (unit, hint) in _SIZES.items():
        size = raw.get(key, MISSING)
        plain = type(size) is int and size > 0
        sizes[key] = size if plain else as_whole(size, f"{where}.{key}", problems, unit, hint=hint)
    flags = {
        key: as_flag(given[key], f"{where}.{key}", problems) if key in given else default
        for key, default in (("ha", False), ("autostart", True))
    }
    workload = as_choice(given.get("workload", "general"), WORKLOADS, f"{where}.workload", problems)
    state = as_choice(given.get("state", "running"), STATES, f"{where}.state", problems)
    host = given.get("host")
    if host is not None and (not isinstance(host, str) or host not in hosts):
        problems.add(f"{where}.host", f"is {say(host)}, not a host of this plan; {did_you_mean(host, hosts)}")
    words: dict[str, str | None] = {}
    for key, pattern in _WORDS:
        words[key] = _parse_word(given[key], pattern, f"{where}.{key}", problems) if key in given else None
    network = _NO_NETWORK if _NETWORK_KEYS.isdisjoint(given) else _parse_network(given, where, problems)
    shape = {key: given[key] for key in devices.FIELDS if key in given}
    first = _read_shape(name or "", raw, where, problems) if shape else None
    if first is not None:
        network = {**network, "address": first.address}
        words["network"] = None if first.source == _DEPLOYMENT_NETWORK else first.source
    identifiers = {
        "uuid": _parse_uuid(given["uuid"], f"{where}.uuid", problems) if "uuid" in given else None,
        "mac": _parse_mac(given["mac"], f"{where}.mac", problems) if "mac" in given else None,
    }
    health = _parse_health(given.get("health", ()), f"{where}.health", problems)
    if len(problems.found) > before or name is None:
        return None
    return VirtualMachine(
        name=name,
        vcpus=sizes["vcpus"] or 0,
        memory_mib=sizes["memory_mib"] or 0,
        disk_gib=sizes["disk_gib"] or 0,
        workload=workload or "general",
        host=host,
        ha=bool(flags["ha"]),
        autostart=bool(flags["autostart"]),
        state=state or "running",
        anti_affinity=words["anti_affinity"],
        affinity=words["affinity"],
        image=words["image"],
        network=words["network"],
        **network,
        uuid=identifiers["uuid"] or identity.vm_uuid(name),
        mac=identifiers["mac"] or (first.mac if first is not None else identity.vm_mac(name)),
        health=health,
        shape=shape,
        extra_gib=devices.extra_gib(shape),
    )


def _read_shape(name: str, raw: Mapping[str, Any], where: str, problems: Problems) -> devices.Nic | None:
    """Note what is wrong with the fields that the host's module reads; the first network card, when it is named."""
    shape, wrong = devices.read_shape(name, raw, _DEPLOYMENT_NETWORK)
    for text in wrong:
        field, _blank, rest = text.partition(" ")
        problems.add(f"{where}.{field}", rest)
    return shape.nics[0] if shape.nics else None


_WORDS = (("anti_affinity", _GROUP), ("affinity", _GROUP), ("image", _WORD), ("network", _WORD))
_NETWORK_KEYS = frozenset(("address", "gateway", "nameservers"))
_NO_NETWORK: dict[str, Any] = {"address": None, "gateway": None, "nameservers": ()}


def _parse_name(value: Any, where: str, problems: Problems) -> str | None:
    wanted = "must be an RFC 1123 label: 1 to 63 of a-z, 0-9 and -, first and last no -"
    if value is MISSING or value is None:
        problems.add(where, f"is {'missing' if value is MISSING else 'empty'}, {wanted}")
        return None
    if not isinstance(value, str) or not _LABEL.match(value):
        problems.add(where, f"is {say(value)}, {wanted}")
        return None
    return str(value)


def _parse_health(value: Any, where: str, problems: Problems) -> tuple[str, ...]:
    """What its health is judged by, in a fixed order."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        problems.add(where, f"is {say(value)}, must be a list of {' and '.join(SIGNALS)}")
        return ()
    signals = [as_choice(item, SIGNALS, f"{where}[{index}]", problems) for index, item in enumerate(value)]
    return tuple(signal for signal in SIGNALS if signal in signals)


def _parse_word(value: Any, pattern: re.Pattern[str], where: str, problems: Problems) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not pattern.match(value):
        problems.add(where, f"is {say(value)}, must be a name of letters, digits, '.', '_' and '-'")
        return None
    return str(value)


def _parse_network(given: Mapping[str, Any], where: str, problems: Problems) -> dict[str, Any]:
    interface: ipaddress.IPv4Interface | ipaddress.IPv6Interface | None = None
    address = given.get("address")
    if address is not None:
        try:
            if not isinstance(address, str) or "/" not in address:
                raise ValueError
            interface = ipaddress.ip_interface(address)
        except ValueError:
            problems.add(
                f"{where}.address", f"is {say(address)}, must be an address with its prefix length such as 10.0.0.5/24"
            )
    gateway = _parse_ip(given.get("gateway"), f"{where}.gateway", problems)
    if interface is not None and gateway is not None and ipaddress.ip_address(gateway) not in interface.network:
        problems.add(f"{where}.gateway", f"is {gateway}, not in {interface.network}; give the router of that network")
    servers = given.get("nameservers", ())
    if isinstance(servers, (str, bytes)) or not isinstance(servers, Sequence):
        problems.add(f"{where}.nameservers", f"is {say(servers)}, must be a list of addresses")
        servers = ()
    parsed = [_parse_ip(item, f"{where}.nameservers[{i}]", problems, empty=True) for i, item in enumerate(servers)]
    return {
        "address": str(interface) if interface is not None else None,
        "gateway": gateway,
        "nameservers": tuple(item for item in parsed if item is not None),
    }


def _parse_ip(value: Any, where: str, problems: Problems, *, empty: bool = False) -> str | None:
    if value is None and not empty:
        return None
    try:
        if not isinstance(value, str):
            raise ValueError
        return str(ipaddress.ip_address(value))
    except ValueError:
        problems.add(where, f"is {say(value)}, must be an address such as 10.0.0.1")
        return None


def _parse_uuid(value: Any, where: str, problems: Problems) -> str | None:
    if value is None:
        return None
    try:
        if not isinstance(value, str):
            raise ValueError
        return str(uuid.UUID(value))
    except ValueError:
        problems.add(where, f"is {say(value)}, must be a uuid; leave it out to have one derived from the name")
        return None


def _parse_mac(value: Any, where: str, problems: Problems) -> str | None:
    if value is None:
        return None
    text = value.lower() if isinstance(value, str) else ""
    if not _MAC.match(text) or int(text[:2], 16) & _MULTICAST:
        problems.add(
            where,
            f"is {say(value)}, must be a unicast MAC address such as 52:54:00:12:34:56; leave it out to derive one",
        )
        return None
    return text


def _check_unique(vms: Iterable[VirtualMachine], field: str, what: str, problems: Problems) -> None:
    owners: dict[str, str] = {}
    for vm in vms:
        value = getattr(vm, field)
        if value is None:
            continue
        # Two prefixes of one address are still one address.
        key = value.split("/")[0] if field == "address" else value
        if owners.setdefault(key, vm.name) != vm.name:
            problems.add(
                f"virtual_machines[{vm.name}].{field}",
                f"is {key}, the {what} of '{owners[key]}' too; give one of them another",
            )


# --- hosts ------------------------------------------------------------------------------------------------------------


def parse_hosts(
    names: Sequence[str],
    variables: Mapping[str, Mapping[str, Any]],
    problems: Problems,
    layout: str,
    osd_memory_mib: int,
) -> tuple[list[Host], list[RunningVm]]:
    """Read capacity, reserve and VMs of each host; hosts with a problem are left out."""
    if not names:
        problems.add("hosts", "is empty; put the hypervisors into the inventory group that the plan reads")
    distributed = layout == "distributed"
    hosts: list[Host] = []
    present: list[RunningVm] = []
    for name in dict.fromkeys(names):
        own = variables.get(name, {})
        facts = own.get("croft_host_facts")
        before = len(problems.found)
        if not _facts_usable(name, facts, problems):
            facts = None
        read = facts.get("capacity") if isinstance(facts, Mapping) else None
        devices = own.get("ceph_osd_devices") if distributed else None
        if isinstance(read, Mapping) and devices == []:
            # A host without OSDs: what was read is its own file system.
            read = {**read, "disk_gib": 0}
        capacity = _parse_capacity(name, own.get("croft_capacity"), read, problems, len(problems.found) > before)
        reserved = _parse_reserved(name, own.get("host_reserved"), problems)
        osds = _count_osds(name, reserved["osds"], devices, problems) if distributed else 0
        if isinstance(facts, Mapping):
            present += _parse_present(name, facts.get("virtual_machines"), problems)
        if capacity is None or len(problems.found) > before:
            continue
        host = Host(
            name=name,
            reserved_cpus=reserved["cpus"] or 0,
            reserved_memory_mib=reserved["memory_mib"] or 0,
            osds=osds,
            reserve_declared=own.get("host_reserved") is not None,
            maintenance=_parse_maintenance(facts),
            **capacity,
        )
        _check_reserve(host, osd_memory_mib, problems)
        hosts.append(host)
    return hosts, present


def _parse_maintenance(facts: Any) -> str | None:
    about = facts.get("maintenance") if isinstance(facts, Mapping) else None
    return str(about.get("reason") or "no reason given") if isinstance(about, Mapping) else None


def _facts_usable(name: str, facts: Any, problems: Problems) -> bool:
    if facts is None:
        return False
    if not isinstance(facts, Mapping):
        problems.add(
            f"host {name}", f"croft_host_facts is {say(facts)}; register the result of croft.infra.host_capacity"
        )
        return False
    why = " ".join(str(facts.get("msg") or "").split())
    why = f" ({why[:200]})" if why else ""
    if facts.get("unreachable"):
        problems.add(f"host {name}", f"unreachable{why}; check that it runs and ansible_host is right")
        return False
    if facts.get("failed"):
        problems.add(f"host {name}", f"its capacity could not be read{why}; repair that, or declare croft_capacity")
        return False
    return not facts.get("skipped")


def _parse_capacity(name: str, declared: Any, read: Any, problems: Problems, known_bad: bool) -> dict[str, Any] | None:
    """Merge what was declared (it wins) over what was read; None and lines when something is missing or wrong."""
    where = f"hosts[{name}].croft_capacity"
    if declared is not None and not isinstance(declared, Mapping):
        problems.add(where, f"is {say(declared)}, must be a mapping with {', '.join(_CAPACITY_KEYS)}")
        return None
    wished: Mapping[str, Any] = {k: v for k, v in (declared or {}).items() if v is not None}
    measured: Mapping[str, Any] = read if isinstance(read, Mapping) else {}
    for key in wished:
        if key not in _CAPACITY_KEYS:
            problems.add(f"{where}.{key}", f"is not known; {did_you_mean(key, _CAPACITY_KEYS)}")
    if not wished and not measured:
        if not known_bad:
            problems.add(
                f"host {name}", "has no capacity, neither declared nor read; set croft_capacity or let the plan read it"
            )
        return None
    before = len(problems.found)
    # A bad host was reported by its own line; what it did not declare is then not a second problem.
    pick = {key: wished.get(key, measured.get(key, MISSING)) for key in _CAPACITY_KEYS}
    if known_bad:
        pick = {key: (1 if value is MISSING else value) for key, value in pick.items()}
    hint = "declare it, or let the plan read the host"
    counts = {
        key: as_whole(pick[key], f"{where}.{key}", problems, unit, hint=hint)
        for key, unit in (("sockets", "sockets"), ("cores", "cores"), ("threads", "threads"), ("memory_mib", "MiB"))
    }
    disk = as_number(pick["disk_gib"], f"{where}.disk_gib", problems, "GiB", zero=True, hint=hint)
    numa = pick["numa_nodes"]
    nodes: int | None = 1
    if numa is not MISSING and numa is not None:
        if isinstance(numa, Sequence) and not isinstance(numa, (str, bytes)):
            numa = max(len(numa), 1)
        nodes = as_whole(numa, f"{where}.numa_nodes", problems, "NUMA nodes")
    for less, more in (("sockets", "cores"), ("cores", "threads")):
        low, high = counts[less], counts[more]
        if low is not None and high is not None and low > high and not known_bad:
            problems.add(f"{where}.{more}", f"is {high}, below {less} {low}; give the count of the whole host")
    if len(problems.found) > before or disk is None:
        return None
    both = "both" if wished and measured else ("declared" if wished else "read")
    return {**counts, "disk_mib": int(disk * 1024), "numa_nodes": nodes or 1, "source": both}


def _parse_reserved(name: str, raw: Any, problems: Problems) -> dict[str, int | None]:
    """What is kept, None where nothing (that can be read) is said."""
    reserved: dict[str, int | None] = dict.fromkeys(_RESERVED_KEYS)
    where = f"hosts[{name}].host_reserved"
    if raw is None:
        return reserved
    if not isinstance(raw, Mapping):
        problems.add(where, f"is {say(raw)}, must be a mapping such as {{cpus: 1, memory_mib: 1024}}")
        return reserved
    units = {"cpus": "hardware threads", "memory_mib": "MiB", "osds": "Ceph OSDs"}
    for key, value in raw.items():
        if key not in _RESERVED_KEYS:
            problems.add(f"{where}.{key}", f"is not known; {did_you_mean(key, _RESERVED_KEYS)}")
            continue
        reserved[key] = as_whole(value, f"{where}.{key}", problems, units[key], least=0)
    return reserved


def _count_osds(name: str, given: int | None, devices: Any, problems: Problems) -> int:
    """One OSD for each disk that the host gives to Ceph, or as many as ``host_reserved`` says, which must agree."""
    if devices is None:
        return 1 if given is None else given
    where = f"hosts[{name}]"
    if isinstance(devices, (str, bytes)) or not isinstance(devices, Sequence):
        problems.add(f"{where}.ceph_osd_devices", f"is {say(devices)}, must be a list of disks")
        return 0
    if given is not None and given != len(devices):
        disks = "1 disk" if len(devices) == 1 else f"{len(devices)} disks"
        problems.add(
            f"{where}.host_reserved.osds",
            f"is {given}, but ceph_osd_devices names {disks}; leave osds out, or correct one of them",
        )
    return len(devices)


def _check_reserve(host: Host, osd_memory_mib: int, problems: Problems) -> None:
    where = f"hosts[{host.name}].host_reserved"
    if host.reserved_cpus >= host.threads:
        problems.add(f"{where}.cpus", f"is {host.reserved_cpus} of {host.threads} threads; leave at least 1 for VMs")
    kept = host.reserved_memory_mib + host.osds * osd_memory_mib
    if kept >= host.memory_mib:
        of = f"with {host.osds} OSDs {kept}" if host.osds else str(kept)
        problems.add(f"{where}.memory_mib", f"is {of} of {host.memory_mib} MiB; leave memory for VMs")


def _parse_present(host: str, raw: Any, problems: Problems) -> list[RunningVm]:
    if raw is None:
        return []
    vms = []
    for entry in raw if isinstance(raw, Sequence) and not isinstance(raw, (str, bytes)) else (raw,):
        where = f"host {host}"
        if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
            problems.add(
                where, f"reports a VM as {say(entry)}; croft_host_facts must be the result of croft.infra.host_capacity"
            )
            continue
        name = str(entry["name"])
        sizes: list[Any] = [entry.get(key) for key in _SIZES]
        if all(type(size) is int and size > 0 for size in sizes):
            state, managed = str(entry.get("state") or "running"), bool(entry.get("managed"))
            vms.append(RunningVm(name, host, sizes[0], sizes[1], sizes[2] * 1024, state, managed))
            continue
        where = f"host {host}, VM {name}"
        vcpus = as_whole(entry.get("vcpus", MISSING), f"{where}: vcpus", problems, "vCPUs")
        memory = as_whole(entry.get("memory_mib", MISSING), f"{where}: memory_mib", problems, "MiB", least=0)
        disk = as_number(entry.get("disk_gib", 0), f"{where}: disk_gib", problems, "GiB", zero=True)
        if vcpus is None or memory is None or disk is None:
            continue
        vms.append(
            RunningVm(
                name=name,
                host=host,
                vcpus=vcpus,
                memory_mib=memory,
                disk_mib=-int(-(disk * 1024) // Fraction(1)),
                state=str(entry.get("state") or "running"),
                managed=bool(entry.get("managed")),
            )
        )
    return vms


def _check_presence(vms: Iterable[VirtualMachine], present: Iterable[RunningVm], problems: Problems) -> None:
    """A name stands for one VM: not for somebody else's, and not for two."""
    by_name: dict[str, list[RunningVm]] = {}
    for found in present:
        by_name.setdefault(found.name, []).append(found)
    wanted = {vm.name for vm in vms}
    for name, all_found in by_name.items():
        for found in all_found:
            if name in wanted and not found.managed:
                problems.add(
                    f"virtual_machines[{name}]",
                    f"exists on host {found.host} and was not made by croft; choose another name, or take that VM away",
                )
        ours = sorted((found for found in all_found if found.managed), key=lambda found: found.host)
        running = [found for found in ours if found.state != "stopped"]
        if len(running) > 1 or (len(ours) > 1 and not running):
            where = " and ".join(f"{found.host} ({found.state})" for found in ours)
            problems.add(
                f"virtual_machines[{name}]",
                f"is defined on {where}; keep the right one and undefine the other on its host first",
            )
