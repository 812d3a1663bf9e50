# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The house is kept: links, names and documents hold together."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TREE = ROOT / "collections/ansible_collections/croft/infra"
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
BIN = Path(sys.executable).parent
PLUGINS = [
    (kind, path.stem)
    for kind, folder in (
        ("module", "modules"),
        ("filter", "filter"),
        ("callback", "callback"),
        ("inventory", "inventory"),
    )
    for path in sorted((ROOT / "plugins" / folder).glob("*.py"))
]


def test_the_collection_is_this_repository_by_links() -> None:
    links = {path.name for path in TREE.iterdir()}
    assert links == {"galaxy.yml", "meta", "playbooks", "plugins", "roles", "README.md", "CHANGELOG.md"}
    for name in links:
        assert (TREE / name).is_symlink()
        assert (TREE / name).resolve() == ROOT / name


@pytest.mark.parametrize("role", ROLES)
def test_what_a_role_takes_is_specified_and_has_a_default(role: str) -> None:
    folder = ROOT / "roles" / role
    specs = yaml.safe_load((folder / "meta/argument_specs.yml").read_text())["argument_specs"]
    defaults = yaml.safe_load((folder / "defaults/main.yml").read_text()) or {}
    options = {name: option for spec in specs.values() for name, option in (spec.get("options") or {}).items()}
    needed = {name for name, option in options.items() if option.get("required")}
    assert set(defaults) == set(options) - needed
    for name, option in options.items():
        assert name.startswith(f"{role}_") or name == role
        assert option.get("description"), name
        if "default" in option:
            assert option["default"] == defaults[name], name


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_a_readme_and_one_screen_of_contents(role: str) -> None:
    folder = ROOT / "roles" / role
    assert (folder / "README.md").read_text().startswith(f"# {role}")
    assert len((folder / "tasks/main.yml").read_text().splitlines()) <= 70


@pytest.mark.parametrize(("kind", "name"), PLUGINS)
def test_a_plugin_shows_its_documentation(kind: str, name: str) -> None:
    done = subprocess.run(
        [BIN / "ansible-doc", "--json", "-t", kind, f"croft.infra.{name}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    doc = json.loads(done.stdout)[f"croft.infra.{name}"]
    assert doc["doc"]["short_description"]
    assert f"croft.infra.{name}" in doc["examples"]
    assert doc["return"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collection as people get it."""
    folder = tmp_path_factory.mktemp("build")
    command = [BIN / "ansible-galaxy", "collection", "build", "--output-path", folder]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("croft-infra-*.tar.gz")
    return built


def test_the_collection_has_its_rooms_and_nothing_else(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        names = tar.getnames()
    tops = {name.split("/")[0] for name in names}
    assert {"plugins", "roles", "playbooks", "meta", "README.md", "MANIFEST.json"} <= tops
    assert not tops & {"collections", "molecule", "tests", ".venv", ".ansible", "inventories", ".ci"}
    assert "plugins/modules/virtual_machines.py" in names
    assert not [name for name in names if "__pycache__" in name]


def test_the_collection_works_where_it_is_installed(archive: Path, tmp_path: Path) -> None:
    own = {
        "PATH": f"{BIN}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "ANSIBLE_COLLECTIONS_PATH": str(tmp_path / "installed"),
    }

    def run(*argv: str | Path) -> str:
        done = subprocess.run(argv, cwd=tmp_path, env=own, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("ansible-galaxy", "collection", "install", "--no-deps", "-p", tmp_path / "installed", archive)
    said = run("ansible-playbook", "-i", ROOT / "inventories/local", "croft.infra.plan")
    assert "Plan admitted: 3 hosts, 4 VMs (4 placed)" in said
    assert str(tmp_path) in run("ansible-doc", "-t", "module", "croft.infra.virtual_machines")


def test_requirements_name_the_same_collections_twice() -> None:
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text())["dependencies"]
    listed = yaml.safe_load((ROOT / "requirements.yml").read_text())["collections"]
    assert {entry["name"]: entry["version"] for entry in listed} == galaxy
