# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""May a host leave a Ceph cluster, or a disk be replaced, without a byte lost? Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils.ceph import osds_in_hosts

# CRUSH writes this where a placement group has no OSD; ceph/src/crush/crush.h, CRUSH_ITEM_NONE.
_NONE = 2147483647
# States that every change of the map leads through, for a second or two.
_PASSING = frozenset({"peering", "activating", "creating"})


@dataclass(frozen=True)
class Osd:
    """An OSD of the cluster's map. Sizes in KiB."""

    id: int
    uuid: str
    host: str
    up: bool = True
    in_: bool = True
    destroyed: bool = False
    kb: int = 0
    kb_used: int = 0


@dataclass(frozen=True)
class Pool:
    """A pool, with the copies that it keeps and that it needs for I/O."""

    id: int
    name: str
    size: int
    min_size: int


@dataclass(frozen=True)
class Group:
    """A placement group: its pool, its state like `active+clean`, and the OSDs that have it now."""

    id: str
    pool: int
    states: frozenset[str]
    acting: tuple[int, ...]


@dataclass(frozen=True)
class View:
    """The cluster as far as a departure concerns it."""

    osds: tuple[Osd, ...] = ()
    pools: tuple[Pool, ...] = ()
    groups: tuple[Group, ...] = ()
    mons: tuple[str, ...] = ()
    quorum: tuple[str, ...] = ()
    nearfull_ratio: float = 0.85
    hosts: tuple[str, ...] = ()
    users: tuple[str, ...] = ()

    def of_host(self, host: str) -> tuple[Osd, ...]:
        return tuple(osd for osd in self.osds if osd.host == host)


def view_of(
    tree: Mapping[str, Any],
    dump: Mapping[str, Any],
    usage: Iterable[Mapping[str, Any]],
    groups: Iterable[Mapping[str, Any]],
    rest: tuple[Mapping[str, Any], Iterable[Mapping[str, Any]]],
) -> View:
    """Read `osd tree`, `osd dump`, `nodes` of `osd df`, `pg_stats` of `pg ls`, and (`mon dump`, users of `auth ls`)."""
    mons, users = rest
    hosts = osds_in_hosts(tree)
    sizes = {int(node["id"]): node for node in usage}
    return View(
        osds=tuple(
            Osd(
                id=int(osd["osd"]),
                uuid=str(osd["uuid"]),
                host=hosts.get(osd["osd"], ""),
                up=bool(osd["up"]),
                in_=bool(osd["in"]),
                destroyed="destroyed" in osd["state"],
                kb=int(sizes.get(osd["osd"], {}).get("kb", 0)),
                kb_used=int(sizes.get(osd["osd"], {}).get("kb_used", 0)),
            )
            for osd in dump["osds"]
        ),
        pools=tuple(
            Pool(int(pool["pool"]), str(pool["pool_name"]), int(pool["size"]), int(pool["min_size"]))
            for pool in dump["pools"]
        ),
        groups=tuple(
            Group(
                str(group["pgid"]),
                int(str(group["pgid"]).split(".")[0]),
                frozenset(str(group["state"]).split("+")),
                tuple(osd for osd in group["acting"] if osd != _NONE),
            )
            for group in groups
        ),
        mons=tuple(str(mon["name"]) for mon in mons["mons"]),
        quorum=tuple(str(mons["mons"][rank]["name"]) for rank in mons["quorum"]),
        nearfull_ratio=float(dump["nearfull_ratio"]),
        hosts=tuple(str(node["name"]) for node in tree["nodes"] if node["type"] == "host"),
        users=tuple(str(user["entity"]) for user in users),
    )


def at_rest(view: View) -> bool:
    """Whether no placement group is on its way: what every change of the map leads through is over."""
    return not any(group.states & _PASSING for group in view.groups)


def host_problems(view: View, host: str, wanted_mons: Sequence[str]) -> list[str]:
    """What speaks against taking a host out: one line each; nothing when it may go, or is gone already."""
    lines = []
    if host in wanted_mons:
        lines.append(
            f"{host}: is named in ceph_mon_hosts; name another host in its place and run playbooks/ceph.yml first"
        )
    osds = view.of_host(host)
    others = [osd for osd in view.osds if osd.host != host and osd.in_ and not osd.destroyed]
    if osds:
        left = {osd.host for osd in others if osd.up}
        for pool in view.pools:
            if len(left) < pool.size:
                lines.append(
                    f"{host}: without it {len(left)} hosts have OSDs that run, pool {pool.name} keeps {pool.size} "
                    "copies on different hosts; add a host first"
                )
        used, room = sum(osd.kb_used for osd in view.osds), sum(osd.kb for osd in others)
        if room and used / room >= view.nearfull_ratio:
            lines.append(
                f"{host}: without it the others would be {used / room:.0%} full (limit {view.nearfull_ratio:.0%}); add "
                "disks or delete data first"
            )
    lines += _stuck(view)
    silent = [name for name in view.mons if name != host and name not in view.quorum]
    if host in view.mons and silent:
        lines.append(
            f"{host}: its mon does not leave while mon.{' and mon.'.join(silent)} is not in the quorum; start it"
        )
    return lines


