# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils.storage_pools import (
    Device,
    Host,
    Signature,
    complete,
    label_of,
    pool_problems,
)

DIR = {"name": "croft", "type": "dir", "path": "/pool", "device": "/dev/sdb"}
LVM = {"name": "vg0", "type": "logical", "devices": ["/dev/sdb"]}
EXT4 = (Signature("ext4", "data"),)


def host(device: Device | None = None, **change: Any) -> Host:
    return Host(devices={"/dev/sdb": device} if device else {}, **change)


@pytest.mark.parametrize(
    ("pool", "there"),
    [
        pytest.param({"name": "p", "path": "/pool"}, host(), id="a plain directory"),
        pytest.param(DIR, host(Device()), id="an empty disk"),
        pytest.param(
            DIR, host(Device(signatures=(Signature("ext4", "croft-croft"),))), id="formatted, the mount is missing"
        ),
        pytest.param(DIR, host(Device(signatures=EXT4, mounted_at="/pool")), id="mounted where it belongs"),
        pytest.param(DIR, host(Device(), pools={"croft": "/pool"}), id="in libvirt already"),
        pytest.param(LVM, host(Device()), id="an empty disk for LVM"),
        pytest.param(
            LVM,
            host(Device(signatures=(Signature("LVM2_member"),)), volume_groups={"/dev/sdb": "vg0"}),
            id="its own group",
        ),
    ],
)
def test_a_pool_that_can_be_made(pool: dict[str, Any], there: Host) -> None:
    assert pool_problems([pool], there) == []


@pytest.mark.parametrize(
    ("pool", "there", "says"),
    [
        pytest.param({"name": "p"}, host(), "has no path", id="no path"),
        pytest.param(DIR, host(), "is not there", id="no such device"),
        pytest.param(DIR, host(Device(block=False)), "not a block device", id="a file"),
        pytest.param(DIR, host(Device(signatures=EXT4)), "is not empty (ext4)", id="somebody's data"),
        pytest.param(DIR, host(Device(signatures=(Signature("dos"),))), "is not empty (dos)", id="a partition table"),
        pytest.param(DIR, host(Device(signatures=EXT4, mounted_at="/srv")), "is mounted at /srv", id="in use"),
        pytest.param(
            DIR, host(Device(), pools={"croft": "/other"}), "libvirt has it at /other", id="the pool is elsewhere"
        ),
        pytest.param(LVM, host(Device(), device_mapper=False), "no device mapper", id="a kernel without LVM"),
        pytest.param({"name": "vg0", "type": "logical"}, host(), "has no devices", id="LVM of nothing"),
        pytest.param(
            LVM,
            host(Device(signatures=(Signature("LVM2_member"),)), volume_groups={"/dev/sdb": "other"}),
            "is not empty (LVM2_member)",
            id="another group's",
        ),
    ],
)
def test_a_pool_that_cannot_be_made(pool: dict[str, Any], there: Host, says: str) -> None:
    problems = pool_problems([pool], there)
    assert len(problems) == 1
    assert says in problems[0]
    assert problems[0].startswith(f"storage pool {pool['name']}: ")


def test_two_pools_do_not_share_a_disk_or_a_name() -> None:
    problems = pool_problems([DIR, {**DIR}], host(Device()))
    assert any("is taken by storage pool croft" in line for line in problems)
    assert any("is there twice" in line for line in problems)


def test_a_label_fits_every_file_system() -> None:
    assert len(label_of("a-very-long-pool-name")) == 12


def test_defaults_are_filled_in() -> None:
    assert complete({"name": "p", "path": "/pool"}) == {
        "name": "p",
        "type": "dir",
        "path": "/pool",
        "device": "",
        "devices": [],
        "filesystem": "ext4",
        "label": "croft-p",
        "volume_group": "p",
        "owner": "root",
    }
    assert complete(LVM)["path"] == "/dev/vg0"
