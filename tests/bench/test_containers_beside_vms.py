# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs beside containers on one host, a thousand containers on one node, and a node's death in a swarm.

The host is a lab machine of its own (`container_host`), the swarm the lab of `inventories/swarm`; both are brought up
when they are not there and stay. VM and container have the same userland, busybox. What is measured is printed as
tables and written to `build/bench/containers.md`, `containers.json` and `containers.svg`.

`CROFT_BENCH_CONTAINERS` sets the steps (10,100,300,1000), `CROFT_BENCH_INSTANCES` how many VMs and containers are held
beside each other (5). What the whole machine lost of its memory counts all that runs on it, and means nothing where it
does other work.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from container_plot import growth_chart

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
INVENTORY = Path("tests/bench/container_host")
SWARM = Path("inventories/swarm")
RESULTS = ROOT / "build/bench"
INSTANCES = int(os.environ.get("CROFT_BENCH_INSTANCES", "5"))
STEPS = [int(step) for step in os.environ.get("CROFT_BENCH_CONTAINERS", "10,100,300,1000").split(",")]
# The machine that carries the lab keeps this much: below it no more containers are started.
LEFT_MIB = 3000
MEASURED: dict[str, Any] = {}
ENVIRONMENT = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}

# Memory of processes as the kernel shares it out among them (PSS), of those whose command has all the words given, and
# with `tree` of their children too.
PSS = r"""
import os, pathlib, sys
words, tree = sys.argv[2:], sys.argv[1] == "tree"
parents, commands = {}, {}
for entry in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        commands[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        pass
chosen = {pid for pid, command in commands.items() if all(word in command for word in words)} - {os.getpid()}
found = set(chosen)
while tree:
    more = {pid for pid, parent in parents.items() if parent in found} - found
    if not more:
        break
    found |= more
total = 0
for pid in found:
    try:
        text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += int(next(line for line in text.splitlines() if line.startswith("Pss:")).split()[1])
    except (OSError, StopIteration):
        pass
print(len(chosen), total / 1024)
"""


def playbook(inventory: Path, *names: str, **variables: Any) -> None:
    command = ["ansible-playbook", "-i", str(inventory), *names, "-e", json.dumps(variables)]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


class Node:
    """Commands on a lab node, as root, over SSH."""

    def __init__(self, address: str, state: str) -> None:
        known = f"-oUserKnownHostsFile={state}/known_hosts"
        options = ["-oBatchMode=yes", "-oLogLevel=ERROR", "-oConnectTimeout=5"]
        self._argv = ["ssh", "-i", f"{state}/ssh/id_ed25519", *options, known, f"root@{address}"]

    def run(self, command: str, stdin: str = "", check: bool = True) -> str:
        done = subprocess.run([*self._argv, command], input=stdin, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{command}: {done.stderr}{done.stdout}"
        return done.stdout

    def timed(self, command: str) -> float:
        """Seconds that a command takes on the node, without the SSH connection."""
        told = self.run(f"python3 - <<'E'\nimport subprocess as s, time\nt = time.monotonic()\n"
                        f"s.run(['bash', '-c', {command!r}], check=True, stdout=s.DEVNULL)\n"
                        "print(time.monotonic() - t)\nE")  # fmt: skip
        return float(told)

    def pss(self, *words: str, tree: bool = False) -> tuple[int, float]:
        """(processes whose command has the words, MiB of them, with ``tree`` of their children too)."""
        count, mib = self.run(f"python3 - {'tree' if tree else 'alone'} {shlex.join(words)}", stdin=PSS).split()
        return int(count), float(mib)

    def available_mib(self) -> float:
        return int(self.run("awk '/^MemAvailable/ { print $2 }' /proc/meminfo")) / 1024


def answers(address: str, limit: int = 300) -> str:
    """Shell that waits until an address answers a ping."""
    return f"for i in $(seq {limit * 5}); do ping -c1 -W1 {address} >/dev/null 2>&1 && exit 0; sleep 0.1; done; exit 1"


@pytest.fixture(scope="module")
def host() -> Node:
    """A host with VMs that are defined and stopped, and Docker with an image of the same userland."""
    shape = {"vcpus": 1, "memory_mib": 192, "disk_gib": 1, "state": "stopped", "autostart": False}
    vms = [{"name": f"bench{i:02}", "address": f"10.96.0.{100 + i}/24", **shape} for i in range(INSTANCES)]
    playbook(INVENTORY, "playbooks/lab.yml", "site.yml", "molecule/swarm/images.yml", virtual_machines=vms)
    state = yaml.safe_load((ROOT / INVENTORY / "group_vars/all.yml").read_text())["lab_state_dir"]
    node = Node("10.96.0.11", state)
    node.run(
        "docker ps -aq --filter label=bench | xargs -r docker rm -f >/dev/null; docker network rm bench 2>&1",
        check=False,
    )
    node.run("docker network create bench")
    node.run("for vm in $(virsh list --name); do virsh destroy $vm; done")
    return node


@pytest.fixture(scope="module", autouse=True)
def _report() -> Any:
    yield
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "containers.json").write_text(json.dumps(MEASURED, indent=2) + "\n")
    text = "\n\n".join(table for key, table in MEASURED.items() if key.endswith("_table"))
    (RESULTS / "containers.md").write_text(text + "\n")
    if "growth" in MEASURED:
        (RESULTS / "containers.svg").write_text(growth_chart(MEASURED["growth"]))
    print(f"\n\n{text}")