def disk_problems(view: View, number: int, host: str) -> list[str]:
    """What speaks against destroying an OSD to put a new disk in its place; nothing when that loses nothing."""
    found = [osd for osd in view.osds if osd.id == number]
    if not found:
        there = ", ".join(f"osd.{osd.id} on {osd.host}" for osd in view.osds)
        return [f"osd.{number}: is not in the cluster, which has {there or 'none'}; name one of them"]
    (osd,) = found
    if osd.host != host:
        return [f"osd.{number}: is on {osd.host or 'no host'}, not on {host}; name the host that it is on"]
    if osd.destroyed:
        return []
    lines = _stuck(view)
    pools = {pool.id: pool for pool in view.pools}
    short, unready = [], []
    for group in view.groups:
        others = [other for other in group.acting if other != number]
        if len(others) < pools[group.pool].min_size:
            short.append(group.id)
        elif group.states & _PASSING or (number in group.acting and "degraded" in group.states):
            unready.append(group.id)
    if short:
        lines.append(
            f"osd.{number}: {_some(short)} would have fewer copies than the pool needs for I/O; bring the "
            "other OSDs back first"
        )
    if unready:
        lines.append(
            f"osd.{number}: {_some(unready)} are being repaired, or are just finding each other; wait for that"
        )
    return lines


def _stuck(view: View) -> list[str]:
    down = [group.id for group in view.groups if not group.states & {"active", *_PASSING}]
    if not down:
        return []
    return [f"{_some(down)} are not active; bring their OSDs back before any other is taken away"]


def _some(groups: Sequence[str], shown: int = 3) -> str:
    more = f" and {len(groups) - shown} more" if len(groups) > shown else ""
    return f"placement groups {', '.join(groups[:shown])}{more}"


def replacement(view: View, number: int, disks: Iterable[Mapping[str, Any]], fsid: str) -> tuple[str, list[str]]:
    """How far the replacement of an OSD's disk is: `destroy`, `prepare` or `start` comes next; and what is wrong.

    `disks` are those of its host as ceph_host.disk() shows them; one of them must be new. A replacement that is done
    is told apart from one that begins by that.
    """
    osd = next(osd for osd in view.osds if osd.id == number)
    known = {other.uuid for other in view.osds}
    on_disks = {str(disk["osd"]["osd_uuid"]): str(disk["path"]) for disk in disks if disk["osd"]}
    new = [
        str(disk["path"])
        for disk in disks
        if not disk["osd"] or disk["osd"].get("ceph_fsid") != fsid or disk["osd"]["osd_uuid"] not in known
    ]
    if not osd.destroyed and osd.uuid in on_disks:
        if osd.up:
            path = on_disks[osd.uuid]
            what = (
                f"osd.{number}: runs on {path}; take that disk out of ceph_osd_devices if the new one takes its place"
            )
            return "start", [what] if new else []
        if not new:
            return "start", []
    if len(new) != 1:
        what = "none of its host's ceph_osd_devices is new" if not new else f"{', '.join(new)} are new"
        return "prepare", [f"osd.{number}: {what}; name exactly one new disk for it there"]
    return "prepare" if osd.destroyed else "destroy", []


@dataclass(frozen=True)
class Step:
    """One command, the words for it, and whether the mgr takes it."""

    text: str
    prefix: str
    arguments: Mapping[str, Any]
    to_mgr: bool = False


def steps(step: str, view: View, host: str, osd: int | None) -> list[Step]:
    """The commands of a step that are still to be sent."""
    osds = view.of_host(host)
    if step == "out":
        moving = [one.id for one in osds if one.in_]
        ids = [str(number) for number in moving]
        return [Step(f"{_osds(moving)}: have the data moved away", "osd out", {"ids": ids})] if moving else []
    if step == "destroy":
        todo = []
        for one in view.osds:
            if one.id == osd and not one.destroyed:
                if one.up:
                    todo.append(Step(f"osd.{one.id}: mark down", "osd down", {"ids": [str(one.id)]}))
                # By force, since a dead disk's copies are missing; disk_problems() saw that enough others are there.
                sure = {"id": one.id, "yes_i_really_mean_it": True, "force": True}
                todo.append(Step(f"osd.{one.id}: destroy", "osd destroy", sure, to_mgr=True))
        return todo
    if step != "purge":
        return []
    todo = [Step(f"osd.{one.id}: mark down", "osd down", {"ids": [str(one.id)]}) for one in osds if one.up]
    # Without force: the mgr looks itself whether an OSD still holds what is nowhere else.
    todo += [
        Step(f"osd.{one.id}: purge", "osd purge", {"id": one.id, "yes_i_really_mean_it": True}, to_mgr=True)
        for one in osds
    ]
    if host in view.hosts:
        todo.append(Step(f"{host}: take out of the CRUSH map", "osd crush rm", {"name": host}))
    if host in view.mons:
        todo.append(Step(f"mon.{host}: take out", "mon remove", {"name": host}))
    if f"mgr.{host}" in view.users:
        todo.append(Step(f"mgr.{host}: forget its key", "auth rm", {"entity": f"mgr.{host}"}))
    return todo


def _osds(numbers: Sequence[int]) -> str:
    return ", ".join(f"osd.{number}" for number in numbers)
