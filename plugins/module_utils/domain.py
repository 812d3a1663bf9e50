# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wished for a VM, what is there, and what has to be done about the difference. Pure: no host is touched here.

Check mode and the real run both report what these functions say, so the one predicts the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils.seed import FirstBoot

GIB = 1024**3

# Pools whose volumes are files, those whose volumes are block devices of the host, and those of a Ceph cluster.
FILE_POOLS = ("dir", "fs", "netfs")
BLOCK_POOLS = ("logical",)
RBD_POOL = "rbd"

# The words of cpu_model that name no model; anything else does.
CPU_MODES = ("host-model", "host-passthrough", "maximum")
# CPU that a guest is given when the inventory does not say: with KVM the host's model by name, which a live migration
# can check on the other side; QEMU's own translator (TCG) has no host model, "maximum" is all that it can do.
DEFAULT_CPU = {"kvm": "host-model", "tcg": "maximum"}


@dataclass(frozen=True)
class Wish:
    """One VM as the inventory wants it. `disk_bytes` None: as large as the image, and never changed.

    `ha`: a cluster starts and stops it, and has its definition; libvirt knows it only while it runs.
    """

    name: str
    uuid: str
    mac: str
    vcpus: int
    memory_mib: int
    image: str
    network: str
    first_boot: FirstBoot
    disk_bytes: int | None = None
    state: str = "running"
    autostart: bool = True
    accelerator: str = "kvm"
    cpu_model: str = "host-model"
    clone: str = "linked"
    ha: bool = False

    def fields(self) -> Fields:
        return Fields(
            vcpus=self.vcpus,
            memory_mib=self.memory_mib,
            network=self.network,
            mac=self.mac,
            accelerator=self.accelerator,
            cpu_model=self.cpu_model,
            first_boot_data=self.first_boot.digest,
        )


@dataclass(frozen=True)
class Fields:
    """The fields of a domain that croft manages. `first_boot_data` is FirstBoot.digest."""

    vcpus: int
    memory_mib: int
    network: str | None
    mac: str | None
    accelerator: str
    cpu_model: str | None
    first_boot_data: str | None

    def differences(self, wanted: Fields) -> list[tuple[str, Any, Any]]:
        """(field, here, wanted) for each field that differs, in a fixed order."""
        pairs = ((name, getattr(self, name), getattr(wanted, name)) for name in self.__dataclass_fields__)
        return [(name, here, there) for name, here, there in pairs if here != there]


@dataclass(frozen=True)
class Domain:
    """A domain that is defined on the host.

    `state` is running, stopped, paused, shutting_down, crashed or suspended. `live` is None unless it is active.
    `disk_bytes` is None when the volume of its root disk is not there. `seed` is attached, detached (the domain has no
    such disk), missing (it has, the volume is gone from the pool) or lost (the same, elsewhere than in this pool).
    `handed_over`: the cluster has its definition and libvirt has none.
    """

    uuid: str
    managed: bool
    state: str
    autostart: bool
    config: Fields
    live: Fields | None = None
    persistent: bool = True
    disk_path: str | None = None
    disk_bytes: int | None = None
    seed: str = "attached"
    handed_over: bool = False


@dataclass(frozen=True)
class Actual:
    """What there is of a VM on the host: its domain, and volumes that bear its names in the pool.

    `seed` is absent, empty, building, ready (these two: of this VM, see seed.read_mark) or foreign. Both are only
    looked at when there is no domain.
    """

    domain: Domain | None = None
    root_bytes: int | None = None
    seed: str = "absent"


@dataclass(frozen=True)
class Image:
    """A golden image: a volume of the pool. `bytes` is its virtual size."""

    path: str
    format: str
    bytes: int


@dataclass(frozen=True)
class Host:
    """What the VMs of a host share. `missing` says why there is no libvirt (None: there is).

    `cpu_models` are those that libvirt knows by name; empty where it does not tell.
    """

    missing: str | None = None
    arch: str = "x86_64"
    pool_type: str | None = None
    pool_path: str = ""
    pool_active: bool = True
    images: Mapping[str, Image] = field(default_factory=dict)
    volumes: frozenset[str] = frozenset()
    networks: Mapping[str, bool] = field(default_factory=dict)
    uuids: Mapping[str, str] = field(default_factory=dict)
    macs: Mapping[str, str] = field(default_factory=dict)
    iso_tool: str | None = None
    cpu_models: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Action:
    """One step; `action` is a stable word, `detail` is for people."""

    action: str
    detail: str

    def as_dict(self) -> dict[str, str]:
        return {"action": self.action, "detail": self.detail}


