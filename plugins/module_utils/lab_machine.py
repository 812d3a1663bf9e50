# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at and change the machine that carries a lab: processes, mounts, loop devices, links, nftables."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils import lab
from ansible_collections.croft.infra.plugins.module_utils.private_file import write_privately

FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
# What a node may use of the machine's devices, where the machine has them.
DEVICES = ("/dev/fuse", "/dev/net/tun", "/dev/kvm", "/dev/loop-control", "/dev/vhost-net")
PAUSE = 0.25
SYSTEMD = Path("/run/systemd/system")
NSPAWN_RUN = Path("/run/systemd/nspawn")


class LabError(Exception):
    """Something on the machine did not go as it must; the text says what, where, and what to look at."""


def run(*argv: str, stdin: str | None = None) -> str:
    """Run a command and return its output; raise LabError with its last words when it fails."""
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise LabError(f"{argv[0]} is not installed on this machine") from error
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise LabError(f"`{' '.join(argv)}` failed: {words[-1]}")
    return done.stdout


def wait_for(what: Callable[[], bool], attempts: int) -> bool:
    """Ask until it is so, by attempts: the wall clock of a paused machine jumps."""
    for _ in range(attempts):
        if what():
            return True
        time.sleep(PAUSE)
    return what()


def _write_below(root: Path, files: Mapping[str, str]) -> None:
    """Have these files, by path below a node's root."""
    for path, text in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if path.startswith("root/") else 0o755)
        if not target.is_symlink() and _read(target) == text:
            continue
        target.unlink(missing_ok=True)
        target.write_text(text)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _mounts() -> set[str]:
    return {line.split()[4] for line in _read(Path("/proc/self/mountinfo")).splitlines()}


def _argv(pid: int) -> list[str]:
    return _read(Path(f"/proc/{pid}/cmdline")).rstrip("\0").split("\0")


def _processes() -> Iterator[tuple[int, list[str]]]:
    """(pid, command line) of every process."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            yield int(entry.name), _argv(int(entry.name))


def _ended(pid: int) -> bool:
    """Whether the process is gone, or dead and only not buried yet."""
    return _read(Path(f"/proc/{pid}/stat")).rpartition(") ")[2][:1] in ("", "Z", "X")


def _address_in(conf: Path) -> str:
    """The address in a BMC's configuration; "unknown" where that is gone."""
    found = re.search(r"^ *addr (\S+) 623$", _read(conf), re.MULTILINE)
    return found[1] if found else "unknown"


def _children(pid: int) -> list[int]:
    return [int(p) for p in _read(Path(f"/proc/{pid}/task/{pid}/children")).split()]


def _link(name: str) -> dict[str, Any]:
    done = subprocess.run(["ip", "-json", "link", "show", "dev", name], capture_output=True, text=True, check=False)
    return dict(json.loads(done.stdout)[0]) if done.returncode == 0 and done.stdout.strip() else {}


