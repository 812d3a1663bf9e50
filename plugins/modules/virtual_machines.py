#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: the decisions are in module_utils/domain.py, the hands in module_utils/vm_host.py. The action plugin of this
name hands the user data over, checked and merged."""

from __future__ import annotations

DOCUMENTATION = r"""
module: virtual_machines
short_description: Make the VMs of a host what the inventory says, in one call
version_added: "0.1.0"
author: [the croft contributors (@croft)]
description:
  - Defines all VMs of one KVM host over one libvirt connection - disk, first-boot data, domain, autostart, state.
  - Everything that forbids to begin is reported in one failure, before anything was changed.
  - Only fields that stand in the inventory are compared and changed; what libvirt or people added to a domain stays.
    A changed field of a running VM is written to its definition at once. What can be changed while it runs is - vCPUs
    up to C(max_vcpus), memory between what it started with and C(max_memory_mib), disks and network cards that come
    and go. The rest is reported in RV(virtual_machines) as C(needs_restart) on every run until the VM was stopped and
    started. The module restarts only guests that O(allow_restart) names.
  - Disks grow, online too, and with the guest's agent the file systems on them; they are never made smaller. No VM and
    no disk of a VM is ever deleted. A disk that is detached keeps its volume; one that the guest uses is refused, as
    far as its agent tells.
  - A domain that croft did not make, or a volume that belongs to something else, is never touched.
  - Which image a VM was made from and how (O(image), O(clone)) matters only when its disk is made.
  - cloud-init reads the first-boot data once in a guest's life. A later change of it is written to the seed and
    reported as C(first_boot_data), yet a guest with cloud-init takes it over only after C(cloud-init clean) and a
    restart.
options:
  virtual_machines:
    description:
      - The VMs of this host. Each entry has C(name), C(vcpus), C(memory_mib), and may have C(disk_gib) (as large
        as the image), C(autostart) (true), C(state) (C(running) or C(stopped)), C(image), C(network), C(address) with
        its prefix length (DHCP without it), C(gateway), C(nameservers), C(uuid) and C(mac) (both follow from the
        name), C(user_data), and C(health), a list of C(agent) and C(watchdog), of which the latter gives it a virtual
        watchdog.
      - Further C(max_vcpus), C(max_memory_mib), C(disks) (each C(name), C(size_gib)), C(networks) (all network cards,
        in place of C(network), C(mac) and C(address); each C(name), one of C(network), C(bridge), C(macvtap), C(vlan),
        C(mac), C(address), C(bandwidth) with C(inbound_kib_s) and C(outbound_kib_s)), C(cpu_model), C(firmware)
        (for new VMs), C(tpm), C(hugepages), C(numa_node), C(start_order) and C(start_delay). The role
        C(croft.infra.virtual_machines) tells what each means.
      - The fields that decide where a VM is placed (C(workload), C(host), C(affinity), C(anti_affinity)) are taken and
        have no effect here; C(ha) has one with O(ha_directory).
    type: list
    elements: raw
    required: true
  pool:
    description: The libvirt storage pool of the disks and the image; of type dir, fs, netfs or logical.
    type: str
    default: default
  nfs_pools:
    description:
      - NFS pools of the deployment. One whose O(nfs_pools[].client) is C(libnfs), or C(auto) on a kernel without an
        NFS client, is reached by QEMU itself, its volumes are made by the server's libvirt.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: The pool's name., type: str, required: true}
      server: {description: Address or name of the server., type: str, required: true}
      path: {description: The directory that the server exports., type: path, required: true}
      client: {description: Who speaks NFS., type: str, choices: [auto, mount, libnfs], default: auto}
      owner: {description: User and group that the server makes of everybody., type: int, default: 64055}
  image:
    description: The golden image of VMs that name none, a volume of O(pool).
    type: str
  images:
    description: >-
      Names that C(image) may have in place of a volume's, each with its volume. A disk that is there stays what it is
      when a name's volume changes.
    type: dict
    default: {}
  network:
    description: The libvirt network of VMs that name none.
    type: str
    default: default
  accelerator:
    description: C(kvm), or C(tcg) for QEMU's own translator.
    type: str
    choices: [kvm, tcg]
    default: kvm
  cpu_model:
    description:
      - The guests' CPU - C(host-model), C(host-passthrough), C(maximum) or a model that QEMU knows.
      - By default C(host-model) with KVM and C(maximum) with TCG.
    type: str
  clone:
    description: >-
      C(linked) makes a disk that holds only what differs from the image; C(full) copies the image, the only way in a
      pool of type logical.
    type: str
    choices: [linked, full]
    default: linked
  ssh_authorized_keys:
    description: Public keys that may log in to the guests, as root and as the image's default user.
    type: list
    elements: str
    default: []
  gateway:
    description: The default router of VMs with an address that name none.
    type: str
  nameservers:
    description: The DNS servers of VMs with an address that name none.
    type: list
    elements: str
    default: []
  user_data:
    description:
      - What all VMs are told at their first boot besides name, keys and addresses, as cloud-init's C(#cloud-config) has
        it - a mapping, or its text. The C(user_data) of an entry goes over it - mappings are merged, lists are joined
        with the defaults first, an entry of a list with the C(name) or C(path) of a default is merged into that, and a
        null takes a default away.
      - It is held against cloud-init's schema on the controller before the host is touched. Passwords must be hashed.
      - It is in no log and no result. On the host it is in the VM's seed, a volume of O(pool).
    type: raw
  stop_timeout:
    description: Seconds that guests get to shut down when O(virtual_machines[].state=stopped). They are never killed.
    type: int
    default: 120
  compare:
    description: Whether RV(virtual_machines) also holds every wished field against the real one; for C(verify.yml).
    type: bool
    default: false
  ha_directory:
    description:
      - Where a cluster's VMs have their definitions. A VM with C(ha) is defined in a file there and not in libvirt, and
        is neither started nor stopped nor set to start with the host, which the cluster does. One that runs goes on.
      - Without it C(ha) has no effect.
    type: path
  allow_restart:
    description: >-
      Names of VMs that are shut down and started when something about them cannot be changed while they run. A guest
      that does not shut down within O(stop_timeout) is left running, and the run fails.
    type: list
    elements: str
    default: []
