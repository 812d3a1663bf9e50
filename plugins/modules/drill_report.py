#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: drill_report
short_description: What a drill showed, held against the plan and a target
version_added: "0.1.0"
author: [the croft contributors (@croft)]
description:
  - Makes one time line of what all hosts saw, judges it, and writes C(drill.json) and C(drill.html) on the controller.
  - It passes when every VM that the plan has a place for is back within the target, no other VM was touched, the host
    was fenced before anything of it started, and no VM runs twice.
  - Does not fail when the drill did; RV(report) has the verdict.
options:
  kind:
    description: What was broken.
    type: str
    required: true
  host:
    description: The host that was touched.
    type: str
    default: ""
  vm:
    description: The VM that was.
    type: str
    default: ""
  target:
    description: Within how many seconds each VM has to be back.
    type: int
    required: true
  follow:
    description: What M(croft.infra.drill_request) returned.
    type: list
    elements: dict
    required: true
  hosts:
    description: >-
      Hosts that watched. What M(croft.infra.drill_watch) returned there is read from their variable C(drill_watched).
    type: list
    elements: str
    required: true
  began:
    description: When it was broken, on the controller's monotonic clock.
    type: float
    required: true
  inexact:
    description: By how many seconds O(began) may be wrong.
    type: float
    default: 0
  broken_at:
    description: When it was broken on the clock of O(host), where that is known; it makes O(began) exact.
    type: float
  directory:
    description: Where the files are written.
    type: path
    required: true
attributes:
  check_mode: {support: full, description: Nothing was broken, so nothing is written.}
"""

EXAMPLES = r"""
- name: Judge the drill
  croft.infra.drill_report:
    kind: host_kill
    host: kvm2
    target: 60
    follow: "{{ request.follow }}"
    hosts: "{{ groups['kvm_hosts'] }}"
    began: "{{ broken.began }}"
    directory: /tmp/drill
"""

RETURN = r"""
report:
  description: The report, as it stands in C(drill.json); see plugins/plugin_utils/drill/schema/drill.schema.json.
  returned: success
  type: dict
"""