class LabMachine:
    """One machine with one lab in ``state_dir``."""

    def __init__(
        self, state_dir: str, image: str, network: lab.Network, files: Mapping[str, str], public_key: str
    ) -> None:
        self.dir = Path(state_dir)
        # As the kernel names what lies in it.
        self.nodes_dir = (self.dir / "nodes").resolve()
        self.bmc_dir = self.dir / "bmc"
        self.image = image
        self.network = network
        self.files = files
        self.public_key = public_key

    # ---- look ----

    def node_dir(self, name: str) -> Path:
        return self.nodes_dir / name

    def look(self) -> lab.Machine:
        """Read what stands on the machine now."""
        names = sorted(p.name for p in self.nodes_dir.iterdir()) if self.nodes_dir.is_dir() else []
        nodes = {name: lab.Found(name, exists=True, record=self._record(name)) for name in names}
        for name, pid in self._supervisors().items():
            found = nodes.setdefault(name, lab.Found(name))
            found.supervisor = pid
            # A node that is about to start has none for a moment.
            wait_for(lambda pid=pid: bool(_children(pid)), 8)  # type: ignore[misc]
            found.leader = next(iter(_children(pid)), None)
        for name in self._bmcs():
            found = nodes.setdefault(name, lab.Found(name))
            found.bmc = _address_in(self.bmc_dir / f"{name}.conf")
        mounts = _mounts()
        for name, found in nodes.items():
            found.mounted = any(str(point) in mounts for point in self._mount_points(name))
            found.loops = self._loops(name)
            ports = [_link(f"{kind}-{name}") for kind in ("vb", "vm")]
            found.connected = all(
                port.get("master") == self.network.bridge and "UP" in port.get("flags", ()) for port in ports
            )
        # A machine without nftables has no table of ours; one that shall get a lab has it by then.
        tables = run("nft", "-j", "list", "tables") if shutil.which("nft") else '{"nftables": []}'
        nat = any(
            entry.get("table", {}).get("name") == self.network.nft_table for entry in json.loads(tables)["nftables"]
        )
        bridge = _link(self.network.bridge)
        return lab.Machine(
            nodes, bridge="UP" in bridge.get("flags", ()), nat=nat, forwarding=_read(FORWARD).strip() == "1"
        )

    def _mount_points(self, name: str) -> list[Path]:
        """The node's root, and what nspawn itself mounts for a node and leaves when it is killed."""
        return [self.node_dir(name) / "root", *NSPAWN_RUN.glob(f"*/{name}")]

    def _record(self, name: str) -> dict[str, Any]:
        text = _read(self.node_dir(name) / "node.json")
        return dict(json.loads(text)) if text else {}

    def _supervisors(self) -> dict[str, int]:
        found = {}
        for pid, argv in _processes():
            name = lab.supervisor_of(argv)
            if name and lab.supervisor_root(argv).startswith(f"{self.nodes_dir}/"):
                found[name] = pid
        return found

    def _bmcs(self) -> dict[str, int]:
        """The process of each node's BMC."""
        seen = ((lab.bmc_of(argv, str(self.bmc_dir)), pid) for pid, argv in _processes())
        return {name: pid for name, pid in seen if name}

    def _loops(self, name: str) -> dict[str, str]:
        """The node's loop devices by disk; by inode, since a lab in another mount namespace may have the same paths."""
        columns = "NAME,BACK-FILE,BACK-INO,BACK-MAJ:MIN"
        listing = run("losetup", "--list", "--json", "--output", columns).strip()
        disks = {}
        for file in (self.node_dir(name) / "disks").glob("*.img"):
            about = file.stat()
            disks[str(about.st_ino), f"{os.major(about.st_dev)}:{os.minor(about.st_dev)}"] = file.stem
        gone = f"{self.node_dir(name)}/disks/"
        found = {}
        for entry in json.loads(listing)["loopdevices"] if listing else ():
            ino, device = (str(entry.get(column)).strip() for column in ("back-ino", "back-maj:min"))
            disk = disks.get((ino, device))
            place = str(entry.get("back-file"))
            if disk is None and place.startswith(gone) and place.endswith(".img (deleted)"):
                disk = Path(place.removesuffix(" (deleted)")).stem
            if disk is not None:
                found[disk] = entry["name"]
        return found

    # ---- change ----

    def carry_out(self, todo: Sequence[lab.Step], nodes: Sequence[lab.Node]) -> None:
        """Do the steps in order. Nodes boot side by side: all are started before one is waited for."""
        by_name = {node.name: node for node in nodes}
        self._write_record(nodes)
        actions: dict[str, Callable[[], None]] = {
            "create bridge": self._create_bridge,
            "create nat": self._create_nat,
            "allow forwarding": self._allow_forwarding,
            "remove nat": lambda: self._quiet("nft", "delete", "table", "inet", self.network.nft_table),
            "remove bridge": lambda: self._quiet("ip", "link", "delete", self.network.bridge),
            "restore forwarding": self._restore_forwarding,
        }
        for step in todo:
            if step.kind in actions:
                actions[step.kind]()
            elif step.kind == "create":
                self._create(by_name[step.node])
            elif step.kind == "start bmc":
                self._start_bmc(by_name[step.node])
            elif step.kind == "start":
                self._start(by_name[step.node], nodes)
            else:
                getattr(self, "_" + step.kind.replace(" ", "_"))(step.node)
        for step in todo:
            if step.kind == "start" and by_name[step.node].state == "present":
                self._await(by_name[step.node])
        self._write_known_hosts(nodes)
        for node in nodes:
            root = self.node_dir(node.name) / "root"
            # Of those that are up: who is new, or has gone. The others learn it at their start.
            if (root / "etc").exists():
                _write_below(root, {"etc/hosts": lab.hosts_file(nodes)})

    def _quiet(self, *argv: str) -> None:
        """Take something away that may have gone by itself in between."""
        with contextlib.suppress(LabError):
            run(*argv)

    def _create_bridge(self) -> None:
        bridge = self.network.bridge
        if not _link(bridge):
            run("ip", "link", "add", bridge, "type", "bridge", "stp_state", "0", "forward_delay", "0")
            run("ip", "address", "add", str(self.network.interface), "dev", bridge)
        run("ip", "link", "set", bridge, "up")

    def _create_nat(self) -> None:
        run("nft", "-f", "-", stdin=lab.nft_rules(self.network))

    def _allow_forwarding(self) -> None:
        self.dir.mkdir(parents=True, exist_ok=True)
        (self.dir / "ip_forward").write_text(_read(FORWARD))
        FORWARD.write_text("1\n")

    def _restore_forwarding(self) -> None:
        kept = self.dir / "ip_forward"
        if kept.exists():
            FORWARD.write_text(kept.read_text())
            kept.unlink()

    def _create(self, node: lab.Node) -> None:
        home = self.node_dir(node.name)
        # Made aside and renamed, so that a node that exists is a whole one.
        fresh = home.with_name(f".{node.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        for part in ("upper/etc/ssh", "upper/var/lib/apt/lists", "work", "root", "disks"):
            (fresh / part).mkdir(parents=True)
        # The image's package lists are empty however young: tell apt's users that they were never read.
        os.utime(fresh / "upper/var/lib/apt/lists", (0, 0))
        run("ssh-keygen", "-A", "-f", str(fresh / "upper"))
        for disk in node.disks:
            with (fresh / "disks" / f"{disk.name}.img").open("wb") as file:
                file.truncate(disk.size_gib << 30)
        (fresh / "node.json").write_text(json.dumps(lab.record_of(node, self.image)))
        fresh.rename(home)

    def _start(self, node: lab.Node, nodes: Sequence[lab.Node]) -> None:
        home = self.node_dir(node.name)
        root = home / "root"
        options = f"lowerdir={self.image},upperdir={home}/upper,workdir={home}/work"
        run("mount", "-t", "overlay", "-o", options, f"croft-lab-{node.name}", str(root))
        loops = {
            disk.name: run(
                "losetup", "--find", "--show", "--direct-io=on", str(home / "disks" / f"{disk.name}.img")
            ).strip()
            for disk in node.disks
        }
        files = {**self.files, **lab.node_files(node, nodes, self.network, loops)}
        _write_below(root, {**files, "root/.ssh/authorized_keys": f"{self.public_key}\n"})
        devices = [device for device in (*DEVICES, *loops.values()) if Path(device).exists()]
        command = lab.nspawn_command(node.name, str(root), self.network.bridge, devices)
        log = home / "console.log"
        process = self._spawn(node.name, command, log)
        port = f"vm-{node.name}"
        systemd = SYSTEMD.is_dir()
        if not wait_for(lambda: bool(_link(port)) or (not systemd and process.poll() is not None), 80) or not _link(
            port
        ):
            raise LabError(f"lab node {node.name} did not start; its last words are in {log}: {_last_line(log)}")
        self._connect(node.name)

    def _spawn(self, unit: str, command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        """Start what outlives this run."""
        with log.open("ab") as out:
            return subprocess.Popen(
                lab.start_command(unit, command, SYSTEMD.is_dir(), str(log)),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env={**os.environ, "SYSTEMD_SECCOMP": "0"},
                cwd="/",
            )

    def _start_bmc(self, node: lab.Node) -> None:
        assert node.bmc is not None
        self.bmc_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        password = self.bmc_dir / "password"
        if not password.exists():
            write_privately(password, secrets.token_urlsafe(12))
        for name, text in lab.bmc_files(node.name, node.bmc, _read(password), str(self.bmc_dir / "power")).items():
            write_privately(self.bmc_dir / name, text)
        (self.bmc_dir / node.name).mkdir(exist_ok=True)
        prefix = f"{node.bmc}/32"
        if f" {prefix} " not in run("ip", "-oneline", "address", "show", "dev", self.network.bridge):
            run("ip", "address", "add", prefix, "dev", self.network.bridge)
        log = self.bmc_dir / f"{node.name}.log"
        self._spawn(f"bmc-{node.name}", lab.bmc_command(node.name, str(self.bmc_dir)), log)
        listening = f"{node.bmc}:623 "
        if not wait_for(lambda: listening in run("ss", "--no-header", "--numeric", "--listening", "--udp"), 40):
            raise LabError(f"the BMC of lab node {node.name} did not start; see {log}: {_last_line(log)}")

    def _stop_bmc(self, name: str) -> None:
        pid = self._bmcs().get(name)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            if not wait_for(lambda: _ended(pid), 20):
                os.kill(pid, signal.SIGKILL)
        conf = self.bmc_dir / f"{name}.conf"
        self._quiet("ip", "address", "delete", f"{_address_in(conf)}/32", "dev", self.network.bridge)
        conf.unlink(missing_ok=True)

    def _write_record(self, nodes: Sequence[lab.Node]) -> None:
        """What switching a node on takes, for those who do it without this run: the BMCs."""
        if any(node.bmc for node in nodes):
            record = {
                "image": self.image,
                "bridge": self.network.bridge,
                "address": str(self.network.interface),
                "files": dict(self.files),
                "public_key": self.public_key,
                "nodes": [asdict(node) for node in nodes],
            }
            self.bmc_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_privately(self.bmc_dir / "lab.json", json.dumps(record))

    def power_off(self, name: str) -> None:
        """What a BMC does when it is told to; nothing to a node that is off."""
        if name in self._supervisors():
            self._cut_power(name)

    def power_on(self, name: str, nodes: Sequence[lab.Node]) -> None:
        """What a BMC does when it is told to; nothing to a node that is on."""
        node = next(node for node in nodes if node.name == name)
        found = self.look().nodes[name]
        todo = lab.steps([replace(node, state="present")], lab.Machine({name: found}, True, True, True), self.image)
        for step in todo:
            if step.kind in ("cut power", "release", "start"):
                getattr(self, "_" + step.kind.replace(" ", "_"))(*((node, nodes) if step.kind == "start" else (name,)))

    def _await(self, node: lab.Node) -> None:
        def answers() -> bool:
            with contextlib.suppress(OSError), socket.create_connection((node.address, 22), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
            return False

        if not wait_for(answers, 480):
            log = self.node_dir(node.name) / "console.log"
            raise LabError(
                f"lab node {node.name} does not answer on {node.address} port 22; see {log}: {_last_line(log)}"
            )

    def _connect(self, name: str) -> None:
        for kind in ("vb", "vm"):
            run("ip", "link", "set", f"{kind}-{name}", "master", self.network.bridge, "up")

    def _isolate(self, name: str) -> None:
        for kind in ("vb", "vm"):
            run("ip", "link", "set", f"{kind}-{name}", "down")

    def _cut_power(self, name: str) -> None:
        """End the node as a power cut does: nothing in it gets a last word."""
        supervisor = self._supervisors().get(name)
        pids = [*_children(supervisor)[:1], supervisor] if supervisor else []
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # The leader ends last of all that is in the node: until then a guest may still write.
        if not wait_for(lambda: all(_ended(pid) for pid in pids), 80):
            raise LabError(f"lab node {name} is still there 20 s after its power was cut")

    def _release(self, name: str) -> None:
        """Give back what a node that runs no more left on the machine: its loop devices, its mount, its links."""
        mounts = _mounts()
        for point in self._mount_points(name):
            if str(point) in mounts:
                run("umount", "--recursive", str(point))
        for point in NSPAWN_RUN.glob(f"*/{name}"):
            point.rmdir()
        # One that the kernel lets go of meanwhile cannot be detached any more; below it is seen that all are gone.
        for device in self._loops(name).values():
            self._quiet("losetup", "--detach", device)
        # The kernel removes the links with the node's network namespace, sometimes half a minute late.
        for kind in ("vb", "vm"):
            if _link(f"{kind}-{name}"):
                self._quiet("ip", "link", "delete", f"{kind}-{name}")
        # The kernel lets go of a loop device when its last user, a dying mount namespace, is gone.
        if not wait_for(lambda: not self._loops(name), 80):
            raise LabError(f"a loop device of lab node {name} is still busy 20 s after the node ended")

    def _remove(self, name: str) -> None:
        shutil.rmtree(self.node_dir(name))

    def _write_known_hosts(self, nodes: Sequence[lab.Node]) -> None:
        lines = [
            f"{node.address},{node.name} {' '.join(_read(key).split()[:2])}\n"
            for node in nodes
            for key in [self.node_dir(node.name) / "upper/etc/ssh/ssh_host_ed25519_key.pub"]
            if key.exists()
        ]
        file = self.dir / "known_hosts"
        if lines:
            file.write_text("".join(lines))
        else:
            file.unlink(missing_ok=True)


def _last_line(path: Path) -> str:
    lines = [line.strip() for line in _read(path).splitlines() if line.strip()]
    return lines[-1] if lines else "nothing was printed"


def of_record(state_dir: str) -> tuple[LabMachine, list[lab.Node]]:
    """The lab in ``state_dir`` and its nodes as they were wished last."""
    record = json.loads(Path(state_dir, "bmc", "lab.json").read_text())
    network = lab.Network(record["bridge"], ipaddress.IPv4Interface(record["address"]))
    nodes = [
        lab.Node(**{**node, "disks": tuple(lab.Disk(**disk) for disk in node["disks"])}) for node in record["nodes"]
    ]
    return LabMachine(state_dir, record["image"], network, record["files"], record["public_key"]), nodes