extends_documentation_fragment: [croft.infra.libvirt]
requirements: [python3-libvirt, xorriso, jsonschema on the controller for O(user_data)]
attributes:
  check_mode: {support: full, description: Reports what a real run does; libvirt need not be installed yet.}
  diff_mode: {support: full, description: Shows each changed VM before and after.}
"""

EXAMPLES = r"""
- name: Define and start the VMs of this host
  croft.infra.virtual_machines:
    pool: vms
    image: debian-13.qcow2
    network: lan
    ssh_authorized_keys: ["{{ lookup('file', '~/.ssh/id_ed25519.pub') }}"]
    gateway: 10.0.0.1
    nameservers: [10.0.0.1]
    virtual_machines:
      - {name: web1, vcpus: 2, memory_mib: 2048, disk_gib: 20, address: 10.0.0.5/24}
      - {name: batch1, vcpus: 4, memory_mib: 4096, disk_gib: 40, state: stopped, autostart: false}

- name: Let a guest with cloud-init install a web server when it boots for the first time
  croft.infra.virtual_machines:
    image: debian-13
    images: {debian-13: debian-13-4f1c2d9a0b37.qcow2}
    user_data:
      users: [default, {name: ops, groups: sudo, ssh_authorized_keys: ["{{ lookup('file', '~/.ssh/ops.pub') }}"]}]
    virtual_machines:
      - name: web1
        vcpus: 2
        memory_mib: 2048
        user_data:
          packages: [nginx]
          runcmd: [[systemctl, enable, --now, nginx]]
"""

RETURN = r"""
definitions:
  description: The definition of each VM that a cluster runs, as XML. Every host of the cluster needs it.
  returned: with O(ha_directory)
  type: dict
