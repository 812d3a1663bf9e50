# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What role ceph made."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://kvm_hosts"]

Ask = Callable[..., Any]
Nodes = list[dict[str, Any]]


def test_the_cluster_is_healthy_and_no_warning_is_muted(ceph: Ask) -> None:
    health = ceph("health detail")
    assert health["status"] == "HEALTH_OK"
    assert not health["mutes"]


def test_all_mons_are_in_the_quorum_and_speak_the_new_protocol_only(ceph: Ask, nodes: Nodes) -> None:
    names = {node["name"] for node in nodes}
    assert set(ceph("quorum_status")["quorum_names"]) == names
    for mon in ceph("mon dump")["mons"]:
        assert [address["type"] for address in mon["public_addrs"]["addrvec"]] == ["v2"]


def test_a_mgr_is_active_and_the_others_stand_by(ceph: Ask, nodes: Nodes) -> None:
    mgr = ceph("mgr dump")
    assert mgr["available"]
    assert len(mgr["standbys"]) == len(nodes) - 1


def test_no_module_of_the_mgr_fails_to_load(host: Host, ceph: Ask) -> None:
    assert ceph("crash ls-new") == []
    assert host.check_output("ls /var/lib/ceph/crash") == "posted"


def test_each_host_has_its_osd_and_it_is_up(ceph: Ask, nodes: Nodes) -> None:
    tree = ceph("osd tree")["nodes"]
    hosts = {node["name"]: node["children"] for node in tree if node["type"] == "host"}
    assert set(hosts) == {node["name"] for node in nodes}
    assert all(len(osds) == 1 for osds in hosts.values())
    assert all(node["status"] == "up" for node in tree if node["type"] == "osd")


def test_the_pool_has_three_copies_on_different_hosts(ceph: Ask) -> None:
    (pool,) = [pool for pool in ceph("osd dump")["pools"] if pool["pool_name"] == "vms"]
    assert (pool["size"], pool["min_size"], list(pool["application_metadata"])) == (3, 2, ["rbd"])
    (rule,) = [rule for rule in ceph("osd crush rule dump") if rule["rule_id"] == pool["crush_rule"]]
    assert rule["rule_name"] == "vms-by-host"
    assert [step["type"] for step in rule["steps"] if "type" in step] == ["host"]


def test_the_users_have_the_least_rights(ceph: Ask) -> None:
    users = {user["entity"]: user["caps"] for user in ceph("auth ls")["auth_dump"]}
    assert users["client.libvirt"] == {
        "mon": "profile rbd",
        "osd": "profile rbd pool=vms",
        "mgr": "profile rbd pool=vms",
    }
    assert users["client.bootstrap-osd"] == {"mon": "profile bootstrap-osd"}


def test_insecure_global_ids_are_not_accepted(ceph: Ask) -> None:
    assert ceph("config get mon auth_allow_insecure_global_id_reclaim") is False


def test_an_osd_uses_the_memory_that_was_counted_for_it(host: Host, ceph: Ask, variables: dict[str, Any]) -> None:
    name = host.check_output("hostname")
    tree = ceph("osd tree")["nodes"]
    (osd,) = next(node["children"] for node in tree if node["name"] == name)
    counted = variables["sizing_policy"]["rules"]["host-overhead"]["osd_memory_mib"]
    target = json.loads(host.check_output(f"ceph daemon osd.{osd} config get osd_memory_target"))
    assert int(target["osd_memory_target"]) == counted * 2**20


@pytest.mark.parametrize(
    ("path", "user"),
    [
        ("/etc/ceph/ceph.client.admin.keyring", "root"),
        ("/etc/ceph/ceph.client.libvirt.keyring", "root"),
        ("/etc/ceph/ceph.client.crash.keyring", "ceph"),
        ("/var/lib/ceph/bootstrap-osd/ceph.keyring", "ceph"),
    ],
)
def test_keys_are_for_their_users_only(host: Host, path: str, user: str) -> None:
    file = host.file(path)
    assert (file.user, file.mode) == (user, 0o600)


def test_libvirt_has_the_key(host: Host) -> None:
    (line,) = [line for line in host.check_output("virsh secret-list").splitlines() if "client.libvirt secret" in line]
    key = host.check_output("ceph auth get-key client.libvirt")
    assert host.check_output(f"virsh secret-get-value {line.split()[0]}").strip() == key


def test_the_key_of_the_vms_opens_the_pool_and_nothing_else(host: Host) -> None:
    name = f"rights-{host.check_output('hostname')}"
    as_user = "--id libvirt --keyring /etc/ceph/ceph.client.libvirt.keyring"
    host.check_output(f"rbd {as_user} create vms/{name} --size 8M && rbd {as_user} rm --no-progress vms/{name}")
    assert host.run(f"rados {as_user} -p .mgr ls").rc != 0
    assert host.run(f"ceph {as_user} auth ls").rc != 0


def test_qemu_opens_a_disk_of_the_pool(host: Host) -> None:
    name = f"vms/qemu-{host.check_output('hostname')}"
    user = "id=libvirt:keyring=/etc/ceph/ceph.client.libvirt.keyring"
    host.check_output(f"qemu-img create -f raw rbd:{name}:{user} 16M")
    info = json.loads(host.check_output(f"qemu-img info --output json rbd:{name}:{user}"))
    host.check_output(f"rbd rm --no-progress {name}")
    assert info["virtual-size"] == 16 * 2**20


@pytest.mark.parametrize("unit", ["ceph-mon@{0}", "ceph-mgr@{0}"])
def test_the_daemons_start_with_the_host(host: Host, unit: str) -> None:
    service = host.service(unit.format(host.check_output("hostname")))
    assert service.is_running
    assert service.is_enabled
