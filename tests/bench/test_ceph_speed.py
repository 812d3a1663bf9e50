# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast the lab's storage cluster is beside one of the same machine's disks: run on a lab with a cluster on it.

4 KiB random and 1 MiB sequential writes, each with four in flight, from one, two and three nodes at once; a local
file is written the same way, past the page cache and to the disk. All nodes share one machine's CPUs and disk here, and
each byte is written three times, so the ratio is what counts, and it is the worst that there is.
"""

from __future__ import annotations

import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

INVENTORY = Path(__file__).resolve().parents[2] / "inventories/lab"
SECONDS = 8
LOCAL = """
import mmap, os, random, sys, threading, time
size, sequential, seconds = int(sys.argv[1]), sys.argv[2] == "seq", float(sys.argv[3])
path, total = "/var/lib/croft-bench", 256 * 2**20
handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT | os.O_DSYNC, 0o600)
os.posix_fallocate(handle, 0, total)
counts = [0] * 4
ends = time.monotonic() + seconds
def work(number):
    data = mmap.mmap(-1, size)
    data.write(os.urandom(size))
    places, at = total // size, number
    while time.monotonic() < ends:
        os.pwrite(handle, data, (at if sequential else random.randrange(places)) * size)
        at = (at + 4) % places
        counts[number] += 1
threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
os.unlink(path)
print(sum(counts) / seconds)
"""


class Node:
    def __init__(self, name: str, address: str) -> None:
        given = yaml.safe_load((INVENTORY / "group_vars/kvm_hosts.yml").read_text())
        options = [*given["ansible_ssh_common_args"].split(), "-i", given["ansible_ssh_private_key_file"]]
        self.name, self._argv = name, ["ssh", *options, "-o", "ConnectTimeout=5", f"root@{address}"]

    def run(self, command: str, stdin: str = "") -> str:
        done = subprocess.run([*self._argv, command], input=stdin, capture_output=True, text=True, check=True)
        return done.stdout

    def rbd(self, size: str, pattern: str) -> float:
        """Writes in a second to an image of its own."""
        image = f"vms/bench-{self.name}"
        bench = (
            f"rbd bench --io-type write --io-size {size} --io-threads 4 --io-pattern {pattern} --io-total 4G {image}"
        )
        said = self.run(
            f"rbd create {image} --size 256M; timeout -s INT {SECONDS} {bench}; rbd rm --no-progress {image}"
        )
        # Each second is a line: SEC OPS OPS/SEC BYTES/SEC.
        lines = re.findall(r"^ +(\d+) +(\d+) +", said, re.MULTILINE)
        second, count = lines[-1]
        return int(count) / int(second)

    def local(self, size: int, pattern: str) -> float:
        return float(self.run(f"python3 - {size} {pattern} {SECONDS}", LOCAL))


@pytest.fixture(scope="module")
def nodes() -> list[Node]:
    hosts = yaml.safe_load((INVENTORY / "hosts.yml").read_text())["all"]["children"]["kvm_hosts"]["hosts"]
    found = [Node(name, host["ansible_host"]) for name, host in hosts.items()]
    try:
        found[0].run("ceph --connect-timeout 5 health")
    except subprocess.CalledProcessError:
        pytest.skip("there is no lab with a storage cluster on it")
    return found


@pytest.mark.parametrize(
    ("words", "size", "bytes_", "pattern"), [("4k random", "4K", 4096, "rand"), ("1M sequential", "1M", 2**20, "seq")]
)
def test_the_cluster_beside_a_local_disk(nodes: list[Node], words: str, size: str, bytes_: int, pattern: str) -> None:
    local = nodes[0].local(bytes_, pattern)
    print(f"\n{words} writes, local disk: {local:.0f}/s, {local * bytes_ / 2**20:.1f} MiB/s")
    for count in range(1, len(nodes) + 1):
        with ThreadPoolExecutor(count) as pool:
            each = list(pool.map(lambda node: node.rbd(size, pattern), nodes[:count]))
        total = sum(each)
        print(
            f"{words} writes, cluster from {count} node{'s' if count > 1 else ''}: {total:.0f}/s, "
            f"{total * bytes_ / 2**20:.1f} MiB/s, {total / local:.2f} of the local disk"
        )
        assert total > 0
