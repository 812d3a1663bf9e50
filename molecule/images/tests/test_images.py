# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A published image is fetched by URL and checksum, a guest of it does what its user data says, and an old version
stays as long as a disk is a clone of it."""

from __future__ import annotations

import hashlib
import http.server
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from on_lab import HOSTS, STATE, fatal, guest, node

CACHE = Path("/var/cache/croft/images")
PLAYBOOK = "molecule/images/machines.yml"
HOST = HOSTS["kvm2"]
ADDRESS = "10.99.0.150"
# What 'openssl passwd -6 -salt croft no-secret' prints.
HASHED = "$6$croft$6.m8NV8uzkd8UqBv6.Mx7gtAmsbsBQr37.4Nhj0eJWCjBT5RJcosfcDflFhbA5pZtqgoysLqStr8aMa0Wck8Z/"
WEB: dict[str, Any] = {"name": "web1", "vcpus": 1, "memory_mib": 192, "disk_gib": 1, "workload": "web"}
WEB["address"] = "10.99.0.101/24"
EVERYTHING = "virsh list --all --uuid | sort; ls /var/lib/croft/pool; cat /etc/libvirt/qemu/*.xml 2>/dev/null | cksum"
SSH_FAILED = 255
Play = Callable[..., Any]


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a directory and says nothing."""

    def log_message(self, *_words: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What somebody publishes: an image, and the list of checksums beside it."""
    folder = tmp_path_factory.mktemp("published")
    newest = max(CACHE.glob("debian-cloud-????????????.qcow2"), key=lambda path: path.stat().st_mtime)
    shutil.copyfile(newest, folder / "debian.qcow2")
    publish(folder)
    return folder


@pytest.fixture(scope="module")
def server(published: Path) -> Iterator[str]:
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(published)))
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.fixture(scope="module")
def operators_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key that nobody has but the user of the user data."""
    path = tmp_path_factory.mktemp("ssh") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


@pytest.fixture
def arguments(server: str, operators_key: Path) -> dict[str, Any]:
    """The variables of a run with a VM of the published image."""
    own = {
        "users": [{"name": "ops", "ssh_authorized_keys": [operators_key.with_suffix(".pub").read_text().strip()]}],
        "runcmd": [["sh", "-c", "hostname > /root/ran; echo again >> /root/ran"]],
    }
    cloud = {**WEB, "name": "cloud1", "memory_mib": 1024, "disk_gib": 3, "workload": "app", "host": "kvm2"}
    return {
        "vm_image_list": [
            {"name": "debian", "url": f"{server}/debian.qcow2", "checksum": f"sha256:{server}/SHA256SUMS"}
        ],
        "virtual_machines_user_data": {
            "users": [
                "default",
                {"name": "ops", "sudo": "ALL=(ALL) NOPASSWD:ALL", "hashed_passwd": HASHED, "lock_passwd": False},
            ],
            "write_files": [{"path": "/etc/motd", "content": "of the defaults\n"}],
        },
        "virtual_machines": [WEB, {**cloud, "image": "debian", "address": f"{ADDRESS}/24", "user_data": own}],
    }


def publish(folder: Path) -> None:
    digest = hashlib.sha256((folder / "debian.qcow2").read_bytes()).hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest}  debian.qcow2\n")


def versions(host: str = HOST) -> list[str]:
    return [name for name in node(host, "ls /var/lib/croft/pool").split() if name.startswith("debian-")]


def as_operator(key: Path, command: str) -> str:
    options = ["-oBatchMode=yes", "-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null", "-oLogLevel=ERROR"]
    ssh = ["ssh", "-i", key, *options, "-oConnectTimeout=60", f"ops@{ADDRESS}", command]
    # The guest's agent is up before cloud-init has made the user, and SSH after that.
    for _look in range(120):
        done = subprocess.run(ssh, capture_output=True, text=True, check=False, timeout=600)
        if done.returncode != SSH_FAILED:
            break
        time.sleep(5)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_broken_user_data_is_told_before_anything_changes(play_here: Play, arguments: dict[str, Any]) -> None:
    before = {host: node(address, EVERYTHING) for host, address in HOSTS.items()}
    web, cloud = arguments["virtual_machines"]
    bad = {"package": ["nginx"], "password": "hunter2"}
    run = play_here("site.yml", **{**arguments, "virtual_machines": [{**web, "user_data": bad}, cloud]})
    said = fatal(run)
    assert "web1: user_data.package: is not known to cloud-init; did you mean 'packages'?" in said
    assert "web1: user_data.password: is a password in plain" in said
    assert "hunter2" not in run.output
    assert {host: node(address, EVERYTHING) for host, address in HOSTS.items()} == before


