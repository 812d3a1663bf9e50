# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that somebody publishes: which, by what checksum, what they are called, and whether a file will do. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.croft.infra.plugins.module_utils.debian_image import NAME

# Hexadecimal digits of each algorithm's digest. Weaker ones say nothing about who made a file.
DIGITS = {"sha256": 64, "sha384": 96, "sha512": 128}
FORMATS = ("qcow2", "raw")
SCHEMES = ("https", "http", "file", "ftp")
# A disk that boots has a partition table: its first sector ends in these, also with a GPT.
BOOT_SIGNATURE = b"\x55\xaa"

_CHECKSUM = re.compile(r"([a-z0-9]+):(.+)", re.ASCII)
_PLAIN_LINE = re.compile(r"([0-9a-fA-F]+) [ *](.+)")
_BSD_LINE = re.compile(r"[A-Za-z0-9-]+ \((.+)\) = ([0-9a-fA-F]+)")


@dataclass(frozen=True)
class CloudImage:
    """A published image. ``checksum`` is ``ALGORITHM:DIGEST``, or ``ALGORITHM:URL`` of a list such as SHA512SUMS."""

    name: str
    url: str
    checksum: str
    format: str = "qcow2"

    @property
    def algorithm(self) -> str:
        return self.checksum.partition(":")[0]

    @property
    def digest(self) -> str | None:
        """The digest in lower case; None when it stands in a list."""
        value = self.checksum.partition(":")[2]
        return None if "://" in value else value.lower()

    @property
    def checksum_url(self) -> str:
        return self.checksum.partition(":")[2]


def version(digest: str) -> str:
    """The end of an image's name: what is in it decides."""
    return digest[:12]


def wish_problems(images: Iterable[CloudImage]) -> list[str]:
    """One line for each thing that is wrong with what is wanted."""
    found = []
    names: list[str] = []
    for image in images:
        if not NAME.match(image.name):
            found.append(f"{image.name!r}: is no name of an image; use a-z, 0-9, '.', '_' and '-'")
        if image.name in names:
            found.append(f"{image.name}: is there twice; give each image a name of its own")
        names.append(image.name)
        if urlsplit(image.url).scheme not in SCHEMES:
            found.append(
                f"{image.name}: url is {shown(image.url)!r}; give one of {', '.join(f'{s}:' for s in SCHEMES)}"
            )
        found += [f"{image.name}: {text}" for text in _checksum_problems(image)]
    return found


def _checksum_problems(image: CloudImage) -> Iterable[str]:
    parts = _CHECKSUM.fullmatch(image.checksum)
    if parts is None or parts[1] not in DIGITS:
        yield f"checksum must begin with one of {', '.join(f'{name}:' for name in DIGITS)}"
    elif image.digest is not None and not re.fullmatch(f"[0-9a-f]{{{DIGITS[parts[1]]}}}", image.digest):
        yield f"checksum has no {DIGITS[parts[1]]} hexadecimal digits after {parts[1]}:, and no URL"


def listed_digest(listing: str, image: CloudImage) -> str | None:
    """The digest of an image in a list of checksums (sha256sum's form, or BSD's); None when it is not in there."""
    wanted = PurePosixPath(urlsplit(image.url).path).name
    for line in listing.splitlines():
        plain, bsd = _PLAIN_LINE.fullmatch(line.strip()), _BSD_LINE.fullmatch(line.strip())
        name, digest = (plain[2], plain[1]) if plain else (bsd[1], bsd[2]) if bsd else ("", "")
        if PurePosixPath(name).name == wanted and len(digest) == DIGITS[image.algorithm]:
            return digest.lower()
    return None


def content_problem(info: Mapping[str, Any], head: bytes, wanted: str) -> str | None:
    """Why a file is no image of the format ``wanted``; None when it is. ``info`` is what ``qemu-img info`` says of it,
    ``head`` its first 512 bytes."""
    kind = info.get("format")
    if kind != wanted:
        return f"is {kind}, not {wanted}; correct its url or its format"
    # An image that names another file would show a guest whatever lies there on the host.
    data = info.get("format-specific", {}).get("data", {})
    if info.get("full-backing-filename") or info.get("backing-filename") or data.get("data-file"):
        return "refers to another file; only an image that is whole in itself can be used"
    if info.get("encrypted"):
        return "is encrypted; QEMU here has no key for it"
    if wanted == "raw" and head[510:512] != BOOT_SIGNATURE:
        return "has no partition table, so it is no disk that boots; correct its url"
    return None


def shown(url: str) -> str:
    """A URL without the user and password in it."""
    return re.sub(r"//[^/@]*@", "//", url)