def test_vm_beside_container(host: Node) -> None:
    vm_ready, container_ready = [], []
    # In turn, so that whatever else the machine does slows both.
    for i in range(INSTANCES):
        up = answers(f"10.96.0.{100 + i}")
        vm_ready.append(host.timed(f"virsh start bench{i:02} && {{ {up}; }}"))
        run = (
            f"docker run -d --label bench=side --network bench --name side{i} croft-lab/web:1 httpd -f -h /etc && "
            f"at=$(docker inspect -f '{{{{.NetworkSettings.Networks.bench.IPAddress}}}}' side{i}) && "
            f"{{ {answers('$at')}; }}"
        )
        container_ready.append(host.timed(run))
    _count, vm_mib = host.pss("qemu-system", "guest=bench")
    shims, container_mib = host.pss("containerd-shim", tree=True)
    assert shims == INSTANCES
    vm_disk = int(host.run("du -cm /var/lib/croft/pool/bench*.qcow2 | tail -1").split()[0]) / INSTANCES
    own = "{{.GraphDriver.Data.UpperDir}} /var/lib/docker/containers/{{.Id}}"
    upper = f"docker inspect -f '{own}' $(docker ps -q --filter label=bench=side)"
    container_disk = int(host.run(f"du -ck $({upper}) | tail -1").split()[0]) / 1024 / INSTANCES
    total = int(host.run("awk '/^MemTotal/ { print $2 }' /proc/meminfo")) / 1024
    room = total - 512
    image = float(host.run("docker image inspect -f '{{.Size}}' croft-lab/web:1")) / 1024**2
    each = {"vm": vm_mib / INSTANCES, "container": container_mib / INSTANCES}
    MEASURED["side"] = {
        "vm": {"ready": vm_ready, "memory_mib": each["vm"], "disk_mib": vm_disk, "fit": int(room / each["vm"])},
        "container": {
            "ready": container_ready,
            "memory_mib": each["container"],
            "disk_mib": container_disk,
            "fit": int(room / each["container"]),
        },
        "host_memory_mib": total,
    }
    # What a plan admits is what was promised: memory of the VM and 65 MiB for QEMU.
    promised = int(room / (192 + 65))
    rows = [
        ("seconds to ready, median", statistics.median(vm_ready), statistics.median(container_ready)),
        ("seconds to ready, worst", max(vm_ready), max(container_ready)),
        ("memory of an instance, MiB (PSS)", each["vm"], each["container"]),
        ("disk of an instance, MiB", vm_disk, container_disk),
        (f"fit {total / 1024:.1f} GiB by measured memory", room / each["vm"], room / each["container"]),
    ]
    head = f"{INSTANCES} VMs of 192 MiB and {INSTANCES} containers with the same userland on one host, started in turn:"
    lines = [head, "", "| measured | VM | container | ratio |", "|---|--:|--:|--:|"]
    lines += [
        f"| {name} | {_figure(vm)} | {_figure(container)} | {_ratio(vm, container)} |" for name, vm, container in rows
    ]
    lines += [
        "",
        f"By what is promised to a VM (192 MiB and 65 for QEMU) {promised} fit. A container's image is shared by all "
        f"({image:.1f} MiB once); one bridge carries 1,023 containers.",
    ]
    MEASURED["side_table"] = "\n".join(lines)
    host.run("docker ps -aq --filter label=bench=side | xargs -r docker rm -f")
    host.run("for vm in $(virsh list --name); do virsh destroy $vm; done")


