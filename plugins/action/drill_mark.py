# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's monotonic clock, to which everything in a drill refers."""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.action import ActionBase

# A node of the lab is off, or cut off, for less than this when it is said to be.
FINISHED_SECONDS = 1.0


class ActionModule(ActionBase):  # type: ignore[misc]
    """See modules/drill_mark.py for the documentation."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, given = self.validate_argument_spec({"after": {"type": "float"}, "finished": {"type": "float"}})
        now = time.monotonic()
        after, finished = given["after"], given["finished"]
        began, inexact = (now, 0.0) if after is None else (after, now - after)
        # What was finished before is another drill's.
        if finished is not None and began <= finished <= now:
            began, inexact = finished, min(inexact, FINISHED_SECONDS)
        return {**result, "changed": False, "at": now, "began": began, "inexact": inexact}
