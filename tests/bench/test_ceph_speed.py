# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's storage cluster beside one of the same machine's disks, and linked clones beside full copies on it.

4 KiB random and 1 MiB sequential writes by fio, four in flight, from one, two and three nodes at once. A file on the
disk of a node's local pool is written by fio too, past the page cache and through to the disk, as the cluster does
before it acknowledges a write. All nodes share one machine's CPUs and disk here, and each byte is written three times,
so the ratio is what counts, and it is the worst that there is.

The lab is brought up when it is not there; what runs on it is replaced by the benchmark's VMs.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from lab_runs import HOSTS, machines, node, playbook, remove_domains

SECONDS = 8
CLONES = 10
FIO = (
    "fio --name=bench --output-format=json --time_based --direct=1 --iodepth=4 --size=256M"
    f" --runtime={SECONDS} --ramp_time=2"
)
LOCAL = "/var/lib/croft/pool/bench.raw"


def writes(address: str, options: str) -> float:
    """Writes in a second."""
    said = node(address, f"{FIO} {options}")
    return float(json.loads(said[said.index("{") :])["jobs"][0]["write"]["iops"])


def local(size: str, pattern: str) -> float:
    options = f"--ioengine=libaio --sync=dsync --filename={LOCAL} --rw={pattern} --bs={size}"
    try:
        return writes(HOSTS["kvm1"], options)
    finally:
        node(HOSTS["kvm1"], f"rm -f {LOCAL}")


def cluster(name: str, size: str, pattern: str) -> float:
    options = f"--ioengine=rbd --clientname=admin --pool=vms --rbdname=bench-{name} --rw={pattern} --bs={size}"
    return writes(HOSTS[name], options)


def remove_all() -> None:
    remove_domains()
    node(HOSTS["kvm1"], "for image in $(rbd ls vms | grep ^bench); do rbd rm --no-progress vms/$image; done")


@pytest.fixture(scope="module")
def lab() -> None:
    playbook("playbooks/lab.yml")
    playbook("site.yml", storage_layout="distributed", virtual_machines=[])
    for address in HOSTS.values():
        node(address, "command -v fio >/dev/null || apt-get install -qq -y --no-install-recommends fio >/dev/null")
    remove_all()


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize(
    ("words", "size", "mib", "pattern"),
    [("4k random", "4k", 1 / 256, "randwrite"), ("1M sequential", "1M", 1, "write")],
)
def test_the_cluster_beside_a_local_disk(words: str, size: str, mib: float, pattern: str) -> None:
    beside = local(size, pattern)
    print(f"\n{words} writes, local disk of one node: {beside:.0f}/s, {beside * mib:.1f} MiB/s")
    names = list(HOSTS)
    for name in names:
        node(HOSTS[name], f"rbd create vms/bench-{name} --size 256M")
    for count in range(1, len(names) + 1):
        with ThreadPoolExecutor(count) as pool:
            total = sum(pool.map(lambda name: cluster(name, size, pattern), names[:count]))
        print(
            f"{words} writes, cluster from {count} node{'s' if count > 1 else ''}: {total:.0f}/s, "
            f"{total * mib:.1f} MiB/s, ratio {total / beside:.2f}"
        )
        assert total > 0
    remove_all()


@pytest.mark.usefixtures("lab")
def test_ten_linked_clones_beside_full_copies() -> None:
    taken, used = {}, {}
    for clone in ("linked", "full"):
        taken[clone], _said = playbook(
            "playbooks/plan.yml",
            "playbooks/virtual_machines.yml",
            storage_layout="distributed",
            virtual_machines=machines(CLONES, [None]),
            virtual_machines_clone=clone,
            virtual_machines_ready_timeout=900,
        )
        images = json.loads(node(HOSTS["kvm1"], "rbd du --pool vms --format json"))["images"]
        used[clone] = sum(image["used_size"] for image in images if image["name"].startswith("bench")) >> 20
        remove_all()
    print(f"\n{CLONES} VMs on RBD until all guests are up: linked {taken['linked']:.0f} s, full {taken['full']:.0f} s")
    print(f"ratio {taken['linked'] / taken['full']:.2f}; MiB in the pool: {used['linked']} and {used['full']}")
