# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests are asked to shut down, all at once, and waited for in common. None is ever killed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import bindings, words


class StopError(Exception):
    """A guest cannot be asked; ``name`` is the VM's, the text says why."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name = name


def shut_down(domains: Sequence[Any], patience: int, sleep: Callable[[float], None]) -> list[str]:
    """Ask running guests to shut down; the names of those that still run after ``patience`` seconds.

    Seconds are counted by looks, since the wall clock may jump. Raises StopError.
    """
    for domain in domains:
        try:
            domain.shutdown()
        except bindings().libvirtError as error:
            raise StopError(domain.name(), words(error)) from error
    late = list(domains)
    for _look in range(patience):
        late = [domain for domain in late if domain.isActive()]
        if not late:
            return []
        sleep(1)
    return [domain.name() for domain in late if domain.isActive()]
