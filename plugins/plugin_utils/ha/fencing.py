# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fence devices as the inventory gives them, read into records; and the scripts that tell an agent its password.

A host lists its devices in ``ha_cluster_fence_devices``. An entry with an agent is a device of this host alone, as its
BMC is. An entry that only names a device of ``ha_cluster_shared_fence_devices`` is an outlet of it: a PDU, a chassis,
SBD. Entries of one level are needed together (two power supplies), a higher level is tried when a lower one failed.

A password never becomes part of the configuration, which every log and every diff of the cluster shows: the agent gets
the name of a script that prints it (``secret_scripts``), which lies on each host and is root's.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible_collections.croft.infra.plugins.plugin_utils.ha.model import FenceDevice, FenceLevel
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.values import (
    MISSING,
    Problems,
    as_whole,
    did_you_mean,
    say,
)

DEVICES = "ha_cluster_fence_devices"
SHARED = "ha_cluster_shared_fence_devices"

# The agents of Debian's fence-agents that cut a host off, and what tells them where the device is ("" when nothing has
# to: a multicast group, a cloud, a disk that is found by itself).
_BY_ADDRESS = """
alom amt apc apc_snmp bladecenter brocade cdu cisco_mds cisco_ucs cyberpower_ssh drac drac5 eaton_snmp emerson eps
hds_cb hpblade ibmblade idrac ifmib ilo ilo2 ilo3 ilo3_ssh ilo4 ilo4_ssh ilo5 ilo5_ssh ilo_moonshot ilo_mp ilo_ssh imm
intelmodular ipdu ipmilan ipmilanplus lpar lindypdu netio pve raritan raritan_px3 redfish rhevm rsa rsb sanbox2
tripplite_snmp vbox virsh vmware vmware_rest vmware_soap vmware_vcloud wti
"""
AGENTS: dict[str, str] = {
    **{f"fence_{agent}": "ip" for agent in _BY_ADDRESS.split()},
    "fence_sbd": "devices",
    **dict.fromkeys(("fence_mpath", "fence_powerman", "fence_scsi", "fence_watchdog", "fence_xenapi", "fence_xvm"), ""),
}
_ALIASES = {"sbd": "fence_sbd"}
# Old names of options, which agents still take; one name is enough to find what is missing and what is there twice.
_RENAMED = {"ipaddr": "ip", "login": "username", "passwd": "password", "port": "plug"}
# What is secret, and the agents' option that names a script which prints it.
_SECRETS = {"password": "password_script", "snmp_priv_passwd": "snmp_priv_passwd_script"}
_OWN_KEYS = ("name", "agent", "level", "options")
_USE_KEYS = ("name", "level", "plug")
_SHARED_KEYS = ("name", "agent", "options")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}\Z")
_LEVELS = 9
# A host whose watchdog turns it off, when it sees no quorum or is told to; Pacemaker knows it by this name alone.
WATCHDOG = "fence_watchdog"
_WATCHDOG_NAME = "watchdog"


def parse_fencing(
    hosts: Mapping[str, Any], shared: Any, secrets_dir: str, problems: Problems
) -> tuple[tuple[FenceDevice, ...], tuple[FenceLevel, ...]]:
    """The devices and levels of all hosts. ``hosts``: host to its entries; what cannot be read is left out."""
    reader = _Reader(secrets_dir, problems)
    reader.read_shared(shared)
    for host, entries in sorted(hosts.items()):
        reader.read_host(host, entries)
    devices = reader.devices()
    _check_addresses(devices, problems)
    levels = sorted(reader.levels.items())
    return devices, tuple(FenceLevel(host, level, tuple(sorted(set(names)))) for (host, level), names in levels)


def sbd_disks(devices: Sequence[FenceDevice]) -> dict[str, list[str]]:
    """The hosts on which SBD has to run, each with the disks by which it is told to turn the host off (or none)."""
    found: dict[str, set[str]] = {}
    for device in devices:
        if device.agent in (WATCHDOG, "fence_sbd"):
            for host in device.hosts:
                disks = device.options.get("devices", "").replace(",", " ").split()
                found.setdefault(host, set()).update(disks)
    return {host: sorted(disks) for host, disks in sorted(found.items())}


