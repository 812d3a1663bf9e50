# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils.nfs import Looked
from ansible_collections.croft.infra.plugins.modules import nfs_preflight

RunModule = Callable[..., dict[str, Any]]
POOL = {"name": "shared", "server": "127.0.0.1", "path": "/srv/vms/"}
GRACE = "qemu-img: nfs://127.0.0.1/srv/vms/.croft-check: Resource temporarily unavailable"


def test_a_port_that_is_open_and_one_that_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as other:
        port, closed = server.getsockname()[1], other.getsockname()[1]
        other.close()
        assert nfs_preflight.refused_ports("127.0.0.1", (port,)) == ()
        assert nfs_preflight.refused_ports("127.0.0.1", (port, closed)) == (closed,)


@pytest.mark.parametrize(
    ("text", "line"),
    [("a\nb: no\n", "b: no"), ("\n", "no reason was given"), ("", "no reason was given"), ("x", "x")],
)
def test_the_last_line_says_why(text: str, line: str) -> None:
    assert nfs_preflight.last_line(text) == line


class Tools:
    """In place of a module: answers what commands return, one after the other, the last for all others."""

    def __init__(self, *answers: tuple[int, str]) -> None:
        self.answers = list(answers)
        self.commands: list[list[str]] = []

    def run_command(self, command: list[str]) -> tuple[int, str, str]:
        self.commands.append(command)
        if command[0] == "umount":
            return 0, "", ""
        code, error = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return code, "", error


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    taken: list[float] = []
    monkeypatch.setattr(nfs_preflight.time, "sleep", taken.append)
    # The server's libvirt is asked when the file was made.
    monkeypatch.setattr(nfs_preflight, "ask_libvirt", lambda _pool: Looked(free_gib=5.0))
    return taken


def test_qemus_client_makes_a_file(naps: list[float]) -> None:
    tools = Tools((0, ""))
    assert nfs_preflight.try_qemu(tools, POOL) == Looked(free_gib=5.0)
    (command,) = tools.commands
    assert command[-2:] == ["nfs://127.0.0.1/srv/vms/.croft-check", "0"]
    assert naps == []


def test_qemus_client_is_refused(naps: list[float]) -> None:
    tools = Tools((1, "qemu-img: warning\nqemu-img: MNT3ERR_ACCES\n"))
    assert nfs_preflight.try_qemu(tools, POOL) == Looked(access="qemu-img: MNT3ERR_ACCES")
    assert (len(tools.commands), naps) == (1, [])


def test_a_server_in_its_grace_is_waited_for(naps: list[float]) -> None:
    tools = Tools((1, GRACE), (1, GRACE), (0, ""))
    assert nfs_preflight.try_qemu(tools, POOL) == Looked(free_gib=5.0)
    assert len(tools.commands) == 3
    assert naps == [nfs_preflight.GRACE_PAUSE] * 2


def test_the_wait_is_longer_than_any_default_grace_and_ends(naps: list[float]) -> None:
    assert nfs_preflight.try_qemu(Tools((1, GRACE)), POOL) == Looked(access=GRACE)
    assert 90 < sum(naps) < 180


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the export would be mounted."""
    made = tmp_path / "mounted"
    made.mkdir()
    monkeypatch.setattr(nfs_preflight.tempfile, "mkdtemp", lambda prefix: str(made))
    return made


def test_an_export_is_mounted_written_to_and_let_go(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    written: list[Path] = []

    def touch(path: Path) -> None:
        written.append(path)

    monkeypatch.setattr(nfs_preflight.Path, "touch", touch)
    tools = Tools((0, ""))
    seen = nfs_preflight.try_mount(tools, POOL)
    assert (seen.refused, seen.access) == ((), None)
    assert seen.free_gib is not None
    assert seen.free_gib > 0
    assert [command[0] for command in tools.commands] == ["mount", "umount"]
    assert tools.commands[0][-2:] == ["127.0.0.1:/srv/vms/", str(place)]
    assert written == [place / ".croft-check"]
    assert not place.exists()


def test_an_export_that_cannot_be_written_to(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    def denied(_path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(nfs_preflight.Path, "touch", denied)
    tools = Tools((0, ""))
    assert nfs_preflight.try_mount(tools, POOL) == Looked(access="Permission denied")
    assert tools.commands[-1][0] == "umount"
    assert not place.exists()


def test_an_export_that_cannot_be_mounted(place: Path) -> None:
    tools = Tools((32, "mount.nfs: access denied by server\n"))
    assert nfs_preflight.try_mount(tools, POOL) == Looked(access="mount.nfs: access denied by server")
    assert [command[0] for command in tools.commands] == ["mount"]
    assert not place.exists()


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., list[str]]:
    """A kernel with or without an NFS client, and what it sees of each pool's server; returns what was looked at."""

    def make(*, kernel: bool, **seen: Looked) -> list[str]:
        (tmp_path / "filesystems").write_text("nodev\tnfs4\n" if kernel else "\text4\n")
        looked: list[str] = []
        monkeypatch.setattr(nfs_preflight, "Path", lambda path: tmp_path / Path(path).name)
        monkeypatch.setattr(AnsibleModule, "get_bin_path", lambda _module, _tool: None)

        def look(_module: Any, pool: dict[str, Any], how: str) -> Looked:
            looked.append(f"{pool['name']} {how}")
            return seen.get(pool["name"], Looked())

        monkeypatch.setattr(nfs_preflight, "look", look)
        return looked

    return make


