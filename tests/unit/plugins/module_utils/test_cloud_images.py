# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils import cloud_images as pure
from ansible_collections.croft.infra.plugins.module_utils.cloud_images import CloudImage

DIGEST = "ab" * 32
IMAGE = CloudImage("debian-13", "https://x/y/debian.qcow2", f"sha256:{DIGEST}")
BOOTS = bytes(510) + b"\x55\xaa"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, None),
        ({"checksum": "sha512:https://x/y/SHA512SUMS"}, None),
        ({"checksum": f"sha256:{DIGEST.upper()}", "url": "file:///x"}, None),
        ({"name": "Debian 13"}, "'Debian 13': is no name of an image"),
        ({"url": "debian.qcow2"}, "debian-13: url is 'debian.qcow2'; give one of https:, http:, file:, ftp:"),
        ({"url": "x://me:secret@y/z"}, "debian-13: url is 'x://y/z'"),
        ({"checksum": "md5:abc"}, "debian-13: checksum must begin with one of sha256:, sha384:, sha512:"),
        ({"checksum": DIGEST}, "debian-13: checksum must begin with one of"),
        ({"checksum": "sha256:abc"}, "debian-13: checksum has no 64 hexadecimal digits after sha256:, and no URL"),
    ],
)
def test_what_is_wanted_is_checked_first(change: dict[str, Any], expected: str | None) -> None:
    problems = pure.wish_problems([replace(IMAGE, **change)])
    assert all(line.startswith(expected or "") for line in problems)
    assert len(problems) == (0 if expected is None else 1)


def test_a_name_is_there_once() -> None:
    assert pure.wish_problems([IMAGE, IMAGE]) == ["debian-13: is there twice; give each image a name of its own"]


@pytest.mark.parametrize(
    "line",
    [
        f"{DIGEST}  debian.qcow2",
        f"{DIGEST.upper()} *debian.qcow2",
        f"{DIGEST}  ./debian.qcow2",
        f"SHA256 (debian.qcow2) = {DIGEST}",
    ],
)
def test_a_digest_is_found_in_a_list(line: str) -> None:
    listing = f"# signed\n{'cd' * 32}  other.qcow2\n{'ef' * 64}  debian.qcow2\n{line}\n"
    assert pure.listed_digest(listing, IMAGE) == DIGEST
    assert pure.listed_digest(listing.replace(line, ""), IMAGE) is None


@pytest.mark.parametrize(
    ("info", "head", "wanted", "expected"),
    [
        ({"format": "qcow2"}, BOOTS, "qcow2", None),
        ({"format": "raw"}, BOOTS, "raw", None),
        ({"format": "raw"}, bytes(512), "raw", "has no partition table, so it is no disk that boots; correct its url"),
        ({"format": "raw"}, b"<html>", "raw", "has no partition table, so it is no disk that boots; correct its url"),
        ({"format": "raw"}, b"<html>", "qcow2", "is raw, not qcow2; correct its url or its format"),
        ({"format": "vmdk"}, BOOTS, "qcow2", "is vmdk, not qcow2; correct its url or its format"),
        ({"format": "qcow2", "backing-filename": "/etc/shadow"}, BOOTS, "qcow2", "refers to another file"),
        (
            {"format": "qcow2", "format-specific": {"data": {"data-file": "/dev/sda"}}},
            BOOTS,
            "qcow2",
            "refers to another file",
        ),
        ({"format": "qcow2", "encrypted": True}, BOOTS, "qcow2", "is encrypted"),
    ],
)
def test_what_is_in_a_file_is_looked_at(info: dict[str, Any], head: bytes, wanted: str, expected: str | None) -> None:
    problem = pure.content_problem(info, head, wanted)
    assert problem is None if expected is None else str(problem).startswith(expected)
