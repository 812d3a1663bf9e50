# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs whose disks are on the server: they move while they run, and never run twice."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from on_lab import HOSTS, KNOWN, SERVER, SSH, addresses, fatal, guest, node, start_twice, where, writing

Play = Callable[..., Any]
OnHosts = Callable[[str], dict[str, str]]

OVERLAY = Path(__file__).resolve().parents[1] / "inventory"
GUESTS = addresses(OVERLAY / "group_vars/all.yml")


@pytest.fixture
def writer() -> Iterator[Callable[[], int]]:
    """app1 writes during the test; calling it stops the writing and counts what was written and is right."""
    with writing("app1") as count:
        yield count


def test_every_vm_runs_once_from_the_server_and_answers(play_here: Play) -> None:
    assert sorted(where()) == sorted(GUESTS)
    names = node(SERVER, "virsh vol-list shared").split()
    assert {f"{name}.qcow2" for name in GUESTS} <= set(names)
    for name, host in where().items():
        assert "protocol='nfs'" in node(HOSTS[host], f"virsh dumpxml {name}")
    run = play_here("playbooks/verify.yml")
    assert run.rc == 0, run.output


def test_the_export_is_for_the_hosts_alone() -> None:
    url = f"nfs://{SERVER}/srv/croft/.croft-check"
    assert "raw" in node(HOSTS["kvm1"], f"qemu-img info {url}")
    # The server itself is no client of its own.
    said = node(SERVER, f"apt-get -qq install -y qemu-block-extra >/dev/null 2>&1; qemu-img info {url}", check=False)
    assert "Could not open" in said


def test_a_second_start_of_the_same_disk_is_refused() -> None:
    start_twice()


def test_migration_keeps_what_the_guest_writes_and_changes_nothing_for_site(
    play_here: Play, writer: Callable[[], int]
) -> None:
    source = where()["app1"]
    run = play_here("playbooks/migrate.yml", migrate=["app1"], live_migration_bandwidth_mib=200)
    assert run.rc == 0, run.output
    (done,) = [one for call in run.results("croft.infra.live_migration") for one in call["res"].get("migrations") or []]
    assert done["state"] == "done"
    assert done["downtime_ms"] is not None
    assert where()["app1"] == done["target"] != source
    assert writer() > 5
    again = play_here("site.yml")
    assert again.rc == 0, again.output
    assert not again.changed
    assert where()["app1"] == done["target"]


def test_a_guest_may_be_slowed_down_limits_are_kept_and_a_long_move_tells_how_far_it_is(play_here: Play) -> None:
    limits = {"live_migration_downtime_ms": 500, "live_migration_bandwidth_mib": 4}
    run = play_here("playbooks/migrate.yml", migrate=["ci1"], live_migration_mode="auto_converge", **limits)
    assert run.rc == 0, run.output
    (done,) = [one for call in run.results("croft.infra.live_migration") for one in call["res"].get("migrations") or []]
    assert done["transferred_mib"] / (done["total_ms"] / 1000) < 6
    assert re.search(r"ci1: \d+ of \d+ MiB left", run.output), run.output
    assert guest("ci1", "hostname").strip() == "ci1"


def test_memory_on_demand_is_used_or_refused_before_anything_moves(play_here: Play) -> None:
    before = where()
    run = play_here("playbooks/migrate.yml", migrate=["ci1"], live_migration_mode="post_copy")
    if node(HOSTS["kvm1"], "cat /proc/sys/vm/unprivileged_userfaultfd").strip() == "1":
        assert run.rc == 0, run.output
        assert where()["ci1"] != before["ci1"]
    else:
        assert "vm.unprivileged_userfaultfd is 0" in fatal(run)
        assert where() == before
    assert guest("ci1", "hostname").strip() == "ci1"


def test_bad_moves_are_told_all_at_once_and_nothing_moves(play_here: Play) -> None:
    before = where()
    host = before["web1"]
    run = play_here(
        "playbooks/migrate.yml",
        migrate=[
            {"name": "web1", "target": before["web2"]},
            {"name": "app2", "target": "kvm9"},
            {"name": "nobody"},
            {"name": "app3", "target": before["app3"]},
        ],
    )
    said = fatal(run)
    assert f"web1: {before['web2']} is kept out by affinity: anti-affinity group web is there already" in said
    assert "app2: target kvm9 is no host; the hosts are kvm1, kvm2, kvm3" in said
    assert "nobody: is not running under croft" in said
    assert f"app3: runs on {before['app3']} already" in said
    assert where() == before
    assert host == where()["web1"]


