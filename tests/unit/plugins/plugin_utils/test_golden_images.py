# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.croft.infra.plugins.filter.golden_images import golden_images

BUILT = {"item": {"name": "croft-guest"}, "path": "/c/croft-guest-1.qcow2", "hash": "1", "changed": False}
FETCHED = {"name": "debian", "path": "/c/debian-2.qcow2", "hash": "2"}


@pytest.mark.parametrize("volume_format", ["qcow2", "raw"])
def test_a_volume_is_named_by_the_image_and_what_is_in_it(volume_format: str) -> None:
    told = golden_images([BUILT, FETCHED], "debian", volume_format)
    assert told["volumes"] == {"croft-guest": f"croft-guest-1.{volume_format}", "debian": f"debian-2.{volume_format}"}
    assert told["default"] == {"name": "debian", "path": "/c/debian-2.qcow2", "volume": f"debian-2.{volume_format}"}
    assert [image["path"] for image in told["images"]] == [BUILT["path"], FETCHED["path"]]


@pytest.mark.parametrize(
    ("images", "default", "expected"),
    [
        ([BUILT], "croft-gest", "vm_image_default is 'croft-gest', which is no image; did you mean 'croft-guest'"),
        ([FETCHED, FETCHED], "debian", "debian: is there twice"),
    ],
)
def test_what_cannot_be_told_apart(images: list[dict[str, Any]], default: str, expected: str) -> None:
    with pytest.raises(AnsibleFilterError, match=expected):
        golden_images(images, default)
