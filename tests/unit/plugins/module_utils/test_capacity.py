# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.croft.infra.plugins.module_utils import capacity
from ansible_collections.croft.infra.plugins.module_utils.capacity import (
    Cpu,
    Topology,
    block_device,
    cpu_list,
    cpuinfo_cpus,
    device_bytes,
    devices_gib,
    file_system,
    free_hugepages_mib,
    memory_mib,
    read_capacity,
    topology,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", set()), ("0\n", {0}), ("0-3", {0, 1, 2, 3}), ("0-1,4,6-7\n", {0, 1, 4, 6, 7}), ("0,2", {0, 2})],
)
def test_cpu_list(text: str, expected: set[int]) -> None:
    assert cpu_list(text) == expected


TOPOLOGIES = [
    ("nothing known", [], Topology(1, 1, 1)),
    ("one without topology", [Cpu(0)], Topology(1, 1, 1)),
    ("four without topology", [Cpu(n) for n in range(4)], Topology(1, 4, 4)),
    (
        "two sockets, two cores each, two threads each",
        [Cpu(n, n // 4, str(n // 2)) for n in range(8)],
        Topology(2, 4, 8),
    ),
    ("core numbers that repeat in each socket", [Cpu(n, n // 2, str(n % 2)) for n in range(4)], Topology(2, 4, 4)),
    ("firmware that knows no packages", [Cpu(n, -1, str(n)) for n in range(4)], Topology(1, 4, 4)),
]


@pytest.mark.parametrize(("cpus", "expected"), [row[1:] for row in TOPOLOGIES], ids=[row[0] for row in TOPOLOGIES])
def test_topology(cpus: list[Cpu], expected: Topology) -> None:
    assert topology(cpus) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MemTotal:       16384000 kB\nMemFree: 1 kB\n", 16000),
        ("Node 1 MemTotal:       2048 kB\n", 2),
        ("", 0),
        ("MemFree: 1 kB", 0),
    ],
)
def test_memory_mib(text: str, expected: int) -> None:
    assert memory_mib(text) == expected


X86 = "".join(
    f"processor\t: {n}\nmodel name\t: x: y\nphysical id\t: {n // 2}\ncore id\t\t: {n % 2}\n\n" for n in range(4)
)
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\n\nprocessor\t: 1\nBogoMIPS\t: 50.00\n\nHardware\t: board\n"


@pytest.mark.parametrize(
    ("text", "expected"), [(X86, Topology(2, 4, 4)), (ARM, Topology(1, 2, 2)), ("", Topology(1, 1, 1))]
)
def test_cpuinfo(text: str, expected: Topology) -> None:
    assert topology(cpuinfo_cpus(text)) == expected


def put(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def machine(*, sockets: int, cores: int, threads: int, nodes: int, online: str) -> dict[str, str]:
    """The tree of a machine numbered as x86 does it: first threads of all cores, then the second ones."""
    total = sockets * cores
    files = {"sys/devices/system/cpu/online": online, "proc/meminfo": f"MemTotal: {nodes * 4096 * 1024} kB"}
    for number in range(total * threads):
        core = number % total
        folder = f"sys/devices/system/cpu/cpu{number}/topology"
        siblings = ",".join(str(core + total * thread) for thread in range(threads))
        files |= {f"{folder}/physical_package_id": str(core // cores), f"{folder}/core_cpus_list": siblings}
        files |= {f"{folder}/core_id": str(core % cores)}
    for node in range(nodes):
        share = total // nodes
        parts = (
            f"{thread * total + node * share}-{thread * total + (node + 1) * share - 1}" for thread in range(threads)
        )
        files[f"sys/devices/system/node/node{node}/cpulist"] = ",".join(parts)
        files[f"sys/devices/system/node/node{node}/meminfo"] = f"Node {node} MemTotal: {4096 * 1024} kB"
    return files


def test_two_sockets_with_hyper_threading_and_four_nodes(tmp_path: Path) -> None:
    put(tmp_path, machine(sockets=2, cores=8, threads=2, nodes=4, online="0-31"))
    assert read_capacity(tmp_path) == {
        "sockets": 2,
        "cores": 16,
        "threads": 32,
        "memory_mib": 16384,
        "numa_nodes": [{"id": node, "threads": 8, "memory_mib": 4096} for node in range(4)],
    }


def test_cpus_that_are_offline_do_not_count(tmp_path: Path) -> None:
    # SMT switched off, and the last core with it.
    put(tmp_path, machine(sockets=2, cores=2, threads=2, nodes=2, online="0-2"))
    found = read_capacity(tmp_path)
    assert (found["sockets"], found["cores"], found["threads"]) == (2, 3, 3)
    assert [node["threads"] for node in found["numa_nodes"]] == [2, 1]


def test_a_node_with_memory_only(tmp_path: Path) -> None:
    put(tmp_path, machine(sockets=1, cores=2, threads=1, nodes=1, online="0-1"))
    node = "sys/devices/system/node/node10"
    put(tmp_path, {f"{node}/cpulist": "", f"{node}/meminfo": "Node 10 MemTotal: 1024 kB"})
    assert read_capacity(tmp_path)["numa_nodes"][1] == {"id": 10, "threads": 0, "memory_mib": 1}


def test_an_arm_board_with_few_files(tmp_path: Path) -> None:
    folder = "sys/devices/system/cpu"
    put(tmp_path, {f"{folder}/online": "0-3", "proc/meminfo": "MemTotal: 4096000 kB"})
    put(tmp_path, {f"{folder}/cpu{n}/topology/physical_package_id": "-1" for n in range(4)})
    assert read_capacity(tmp_path) == {"sockets": 1, "cores": 4, "threads": 4, "memory_mib": 4000, "numa_nodes": []}


def test_a_machine_without_sys(tmp_path: Path) -> None:
    put(tmp_path, {"proc/cpuinfo": X86, "proc/meminfo": "MemTotal: 1024 kB"})
    assert read_capacity(tmp_path)["cores"] == 4


def test_this_machine() -> None:
    found = read_capacity()
    assert found["threads"] >= found["cores"] >= found["sockets"] >= 1
    assert found["memory_mib"] > 0


def test_file_system_of_a_directory_that_is_not_there_yet(tmp_path: Path) -> None:
    size, free = file_system(str(tmp_path / "not" / "yet"))
    assert size == file_system(str(tmp_path))[0]
    assert size >= free >= 0


def _disk(root: Path, number: str, sectors: str) -> None:
    about = root / "sys/dev/block" / number
    about.mkdir(parents=True)
    (about / "size").write_text(f"{sectors}\n")


def test_the_size_of_a_block_device_is_in_sectors_of_512_bytes(tmp_path: Path) -> None:
    _disk(tmp_path, "259:3", "15628053168")
    assert device_bytes(os.makedev(259, 3), tmp_path) == 8001563222016
    assert device_bytes(os.makedev(259, 4), tmp_path) == 0


def test_what_is_a_block_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x" * 4096)
    assert block_device(str(tmp_path / "file")) is None
    assert block_device(str(tmp_path / "nowhere")) is None
    assert block_device("/dev/null") is None
    disk = SimpleNamespace(st_mode=stat.S_IFBLK | 0o660, st_rdev=os.makedev(8, 16))
    monkeypatch.setattr(Path, "stat", lambda _path: disk)
    assert block_device("/dev/sdb") == os.makedev(8, 16)


def test_disks_count_together_and_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gib = 2 * 1024 * 1024
    _disk(tmp_path, "8:0", str(100 * gib))
    _disk(tmp_path, "8:16", str(gib // 2))
    _disk(tmp_path, "7:0", "0")
    known = {"/dev/sda": (8, 0), "/dev/disk/by-id/a": (8, 0), "/dev/sdb": (8, 16), "/dev/loop0": (7, 0)}
    numbers = {path: os.makedev(*number) for path, number in known.items()}
    monkeypatch.setattr(capacity, "block_device", numbers.get)
    assert devices_gib(["/dev/sda", "/dev/sdb", "/dev/disk/by-id/a"], tmp_path) == (100.5, [])
    assert devices_gib(["/dev/sdx", "/dev/sda", "/dev/loop0"], tmp_path) == (100.0, ["/dev/sdx", "/dev/loop0"])
    assert devices_gib([], tmp_path) == (0.0, [])


@pytest.mark.parametrize(
    ("meminfo", "expected"),
    [
        (
            "HugePages_Total: 128\nHugePages_Free: 100\nHugePages_Rsvd: 36\nHugepagesize: 2048 kB\n",
            128,
        ),
        ("HugePages_Free: 2\nHugePages_Rsvd: 0\nHugepagesize: 1048576 kB\n", 2048),
        ("HugePages_Free: 1\nHugePages_Rsvd: 3\nHugepagesize: 2048 kB\n", 0),
        ("MemTotal: 16384000 kB\n", 0),
    ],
)
def test_free_hugepages(meminfo: str, expected: int) -> None:
    assert free_hugepages_mib(meminfo) == expected