def root_volume(name: str, pool_type: str | None) -> str:
    """The name of the root disk's volume: qcow2 in pools of files, raw in others."""
    return f"{name}.raw" if pool_type in (*BLOCK_POOLS, RBD_POOL) else f"{name}.qcow2"


def volume_format(pool_type: str | None, fmt: str) -> str | None:
    """The format of a volume that were ``fmt`` in a file; None where it is a block device, which libvirt gives none."""
    if pool_type in BLOCK_POOLS:
        return None
    return "raw" if pool_type == RBD_POOL else fmt


def stored_as(volume: str, fmt: str, pool_type: str | None) -> tuple[str, str | None]:
    """(name, format) of a volume when it lies in a pool of this type; a root disk's name ends with its format."""
    stem, _dot, suffix = volume.rpartition(".")
    if suffix not in ("qcow2", "raw"):
        return volume, volume_format(pool_type, fmt)
    return root_volume(stem, pool_type), volume_format(pool_type, "qcow2")


def seed_volume(name: str) -> str:
    """The name of the volume with the first-boot data."""
    return f"{name}-seed.iso"


def gib(size: int) -> str:
    """Bytes as GiB for people: 10 GiB, 1.5 GiB."""
    return f"{round(size / GIB, 2):g} GiB"


def actions(wish: Wish, actual: Actual) -> list[Action]:
    """The steps, in order, that make `wish` true; empty when it is. Only for a VM without problems()."""
    steps = _steps_for_new(wish, actual) if actual.domain is None else _steps_for_domain(wish, actual.domain)
    return [Action(word, detail) for word, detail in steps]


def _steps_for_new(wish: Wish, actual: Actual) -> Iterable[tuple[str, str]]:
    yield "write_seed", f"first-boot data {wish.first_boot.digest}"
    size = gib(wish.disk_bytes) if wish.disk_bytes else "as large as the image"
    how = "linked clone" if wish.clone == "linked" else "full copy"
    if actual.root_bytes is None:
        yield "create_disk", f"{how} of {wish.image}, {size}"
    elif actual.seed == "building":
        yield "recreate_disk", f"{how} of {wish.image}, {size}; an earlier run was cut off while it made this disk"
    elif wish.disk_bytes and wish.disk_bytes > actual.root_bytes:
        yield "grow_disk", f"{gib(actual.root_bytes)} -> {size}"
    yield "define", f"{wish.vcpus} vCPU, {wish.memory_mib} MiB, network {wish.network}, {wish.accelerator}"
    if wish.ha:
        return
    if wish.autostart:
        yield "set_autostart", "on"
    if wish.state == "running":
        yield "start", "stopped -> running"


def _steps_for_domain(wish: Wish, domain: Domain) -> Iterable[tuple[str, str]]:
    if wish.state == "stopped" and domain.state == "running" and not wish.ha:
        yield "stop", "running -> stopped, by asking the guest"
    changes = _changes(wish, domain, domain.config)
    if domain.seed == "missing" or any(name == "first_boot_data" for name, _here, _there in changes):
        yield "write_seed", f"first-boot data {domain.config.first_boot_data} -> {wish.first_boot.digest}"
    if wish.disk_bytes and domain.disk_bytes and wish.disk_bytes > domain.disk_bytes:
        yield "grow_disk", f"{gib(domain.disk_bytes)} -> {gib(wish.disk_bytes)}"
    if changes:
        yield "redefine", ", ".join(f"{name} {here} -> {there}" for name, here, there in changes)
    elif not domain.persistent and not wish.ha:
        yield "redefine", "transient -> persistent"
    if wish.ha:
        if not domain.handed_over:
            yield "hand_over", "its definition, to the cluster"
        return
    if wish.autostart != domain.autostart:
        yield "set_autostart", "on" if wish.autostart else "off"
    if wish.state == "running" and domain.state == "stopped":
        yield "start", "stopped -> running"


