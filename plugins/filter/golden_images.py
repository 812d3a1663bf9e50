# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: golden_images
short_description: What the golden images are called in a pool
description:
  - Gives each image its volume, which is named by the image and by what is in it, so that versions lie side by side.
options:
  _input:
    description: >-
      The results of M(croft.infra.debian_image) in a loop over images with a C(name), and the RV(images) of
      M(croft.infra.cloud_images).
    type: list
    elements: dict
    required: true
  default:
    description: The image of VMs that name none.
    type: str
    required: true
  volume_format:
    description: What the images are in the pool.
    type: str
    choices: [qcow2, raw]
    default: qcow2
positional: default, volume_format
author: the croft contributors
"""

EXAMPLES = r"""
- name: Tell the volumes
  ansible.builtin.debug:
    msg: "{{ (built.results + fetched.images) | croft.infra.golden_images('debian-13') }}"
"""

RETURN = r"""
_value:
  description: >-
    C(images), a list of C(name), C(path) on the controller and C(volume); C(volumes), the volume by name; C(default),
    the image of VMs that name none.
  type: dict
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.croft.infra.plugins.plugin_utils.golden_images import NoImagesError
from ansible_collections.croft.infra.plugins.plugin_utils.golden_images import golden_images as told


def golden_images(found: Iterable[Mapping[str, Any]], default: str, volume_format: str = "qcow2") -> dict[str, Any]:
    """See the documentation above."""
    images = [{**one, "name": one["item"]["name"]} if "item" in one else one for one in found]
    try:
        return told(images, default, volume_format)
    except NoImagesError as error:
        raise AnsibleFilterError(f"croft.infra.golden_images: {error}") from error


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"golden_images": golden_images}
