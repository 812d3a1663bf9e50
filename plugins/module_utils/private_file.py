# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that only their owner can read."""

from __future__ import annotations

import os
from pathlib import Path


def write_privately(file: Path, text: str) -> None:
    """Write a file so that nobody else could read it at any time, and that no half of it is ever there."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = file.with_name(f"{file.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())
    fresh.rename(file)