virtual_machines:
  description: One entry for each VM, in the order of the inventory.
  returned: always
  type: list
  elements: dict
  contains:
    name: {description: The VM's name., type: str}
    uuid: {description: Its UUID., type: str}
    mac: {description: Its MAC address., type: str}
    state: {description: Its state after the run., type: str, sample: running}
    actions:
      description: What was done, or would be done in check mode, in order.
      type: list
      elements: dict
      sample: [{action: grow_disk, detail: 10 GiB -> 20 GiB}, {action: redefine, detail: vcpus 2 -> 4}]
    needs_restart:
      description: Fields that the running VM still has otherwise than wished.
      type: list
      elements: dict
      sample: [{field: vcpus, running: 2, wanted: 4}]
    fields:
      description: With O(compare), every field as wished, as it starts next, and as it is in the running VM.
      type: list
      elements: dict
      sample: [{field: memory_mib, wished: 2048, configured: 4096, running: 2048, differs: true}]
    strays:
      description: With O(compare), devices that somebody gave it by hand - kind, which one, and when it has it.
      type: list
      elements: list
      sample: [[disk, "vdc (/srv/data.img)", until it stops]]
"""

import json

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import domain
from ansible_collections.croft.infra.plugins.module_utils.domain_xml import MACHINES
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    DEFAULT_URI,
    LibvirtFailedError,
    LibvirtMissingError,
)
from ansible_collections.croft.infra.plugins.module_utils.open_stores import opened
from ansible_collections.croft.infra.plugins.module_utils.store import NFS_POOLS, host_stores
from ansible_collections.croft.infra.plugins.module_utils.vm_host import StepError, VmHost
from ansible_collections.croft.infra.plugins.module_utils.wishes import Defaults, read_wishes

ARGUMENTS = {
    "virtual_machines": {"type": "list", "elements": "raw", "required": True},
    "pool": {"type": "str", "default": "default"},
    "nfs_pools": NFS_POOLS,
    "image": {"type": "str"},
    "images": {"type": "dict", "default": {}},
    "network": {"type": "str", "default": "default"},
    "accelerator": {"type": "str", "choices": ["kvm", "tcg"], "default": "kvm"},
    "cpu_model": {"type": "str"},
    "clone": {"type": "str", "choices": ["linked", "full"], "default": "linked"},
    "ssh_authorized_keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
    "gateway": {"type": "str"},
    "nameservers": {"type": "list", "elements": "str", "default": []},
    # Text, not a mapping: each word in a mapping that is kept out of logs would be blotted out of the whole result.
    "user_data": {"type": "str", "no_log": True},
    "stop_timeout": {"type": "int", "default": 120},
    "allow_restart": {"type": "list", "elements": "str", "default": []},
    "compare": {"type": "bool", "default": False},
    "ha_directory": {"type": "path"},
    "uri": {"type": "str", "default": DEFAULT_URI},
}


def refuse(module: AnsibleModule, problems: list[str]) -> None:
    """Fail with all problems when there are any."""
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = "\n".join(f"- {problem}" for problem in problems)
        module.fail_json(msg=f"{count}, nothing was changed:\n{lines}", problems=problems)


def check_host(
    module: AnsibleModule, wishes: list[domain.Wish], actuals: dict[str, domain.Actual], host: domain.Host
) -> None:
    """Refuse what cannot be done; in check mode what an earlier step will bring is assumed, with a warning."""
    problems = domain.problems(wishes, actuals, host)
    more, lacking = domain.host_problems(wishes, actuals, host, module.params["pool"])
    if host.arch not in MACHINES:
        more.append(f"this host is {host.arch}; croft defines VMs on {', '.join(MACHINES)} only")
    refuse(module, problems + more + ([] if module.check_mode else lacking))
    if lacking:
        module.warn("taken as made by an earlier step: " + "; ".join(lacking))


def run(module: AnsibleModule, wishes: list[domain.Wish], vm_host: VmHost | None, host: domain.Host | None) -> None:
    """Look, decide, and (not in check mode) carry out."""
    actuals = {wish.name: domain.Actual() for wish in wishes}
    if vm_host is not None:
        host, actuals = vm_host.look(wishes)
    assert host is not None
    check_host(module, wishes, actuals, host)
    machines = [domain.summary(wish, actuals[wish.name]) for wish in wishes]
    if module.params["compare"]:
        for wish, machine in zip(wishes, machines, strict=True):
            there = actuals[wish.name]
            strays = [] if there.domain is None else [list(one) for one in there.domain.strays]
            machine |= {"fields": domain.compared(wish, there), "strays": strays}
    result = {"changed": any(machine["actions"] for machine in machines), "virtual_machines": machines}
    for text in (text for wish in wishes for text in domain.remarks(wish, actuals[wish.name])):
        module.warn(text)
    if module._diff:
        result["diff"] = domain.diff(wishes, actuals)
    if vm_host is not None and not module.check_mode:
        try:
            vm_host.carry_out(wishes, actuals, host.arch, module.params["stop_timeout"])
        except StepError as error:
            tell(module, vm_host)
            before = [machine["name"] for machine in machines[: [w.name for w in wishes].index(error.name)]]
            done = ", ".join(step.action for step in error.done) or "nothing"
            module.fail_json(
                msg=f"{error}. Done for {error.name} before: {done}. Complete: {', '.join(before) or 'none'}. "
                "Correct the cause and run again, it goes on from here.",
                changed=bool(error.done)
                or any(machine["actions"] for machine in machines if machine["name"] in before),
            )
        tell(module, vm_host)
    if module.params["ha_directory"] and vm_host is not None:
        handed = {wish.name: vm_host.definition(wish.name) for wish in wishes if wish.ha}
        result["definitions"] = {name: text for name, text in handed.items() if text is not None}
    module.exit_json(**result)


def tell(module: AnsibleModule, vm_host: VmHost) -> None:
    """Warn of what guests did not do about their new hardware."""
    for text in vm_host.notes:
        module.warn(text)


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    given = {field: module.params[field] for field in Defaults.__dataclass_fields__}
    given = {field: tuple(value) if isinstance(value, list) else value or None for field, value in given.items()}
    given["user_data"] = json.loads(given["user_data"] or "{}")
    wishes, problems = read_wishes(module.params["virtual_machines"], Defaults(**given))
    refuse(module, problems)
    try:
        uri = module.params["uri"]
        with opened(uri, *host_stores(module.params["pool"], module.params["nfs_pools"], uri)) as stores:
            run(module, wishes, VmHost(stores, ha_directory=module.params["ha_directory"]), None)
    except LibvirtMissingError as error:
        if not module.check_mode:
            module.fail_json(msg=f"{error}; nothing was changed")
        run(module, wishes, None, domain.Host(missing=str(error)))
    except LibvirtFailedError as error:
        module.fail_json(msg=f"{error}; nothing was changed")


if __name__ == "__main__":
    main()
