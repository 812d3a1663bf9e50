# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is the cluster as somebody waits for it to be? And the lines that tell a waiting person how far it is. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

UNTIL = ("quorum", "osds_up", "clean", "healthy", "safe_to_destroy")
# What ceph_health takes, for the module and the action plugin of that name.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "until": {"type": "str", "choices": list(UNTIL), "default": "healthy"},
    "mons": {"type": "list", "elements": "str", "default": []},
    "osds": {"type": "list", "elements": "int", "default": []},
    "before": {"type": "dict"},
    "timeout": {"type": "int", "default": 300},
    "wait": {"type": "int", "default": 5},
}
_CLEAN = frozenset({"active", "clean"})
_DETAILS = 3
# The mean of the last quarter of an hour's heartbeats, so it stays for as long after a network was cut, and says
# nothing of the data; https://docs.ceph.com/en/latest/rados/operations/health-checks/#osd-slow-ping-time-back
_OF_THE_PAST = "OSD_SLOW_PING_TIME_"


def sight(
    status: Mapping[str, Any], health: Mapping[str, Any], osds: Iterable[Mapping[str, Any]], unsafe: Iterable[int] = ()
) -> dict[str, Any]:
    """What there is to know, of `ceph status`, `ceph health detail`, the OSD map's OSDs, and OSDs not to be destroyed.

    Shares of 1: degraded (copies missing), misplaced (copies elsewhere than they shall be).
    """
    pgmap = status["pgmap"]
    states = {str(entry["state_name"]): int(entry["count"]) for entry in pgmap.get("pgs_by_state", [])}
    return {
        "status": str(health["status"]),
        "checks": {
            name: [
                str(check["summary"]["message"]),
                *[
                    str(entry["message"])
                    for entry in check.get("detail", [])[:_DETAILS]
                    if entry["message"] != check["summary"]["message"]
                ],
            ]
            for name, check in sorted(health.get("checks", {}).items())
            if not check.get("muted")
        },
        "muted": sorted(name for name, check in health.get("checks", {}).items() if check.get("muted")),
        "quorum": sorted(status["quorum_names"]),
        "pgs": int(pgmap.get("num_pgs", 0)),
        # Scrubbing is upkeep of what is clean.
        "clean": sum(count for state, count in states.items() if set(state.split("+")) >= _CLEAN),
        "degraded": round(float(pgmap.get("degraded_ratio", 0)), 4),
        "misplaced": round(float(pgmap.get("misplaced_ratio", 0)), 4),
        "recovery_bytes_per_second": int(pgmap.get("recovering_bytes_per_sec", 0)),
        "osds": {
            str(osd["osd"]): {"up": bool(osd["up"]), "in": bool(osd["in"]), "up_from": int(osd["up_from"])}
            for osd in osds
        },
        "unsafe": sorted(unsafe),
    }


def missing(
    until: str,
    seen: Mapping[str, Any],
    mons: Sequence[str] = (),
    osds: Sequence[int] = (),
    before: Mapping[str, Any] | None = None,
) -> list[str]:
    """What is still missing, one line each; nothing when it is as it shall be.

    ``before``: an earlier sight, since which the OSDs shall have come up anew. A restarted one is not missed at once,
    and until then the cluster is as healthy as before; the map's epoch at which it came up tells.
    """
    lines: list[str] = []
    if until == "quorum":
        lines += [f"mon.{name} is not in the quorum" for name in mons if name not in seen["quorum"]]
    if until in ("osds_up", "healthy"):
        for osd in osds:
            now = seen["osds"].get(str(osd), {})
            then = (before or {"osds": {}})["osds"].get(str(osd), {})
            if not now.get("up"):
                lines.append(f"osd.{osd} is not up")
            elif now["up_from"] <= then.get("up_from", -1):
                lines.append(f"osd.{osd} has not come up again")
    if until == "clean" and seen["clean"] != seen["pgs"]:
        lines.append(f"{seen['pgs'] - seen['clean']} of {seen['pgs']} placement groups are not clean")
    if until == "healthy" and seen["status"] != "HEALTH_OK":
        lines += [
            f"{name}: {'; '.join(said)}" for name, said in seen["checks"].items() if not name.startswith(_OF_THE_PAST)
        ] or ([] if seen["checks"] else [seen["status"]])
    if until == "safe_to_destroy":
        lines += [f"osd.{osd} holds copies that are nowhere else yet" for osd in seen["unsafe"]]
    return lines


def progress(seen: Mapping[str, Any], lines: Sequence[str]) -> str:
    """One line for a waiting person; the same words as long as nothing happens."""
    parts = [
        seen["status"],
        f"mons {','.join(seen['quorum'])}",
        f"{sum(osd['up'] for osd in seen['osds'].values())} of {len(seen['osds'])} OSDs up",
        f"{seen['clean']} of {seen['pgs']} PGs clean",
    ]
    for word in ("degraded", "misplaced"):
        if seen[word]:
            parts.append(f"{seen[word]:.1%} {word}")
    if seen["recovery_bytes_per_second"]:
        parts.append(f"{seen['recovery_bytes_per_second'] / 2**20:.0f} MiB/s recovered")
    waiting = f", waiting: {lines[0].split(';')[0]}" if lines else ""
    more = f" and {len(lines) - 1} more" if len(lines) > 1 else ""
    return f"ceph: {', '.join(parts)}{waiting}{more}"


def complaint(lines: Sequence[str], seconds: int) -> str:
    """What is still missing in the end, and what to look at."""
    said = "\n".join(f"- {line}" for line in lines)
    return f"the cluster is not ready after {seconds} s; look with 'ceph health detail' on a mon host:\n{said}"


def getting_on(before: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> bool:
    """Has data been recovered or moved since the look before? Such waits may be long, and are no hang."""
    if not before or not now:
        return False
    return bool(
        now["clean"] > before["clean"]
        or now["degraded"] < before["degraded"]
        or now["misplaced"] < before["misplaced"]
        or len(now["unsafe"]) < len(before["unsafe"])
    )
