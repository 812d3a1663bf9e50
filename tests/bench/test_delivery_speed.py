# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""On the lab: 20 VMs from the golden image until their guests answer: croft, a shell loop, and a loop of tasks.

The lab is brought up when it is not there; what runs on it is replaced by the benchmark's VMs. Each way is taken
`CROFT_BENCH_DELIVERIES` times (2), in turn, and its quickest counts.
"""

from __future__ import annotations

import os
import textwrap
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml
from lab_runs import HOSTS, machines, node, playbook, remove_domains

COUNT, MEMORY_MIB = 20, 192
ROUNDS = int(os.environ.get("CROFT_BENCH_DELIVERIES", "2"))
POOL = "/var/lib/croft/pool"
LOCAL = {"storage_layout": "local"}
PLACES = {f"bench{number:02}": list(HOSTS)[number % len(HOSTS)] for number in range(COUNT)}
BASE = f"$(ls {POOL}/croft-guest-*.qcow2)"
DISK = f"qemu-img create -q -f qcow2 -F qcow2 -b {BASE} {POOL}/$vm.qcow2 1G"
SEED = (
    "d=$(mktemp -d) && printf '#cloud-config\\n' > $d/user-data && "
    'printf \'{"instance-id": "%s", "local-hostname": "%s"}\\n\' $vm $vm > $d/meta-data && '
    f"xorriso -as mkisofs -quiet -volid cidata -joliet -rock -o {POOL}/$vm-seed.iso $d 2>/dev/null"
)
VIRT_INSTALL = (
    f"virt-install --quiet --import --noautoconsole --name $vm --virt-type qemu --memory {MEMORY_MIB} --vcpus 1 "
    f"--osinfo linux2022 --graphics none --disk {POOL}/$vm.qcow2,bus=virtio,cache=none "
    f"--disk {POOL}/$vm-seed.iso,bus=virtio,readonly=on --network network=vms,model=virtio"
)
DOMAIN = f"""
<domain type='qemu'>
  <name>{{{{ item }}}}</name><memory unit='MiB'>{MEMORY_MIB}</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/><apic/></features><cpu mode='maximum'/>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none'/>
      <source file='{POOL}/{{{{ item }}}}.qcow2'/><target dev='vda' bus='virtio'/></disk>
    <disk type='file' device='disk'><driver name='qemu' type='raw'/>
      <source file='{POOL}/{{{{ item }}}}-seed.iso'/><target dev='vdb' bus='virtio'/><readonly/></disk>
    <interface type='network'><source network='vms'/><model type='virtio'/></interface>
    <serial type='pty'/><console type='pty'/>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
  </devices>
</domain>
"""


def on_each_host(command: Callable[[str], str]) -> list[str]:
    """What each host printed, all at the same time."""
    with ThreadPoolExecutor(len(HOSTS)) as pool:
        return list(pool.map(lambda host: node(HOSTS[host], command(host)), HOSTS))


def of_host(host: str) -> str:
    return " ".join(vm for vm, place in PLACES.items() if place == host)


def wait_until_up() -> None:
    """The guests' agents answer."""
    ping = 'virsh qemu-agent-command $vm \'{"execute": "guest-ping"}\' >/dev/null 2>&1'
    on_each_host(lambda host: f"for vm in {of_host(host)}; do until {ping}; do sleep 1; done; done")


def by_croft() -> float:
    pinned = [{**vm, "host": PLACES[vm["name"]]} for vm in machines(COUNT, [None], MEMORY_MIB)]
    plays = ("playbooks/plan.yml", "playbooks/virtual_machines.yml")
    return playbook(*plays, virtual_machines=pinned, virtual_machines_ready_timeout=900, **LOCAL)[0]


def by_shell() -> float:
    """One VM after the other; their guests boot meanwhile."""
    began = time.monotonic()
    for vm, host in PLACES.items():
        node(HOSTS[host], f"set -e; vm={vm}; {DISK}; {SEED}; {VIRT_INSTALL}")
    wait_until_up()
    return time.monotonic() - began


def by_tasks(folder: Path) -> float:
    """The collection's module, a loop a step, all hosts at the same time."""
    loop = {"loop": "{{ places[inventory_hostname] }}"}
    shell = [
        {"ansible.builtin.shell": f"vm={{{{ item }}}}; {step}", "changed_when": True, **loop} for step in (DISK, SEED)
    ]
    tasks = [
        *shell,
        {"community.libvirt.virt": {"command": "define", "xml": DOMAIN}, **loop},
        {"community.libvirt.virt": {"name": "{{ item }}", "state": "running"}, **loop},
    ]
    book = folder / "loop.yml"
    book.write_text(yaml.safe_dump([{"hosts": "kvm_hosts", "gather_facts": False, "tasks": tasks}]))
    began = time.monotonic()
    playbook(str(book), places={host: of_host(host).split() for host in HOSTS}, **LOCAL)
    wait_until_up()
    return time.monotonic() - began


def used() -> str:
    """Memory of QEMU and space in the pools, of all VMs."""
    memory = "ps -o rss= -C qemu-system-x86_64 -C qemu-system-x86 | awk '{ n += $1 } END { print int(n / 1024) }'"
    disk = f"du -cm {POOL}/bench* | awk 'END {{ print $1 }}'"
    rss, space = zip(*(map(int, said.split()) for said in on_each_host(lambda _host: f"{memory}; {disk}")), strict=True)
    return f"{sum(rss)} MiB of memory, {sum(space)} MiB of disk"


def remove_all() -> None:
    remove_domains()
    on_each_host(lambda _host: f"rm -f {POOL}/bench*; virsh pool-refresh croft")


def test_twenty_vms_are_delivered(tmp_path: Path) -> None:
    playbook("playbooks/lab.yml")
    playbook("site.yml", virtual_machines=[], **LOCAL)
    on_each_host(
        lambda _host: "command -v virt-install >/dev/null || apt-get install -qq -y --no-install-recommends virtinst"
    )
    remove_all()
    ways: dict[str, Callable[[], float]] = {
        "croft's plays": by_croft,
        "shell loop of virt-install": by_shell,
        "loops of community.libvirt.virt": lambda: by_tasks(tmp_path),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _round in range(ROUNDS):
        for name, way in ways.items():
            taken[name].append(way())
            print(f"\n{name}: {taken[name][-1]:.0f} s until {COUNT} guests answer; {used()}", end="")
            remove_all()
    best = {name: min(seconds) for name, seconds in taken.items()}
    ours = best.pop("croft's plays")
    print(
        textwrap.dedent(f"""
        of the quicker one croft takes {ours / min(best.values()):.2f}""")
    )