def test_disks_move_between_pools_and_hosts_while_the_guest_writes(play_here: Play, writer: Callable[[], int]) -> None:
    here = where()["app1"]
    target = next(host for host in HOSTS if host != here)
    to_local = play_here("playbooks/migrate_storage.yml", migrate_storage=[{"name": "app1", "pool": "croft"}])
    assert to_local.rc == 0, to_local.output
    assert "app1.qcow2" not in node(SERVER, "ls /srv/croft")
    # A local disk is not left behind by surprise.
    refused = play_here("playbooks/migrate.yml", migrate=[{"name": "app1", "target": target}])
    assert "is local to this host; say migrate_disks: true to copy it as well" in fatal(refused)
    assert where()["app1"] == here
    together = play_here("playbooks/migrate.yml", migrate=[{"name": "app1", "target": target}], migrate_disks=True)
    assert together.rc == 0, together.output
    assert where()["app1"] == target
    assert "app1.qcow2" not in node(HOSTS[here], "ls /var/lib/croft/pool")
    back = play_here("playbooks/migrate_storage.yml", migrate_storage=[{"name": "app1", "pool": "shared"}])
    assert back.rc == 0, back.output
    written = writer()
    assert written > 5
    # The disk on the server is the one that was written, not only the one that QEMU still has open.
    node(HOSTS[target], "virsh destroy app1; virsh start app1")
    assert play_here("playbooks/verify.yml").rc in (0, 2)
    for _attempt in range(60):
        try:
            said = guest("app1", "cd /root/w && sha256sum -c sums")
            break
        except (AssertionError, subprocess.TimeoutExpired):
            time.sleep(3)
    else:
        pytest.fail("app1 did not come up again")
    assert said.count(": OK") == written == len(said.splitlines())


def test_a_failed_migration_leaves_the_vm_where_it_was(play_here: Play) -> None:
    before = where()
    target = next(host for host in HOSTS if host not in (before["app2"],))
    # Too slow for the time it gets.
    run = play_here(
        "playbooks/migrate.yml",
        migrate=[{"name": "app2", "target": target}],
        live_migration_bandwidth_mib=1,
        live_migration_timeout=4,
    )
    said = fatal(run)
    assert f"app2: still on {before['app2']}" in said
    assert where() == before
    assert guest("app2", "hostname").strip() == "app2"


def test_a_drained_host_is_empty_takes_nothing_new_and_is_let_go(play_here: Play) -> None:
    victim = where()["app2"]
    run = play_here("playbooks/drain.yml", drain_host=victim, drain_reason="new memory")
    assert run.rc == 0, run.output
    assert victim not in where().values()
    assert sorted(where()) == sorted(GUESTS)
    vms = yaml.safe_load((OVERLAY / "group_vars/all.yml").read_text())["virtual_machines"]
    pinned = {"name": "extra1", "vcpus": 1, "memory_mib": 192, "disk_gib": 1, "host": victim}
    refused = play_here("playbooks/plan.yml", croft_plan_reads_hosts=True, virtual_machines=[*vms, pinned])
    assert f"is pinned to {victim}, which takes nothing new (new memory)" in refused.refusal
    free = {key: value for key, value in pinned.items() if key != "host"}
    planned = play_here("playbooks/plan.yml", croft_plan_reads_hosts=True, virtual_machines=[*vms, free])
    assert planned.rc == 0, planned.output
    (result,) = planned.results("croft.infra.plan")
    assert result["res"]["plan"]["placements"]["extra1"] != victim
    assert play_here("playbooks/undrain.yml", drain_host=victim).rc == 0


def test_a_host_that_cannot_be_emptied_is_left_as_it_is(play_here: Play) -> None:
    before = where()
    vms = yaml.safe_load((OVERLAY / "group_vars/all.yml").read_text())["virtual_machines"]
    for vm in vms:
        if vm["name"] == "app2":
            vm["host"] = before["app2"]
    run = play_here("playbooks/drain.yml", drain_host=before["app2"], virtual_machines=vms)
    assert f"app2: is pinned to {before['app2']} in the inventory; take the pin (host) out first" in fatal(run)
    assert where() == before
    assert "maintenance.json" not in node(HOSTS[before["app2"]], "ls /etc/croft")


