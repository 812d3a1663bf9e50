# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends ansible-playbook without a last word before its task number CROFT_KILLED_AT, as a power cut would."""

from __future__ import annotations

import os
import signal
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: croft_killed
type: aggregate
short_description: End a run at the boundary between two tasks
description: For tests. Counts the tasks that begin into the file CROFT_KILLED_COUNT.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "croft_killed"
    CALLBACK_NEEDS_ENABLED = True

    begun = 0

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self.begun += 1
        with open(os.environ["CROFT_KILLED_COUNT"], "w", encoding="utf-8") as count:
            count.write(str(self.begun))
        if self.begun == int(os.environ.get("CROFT_KILLED_AT", "0")):
            os.kill(os.getpid(), signal.SIGKILL)