def secret_scripts(hosts: Mapping[str, Any], shared: Any, secrets_dir: str) -> list[dict[str, str]]:
    """``path`` and ``content`` of each script that a device's configuration names; all hosts need all of them."""
    devices, _levels = parse_fencing(hosts, shared, secrets_dir, Problems())
    return [
        {"path": device.options[option], "content": f"#!/bin/sh\nprintf '%s\\n' {shlex.quote(secret)}\n"}
        for device in devices
        for option, secret in device.secrets.items()
    ]


class _Reader:
    """Entry after entry: ``own`` has the devices of one host each, ``outlets`` what hosts say of the shared ones."""

    def __init__(self, secrets_dir: str, problems: Problems) -> None:
        self.secrets_dir = secrets_dir
        self.problems = problems
        self.shared: dict[str, FenceDevice] = {}
        self.own: dict[str, FenceDevice] = {}
        self.outlets: dict[str, dict[str, str | None]] = {}
        self.levels: dict[tuple[str, int], list[str]] = {}

    def devices(self) -> tuple[FenceDevice, ...]:
        """All that a host uses, by name."""
        used = [replace(self.shared[name], hosts=outlets) for name, outlets in self.outlets.items()]
        return tuple(sorted((*self.own.values(), *used), key=lambda device: device.name))

    def read_shared(self, raw: Any) -> None:
        for where, entry in _entries(raw, SHARED, self.problems):
            _known_keys(entry, _SHARED_KEYS, where, self.problems)
            name = self._free_name(entry.get("name", MISSING), where)
            if entry.get("agent") == WATCHDOG and name not in (None, _WATCHDOG_NAME):
                self.problems.add(
                    f"{where}.name", f"is {say(name)}, must be {_WATCHDOG_NAME}: Pacemaker knows it by no other name"
                )
            device = self._device(name, where, entry, {})
            if device is not None:
                self.shared[device.name] = device

    def read_host(self, host: str, raw: Any) -> None:
        for where, entry in _entries(raw, f"{host}: {DEVICES}", self.problems):
            level = as_whole(entry.get("level", 1), f"{where}.level", self.problems, "tries", most=_LEVELS)
            name = self._outlet(host, where, entry) if "agent" not in entry else self._of_host(host, where, entry)
            if name is not None and level is not None:
                self.levels.setdefault((host, level), []).append(name)

    def _of_host(self, host: str, where: str, entry: Mapping[str, Any]) -> str | None:
        _known_keys(entry, _OWN_KEYS, where, self.problems)
        if entry["agent"] == WATCHDOG:
            self.problems.add(
                f"{where}.agent",
                f"is {WATCHDOG}, of which there is one for all hosts; give it once, in {SHARED}: [{{name: "
                f"{_WATCHDOG_NAME}, agent: {WATCHDOG}}}], and here its name and level",
            )
            return None
        default = f"fence-{host}"
        if default in self.own:
            # The agent tells a second one of the host apart.
            default += f"-{str(entry['agent']).removeprefix('fence_')}"
        name = self._free_name(entry.get("name", default), where)
        device = self._device(name, where, entry, {host: None})
        if device is not None:
            self.own[device.name] = device
        return name

    def _outlet(self, host: str, where: str, entry: Mapping[str, Any]) -> str | None:
        """The shared device that the entry names; its outlet is noted."""
        name = entry.get("name")
        if not isinstance(name, str):
            self.problems.add(
                where, f"has no agent; give one, such as fence_ipmilan, or the name of a device of {SHARED}"
            )
            return None
        _known_keys(entry, _USE_KEYS, where, self.problems)
        if name not in self.shared:
            guess = did_you_mean(name, self.shared)
            self.problems.add(f"{where}.name", f"is {say(name)}, no device of {SHARED}, and has no agent; {guess}")
            return None
        outlets = self.outlets.setdefault(name, {})
        if host in outlets:
            self.problems.add(f"{where}.name", f"is {say(name)}, which this host names twice; leave one out")
        plug = entry.get("plug")
        outlets[host] = None if plug is None else str(plug)
        return name

    def _device(
        self, name: str | None, where: str, entry: Mapping[str, Any], hosts: Mapping[str, str | None]
    ) -> FenceDevice | None:
        agent = str(_ALIASES.get(str(entry.get("agent")), entry.get("agent")))
        if agent not in AGENTS:
            guess = did_you_mean(agent, AGENTS)
            self.problems.add(
                f"{where}.agent", f"is {say(entry.get('agent'))}, no agent that turns a host off; {guess}"
            )
        options, secrets = self._options(name, where, entry.get("options"))
        address = AGENTS.get(agent, "")
        if address and not options.get(address, "").strip():
            self.problems.add(f"{where}.options", f"has no {address}; give the address of the device")
            return None
        if name is None or agent not in AGENTS:
            return None
        return FenceDevice(name, agent, hosts, options, secrets, bool(hosts) and agent != "fence_sbd")

    def _options(self, name: str | None, where: str, raw: Any) -> tuple[dict[str, str], dict[str, str]]:
        options: dict[str, str] = {}
        secrets: dict[str, str] = {}
        if raw is not None and not isinstance(raw, Mapping):
            self.problems.add(f"{where}.options", f"is {say(raw)}, must be a mapping such as {{ip: 10.0.0.21}}")
            raw = None
        for key, value in (raw or {}).items():
            option = _RENAMED.get(str(key), str(key))
            if value is None or isinstance(value, (list, tuple, Mapping)):
                self.problems.add(f"{where}.options.{key}", f"is {say(value)}, must be one value")
            elif option in _SECRETS:
                secrets[_SECRETS[option]] = str(value)
                options[_SECRETS[option]] = f"{self.secrets_dir}/{name}.{option}"
            else:
                options[option] = str(value).lower() if isinstance(value, bool) else str(value)
        return dict(sorted(options.items())), secrets

    def _free_name(self, value: Any, where: str) -> str | None:
        if not isinstance(value, str) or not _NAME.match(value):
            shape = "a name of letters, digits, '.', '_' and '-' that begins with a letter"
            self.problems.add(f"{where}.name", f"is {'missing' if value is MISSING else say(value)}, must be {shape}")
            return None
        if value in self.own or value in self.shared:
            self.problems.add(f"{where}.name", f"is {say(value)}, which another device has; give it another name")
            return None
        return str(value)


