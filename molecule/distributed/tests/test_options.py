# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What variables switch on (encryption, a network for the OSDs, cephadm), and what is told of a cluster in trouble."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from on_lab import HOSTS, INVENTORY, node, where, writing

Play = Callable[..., Any]
Ask = Callable[..., Any]
Lab = Any

OVERLAY = Path(__file__).resolve().parents[1] / "inventory"
NETWORK = "10.98.0.0/24"
# The second address of each node: the same host number in the cluster's own network.
OWN = {name: address.replace("10.99.", "10.98.") for name, address in HOSTS.items()}


def osd_of(lab: Lab, name: str) -> int:
    (osd,) = next(entry["children"] for entry in lab.ceph("osd tree")["nodes"] if entry["name"] == name)
    return int(osd)


def received(lab: Lab) -> tuple[int, int]:
    """The bytes that the OSDs have received, and those of them that were encrypted."""
    workers: list[dict[str, int]] = []
    for name in lab.names:
        counters = json.loads(lab.shell(name, f"ceph daemon osd.{osd_of(lab, name)} perf dump"))
        workers += [value for key, value in counters.items() if key.startswith("AsyncMessenger")]
    return tuple(sum(worker[f"msgr_recv_{kind}bytes"] for worker in workers) for kind in ("", "encrypted_"))


def modes(lab: Lab) -> set[str]:
    """What the OSDs take of each other and of clients: crc, secure."""
    found = set()
    for name in lab.names:
        options = json.loads(lab.shell(name, f"ceph daemon osd.{osd_of(lab, name)} config show"))
        found |= {options[f"ms_{kind}_mode"] for kind in ("cluster", "service", "client")}
    return found


@pytest.fixture
def second_network(play_here: Play, lab: Lab) -> Iterator[None]:
    """A second address on each node; afterwards the cluster is as before."""
    for name, address in OWN.items():
        lab.shell(name, f"ip address replace {address}/24 dev host0")
    yield
    for playbook in ("playbooks/ceph.yml", "playbooks/ceph_restart.yml"):
        run = play_here(playbook)
        assert run.rc == 0, run.output
    assert modes(lab) == {"crc secure"}
    for entry in lab.ceph("osd metadata"):
        assert "10.98." not in entry["back_addr"]
    for name, address in OWN.items():
        lab.shell(name, f"ip address delete {address}/24 dev host0")


def test_a_network_for_the_osds_and_encryption_while_a_guest_writes(
    play_here: Play, lab: Lab, second_network: None
) -> None:
    # A pool that libvirt has with a mon of yesterday, too.
    lab.shell(
        lab.names[0],
        "virsh pool-dumpxml vms | sed s/10.99.0.13/10.99.0.99/ > /root/pool.xml; "
        "virsh pool-destroy vms; virsh pool-define /root/pool.xml; virsh pool-start vms; rm /root/pool.xml",
    )
    assert modes(lab) == {"crc secure"}
    before = where()
    with writing("app1") as count:
        run = play_here("playbooks/ceph.yml", ceph_cluster_network=NETWORK, ceph_encrypt_network=True)
        assert run.rc == 0, run.output
        pools = {one["host"]: one["res"]["actions"] for one in run.results("croft.infra.libvirt_pool")}
        assert [bool(pools[name]) for name in lab.names] == [True, False, False]
        assert "10.99.0.13" in lab.shell(lab.names[0], "virsh pool-dumpxml vms")
        run = play_here("playbooks/ceph_restart.yml")
        assert run.rc == 0, run.output

        for entry in lab.ceph("osd metadata"):
            host = entry["hostname"]
            assert (OWN[host] in entry["back_addr"], HOSTS[host] in entry["front_addr"]) == (True, True), entry
        for name in lab.names:
            assert "ceph-osd" in lab.shell(name, f"ss -Htnp state established src {OWN[name]}")
        assert modes(lab) == {"secure"}
        # A client that does not encrypt finds no way in.
        plain = "rbd --ms_client_mode crc --ms_mon_client_mode crc ls vms"
        assert lab.shell(lab.names[0], f"timeout 10 {plain} 2>/dev/null || echo refused").strip() == "refused"
        first = received(lab)
        time.sleep(10)
        assert count() > 5
        written, encrypted = (after - earlier for after, earlier in zip(received(lab), first, strict=True))
        # The rest is what opens a connection.
        assert encrypted > 0.9 * written > 2**20
    assert where() == before
    print(f"{encrypted / 2**20:.1f} of {written / 2**20:.1f} MiB that the OSDs received were encrypted")


def test_encryption_of_disks_is_refused_where_the_kernel_cannot(play_here: Play, lab: Lab) -> None:
    run = play_here("playbooks/ceph.yml", ceph_encrypt_disks=True)
    if run.rc == 0:
        pytest.skip("this kernel has the device mapper")
    assert not run.changed
    (failed,) = run.results("croft.infra.ceph_preflight", "runner_on_failed")
    said = failed["res"]["msg"].splitlines()
    assert said == [
        f"{name}: the kernel has no device mapper, which encryption of disks needs; set ceph_encrypt_disks to false, "
        "or use another kernel"
        for name in lab.names
    ]


