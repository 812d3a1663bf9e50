# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Docker's daemon is told, and what speaks against running it on a host, found before it is installed. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Engines that own /usr/bin/dockerd or its socket, by where they come from.
DISTRIBUTION_PACKAGES = frozenset({"docker.io"})
DOCKER_PACKAGES = frozenset({"docker-ce", "docker-ce-cli", "containerd.io"})
# What daemon.json may change without a restart (dockerd(8), "configuration reload behavior").
RELOADABLE = frozenset(
    {"debug", "labels", "live-restore", "max-concurrent-downloads", "max-concurrent-uploads", "max-download-attempts"}
    | {"insecure-registries", "registry-mirrors", "shutdown-timeout", "features"}
)
# The storage driver overlay2 keeps its upper directories on one of these (docs.docker.com, "Select a storage driver").
BACKING = frozenset({"ext4", "xfs", "btrfs", "zfs", "bcachefs"})
TIGHT_GIB = 10
NEEDED_CONTROLLERS = ("cpu", "cpuset", "memory", "pids")
PLACES_OF_TLS = {
    "tlscacert": "/etc/docker/tls/ca.pem",
    "tlscert": "/etc/docker/tls/server.pem",
    "tlskey": "/etc/docker/tls/server.key",
}

_SIZE = re.compile(r"[1-9][0-9]*[kmg]")


@dataclass(frozen=True)
class Wish:
    """The engine as the inventory wants it."""

    data_root: str = "/var/lib/docker"
    log_driver: str = "local"
    log_max_size: str = "10m"
    log_max_files: int = 3
    live_restore: bool = True
    address_pools: tuple[Mapping[str, Any], ...] = ()
    registry_mirrors: tuple[str, ...] = ()
    insecure_registries: tuple[str, ...] = ()
    metrics_address: str = ""
    userns_remap: str = ""
    published_address: str = "127.0.0.1"
    published_sources: tuple[str, ...] = ()
    routed_sources: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    tls_address: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    source: str = "debian"


@dataclass(frozen=True)
class Host:
    """What the host has. ``overlay`` is whether an overlay mount above the data root's place really worked."""

    filesystem: str = "ext4"
    overlay: bool = True
    free_gib: float = 100.0
    controllers: frozenset[str] = frozenset(NEEDED_CONTROLLERS)
    read_only_controllers: frozenset[str] = frozenset()
    bridge: bool = True
    routes: tuple[str, ...] = ()
    packages: frozenset[str] = frozenset()
    swarm: bool = False
    users: frozenset[str] = frozenset({"root"})
    daemon: Mapping[str, Any] | None = field(default_factory=dict)  # None: there is a file and it is no JSON object


def daemon_settings(wish: Wish) -> dict[str, Any]:
    """Return daemon.json: croft's part, with what the inventory says by Docker's own names on top."""
    told: dict[str, Any] = {
        "data-root": wish.data_root,
        # Named, so that the engine stops where it does not work and never falls back to copying whole images (vfs).
        "storage-driver": "overlay2",
        "log-driver": wish.log_driver,
        "log-opts": {"max-size": wish.log_max_size, "max-file": str(wish.log_max_files)},
        "live-restore": wish.live_restore,
        "ip": wish.published_address,
    }
    if wish.log_driver not in ("local", "json-file"):
        del told["log-opts"]
    optional = {
        "default-address-pools": [{"base": pool["base"], "size": int(pool["size"])} for pool in wish.address_pools],
        "registry-mirrors": list(wish.registry_mirrors),
        "insecure-registries": list(wish.insecure_registries),
        "metrics-addr": wish.metrics_address,
        "userns-remap": wish.userns_remap,
    }
    told.update({name: value for name, value in optional.items() if value})
    if wish.published_sources:
        # It listens on IPv6 too, where no rule of Docker's takes the connection to the table that knows the sources.
        told["userland-proxy"] = False
    if wish.tls_address:
        told.update({"tls": True, "tlsverify": True, **PLACES_OF_TLS})
    return {**told, **wish.settings}


