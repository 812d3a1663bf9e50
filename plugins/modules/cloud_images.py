#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cloud_images
short_description: Fetch published disk images, by URL and checksum
description:
  - Has each image in O(cache_dir), under its name, the first digits of its checksum, and C(.qcow2). One that is there
    is not fetched again. Older versions stay.
  - An image gets its name when it is whole, its checksum is right, and QEMU finds a sound disk of its format in it that
    refers to no other file. What is wrong with any of the images is told in one failure; those that are right are kept.
  - A raw image is kept as qcow2.
version_added: 0.1.0
author: the croft contributors
options:
  images:
    description: The images.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: "What the image is called.", type: str, required: true}
      url: {description: "Where it is; C(https:), C(http:), C(file:) or C(ftp:).", type: str, required: true}
      checksum:
        description:
          - C(sha256:), C(sha384:) or C(sha512:), and the digest or the URL of a list that has it, such as SHA512SUMS.
          - With a list, a new image that is published at the same URL is a new version.
        type: str
        required: true
      format: {description: "What is published.", type: str, choices: [qcow2, raw], default: qcow2}
  cache_dir:
    description: Where images are kept. Made when it is not there.
    type: path
    default: /var/cache/croft/images
  timeout:
    description: Seconds that a server may be silent.
    type: int
    default: 60
requirements: [qemu-utils]
attributes:
  check_mode:
    support: full
    description: Says which images would be fetched. Lists of checksums are read, images are not.
  diff_mode: {support: none, description: There is nothing to show.}
"""

EXAMPLES = r"""
- name: Have Debian's own image
  croft.infra.cloud_images:
    images:
      - name: debian-13
        url: https://cloud.debian.org/images/cloud/trixie/latest/debian-13-generic-amd64.qcow2
        checksum: sha512:https://cloud.debian.org/images/cloud/trixie/latest/SHA512SUMS
"""

RETURN = r"""
images:
  description: The images in the order in which they were given.
  returned: success
  type: list
  elements: dict
  contains:
    name: {description: What it is called., type: str}
    path: {description: The file, type: str, sample: /var/cache/croft/images/debian-13-4f1c2d9a0b37.qcow2}
    hash: {description: Its version, the first 12 digits of its checksum., type: str}
fetched:
  description: The names of those that were fetched, or would be in check mode.
  returned: success
  type: list
  elements: str
"""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import fetch_url
from ansible_collections.croft.infra.plugins.module_utils import cloud_images as pure
from ansible_collections.croft.infra.plugins.module_utils.debian_image import last_words

_CHUNK = 1024 * 1024
_LIST_BYTES = 16 * 1024 * 1024
_OK = 200


class FetchError(Exception):
    """An image cannot be had; the text is the end of a line that begins with its name."""


@contextmanager
def response(module: AnsibleModule, url: str) -> Iterator[Any]:
    """The open answer to a request for a URL."""
    answer, info = fetch_url(module, url, timeout=module.params["timeout"])
    if answer is None or (info["status"] not in (_OK, None) and not url.startswith("file:")):
        said = " ".join(str(info.get("msg", "")).split())
        raise FetchError(
            f"{pure.shown(url)} cannot be read: {pure.shown(said)}; correct the url, or look at the server"
        )
    with answer:
        yield answer


def digest_of(module: AnsibleModule, image: pure.CloudImage) -> str:
    if image.digest is not None:
        return image.digest
    with response(module, image.checksum_url) as answer:
        listing = answer.read(_LIST_BYTES).decode(errors="replace")
    found = pure.listed_digest(listing, image)
    if found is None:
        raise FetchError(f"{pure.shown(image.checksum_url)} has no {image.algorithm} of {pure.shown(image.url)}")
    return found


def download(module: AnsibleModule, image: pure.CloudImage, digest: str, part: Path) -> None:
    """Fetch into a file, and believe it when its checksum is right."""
    running = hashlib.new(image.algorithm)
    with response(module, image.url) as answer, part.open("wb") as file:
        try:
            while chunk := answer.read(_CHUNK):
                running.update(chunk)
                file.write(chunk)
        except (OSError, HTTPException) as error:
            raise FetchError(f"{pure.shown(image.url)} broke off: {error}") from error
    if running.hexdigest() != digest:
        raise FetchError(
            f"{pure.shown(image.url)} has the {image.algorithm} {running.hexdigest()}, wanted {digest}; it is another "
            "version than the inventory says, or was changed on its way"
        )


def as_qcow2(module: AnsibleModule, image: pure.CloudImage, part: Path) -> None:
    """Look at what is in the file, and make qcow2 of it where it is something else."""
    code, told, err = module.run_command(["qemu-img", "info", "--output=json", str(part)])
    if code != 0:
        raise FetchError(f"cannot be read by qemu-img: {last_words(err)}")
    with part.open("rb") as file:
        problem = pure.content_problem(json.loads(told), file.read(512), image.format)
    if problem:
        raise FetchError(problem)
    if image.format == "qcow2":
        code, out, err = module.run_command(["qemu-img", "check", "-q", "-f", "qcow2", str(part)])
        # 3: clusters are lost, which is waste and no damage (qemu-img(1)).
        if code not in (0, 3):
            raise FetchError(f"is damaged: {last_words(out + chr(10) + err)}")
        return
    made = part.with_suffix(".qcow2")
    code, _out, err = module.run_command(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(part), str(made)])
    if code != 0:
        raise FetchError(f"cannot be made qcow2: {last_words(err)}")
    made.replace(part)


def have(module: AnsibleModule, image: pure.CloudImage, digest: str, target: Path) -> bool:
    """Have the image under its name; whether it was not there."""
    if target.exists():
        return False
    if module.check_mode:
        return True
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with (target.parent / f".{image.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            return False
        part = target.parent / f".fetching-{image.name}-{pure.version(digest)}"
        try:
            download(module, image, digest, part)
            as_qcow2(module, image, part)
            part.chmod(0o644)
            part.rename(target)
        finally:
            for leftover in (part, part.with_suffix(".qcow2")):
                leftover.unlink(missing_ok=True)
    return True


def main() -> None:
    image = {
        "name": {"required": True},
        "url": {"required": True},
        "checksum": {"required": True},
        "format": {"default": "qcow2", "choices": list(pure.FORMATS)},
    }
    module = AnsibleModule(
        argument_spec={
            "images": {"type": "list", "elements": "dict", "required": True, "options": image},
            "cache_dir": {"type": "path", "default": "/var/cache/croft/images"},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    wanted = [pure.CloudImage(**entry) for entry in module.params["images"]]
    problems = pure.wish_problems(wanted)
    if wanted and not module.check_mode and shutil.which("qemu-img") is None:
        problems.append("qemu-img is not installed (Debian package qemu-utils); it looks into the images")
    found, fetched = [], []
    for one in wanted if not problems else []:
        try:
            digest = digest_of(module, one)
            path = Path(module.params["cache_dir"], f"{one.name}-{pure.version(digest)}.qcow2")
            if have(module, one, digest, path):
                fetched.append(one.name)
            found.append({"name": one.name, "path": str(path), "hash": pure.version(digest)})
        except (FetchError, OSError) as error:
            problems.append(f"{one.name}: {error}")
    if problems:
        lines = "\n".join(f"- {problem}" for problem in problems)
        module.fail_json(msg=f"These images cannot be used:\n{lines}", problems=problems, changed=bool(fetched))
    module.exit_json(changed=bool(fetched), images=found, fetched=fetched)


if __name__ == "__main__":
    main()
