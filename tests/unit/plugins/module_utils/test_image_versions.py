# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.croft.infra.plugins.module_utils.image_versions import (
    Version,
    image_name,
    verdicts,
    volume_of,
)

OLD, OLDER, OLDEST, NOW = (f"debian-13-{digit * 12}.qcow2" for digit in "abc0")
VERSIONS = [Version(OLDEST, 1), Version(NOW, 4), Version(OLDER, 2), Version(OLD, 3), Version("web1.qcow2", 9)]


@pytest.mark.parametrize(
    ("volume", "name"),
    [
        (NOW, "debian-13"),
        ("debian-13-0123456789ab.raw", "debian-13"),
        ("debian-13.qcow2", None),
        ("debian-13-0123456789AB.qcow2", None),
        ("debian-13-0123456789ab.iso", None),
        ("web1-seed.iso", None),
    ],
)
def test_a_version_is_known_by_its_name(volume: str, name: str | None) -> None:
    assert image_name(volume) == name


@pytest.mark.parametrize(
    "location",
    [
        NOW,
        f"/var/lib/croft/pool/{NOW}",
        f"nfs://10.0.0.1/srv/{NOW}",
        f"vms/{NOW}",
        f"rbd:vms/{NOW}",
    ],
)
def test_a_volume_is_found_wherever_it_lies(location: str) -> None:
    assert volume_of(location) == NOW


@pytest.mark.parametrize(
    ("keep", "users", "removed"),
    [
        (0, {}, [OLD, OLDER, OLDEST]),
        (1, {}, [OLDER, OLDEST]),
        (2, {}, [OLDEST]),
        (9, {}, []),
        (0, {OLDER: ["VM web1"]}, [OLD, OLDEST]),
        # One in use stays anyway, and takes the place of none that is kept.
        (1, {OLD: ["croft/web1.qcow2"]}, [OLDEST]),
        (0, {volume: ["VM a"] for volume in (OLD, OLDER, OLDEST)}, []),
    ],
)
def test_only_what_nobody_needs_goes(keep: int, users: dict[str, list[str]], removed: list[str]) -> None:
    told = verdicts(VERSIONS, ["debian-13"], [NOW], users, keep)
    assert [one["volume"] for one in told] == [NOW, OLD, OLDER, OLDEST]
    assert [one["volume"] for one in told if one["remove"]] == removed
    assert told[0]["why"] == "new disks are made of it"


def test_other_names_are_not_looked_at() -> None:
    assert verdicts(VERSIONS, ["debian"], [], {}, 0) == []
    assert verdicts(VERSIONS, [], [], {}, 0) == []


def test_who_needs_a_version_is_told() -> None:
    (told,) = verdicts([Version(OLD, 1)], ["debian-13"], [], {OLD: [f"VM w{i}" for i in range(7)]}, 0)
    assert told == {"volume": OLD, "remove": False, "why": "VM w0, VM w1, VM w2, VM w3, VM w4 and 2 more need it"}
