# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# How long one example takes says what else the machine does, and nothing of the code.
settings.register_profile("croft", deadline=None)
settings.load_profile("croft")