def _figure(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"


def _ratio(vm: float, container: float) -> str:
    return f"{vm / container:.2f}" if container else "-"


def growth_table(growth: list[dict[str, Any]]) -> str:
    heads = ("containers", "seconds until all run", "seconds each", "MiB each (PSS)", "MiB each (whole machine)")
    heads += ("dockerd and containerd, MiB", "`docker ps`, s", "one more, s")
    lines = ["Containers on one node, started four at a time, each with an address on one bridge:", ""]
    lines += [f"| {' | '.join(heads)} |", "|" + "--:|" * len(heads)]
    for g in growth:
        cells = (
            str(g["containers"]),
            f"{g['seconds']:.0f}",
            f"{g['seconds'] / g['containers']:.2f}",
            f"{g['mib_each']:.1f}",
            f"{g['machine_mib_each']:.1f}",
            f"{g['daemons_mib']:.0f}",
            f"{g['docker_ps_seconds']:.2f}",
            f"{g['one_more_seconds']:.2f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def test_a_thousand_containers(host: Node) -> None:
    begun_mib, running, seconds = host.available_mib(), 0, 0.0
    growth: list[dict[str, Any]] = []
    for step in STEPS:
        while running < step:
            chunk = min(running + 100, step)
            seconds += host.timed(
                f"seq {running} {chunk - 1} | xargs -P 4 -I N docker run -d --label bench=many --network bench "
                "--name manyN croft-lab/web:1 sleep 100000"
            )
            running = chunk
            if host.available_mib() < LEFT_MIB:
                pytest.fail(f"{running} containers run, and the machine has less than {LEFT_MIB} MiB left: {growth}")
        took = host.timed("docker ps -q")
        one = host.timed("docker run --rm --network bench croft-lab/web:1 true")
        shims, mib = host.pss("containerd-shim", tree=True)
        daemons = sum(host.pss(*words)[1] for words in (("/usr/sbin/dockerd",), ("/usr/bin/containerd ",)))
        available = host.available_mib()
        assert int(host.run("docker ps -q --filter label=bench=many | wc -l")) == running
        growth.append({
            "containers": running, "seconds": seconds, "mib_each": mib / max(shims, 1), "daemons_mib": daemons,
            "machine_mib_each": (begun_mib - available) / running, "docker_ps_seconds": took, "one_more_seconds": one,
        })  # fmt: skip
        print(growth[-1])
        # As far as it came, also when a later step fails.
        MEASURED["growth"] = growth
        MEASURED["growth_table"] = growth_table(growth)
    host.run("docker ps -aq --filter label=bench=many | xargs -r -P 4 -n 20 docker rm -f")
    assert host.run("docker info --format '{{.Containers}}'").strip() == "0"


class Pulse:
    """The moment of the last sign of life of a node: its SSH port takes a connection, asked five times a second."""

    def __init__(self, address: str) -> None:
        self.last = time.monotonic()
        self._address, self._ends = address, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ends.wait(0.2):
            begun = time.monotonic()
            with contextlib.suppress(OSError), socket.create_connection((self._address, 22), timeout=1):
                self.last = begun

    def stop(self) -> float:
        self._ends.set()
        self._thread.join()
        return self.last


def test_a_node_of_a_swarm_dies() -> None:
    playbook(SWARM, "molecule/swarm/converge.yml")
    lab = yaml.safe_load((ROOT / SWARM / "group_vars/lab.yml").read_text())["lab_nodes"]
    state = yaml.safe_load((ROOT / SWARM / "group_vars/all.yml").read_text())["lab_state_dir"]
    manager, dies = Node("10.97.0.11", state), "swarm3"
    # Swarm moves nothing back to a node that was away: spread anew.
    manager.run("docker service update --force --quiet shop_web")
    assert dies in manager.run("docker service ps shop_web --filter desired-state=running --format '{{.Node}}'")
    pulse = Pulse("10.97.0.13")
    off = [{**node, "state": "powered_off"} if node["name"] == dies else node for node in lab]
    cut = threading.Thread(target=playbook, args=(SWARM, "playbooks/lab.yml"), kwargs={"lab_nodes": off})
    cut.start()
    look = "docker service ps shop_web --filter desired-state=running --format '{{.Node}} {{.CurrentState}}'"
    for _look in range(600):
        told = manager.run(look, check=False).splitlines()
        running = [line for line in told if "Running" in line and not line.startswith(dies)]
        if len(running) == 4:
            break
        time.sleep(0.2)
    else:
        pytest.fail("the tasks of the dead node did not come back")
    ended = time.monotonic()
    cut.join()
    took = ended - pulse.stop()
    variables = (ROOT / SWARM / "group_vars/swarm_managers.yml").read_text()
    heartbeat = int(re.findall(r"^docker_swarm_heartbeat_seconds: (\d+)$", variables, re.M)[0])
    MEASURED["swarm"] = {"seconds": took, "heartbeat_seconds": heartbeat}
    MEASURED["swarm_table"] = (
        f"A node of three dies: its tasks ran on the others {took:.1f} s after its last sign of life (heartbeat "
        f"{heartbeat} s; a node is down after three)."
    )
    playbook(SWARM, "playbooks/lab.yml", "playbooks/containers.yml")
    assert re.search(r"swarm3\s+Ready", manager.run("docker node ls --format '{{.Hostname}} {{.Status}}'"))
