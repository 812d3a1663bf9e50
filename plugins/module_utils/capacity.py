# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has: CPU topology, memory and NUMA nodes from /sys and /proc, disk space from its file system or disks.

The text of those files is parsed by pure functions; reading starts at a `root` directory, so that a test can hand
over the tree of another machine. Files that an architecture or a container does not have are no error.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

GIB = 1024**3


@dataclass(frozen=True)
class Cpu:
    """One hardware thread. `package` and `core` are None where the kernel does not tell them."""

    number: int
    package: int | None = None
    core: str | None = None


@dataclass(frozen=True)
class Topology:
    """Counts over the whole host, of what is online: sockets, cores and hardware threads."""

    sockets: int
    cores: int
    threads: int


@dataclass(frozen=True)
class NumaNode:
    """A NUMA node; a node with memory only (CXL) has 0 threads."""

    id: int
    threads: int
    memory_mib: int


def cpu_list(text: str) -> frozenset[int]:
    """The CPUs of a kernel list like "0-3,8,10-11" (Documentation/admin-guide/cputopology.rst)."""
    found: set[int] = set()
    for part in filter(None, (part.strip() for part in text.strip().split(","))):
        first, _dash, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


def topology(cpus: list[Cpu]) -> Topology:
    """Count them. Threads of an unknown package count as one socket, each thread of an unknown core as a core."""
    # A package id of -1 is what firmware without that knowledge gives (device trees of ARM boards).
    packages = {cpu.package if cpu.package is not None and cpu.package >= 0 else 0 for cpu in cpus}
    cores = {(cpu.package, cpu.core) if cpu.core is not None else (cpu.package, f"cpu{cpu.number}") for cpu in cpus}
    return Topology(sockets=max(1, len(packages)), cores=max(1, len(cores)), threads=max(1, len(cpus)))


def memory_mib(meminfo: str) -> int:
    """MiB of MemTotal in /proc/meminfo or a NUMA node's meminfo, rounded down; 0 when the line is not there."""
    found = re.search(r"^(?:Node \d+ )?MemTotal:\s+(\d+) kB", meminfo, re.MULTILINE)
    return int(found.group(1)) // 1024 if found else 0


def free_hugepages_mib(meminfo: str) -> int:
    """MiB of huge pages, of the default size, that nobody has taken or has been promised (proc_meminfo(5)).

    0 on a kernel without huge pages.
    """
    found = {key: int(value) for key, value in re.findall(r"^(Huge\w+):\s+(\d+)", meminfo, re.MULTILINE)}
    free = found.get("HugePages_Free", 0) - found.get("HugePages_Rsvd", 0)
    return max(0, free) * found.get("Hugepagesize", 0) // 1024


def cpuinfo_cpus(cpuinfo: str) -> list[Cpu]:
    """The CPUs of /proc/cpuinfo, which lists those that are online; on ARM it tells neither package nor core."""
    cpus = []
    for block in re.split(r"\n\s*\n", cpuinfo):
        values = dict(re.findall(r"^([^:\n]+?)\s*:\s*(.*)$", block, re.MULTILINE))
        if values.get("processor", "").isdigit():
            package = values.get("physical id", "")
            cpus.append(
                Cpu(int(values["processor"]), int(package) if package.isdigit() else None, values.get("core id"))
            )
    return cpus


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def read_cpus(root: Path = Path("/")) -> list[Cpu]:
    """The CPUs that are online, from /sys, else from /proc/cpuinfo."""
    folder = root / "sys/devices/system/cpu"
    online = _text(folder / "online")
    if online is None:
        return cpuinfo_cpus(_text(root / "proc/cpuinfo") or "")
    cpus = []
    for number in sorted(cpu_list(online)):
        about = folder / f"cpu{number}" / "topology"
        package = _text(about / "physical_package_id")
        # The list of a core's threads names the core; core_id alone repeats over the dies of one package.
        core = _text(about / "core_cpus_list") or _text(about / "thread_siblings_list") or _text(about / "core_id")
        cpus.append(Cpu(number, int(package) if package is not None else None, core))
    return cpus


def read_numa_nodes(root: Path, online: frozenset[int]) -> list[NumaNode]:
    """The NUMA nodes by id, with their online threads; empty on a kernel without NUMA."""
    nodes = []
    for folder in (root / "sys/devices/system/node").glob("node[0-9]*"):
        threads = cpu_list(_text(folder / "cpulist") or "") & online
        memory = memory_mib(_text(folder / "meminfo") or "")
        nodes.append(NumaNode(int(folder.name[len("node") :]), len(threads), memory))
    return sorted(nodes, key=lambda node: node.id)


def read_capacity(root: Path = Path("/")) -> dict[str, Any]:
    """{sockets, cores, threads, memory_mib, numa_nodes} of the host."""
    cpus = read_cpus(root)
    nodes = read_numa_nodes(root, frozenset(cpu.number for cpu in cpus))
    return {
        **asdict(topology(cpus)),
        "memory_mib": memory_mib(_text(root / "proc/meminfo") or ""),
        "numa_nodes": [asdict(node) for node in nodes],
    }


def in_gib(size: float) -> float:
    """Bytes as GiB, to two digits."""
    return round(size / GIB, 2)


def file_system(path: str) -> tuple[float, float]:
    """(size, free) in GiB of the file system where `path` is, or will be when it is not there yet."""
    place = Path(path)
    while not place.exists() and place != place.parent:
        place = place.parent
    about = os.statvfs(place)
    return in_gib(about.f_frsize * about.f_blocks), in_gib(about.f_frsize * about.f_bavail)


def device_bytes(number: int, root: Path = Path("/")) -> int:
    """Bytes of the block device with this device number, 0 when the kernel does not tell.

    /sys counts sectors of 512 bytes, whatever the disk's own are (Documentation/ABI/stable/sysfs-block).
    """
    sectors = _text(root / f"sys/dev/block/{os.major(number)}:{os.minor(number)}" / "size")
    return int(sectors) * 512 if sectors else 0


def block_device(path: str) -> int | None:
    """The device number behind this path, links followed; None when no block device is there."""
    try:
        about = Path(path).stat()
    except OSError:
        return None
    return about.st_rdev if stat.S_ISBLK(about.st_mode) else None


def devices_gib(paths: Iterable[str], root: Path = Path("/")) -> tuple[float, list[str]]:
    """GiB of these block devices together, and the paths of those that count 0; a device with two names counts once."""
    numbers = {path: block_device(path) for path in paths}
    sizes = {number: 0 if number is None else device_bytes(number, root) for number in numbers.values()}
    return in_gib(sum(sizes.values())), [path for path, number in numbers.items() if not sizes[number]]