def test_full_osds_are_told_and_nothing_is_touched(play_here: Play, lab: Lab) -> None:
    def ratios(nearfull: float, backfillfull: float, full: float) -> None:
        for kind, share in (("full", full), ("backfillfull", backfillfull), ("nearfull", nearfull)):
            lab.shell(lab.names[0], f"ceph osd set-{kind}-ratio {share}")

    before = [(osd["osd"], osd["uuid"], osd["in"]) for osd in lab.ceph("osd dump")["osds"]]
    ratios(0.0005, 0.0006, 0.0007)
    try:
        run = play_here("playbooks/ceph.yml", ceph_pool_min_size=2, ceph_config={"osd": {"osd_max_backfills": 2}})
        assert run.rc != 0
        assert not run.changed
        (failed,) = run.results("croft.infra.ceph_preflight", "runner_on_failed")
        print(failed["res"]["msg"])
        for number, _uuid, _in in before:
            assert f"osd.{number}: is full (" in failed["res"]["msg"]
        verify = play_here("playbooks/verify.yml")
        assert verify.rc != 0
        assert "OSD_FULL" in verify.output
    finally:
        ratios(0.85, 0.9, 0.95)
    lab.wait_healthy()
    assert [(osd["osd"], osd["uuid"], osd["in"]) for osd in lab.ceph("osd dump")["osds"]] == before


def test_a_clock_that_is_apart_is_told(play: Play, lab: Lab, tmp_path: Path) -> None:
    # The nodes share the machine's clock, so that one node's programs are told another time.
    late = lab.names[1]
    lab.shell(
        late, "mkdir -p /root/late && printf '#!/bin/sh\\nPYTHONPATH=/root/late exec python3 \"$@\"\\n' >/root/late/py"
    )
    lab.shell(
        late, "printf 'import time\\nreal = time.time\\ntime.time = lambda: real() + 5\\n' >/root/late/sitecustomize.py"
    )
    lab.shell(late, "chmod 755 /root/late/py")
    skewed = tmp_path / "late.yml"
    skewed.write_text(yaml.safe_dump({"kvm_hosts": {"hosts": {late: {"ansible_python_interpreter": "/root/late/py"}}}}))
    try:
        run = play("playbooks/network.yml", inventory=(INVENTORY, OVERLAY, skewed))
    finally:
        lab.shell(late, "rm -r /root/late")
    assert run.rc != 0
    said = "\n".join(one["res"]["msg"] for one in run.results("croft.infra.network_probe", "runner_on_failed"))
    for name in lab.names:
        if name != late:
            assert re.search(rf"clock of {late}: is (49|50|51)\d\d ms ahead of {name} \(limit 50\)", said), said


def test_cephadm_gets_the_same_cluster_as_a_specification(play_here: Play, lab: Lab) -> None:
    first = lab.names[0]
    spec, conf = "/etc/ceph/cephadm-spec.yml", "/etc/ceph/cephadm.conf"
    check = play_here("playbooks/ceph.yml", cmdline="--check --diff", ceph_provider="cephadm")
    assert check.rc == 0, check.output
    assert check.changed == {first: 1}
    assert lab.shell(first, f"ls {spec} {conf} 2>/dev/null | wc -l").strip() == "0"
    wanted = {"ceph_provider": "cephadm", "ceph_public_network": "10.99.0.0/24", "ceph_encrypt_network": True}
    try:
        run = play_here("playbooks/ceph.yml", **wanted)
        assert run.rc == 0, run.output
        written = [entry for entry in yaml.safe_load_all(lab.shell(first, f"cat {spec}")) if entry]
        # As cephadm and the orchestrator read it.
        read = (
            "import sys, yaml, configparser; from ceph.deployment.hostspec import HostSpec; "
            "from ceph.deployment.service_spec import ServiceSpec\n"
            "for entry in filter(None, yaml.safe_load_all(open('/etc/ceph/cephadm-spec.yml'))):\n"
            "    if entry['service_type'] == 'host': HostSpec.from_json(entry)\n"
            "    else: ServiceSpec.from_json(entry).validate()\n"
            "conf = configparser.ConfigParser(); conf.read('/etc/ceph/cephadm.conf')\n"
            "print(conf['global']['public_network'], conf['global']['ms_client_mode'])"
        )
        assert node(HOSTS[first], "python3 -", stdin=read).split() == ["10.99.0.0/24", "secure"]
    finally:
        lab.shell(first, f"rm -f {spec} {conf}")
    kinds = [entry["service_type"] for entry in written]
    assert {kind: kinds.count(kind) for kind in kinds} == {"host": 3, "mon": 1, "mgr": 1, "crash": 1, "osd": 3}
    assert {entry["hostname"]: entry["addr"] for entry in written if entry["service_type"] == "host"} == HOSTS
    disks = [entry["spec"]["data_devices"]["paths"] for entry in written if entry["service_type"] == "osd"]
    assert disks == [["/dev/croft/disk1"]] * 3
