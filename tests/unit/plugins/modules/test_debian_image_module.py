# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.croft.infra.plugins.module_utils.debian_image import File, Image
from ansible_collections.croft.infra.plugins.modules import debian_image

HASH = "0123456789ab"


def run(capsys: pytest.CaptureFixture[str], check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
    """Run the module in this process and return its result."""
    with patch_module_args(arguments | {"_ansible_check_mode": check_mode}), pytest.raises(SystemExit):
        debian_image.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_what_is_cached_is_not_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = Image(name="node", packages=("udev",))
    (tmp_path / image.file_name).mkdir()
    monkeypatch.setenv("PATH", "")
    result = run(capsys, name="node", packages=["udev"], cache_dir=str(tmp_path))
    assert result["changed"] is False
    assert result["path"] == f"{tmp_path}/node-{image.hash}"
    assert result["hash"] == image.hash


def test_check_mode_says_what_it_would_build_and_builds_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    result = run(capsys, check_mode=True, name="guest", format="qcow2", cache_dir=str(cache))
    assert result["changed"] is True
    assert result["path"] == f"{cache}/guest-{result['hash']}.qcow2"
    assert not cache.exists()


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(capsys, name="a/b", disk_mib=1, files=[{"path": "x", "content": ""}], cache_dir=str(tmp_path))
    assert result["failed"] is True
    assert [line.split(":")[0] for line in result["msg"].splitlines()] == ["name", "files", "disk_mib"]


def test_missing_tools_are_named_by_package(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(debian_image, "GRUB_DIRECTORY", tmp_path)
    monkeypatch.setattr(debian_image, "GRUB_EFI_DIRECTORY", tmp_path)
    result = run(capsys, name="guest", format="qcow2", cache_dir=str(tmp_path / "cache"))
    assert result["failed"] is True
    assert result["msg"] == (
        "Image guest (trixie): Building images needs packages that are not installed: "
        "e2fsprogs, grub-common, grub-efi-amd64-bin, grub-pc-bin, mmdebstrap, mtools, qemu-utils."
    )


def test_leftovers_of_this_name_alone_are_removed(tmp_path: Path) -> None:
    stay = ["node-" + HASH, ".building-node-b-" + HASH, ".building-other-" + HASH, ".node.lock"]
    for name in [*stay, ".building-node-" + HASH]:
        (tmp_path / name / "tree").mkdir(parents=True)
    debian_image.remove_leftovers(None, tmp_path, "node")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(stay)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    files = {
        "etc/apt/sources.list": "deb https://user:secret@mirror.example/debian trixie main\n",
        "etc/apt/apt.conf.d/99mmdebstrap": 'Acquire::http::Proxy "http://p";',
        "etc/apt/apt.conf.d/01autoremove": "APT {};",
        "etc/ssh/ssh_host_ed25519_key": "secret",
        "etc/ssh/sshd_config": "",
        "etc/motd": "hello",
    }
    for name, content in files.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path / "tree"


def names(tree: Path) -> list[str]:
    return sorted(str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file())


def test_secrets_and_the_machines_own_settings_are_taken_out(tree: Path) -> None:
    debian_image.Builder(None, Image(name="x"), tree.parent, 0).clean_tree(tree)
    assert names(tree) == [
        "etc/apt/apt.conf.d/01autoremove",
        "etc/apt/sources.list",
        "etc/motd",
        "etc/ssh/sshd_config",
    ]
    assert (tree / "etc/apt/sources.list").read_text() == ""


def test_files_of_the_image_stay(tree: Path) -> None:
    own = (File("/etc/apt/sources.list", ""), File("/etc/ssh/ssh_host_ed25519_key", ""))
    debian_image.Builder(None, Image(name="x", files=own), tree.parent, 0).clean_tree(tree)
    assert "etc/ssh/ssh_host_ed25519_key" in names(tree)
    assert (tree / "etc/apt/sources.list").read_text() != ""


def test_what_came_from_the_machine_is_known_by_its_content(tree: Path) -> None:
    hostname = Path("/etc/hostname")
    (tree / "etc/hostname").write_text(hostname.read_text() if hostname.is_file() else "x")
    (tree / "etc/resolv.conf").write_text("nameserver 192.0.2.1\n# of the image\n")
    debian_image.Builder(None, Image(name="x"), tree.parent, 0).clean_tree(tree)
    assert ("etc/hostname" in names(tree)) is not hostname.is_file()
    assert "etc/resolv.conf" in names(tree)
