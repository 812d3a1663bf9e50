# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The golden images of a deployment: what each is called in a pool."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.croft.infra.plugins.plugin_utils.sizing.values import did_you_mean


class NoImagesError(ValueError):
    """The images cannot be told apart, or the one for VMs that name none is not among them."""


def golden_images(images: Iterable[Mapping[str, Any]], default: str, volume_format: str) -> dict[str, Any]:
    """``images`` with the volume of each, ``volumes`` by name, and the ``default`` one.

    ``images`` have ``name``, ``path`` (the file on the controller) and ``hash``. Raises NoImagesError.
    """
    known = [
        {"name": one["name"], "path": one["path"], "volume": f"{one['name']}-{one['hash']}.{volume_format}"}
        for one in images
    ]
    counts = Counter(one["name"] for one in known)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise NoImagesError(f"{', '.join(twice)}: is there twice; give each image of vm_image_list a name of its own")
    chosen = next((one for one in known if one["name"] == default), None)
    if chosen is None:
        raise NoImagesError(f"vm_image_default is '{default}', which is no image; {did_you_mean(default, counts)}")
    return {"images": known, "volumes": {one["name"]: one["volume"] for one in known}, "default": chosen}
