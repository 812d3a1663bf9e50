# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils.docker_engine import (
    NEEDED_CONTROLLERS,
    Host,
    Wish,
    daemon_settings,
    installed,
    problems,
    read_controllers,
    remarks,
    restart_needed,
)

POOL = {"base": "172.30.0.0/16", "size": 24}


def test_what_fits_has_no_problems() -> None:
    host = Host(routes=("default", "10.0.0.0/24"))
    assert problems(Wish(address_pools=(POOL, {"base": "fd00:30::/48", "size": 64})), host) == []
    assert remarks(Wish(), host) == []


@pytest.mark.parametrize(
    ("wish", "host", "says"),
    [
        pytest.param({}, {"filesystem": "overlay"}, "lies on overlay; the storage driver", id="overlay on overlay"),
        pytest.param({}, {"filesystem": "xfs", "overlay": False}, "XFS without ftype=1", id="old XFS"),
        pytest.param({}, {"controllers": frozenset({"cpu"})}, "no cgroup controller memory", id="no memory controller"),
        pytest.param({}, {"read_only_controllers": frozenset({"pids"})}, "pids are mounted read-only", id="read-only"),
        pytest.param({}, {"bridge": False}, "no bridge and veth", id="no bridge"),
        pytest.param({}, {"packages": frozenset({"docker-ce"})}, "packages docker-ce are installed", id="Docker's"),
        pytest.param({"source": "docker"}, {"packages": frozenset({"docker.io"})}, "docker.io", id="Debian's"),
        pytest.param({}, {"daemon": None}, "is no JSON object", id="broken daemon.json"),
        pytest.param({}, {"swarm": True}, "set it to false", id="live-restore in a swarm"),
        pytest.param({"data_root": "/"}, {}, "docker_engine_data_root: is '/'", id="root as data root"),
        pytest.param({"log_max_size": "10 MB"}, {}, "docker_engine_log_max_size: is '10 MB'", id="size"),
        pytest.param({"log_max_files": 0}, {}, "docker_engine_log_max_files: is 0", id="files"),
        pytest.param({"metrics_address": "9323"}, {}, "docker_engine_metrics_address: is '9323'", id="port alone"),
        pytest.param({"tls_address": "10.0.0.5:99999"}, {}, "docker_engine_tls_address", id="no such port"),
        pytest.param({"published_address": "all"}, {}, "docker_engine_published_address: is 'all'", id="address"),
        pytest.param({"routed_sources": ("vpn",)}, {}, "docker_engine_routed_sources: has 'vpn'", id="routed"),
        pytest.param({"users": ("root", "ann")}, {}, "docker_engine_users: has ann, who is no user", id="user"),
        pytest.param({"published_sources": ("lan",)}, {}, "docker_engine_published_sources: has 'lan'", id="network"),
        pytest.param({"registry_mirrors": ("mirror",)}, {}, "docker_engine_registry_mirrors: has 'mirror'", id="url"),
        pytest.param(
            {"tls_address": "10.0.0.5:2376", "settings": {"hosts": []}}, {}, "has hosts beside", id="hosts twice"
        ),
        pytest.param({"address_pools": ({"base": "x", "size": 24},)}, {}, "base is 'x'", id="no network"),
        pytest.param({"address_pools": ({**POOL, "size": 8},)}, {}, "size is 8; give the prefix", id="size of pool"),
        pytest.param({"address_pools": (POOL,)}, {"routes": ("172.30.5.0/24",)}, "overlaps 172.30.5.0/24", id="route"),
        pytest.param({"address_pools": (POOL, {"base": "172.30.0.0/20", "size": 24})}, {}, "another pool", id="pools"),
    ],
)
def test_what_keeps_the_engine_from_running(wish: dict[str, Any], host: dict[str, Any], says: str) -> None:
    lines = problems(Wish(**wish), Host(**host))
    assert len(lines) == 1
    assert says in lines[0]


def test_all_problems_are_told_at_once() -> None:
    wish = Wish(log_max_size="x", published_address="y", address_pools=({"base": "z", "size": 1},))
    assert len(problems(wish, Host(filesystem="tmpfs", bridge=False))) == 5


def test_another_storage_driver_is_the_users_own_choice() -> None:
    assert problems(Wish(settings={"storage-driver": "btrfs"}), Host(filesystem="tmpfs", overlay=False)) == []


def test_what_works_not_wholly_is_remarked() -> None:
    lines = remarks(Wish(published_address="0.0.0.0"), Host(free_gib=2, controllers=frozenset({"memory"})))
    assert len(lines) == 5
    assert remarks(Wish(published_address="0.0.0.0", published_sources=("10.0.0.0/8",)), Host()) == []


def test_daemon_json_has_what_was_asked_and_no_more() -> None:
    assert daemon_settings(Wish(live_restore=False)) == {
        "data-root": "/var/lib/docker",
        "storage-driver": "overlay2",
        "log-driver": "local",
        "log-opts": {"max-size": "10m", "max-file": "3"},
        "live-restore": False,
        "ip": "127.0.0.1",
    }


def test_the_users_settings_win() -> None:
    told = daemon_settings(
        Wish(
            log_driver="journald",
            address_pools=(POOL,),
            metrics_address="127.0.0.1:9323",
            tls_address="10.0.0.5:2376",
            settings={"live-restore": False, "debug": True},
        )
    )
    assert "log-opts" not in told
    assert told["default-address-pools"] == [POOL]
    assert told["metrics-addr"] == "127.0.0.1:9323"
    assert told["tlsverify"] is True
    assert (told["live-restore"], told["debug"]) == (False, True)


@pytest.mark.parametrize(
    ("before", "after", "restart"),
    [
        ({}, {"ip": "127.0.0.1"}, True),
        ({"debug": True}, {}, False),
        ({"registry-mirrors": []}, {"registry-mirrors": ["https://m"], "live-restore": True}, False),
        ({"log-driver": "local"}, {"log-driver": "local"}, False),
        (None, {"data-root": "/x"}, True),
    ],
)
def test_a_restart_is_for_what_a_reload_cannot_take(before: Any, after: Any, restart: bool) -> None:
    assert restart_needed(before, after) is restart


V1 = "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t4\t10\t1\npids\t8\t1\t1\nhugetlb\t2\t1\t0\n"


def test_controllers_of_both_kinds_of_cgroup() -> None:
    assert read_controllers("", "", "cpuset cpu io memory pids\n")[0] >= set(NEEDED_CONTROLLERS)
    mounts = "cgroup /sys/fs/cgroup/pids cgroup ro,nosuid,pids 0 0\ncgroup /m cgroup rw,memory 0 0\n"
    assert read_controllers(V1, mounts, "") == ({"memory", "pids"}, {"pids"})


def test_removed_packages_do_not_count() -> None:
    dpkg = "docker.io install ok installed\ndocker-ce deinstall ok config-files\nbash install ok installed\n"
    assert installed(dpkg, ["docker.io", "docker-ce"]) == {"docker.io"}


def test_the_engine_s_proxy_is_off_where_sources_are_named() -> None:
    assert "userland-proxy" not in daemon_settings(Wish())
    assert daemon_settings(Wish(published_sources=("10.0.0.0/8",)))["userland-proxy"] is False