def _check_addresses(devices: Sequence[FenceDevice], problems: Problems) -> None:
    """Two hosts behind one address and outlet: fencing one would cut the other."""
    behind: dict[tuple[str | None, ...], tuple[str, str]] = {}
    for device in devices:
        address = device.options.get("ip", "").lower()
        for host, plug in device.hosts.items():
            # A shared device that is told no outlet of a host looks for the host's name.
            named = device.options.get("plug") or device.options.get("systems_uri")
            outlet = named if device.own else plug or host
            key = (address, device.options.get("ipport"), outlet)
            if address and key in behind and behind[key][0] != host:
                other, name = behind[key]
                problems.add(
                    f"{host}: {device.name}",
                    f"has the address {say(address)}{f' and the outlet {say(outlet)}' if outlet else ''} of {name} of "
                    f"{other}: fencing one would turn the other off; give each its own",
                )
            behind.setdefault(key, (host, device.name))


def _entries(raw: Any, where: str, problems: Problems) -> list[tuple[str, Mapping[str, Any]]]:
    if raw is None or raw is MISSING:
        return []
    if not isinstance(raw, Sequence) or isinstance(raw, (str, bytes)):
        problems.add(where, f"is {say(raw)}, must be a list of devices")
        return []
    found = []
    for index, entry in enumerate(raw):
        if isinstance(entry, Mapping):
            found.append((f"{where}[{index}]", entry))
        else:
            problems.add(f"{where}[{index}]", f"is {say(entry)}, must be a mapping such as {{agent: fence_ipmilan}}")
    return found


def _known_keys(entry: Mapping[str, Any], keys: tuple[str, ...], where: str, problems: Problems) -> None:
    for key in entry:
        if key not in keys:
            problems.add(f"{where}.{key}", f"is not known here; {did_you_mean(key, keys)}")
