# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cluster is made of: plain immutable records. Names are those of the inventory; times are in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """The role's variables that are one value for the whole cluster, checked."""

    config_dir: str
    secrets_dir: str
    accept_no_fencing: bool
    placement_strategy: str
    no_quorum_policy: str
    fencing_timeout: int
    priority_fencing_delay: int
    recheck_interval: int
    migration_limit: int
    migration_threshold: int
    failure_timeout: int
    stickiness: int
    start_timeout: int
    stop_timeout: int
    monitor_interval: int
    monitor_timeout: int
    migrate_timeout: int
    watchdog_timeout: int


@dataclass(frozen=True, slots=True)
class Node:
    """A host with what it has for HA VMs: the ceilings of the sizing rules less all that is no HA VM."""

    name: str
    capacity: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class FenceDevice:
    """A device that can turn off ``hosts`` (host to its outlet there, or None).

    ``options`` go into the CIB; ``secrets`` (the agent's option for a script to the secret) do not. ``own``: it belongs
    to its one host, so that this host is the last that should talk to it.
    """

    name: str
    agent: str
    hosts: Mapping[str, str | None]
    options: Mapping[str, str]
    secrets: Mapping[str, str]
    own: bool


@dataclass(frozen=True, slots=True)
class FenceLevel:
    """All of ``devices`` together fence the host; a higher level is tried when a lower one failed."""

    host: str
    level: int
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HaVm:
    """A VM that the cluster keeps running.

    ``takes``: its utilization. ``prefers``: host to score. ``never``: hosts that no rule lets it run on.
    """

    name: str
    running: bool
    takes: Mapping[str, int]
    prefers: Mapping[str, int]
    never: tuple[str, ...]
    priority: int


@dataclass(frozen=True, slots=True)
class Group:
    """VMs of one affinity group in a fixed order. ``score`` None: they run together or not at all."""

    name: str
    vms: tuple[str, ...]
    score: int | None


@dataclass(frozen=True, slots=True)
class Cluster:
    """All that the configuration is made from, each sorted by name.

    ``alerts``: what is called on every node when a host was fenced, by name.
    """

    settings: Settings
    nodes: tuple[Node, ...]
    devices: tuple[FenceDevice, ...]
    levels: tuple[FenceLevel, ...]
    vms: tuple[HaVm, ...]
    together: tuple[Group, ...]
    apart: tuple[Group, ...]
    order: tuple[tuple[str, str], ...]
    alerts: Mapping[str, str]