OTHER = {**POOL, "name": "other", "client": "libnfs"}


@pytest.mark.parametrize(
    ("kernel", "clients", "reason"),
    [
        (True, (["shared"], ["other"]), "QEMU opens the disks in other itself (libnfs): as chosen"),
        (
            False,
            ([], ["shared", "other"]),
            "QEMU opens the disks in shared, other itself (libnfs): this kernel has no NFS client",
        ),
    ],
)
def test_the_clients_are_chosen(
    run_module: RunModule, host: Any, kernel: bool, clients: tuple[list[str], list[str]], reason: str
) -> None:
    looked = host(kernel=kernel)
    found = run_module(nfs_preflight, {"pools": [POOL, OTHER]})
    assert tuple([pool["name"] for pool in found[how]] for how in ("mounted", "direct")) == clients
    assert (found["reason"], found["changed"]) == (reason, False)
    assert looked == ["shared mount" if kernel else "shared libnfs", "other libnfs"]


def test_where_nothing_is_direct_there_is_no_reason(run_module: RunModule, host: Any) -> None:
    host(kernel=True)
    found = run_module(nfs_preflight, {"pools": [POOL]})
    assert (found["direct"], found["reason"]) == ([], "")


@pytest.mark.parametrize("check", [True, False])
def test_problems_fail_and_in_check_mode_they_warn(run_module: RunModule, host: Any, check: bool) -> None:
    host(kernel=False, shared=Looked(refused=(111, 2049)), other=Looked(access="MNT3ERR_NOENT"))
    found = run_module(nfs_preflight, {"pools": [POOL, OTHER]}, check=check)
    lines = found["warnings"] if check else found["msg"].splitlines()
    assert bool(found.get("failed")) is not check
    assert [line.partition(":")[0] for line in lines] == ["NFS pool shared", "NFS pool other"]


def test_the_least_that_is_left_is_asked(run_module: RunModule, host: Any) -> None:
    host(kernel=True, shared=Looked(free_gib=7.0))
    assert "failed" not in run_module(nfs_preflight, {"pools": [POOL], "least_free_gib": 7})
    assert run_module(nfs_preflight, {"pools": [POOL], "least_free_gib": 7.1})["failed"]


@pytest.mark.parametrize("reach", [True, False])
def test_a_kernel_without_a_client_mounts_nothing(run_module: RunModule, host: Any, reach: bool) -> None:
    looked = host(kernel=False)
    failed = run_module(nfs_preflight, {"pools": [{**POOL, "client": "mount"}], "reach": reach})
    assert failed["msg"] == (
        "NFS pool shared: this kernel has no NFS client to mount it with; set its client to auto or libnfs"
    )
    assert looked == []


def test_without_reach_no_server_is_tried(run_module: RunModule, host: Any) -> None:
    looked = host(kernel=True, shared=Looked(refused=(2049,)))
    assert "failed" not in run_module(nfs_preflight, {"pools": [POOL], "reach": False})
    assert looked == []
