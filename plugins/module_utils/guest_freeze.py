# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A running guest's file systems held still for a moment, so that a copy of its disks is whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    agent_answers,
    bindings,
    quietly,
    words,
)

_AGENT_SECONDS = 5


@contextmanager
def frozen(domain: Any) -> Iterator[str | None]:
    """The file systems are frozen by the guest's agent meanwhile; gives None, or why they are not."""
    reason = agent_answers(domain, _AGENT_SECONDS)
    if reason is None:
        try:
            domain.fsFreeze()
        except bindings().libvirtError as error:
            reason = words(error)
    try:
        yield reason
    finally:
        if reason is None:
            quietly(domain.fsThaw)


def not_frozen(name: str, reason: str, made: str) -> str:
    """What somebody is told whose snapshot, backup or copy (``made``) came about without that."""
    return f"{name}: its agent did not freeze its file systems ({reason}); the {made} is as its disk after a power cut"
