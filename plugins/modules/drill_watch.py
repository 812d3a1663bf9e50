#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: drill_watch
short_description: Watch a failover from one host
version_added: "0.1.0"
author: [the croft contributors (@croft)]
description:
  - Takes samples of the host by M(croft.infra.drill_sample), and asks the guests from the controller twice a second,
    until all VMs that are to come back answer, or the time is up.
  - Run on each host that lives. It finds nothing wrong by itself; P(croft.infra.drill_report#filter) judges.
options:
  began:
    description: When it was broken, in seconds of the controller's monotonic clock.
    type: float
    required: true
  follow:
    description: The VMs to watch, as P(croft.infra.drill_request#filter) gives them.
    type: list
    elements: dict
    required: true
  port:
    description: A TCP port of the guests that greets whoever connects, as SSH does. 0 leaves it to their agents.
    type: int
    default: 22
  timeout:
    description: Seconds after which it is given up.
    type: int
    default: 300
  full:
    description: Whether to watch for the whole time, also when all are back.
    type: bool
    default: false
attributes:
  check_mode: {support: full, description: Watches nothing.}
"""

EXAMPLES = r"""
- name: Watch the cluster
  croft.infra.drill_watch:
    began: "{{ before.at }}"
    follow: "{{ request.follow }}"
    timeout: 120
  register: watched
"""

RETURN = r"""
samples:
  description: What M(croft.infra.drill_sample) said each time, with the controller's clock before and after.
  returned: success
  type: list
  elements: dict
guests:
  description: VM to its changes, pairs of the controller's clock and whether the guest answered.
  returned: success
  type: dict
ended:
  description: When it ended, on the controller's clock.
  returned: success
  type: float
waiting:
  description: VMs that are not back.
  returned: success
  type: list
  elements: str
missed:
  description: How many samples failed.
  returned: success
  type: int
"""
