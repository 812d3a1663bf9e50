#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: drill_mark
short_description: Read the controller's monotonic clock
version_added: "0.1.0"
author: [the croft contributors (@croft)]
description:
  - Tells the time of the clock that M(croft.infra.drill_watch) measures by, which does not jump.
options:
  after:
    description: What RV(at) was before something was broken; then RV(began) tells when that was.
    type: float
  finished:
    description: When it was broken, where that is known on the same clock; earlier than O(after) it is ignored.
    type: float
attributes:
  check_mode: {support: full, description: It only reads.}
"""

EXAMPLES = r"""
- name: Note when it is broken
  croft.infra.drill_mark:
  register: before
"""

RETURN = r"""
at:
  description: The controller's monotonic clock in seconds.
  returned: success
  type: float
began:
  description: When it was broken, at the earliest.
  returned: success
  type: float
inexact:
  description: By how many seconds it may have been broken later.
  returned: success
  type: float
"""