def test_a_wrong_checksum_is_told_before_anything_changes(play_here: Play, arguments: dict[str, Any]) -> None:
    before = {host: node(address, EVERYTHING) for host, address in HOSTS.items()}
    (image,) = arguments["vm_image_list"]
    images = [{**image, "checksum": f"sha256:{'0' * 64}"}, {**image, "name": "away", "url": f"{image['url']}.away"}]
    said = fatal(play_here("site.yml", **{**arguments, "vm_image_list": images}))
    assert f"debian: {image['url']} has the sha256 " in said
    assert f"away: {image['checksum'].removeprefix('sha256:')} has no sha256 of {image['url']}.away" in said
    assert {host: node(address, EVERYTHING) for host, address in HOSTS.items()} == before


def test_a_guest_of_a_published_image_does_what_its_user_data_says(
    play_here: Play, arguments: dict[str, Any], operators_key: Path
) -> None:
    run = play_here(PLAYBOOK, **arguments)
    assert run.rc == 0, run.output
    assert HASHED not in run.output
    (version,) = versions()
    assert version in node(HOST, "virsh vol-dumpxml --pool croft cloud1.qcow2")
    # SSH is up before cloud-init is done.
    status = as_operator(operators_key, "cloud-init status --wait --long || true")
    assert "status: done" in status, status
    assert as_operator(operators_key, "hostname; cat /etc/motd").split("\n")[:2] == ["cloud1", "of the defaults"]
    assert as_operator(operators_key, "sudo cat /root/ran").split() == ["cloud1", "again"]
    assert f"{ADDRESS}/24" in as_operator(operators_key, "ip -4 -brief address show scope global")
    assert "default via 10.99.0.1" in as_operator(operators_key, "ip route")
    assert f"ops:{HASHED}:" in as_operator(operators_key, "sudo cat /etc/shadow")
    # cloud-init let the partition and its file system fill the disk.
    assert int(as_operator(operators_key, "df --output=size -m / | tail -1")) > 2700
    # The deployment's own key is there, too.
    lab_key = (STATE / "ssh/id_ed25519.pub").read_text().split()[1]
    assert lab_key in as_operator(operators_key, "sudo cat /root/.ssh/authorized_keys")


def test_nothing_is_to_do_then(play_here: Play, arguments: dict[str, Any]) -> None:
    run = play_here(PLAYBOOK, **arguments)
    assert (run.rc, run.changed) == (0, {}), run.output


def test_the_guest_without_cloud_init_is_what_it_was() -> None:
    assert guest("web1", "cat /root/.ssh/authorized_keys") == (STATE / "ssh/id_ed25519.pub").read_text()


def test_an_old_version_stays_as_long_as_a_disk_is_a_clone_of_it(
    play_here: Play, arguments: dict[str, Any], published: Path
) -> None:
    (old,) = versions()
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", published / "debian.qcow2", "1G"], check=True)
    publish(published)
    run = play_here(PLAYBOOK, **arguments)
    assert run.rc == 0, run.output
    # The disk that is there stays what it is.
    assert old in node(HOST, "virsh vol-dumpxml --pool croft cloud1.qcow2")
    assert all(len(versions(address)) == 2 for address in HOSTS.values())
    (new,) = set(versions()) - {old}

    prune = {**arguments, "vm_image_prune_keep": 0}
    told = play_here("playbooks/prune_images.yml", **prune, vm_image_prune=True)
    assert told.rc == 0, told.output
    results = {one["host"]: one["res"] for one in told.results("croft.infra.image_versions")}
    why = {one["volume"]: one["why"] for one in results["kvm2"]["versions"]}
    assert "croft/cloud1.qcow2" in why[old]
    assert why[new] == "new disks are made of it"
    # Not on the other hosts either: the VM may move there.
    assert all(sorted(versions(address)) == sorted([old, new]) for address in HOSTS.values())

    node(HOST, "virsh destroy cloud1; virsh undefine cloud1; cd /var/lib/croft/pool && rm cloud1.qcow2 cloud1-seed.iso")
    only = {**prune, "virtual_machines": [WEB]}
    assert play_here("playbooks/prune_images.yml", **only).changed == {}
    assert all(old in versions(address) for address in HOSTS.values())
    gone = play_here("playbooks/prune_images.yml", **only, vm_image_prune=True)
    assert gone.changed == dict.fromkeys(HOSTS, 1)
    assert all(versions(address) == [new] for address in HOSTS.values())