def _changes(wish: Wish, domain: Domain, here: Fields) -> list[tuple[str, Any, Any]]:
    """What differs; first-boot data of a guest whose seed was detached cannot reach it any more and is left alone."""
    found = here.differences(wish.fields())
    return [change for change in found if change[0] != "first_boot_data" or domain.seed != "detached"]


def needs_restart(wish: Wish, actual: Actual) -> list[dict[str, Any]]:
    """The fields that the running VM still has otherwise than wished: [{field, running, wanted}]."""
    domain = actual.domain
    if domain is None or domain.live is None or state_after(wish, actual) == "stopped":
        return []
    changes = _changes(wish, domain, domain.live)
    return [{"field": name, "running": here, "wanted": there} for name, here, there in changes]


def state_after(wish: Wish, actual: Actual) -> str:
    """The VM's state when the actions were carried out."""
    if wish.ha:
        return "stopped" if actual.domain is None else actual.domain.state
    settled = actual.domain is None or actual.domain.state in ("running", "stopped")
    return wish.state if settled or actual.domain is None else actual.domain.state


def remarks(wish: Wish, actual: Actual) -> list[str]:
    """What a person should know, and croft does not act on."""
    domain = actual.domain
    if domain is None:
        return []
    fields = [f"{entry['field']} (has {entry['running']})" for entry in needs_restart(wish, actual)]
    waits = [f"{wish.name}: stop and start it to bring these into force: {', '.join(fields)}"] if fields else []
    if domain.state in ("running", "stopped"):
        return waits
    return [
        *waits,
        f"{wish.name}: is {domain.state}, wanted {wish.state}; it is left so, since croft does not know the "
        f"reason: 'virsh domstate --reason {wish.name}' tells it",
    ]


def problems(wishes: list[Wish], actuals: Mapping[str, Actual], host: Host) -> list[str]:
    """Everything that forbids to begin, one line each."""
    found: list[str] = []
    for wish in wishes:
        actual = actuals.get(wish.name, Actual())
        found += [f"{wish.name}: {text}" for text in _identity_problems(wish, actual, host)]
        check = _new_problems(wish, actual, host) if actual.domain is None else _domain_problems(wish, actual.domain)
        found += [f"{wish.name}: {text}" for text in check]
    return found


def _identity_problems(wish: Wish, actual: Actual, host: Host) -> Iterable[str]:
    for word, value, owners in (("UUID", wish.uuid, host.uuids), ("MAC address", wish.mac, host.macs)):
        owner = owners.get(value, wish.name)
        if owner != wish.name:
            yield f"the {word} {value} already belongs to the domain {owner}; give one of them another"
    if actual.domain is not None and actual.domain.managed and actual.domain.uuid != wish.uuid:
        yield f"the domain has the UUID {actual.domain.uuid}, wanted {wish.uuid}; a UUID cannot be changed"


def _new_problems(wish: Wish, actual: Actual, host: Host) -> Iterable[str]:
    root = root_volume(wish.name, host.pool_type)
    if wish.clone == "linked" and host.pool_type in BLOCK_POOLS:
        yield f"a {host.pool_type} pool cannot hold linked clones; set clone to full"
    if root == wish.image:
        yield f"its disk would have the name of the image {wish.image}; rename the VM or the image"
    if actual.seed == "foreign":
        yield f"the volume {seed_volume(wish.name)} is there and not of this VM; remove or rename it"
    if actual.root_bytes is not None and actual.seed not in ("building", "ready"):
        yield f"the volume {root} is there and not of this VM; remove or rename it, or give the VM another name"
    elif actual.root_bytes is not None and actual.seed == "ready":
        yield from _shrink(wish, actual.root_bytes)
    image = host.images.get(wish.image)
    if image is not None and wish.disk_bytes is not None and wish.disk_bytes < image.bytes:
        yield f"disk_gib is {gib(wish.disk_bytes)}, the image {wish.image} needs at least {gib(image.bytes)}"


def _domain_problems(wish: Wish, domain: Domain) -> Iterable[str]:
    if not domain.managed:
        yield "a domain of that name is there and was not made by croft; rename one of them"
        return
    if domain.disk_bytes is None:
        yield (
            f"its disk {domain.disk_path or '(vda)'} is not there; bring it back (is its storage mounted, its pool "
            "active?), or undefine the domain to have it made anew"
        )
    else:
        yield from _shrink(wish, domain.disk_bytes)
    if domain.seed == "lost":
        yield "the volume of its disk vdb (first-boot data) is gone; detach that disk from the domain"