def test_a_repair_moves_what_breaks_a_rule(play_here: Play) -> None:
    # By hand, against the rules: both web VMs on one host.
    before = where()
    if before["web1"] != before["web2"]:
        to = HOSTS[before["web1"]]
        command = f"virsh migrate --live --p2p --tls --persistent --undefinesource web2 qemu+tls://{to}/system"
        node(HOSTS[before["web2"]], command)
        # What a move by hand leaves behind.
        node(to, "virsh autostart web2")
    assert where()["web1"] == where()["web2"]
    shown = play_here("playbooks/repair.yml")
    assert shown.rc == 0, shown.output
    assert where()["web1"] == where()["web2"]
    done = play_here("playbooks/repair.yml", repair_apply=True)
    assert done.rc == 0, done.output
    assert where()["web1"] != where()["web2"]
    assert sorted(where()) == sorted(GUESTS)


def test_a_host_is_updated_and_restarted_empty(play_here: Play, play: Play) -> None:
    victim = "kvm2"
    over = threading.Event()

    def power_on() -> None:
        # A container that restarts itself is gone; in a rack the machine would come back by itself.
        while not over.wait(5):
            booted = subprocess.run(
                [
                    *SSH,
                    "-oConnectTimeout=2",
                    KNOWN,
                    f"root@{HOSTS[victim]}",
                    "true",
                ],
                check=False,
                capture_output=True,
            )
            if booted.returncode != 0:
                play("playbooks/lab.yml")

    helper = threading.Thread(target=power_on)
    helper.start()
    try:
        run = play_here("playbooks/rolling_update.yml", cmdline=f"-l {victim}", host_update_reboot="always")
    finally:
        over.set()
        helper.join()
    assert run.rc == 0, run.output
    assert run.changed[victim] >= 2
    assert sorted(where()) == sorted(GUESTS)
    assert play_here("playbooks/verify.yml").rc == 0


def test_guests_wait_for_a_server_that_is_away_and_go_on(play_here: Play, writer: Callable[[], int]) -> None:
    node(SERVER, "systemctl kill --signal=STOP nfs-ganesha.service")
    try:
        time.sleep(30)
        said = fatal(play_here("playbooks/verify.yml"))
        assert f"storage pool shared: {SERVER} does not answer" in said
        time.sleep(20)
    finally:
        node(SERVER, "systemctl kill --signal=KILL nfs-ganesha.service; systemctl start nfs-ganesha.service")
    # QEMU's client waits longer with each connection that is refused, and the server lets nobody write for a while.
    counts = []
    for _attempt in range(150):
        time.sleep(2)
        with suppress(AssertionError, subprocess.TimeoutExpired):
            counts.append(int(guest("app1", "wc -l < /root/w/sums")))
            if counts[-1] > counts[0] + 5:
                break
    else:
        log = node(HOSTS[where()["app1"]], "tail -n 5 /var/log/libvirt/qemu/app1.log")
        pytest.fail(f"app1 does not write again: {counts}\n{guest('app1', 'dmesg | tail -n 5')}\n{log}")
    assert writer() > 5
    run = play_here("playbooks/verify.yml")
    assert run.rc == 0, run.output


@pytest.mark.parametrize(
    ("pool", "said"),
    [
        ({"server": "10.99.0.99"}, "10.99.0.99 takes no connection at port 111 and 2049; is the server up"),
        ({"path": "/srv/nothing"}, "the server must export exactly that directory"),
    ],
)
def test_a_server_that_cannot_be_used_is_told(play_here: Play, pool: Mapping[str, str], said: str) -> None:
    pools = [{"name": "shared", "server": SERVER, "path": "/srv/croft", **pool}]
    cmdline = "-l kvm1 --tags storage_nfs_preflight"
    run = play_here("playbooks/storage.yml", cmdline=cmdline, storage_nfs_pools=pools)
    assert said in fatal(run)


def test_a_full_server_and_one_that_refuses_writing_are_told(play_here: Play) -> None:
    cmdline = "-l kvm1 --tags storage_nfs_preflight"
    full = play_here("playbooks/storage.yml", cmdline=cmdline, storage_nfs_least_free_gib=10000)
    assert "at least 10000 GiB must be; free some" in fatal(full)
    node(SERVER, "chown root:root /srv/croft; chmod 0700 /srv/croft")
    try:
        run = play_here("playbooks/storage.yml", cmdline=cmdline)
        assert "belong to the user that the export makes of everybody" in fatal(run)
    finally:
        node(SERVER, "chown 64055:64055 /srv/croft; chmod 0711 /srv/croft")
    assert play_here("playbooks/verify.yml").rc == 0
