# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.modules import nfs_server_preflight

RunModule = Callable[..., dict[str, Any]]
SHARED = {"name": "shared", "path": "/srv/vms", "clients": ["10.0.0.11"]}


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], list[list[str]]]:
    """A kernel with these file systems; returns the commands that are run."""

    def make(filesystems: str) -> list[list[str]]:
        (tmp_path / "filesystems").write_text(filesystems)
        commands: list[list[str]] = []
        monkeypatch.setattr(nfs_server_preflight, "Path", lambda path: tmp_path / Path(path).name)
        monkeypatch.setattr(AnsibleModule, "get_bin_path", lambda _module, tool: f"/sbin/{tool}")
        monkeypatch.setattr(AnsibleModule, "run_command", lambda _module, command: commands.append(command))
        return commands

    return make


@pytest.mark.parametrize(
    ("filesystems", "wanted", "chosen"),
    [
        ("nodev\tnfsd\n\text4\n", "auto", "kernel"),
        ("nodev\tnfs\n\text4\n", "auto", "ganesha"),
        ("nodev\tnfsd\n", "ganesha", "ganesha"),
    ],
)
def test_the_server_is_chosen(run_module: RunModule, kernel: Any, filesystems: str, wanted: str, chosen: str) -> None:
    commands = kernel(filesystems)
    found = run_module(nfs_server_preflight, {"exports": [SHARED], "implementation": wanted}, check=True)
    assert (found["implementation"], found["changed"]) == (chosen, False)
    assert found["reason"]
    assert found["pools"] == [{"type": "dir", "owner": "64055", "name": "shared", "path": "/srv/vms"}]
    # The kernel's module may be one that nobody has needed yet.
    assert commands == [["modprobe", "--quiet", "nfsd"]]


def test_all_problems_at_once(run_module: RunModule, kernel: Any) -> None:
    kernel("")
    exports = [{**SHARED, "path": "vms", "clients": ["kvm1"]}]
    failed = run_module(nfs_server_preflight, {"exports": exports, "implementation": "kernel"})
    assert failed["failed"]
    assert [line.partition(":")[0] for line in failed["msg"].splitlines()] == [
        "NFS server",
        "NFS export shared",
        "NFS export shared",
    ]