def _shrink(wish: Wish, size: int) -> Iterable[str]:
    if wish.disk_bytes is not None and wish.disk_bytes < size:
        yield f"disk_gib is {gib(wish.disk_bytes)}, its disk has {gib(size)}; a disk is never made smaller"


def host_problems(
    wishes: list[Wish], actuals: Mapping[str, Actual], host: Host, pool: str
) -> tuple[list[str], list[str]]:
    """(problems, not yet there): what the host lacks for these VMs.

    The second list holds what an earlier step of a deployment brings (libvirt, the pool, the image, the network, the
    ISO tool): an obstacle for a real run, an assumption for check mode.
    """
    if host.missing is not None:
        return [], [host.missing]
    found: list[str] = []
    lacking: list[str] = []
    new = [wish for wish in wishes if actuals.get(wish.name, Actual()).domain is None]
    if host.pool_type is None:
        lacking.append(f"the storage pool {pool} is not defined")
    elif not host.pool_active:
        lacking.append(f"the storage pool {pool} is not active")
    elif host.pool_type not in (*FILE_POOLS, *BLOCK_POOLS, RBD_POOL):
        known = ", ".join((*FILE_POOLS, *BLOCK_POOLS, RBD_POOL))
        found.append(f"the storage pool {pool} is of type {host.pool_type}; known are {known}")
    else:
        for image in sorted({wish.image for wish in new} - set(host.images)):
            lacking.append(f"the image {image} is not in the storage pool {pool}")
    steps = {wish.name: {step.action for step in actions(wish, actuals.get(wish.name, Actual()))} for wish in wishes}
    uses_network = {wish.network for wish in wishes if steps[wish.name] & {"define", "redefine", "start"}}
    for model in sorted({wish.cpu_model for wish in wishes} - set(CPU_MODES) - host.cpu_models):
        if host.cpu_models:
            found.append(
                f"the CPU model {model} is not known here; 'virsh cpu-models {host.arch}' lists those that are"
            )
    for network in sorted(uses_network):
        if not host.networks.get(network, False):
            lacking.append(f"the network {network} is not {'active' if network in host.networks else 'defined'}")
    if host.iso_tool is None and any("write_seed" in words for words in steps.values()):
        lacking.append("xorrisofs is not installed (Debian package xorriso); it makes the first-boot data")
    return found, lacking


def summary(wish: Wish, actual: Actual) -> dict[str, Any]:
    """The VM's entry in the module's result."""
    return {
        "name": wish.name,
        "uuid": wish.uuid,
        "mac": wish.mac,
        "state": state_after(wish, actual),
        "actions": [step.as_dict() for step in actions(wish, actual)],
        "needs_restart": needs_restart(wish, actual),
    }


def diff(wishes: list[Wish], actuals: Mapping[str, Actual]) -> dict[str, str]:
    """Ansible's diff: before and after of every VM with something to do, in YAML."""
    before: list[str] = []
    after: list[str] = []
    for wish in wishes:
        actual = actuals.get(wish.name, Actual())
        if not actions(wish, actual):
            continue
        domain = actual.domain
        if domain is not None:
            before += _block(wish.name, domain.state, domain.autostart, domain.disk_bytes, domain.config)
        size = wish.disk_bytes or (domain.disk_bytes if domain is not None else None)
        after += _block(wish.name, state_after(wish, actual), wish.autostart, size, wish.fields())
    return {"before": "".join(before), "after": "".join(after)}


def _block(name: str, state: str, autostart: bool, disk_bytes: int | None, fields: Fields) -> list[str]:
    values: dict[str, Any] = {"state": state, "autostart": autostart}
    if disk_bytes is not None:
        values["disk_gib"] = f"{round(disk_bytes / GIB, 2):g}"
    values |= {key: getattr(fields, key) for key in fields.__dataclass_fields__}
    lines = [f"  {key}: {str(value).lower() if isinstance(value, bool) else value}\n" for key, value in values.items()]
    return [f"{name}:\n", *lines]
