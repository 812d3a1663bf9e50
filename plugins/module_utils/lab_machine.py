# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at and change the machine that carries a lab: processes, mounts, loop devices, links, nftables."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils import lab

FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
# What a node may use of the machine's devices, where the machine has them.
DEVICES = ("/dev/fuse", "/dev/net/tun", "/dev/kvm", "/dev/loop-control", "/dev/vhost-net")
PAUSE = 0.25
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


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _mounts() -> set[str]:
    return {line.split()[4] for line in _read(Path("/proc/self/mountinfo")).splitlines()}


def _argv(pid: int) -> list[str]:
    return _read(Path(f"/proc/{pid}/cmdline")).rstrip("\0").split("\0")


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
        self.image = image
        self.network = network
        self.files = files
        self.public_key = public_key

    # ---- look ----

    def node_dir(self, name: str) -> Path:
        return self.dir / "nodes" / name

    def look(self) -> lab.Machine:
        """Read what stands on the machine now."""
        nodes_dir = self.dir / "nodes"
        names = sorted(p.name for p in nodes_dir.iterdir()) if nodes_dir.is_dir() else []
        nodes = {name: lab.Found(name, exists=True, record=self._record(name)) for name in names}
        for name, pid in self._supervisors().items():
            found = nodes.setdefault(name, lab.Found(name))
            found.supervisor = pid
            # A node that is about to start has none for a moment.
            wait_for(lambda pid=pid: bool(_children(pid)), 8)  # type: ignore[misc]
            found.leader = next(iter(_children(pid)), None)
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
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                argv = _argv(int(entry.name))
                name = lab.supervisor_of(argv)
                if name and lab.supervisor_root(argv).startswith(f"{self.dir}/nodes/"):
                    found[name] = int(entry.name)
        return found

    def _loops(self, name: str) -> dict[str, str]:
        listing = run("losetup", "--list", "--json", "--output", "NAME,BACK-FILE").strip()
        below = f"{self.node_dir(name)}/disks/"
        return {
            Path(entry["back-file"].removesuffix(" (deleted)")).stem: entry["name"]
            for entry in (json.loads(listing)["loopdevices"] if listing else ())
            if (entry["back-file"] or "").startswith(below)
        }

    # ---- change ----

    def carry_out(self, todo: Sequence[lab.Step], nodes: Sequence[lab.Node]) -> None:
        """Do the steps in order. Nodes boot side by side: all are started before one is waited for."""
        by_name = {node.name: node for node in nodes}
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
            elif step.kind == "start":
                self._start(by_name[step.node], nodes)
            else:
                getattr(self, "_" + step.kind.replace(" ", "_"))(step.node)
        for step in todo:
            if step.kind == "start" and by_name[step.node].state == "present":
                self._await(by_name[step.node])
        self._write_known_hosts(nodes)

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
        for path, text in {**files, "root/.ssh/authorized_keys": f"{self.public_key}\n"}.items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if path.startswith("root/") else 0o755)
            if not target.is_symlink() and _read(target) == text:
                continue
            target.unlink(missing_ok=True)
            target.write_text(text)
        devices = [device for device in (*DEVICES, *loops.values()) if Path(device).exists()]
        command = lab.nspawn_command(node.name, str(root), self.network.bridge, devices)
        log = home / "console.log"
        systemd = Path("/run/systemd/system").is_dir()
        with log.open("ab") as out:
            process = subprocess.Popen(
                lab.start_command(node.name, command, systemd, str(log)),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env={**os.environ, "SYSTEMD_SECCOMP": "0"},
                cwd="/",
            )
        port = f"vm-{node.name}"
        if not wait_for(lambda: bool(_link(port)) or (not systemd and process.poll() is not None), 80) or not _link(
            port
        ):
            raise LabError(f"lab node {node.name} did not start; its last words are in {log}: {_last_line(log)}")
        self._connect(node.name)

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
        found = self.look().nodes.get(name)
        for pid in (found.leader, found.supervisor) if found else ():
            if pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if not wait_for(lambda: name not in self._supervisors(), 80):
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
