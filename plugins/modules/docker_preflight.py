#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_preflight
short_description: Check what Docker's engine is told against what a host really has
description:
  - Tries the kernel (overlay mount on the data root's file system, bridge, cgroup controllers), looks at routes and
    packages, and fails with one line for each thing that speaks against the engine.
  - Composes C(daemon.json), and tells whether a change of it takes a restart.
  - Changes nothing; the overlay is tried in a directory that is removed again.
options:
  data_root:
    description: Where images, containers and volumes are kept.
    type: path
    required: true
  device:
    description: The disk that will be mounted at O(data_root), when it is not there yet.
    type: str
    default: ""
  filesystem:
    description: The file system that O(device) gets.
    type: str
    default: ext4
  source:
    description: Where the engine's packages come from.
    type: str
    choices: [debian, docker]
    default: debian
  log_driver:
    description: Where containers' output goes.
    type: str
    default: local
  log_max_size:
    description: Size at which a log file is rotated.
    type: str
    default: 10m
  log_max_files:
    description: How many rotated files are kept.
    type: int
    default: 3
  live_restore:
    description: Keep containers while the engine restarts. A node of a swarm cannot have it.
    type: bool
    default: true
  address_pools:
    description: Ranges that networks are cut from, each with C(base) and C(size).
    type: list
    elements: dict
    default: []
  registry_mirrors:
    description: Mirrors that are asked first.
    type: list
    elements: str
    default: []
  insecure_registries:
    description: Registries without TLS.
    type: list
    elements: str
    default: []
  metrics_address:
    description: ADDRESS:PORT of the Prometheus endpoint.
    type: str
    default: ""
  userns_remap:
    description: User that containers' root is mapped to.
    type: str
    default: ""
  published_address:
    description: Address that published ports are bound to when a container does not say otherwise.
    type: str
    default: 127.0.0.1
  published_sources:
    description: Networks that may reach published ports.
    type: list
    elements: str
    default: []
  routed_sources:
    description: Networks that may reach containers by their own addresses.
    type: list
    elements: str
    default: []
  users:
    description: Users of the host who may use the engine.
    type: list
    elements: str
    default: []
  tls_address:
    description: ADDRESS:PORT of the API over TLS.
    type: str
    default: ""
  settings:
    description: More of C(daemon.json), by Docker's own names; wins over the rest.
    type: dict
    default: {}
attributes:
  check_mode:
    description: The same as without.
    support: full
author: the croft contributors
"""

EXAMPLES = r"""
- name: Check a host for Docker
  croft.infra.docker_preflight:
    data_root: /var/lib/docker
    address_pools:
      - {base: 172.30.0.0/16, size: 24}
  register: docker
"""

RETURN = r"""
daemon:
  description: The complete daemon.json.
  returned: success
  type: dict
  sample: {data-root: /var/lib/docker, storage-driver: overlay2, log-driver: local, live-restore: true, ip: 127.0.0.1}
restart_needed:
  description: Whether what differs from the host's daemon.json takes a restart and not just a reload.
  returned: success
  type: bool
validate:
  description: The command that checks a daemon.json, empty where the engine is not there or has none.
  returned: success
  type: str
  sample: /usr/bin/dockerd --validate --config-file %s
remarks:
  description: What works but not wholly.
  returned: success
  type: list
  elements: str
"""

import json
import pwd
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import container_kernel
from ansible_collections.croft.infra.plugins.module_utils import docker_engine as pure

ARGUMENTS: dict[str, dict[str, Any]] = {
    "data_root": {"type": "path", "required": True},
    "device": {"type": "str", "default": ""},
    "filesystem": {"type": "str", "default": "ext4"},
    "source": {"type": "str", "choices": ["debian", "docker"], "default": "debian"},
    "log_driver": {"type": "str", "default": "local"},
    "log_max_size": {"type": "str", "default": "10m"},
    "log_max_files": {"type": "int", "default": 3},
    "live_restore": {"type": "bool", "default": True},
    "address_pools": {"type": "list", "elements": "dict", "default": []},
    "registry_mirrors": {"type": "list", "elements": "str", "default": []},
    "insecure_registries": {"type": "list", "elements": "str", "default": []},
    "metrics_address": {"type": "str", "default": ""},
    "userns_remap": {"type": "str", "default": ""},
    "published_address": {"type": "str", "default": "127.0.0.1"},
    "published_sources": {"type": "list", "elements": "str", "default": []},
    "routed_sources": {"type": "list", "elements": "str", "default": []},
    "users": {"type": "list", "elements": "str", "default": []},
    "tls_address": {"type": "str", "default": ""},
    "settings": {"type": "dict", "default": {}},
}
DAEMON = Path("/etc/docker/daemon.json")


def read_daemon() -> dict[str, Any] | None:
    """The host's daemon.json; empty when there is none, None when it is no JSON object."""
    try:
        found = json.loads(DAEMON.read_text())
    except FileNotFoundError:
        return {}
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def storage(module: AnsibleModule) -> tuple[str, bool, float]:
    """(file system, whether overlay works, GiB free) where the data root is or will be."""
    root = Path(module.params["data_root"])
    if module.params["device"] and not root.is_mount():
        # It will be made empty on the disk; the kernel is what can be looked at.
        overlay = module.run_command(["modprobe", "--quiet", "overlay"])
        known = "\toverlay\n" in Path("/proc/filesystems").read_text() or overlay[0] == 0
        return module.params["filesystem"], known, float("inf")
    there = next(path for path in (root, *root.parents) if path.exists())
    _rc, out, _err = module.run_command(["stat", "-f", "-c", "%T", str(there)], check_rc=True)
    kind = {"ext2/ext3": "ext4", "overlayfs": "overlay"}.get(out.strip(), out.strip())
    trial = tempfile.mkdtemp(prefix=".croft-overlay-", dir=there)
    try:
        works = container_kernel.overlay_mount(module.run_command, trial)
    finally:
        shutil.rmtree(trial)
    return kind, works, shutil.disk_usage(there).free / 1024**3


def own_bridge(device: str) -> bool:
    """Whether a link is a bridge that Docker made: its ranges are where Docker put them, and no obstacle."""
    return device in ("docker0", "docker_gwbridge") or re.fullmatch(r"br-[0-9a-f]{12}", device) is not None


def look(module: AnsibleModule) -> pure.Host:
    """Read and try what the wish is checked against."""
    filesystem, overlay, free = storage(module)
    unified = Path("/sys/fs/cgroup/cgroup.controllers")
    controllers, read_only = pure.read_controllers(
        Path("/proc/cgroups").read_text(),
        Path("/proc/mounts").read_text(),
        unified.read_text() if unified.exists() else "",
    )
    _rc, routes, _err = module.run_command(["ip", "-json", "route"], check_rc=True)
    _rc, dpkg, _err = module.run_command(["dpkg-query", "-W", "-f", "${Package} ${Status}\n"], check_rc=True)
    return pure.Host(
        filesystem=filesystem,
        overlay=overlay,
        free_gib=free,
        controllers=controllers,
        read_only_controllers=read_only,
        bridge=container_kernel.bridge(module.run_command),
        # Docker's own bridges are where it put them.
        routes=tuple(
            r["dst"] for r in json.loads(routes or "[]") if not r.get("dev", "").startswith(("docker", "br-"))
        ),
        packages=pure.installed(dpkg, sorted(pure.DISTRIBUTION_PACKAGES | pure.DOCKER_PACKAGES)),
        swarm=Path(module.params["data_root"], "swarm/docker-state.json").exists(),
        users=frozenset(entry.pw_name for entry in pwd.getpwall()),
        daemon=read_daemon(),
    )


def validation(module: AnsibleModule) -> str:
    """The engine's own check of a daemon.json; engines before 23.0 have none."""
    engine = module.get_bin_path("dockerd")
    if not engine or "--validate" not in module.run_command([engine, "--help"])[1]:
        return ""
    return f"{engine} --validate --config-file %s"


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    given = {name: value for name, value in module.params.items() if name not in ("device", "filesystem")}
    told: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    wish = pure.Wish(**told)
    host = look(module)
    problems = pure.problems(wish, host)
    if problems:
        module.fail_json(msg="\n".join(problems))
    daemon = pure.daemon_settings(wish)
    module.exit_json(
        changed=False,
        daemon=daemon,
        restart_needed=pure.restart_needed(host.daemon, daemon),
        validate=validation(module),
        remarks=pure.remarks(wish, host),
    )


if __name__ == "__main__":
    main()
