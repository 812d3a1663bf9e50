# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mark of a host that takes no VM: a file on the host itself, so that every controller sees it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MARK = Path("/etc/croft/maintenance.json")


def read_maintenance() -> dict[str, Any] | None:
    """What playbooks/drain.yml left on the host; None when it takes VMs."""
    try:
        about = json.loads(MARK.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {"reason": f"{MARK} cannot be read"}
    return {"reason": str(about.get("reason", "")) if isinstance(about, dict) else ""}


def write_maintenance(about: Mapping[str, Any] | None) -> None:
    """Leave the mark, whole or not at all; None takes it away. Raises OSError."""
    if about is None:
        MARK.unlink(missing_ok=True)
        return
    MARK.parent.mkdir(mode=0o755, exist_ok=True)
    new = MARK.with_suffix(".new")
    new.write_text(json.dumps(about, indent=4, ensure_ascii=False) + "\n")
    new.chmod(0o644)
    new.replace(MARK)