def restart_needed(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> bool:
    """Whether a changed daemon.json takes a restart, which stops the containers unless live-restore holds them."""
    known = before or {}
    changed = {name for name in {*known, *after} if known.get(name) != after.get(name)}
    return bool(changed - RELOADABLE)


def problems(wish: Wish, host: Host) -> list[str]:
    """Return one line for each thing that keeps the engine from running as wished: what, where, what to do."""
    return [*_wish_problems(wish), *_network_problems(wish, host), *_host_problems(wish, host)]


def remarks(wish: Wish, host: Host) -> list[str]:
    """Return what works but not wholly, one line each."""
    lines = []
    for name in NEEDED_CONTROLLERS:
        if name not in host.controllers and name != "memory":
            lines.append(f"the kernel has no cgroup controller {name}: limits of containers on it have no effect")
    if host.free_gib < TIGHT_GIB:
        lines.append(f"{wish.data_root} has {host.free_gib:.1f} GiB free; images fill {TIGHT_GIB} GiB quickly")
    if wish.published_address in ("0.0.0.0", "::") and not wish.published_sources:
        lines.append(
            f"docker_engine_published_address is {wish.published_address}: every published port is open to everybody "
            "whatever the host's own firewall says; name who may come in docker_engine_published_sources"
        )
    return lines


def _wish_problems(wish: Wish) -> list[str]:
    lines = []
    if not wish.data_root.startswith("/") or wish.data_root.rstrip("/") == "":
        lines.append(f"docker_engine_data_root: is {wish.data_root!r}; give an absolute path that is not /")
    if not _SIZE.fullmatch(wish.log_max_size):
        lines.append(f"docker_engine_log_max_size: is {wish.log_max_size!r}; give a size like 10m (k, m or g)")
    if wish.log_max_files < 1:
        lines.append(f"docker_engine_log_max_files: is {wish.log_max_files}; give at least 1")
    for name, value in (("metrics", wish.metrics_address), ("tls", wish.tls_address)):
        if value and not _is_address_with_port(value):
            lines.append(f"docker_engine_{name}_address: is {value!r}; give ADDRESS:PORT, like 10.0.0.5:2376")
    try:
        ipaddress.ip_address(wish.published_address)
    except ValueError:
        lines.append(f"docker_engine_published_address: is {wish.published_address!r}; give an IP address")
    for kind, sources in (("published", wish.published_sources), ("routed", wish.routed_sources)):
        for source in sources:
            if _network(source) is None:
                lines.append(f"docker_engine_{kind}_sources: has {source!r}; give networks like 10.0.0.0/24")
    for mirror in wish.registry_mirrors:
        if not re.fullmatch(r"https?://[^/\s]+/?", mirror):
            lines.append(f"docker_engine_registry_mirrors: has {mirror!r}; give https://HOST without a path")
    if wish.tls_address and "hosts" in wish.settings:
        lines.append("docker_engine_settings: has hosts beside docker_engine_tls_address; leave one of them out")
    return lines


def _network_problems(wish: Wish, host: Host) -> list[str]:
    lines: list[str] = []
    pools: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
    for index, pool in enumerate(wish.address_pools):
        where = f"docker_engine_address_pools[{index}]"
        network = _network(str(pool.get("base")))
        size = str(pool.get("size", ""))
        if network is None:
            lines.append(f"{where}: base is {pool.get('base')!r}; give a network like 172.30.0.0/16")
            continue
        if not size.isdigit() or not network.prefixlen <= int(size) <= network.max_prefixlen - 2:
            lines.append(
                f"{where}: size is {size or 'missing'}; give the prefix length of each network in {network}, "
                f"{network.prefixlen} to {network.max_prefixlen - 2}"
            )
        for route in host.routes:
            used = _network(route)
            if used is not None and used.prefixlen and used.version == network.version and used.overlaps(network):
                lines.append(f"{where}: {network} overlaps {used}, which this host has a route to; take another range")
        lines.extend(
            f"{where}: {network} overlaps {other} of another pool; take another range"
            for other in pools
            if other.version == network.version and other.overlaps(network)
        )
        pools.append(network)
    return lines


def _host_problems(wish: Wish, host: Host) -> list[str]:
    lines = []
    driver = wish.settings.get("storage-driver", "overlay2")
    if driver == "overlay2" and (host.filesystem not in BACKING or not host.overlay):
        why = (
            f"lies on {host.filesystem}"
            if host.filesystem not in BACKING
            else f"lies on {host.filesystem}, and an overlay mount above it failed (kernel without overlay, or XFS "
            "without ftype=1)"
        )
        lines.append(
            f"data root {wish.data_root}: {why}; the storage driver overlay2 needs ext4 or XFS there: name an "
            "empty disk in docker_engine_device, or a data root on such a file system"
        )
    if "memory" not in host.controllers:
        lines.append(
            "the kernel has no cgroup controller memory: no container could be held to its memory; boot with "
            "cgroup_enable=memory"
        )
    if host.read_only_controllers:
        names = ", ".join(sorted(host.read_only_controllers))
        lines.append(
            f"cgroup controllers {names} are mounted read-only; remount them read-write before the engine starts"
        )
    if not host.bridge:
        lines.append("the kernel makes no bridge and veth pair; containers would have no network; use another kernel")
    other = host.packages & (DOCKER_PACKAGES if wish.source == "debian" else DISTRIBUTION_PACKAGES)
    if other:
        instead = "docker" if wish.source == "debian" else "debian"
        lines.append(
            f"packages {', '.join(sorted(other))} are installed and docker_engine_source is {wish.source}; "
            f"remove them, or set docker_engine_source to {instead}"
        )
    lines.extend(
        f"docker_engine_users: has {user}, who is no user of this host; make the user first, or take the name out"
        for user in wish.users
        if user not in host.users
    )
    if host.daemon is None:
        lines.append("/etc/docker/daemon.json: is no JSON object; mend it or take it away")
    if host.swarm and wish.live_restore:
        lines.append(
            "docker_engine_live_restore: is true and this node is in a swarm, which the engine refuses to start with; "
            "set it to false"
        )
    return lines


def _is_address_with_port(value: str) -> bool:
    host, _, port = value.rpartition(":")
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return port.isdigit() and 0 < int(port) < 65536  # noqa: PLR2004


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None


def read_controllers(cgroups: str, mounts: str, unified: str) -> tuple[frozenset[str], frozenset[str]]:
    """(controllers there, controllers mounted read-only) of /proc/cgroups, /proc/mounts and cgroup.controllers.

    ``unified`` is the text of cgroup.controllers at the root, empty where the machine has cgroup v1.
    """
    if unified.strip():
        return frozenset(unified.split()), frozenset()
    rows = [line.split() for line in cgroups.splitlines() if line and not line.startswith("#")]
    enabled = {row[0] for row in rows if row[3:4] == ["1"]}
    read_only: set[str] = set()
    for row in (line.split() for line in mounts.splitlines()):
        if row[2:3] == ["cgroup"]:
            options = row[3].split(",")
            if "ro" in options:
                read_only |= enabled & set(options)
    return frozenset(enabled), frozenset(read_only & set(NEEDED_CONTROLLERS))


def installed(dpkg: str, names: Sequence[str]) -> frozenset[str]:
    """Which of the packages are installed, by lines of ``NAME STATUS`` of dpkg-query."""
    there = {line.split()[0] for line in dpkg.splitlines() if line.endswith("ok installed")}
    return frozenset(there & set(names))
