#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: the measuring is in module_utils/network_probe.py, the judgement in module_utils/network_quality.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: network_probe
short_description: Measure the network from one host to others
description:
  - Measures to each peer, one after the other, the largest packet that gets through uncut, packet loss, round trip,
    throughput of one TCP stream, and how far the clocks are apart.
  - On each peer M(croft.infra.network_responder) must run.
options:
  host:
    description: Name of this host.
    type: str
    required: true
  peers:
    description: The responders of the other hosts, as M(croft.infra.network_responder) returned them.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the host.
        type: str
        required: true
      address:
        description: Its address.
        type: str
        required: true
      port:
        description: Its port.
        type: int
        required: true
      token:
        description: Its token.
        type: str
        required: true
  packets:
    description: Packets sent to each peer for loss and round trip.
    type: int
    default: 200
  seconds:
    description: Length of the stream to each peer.
    type: float
    default: 1
  mtu:
    description: The MTU that must get through end to end; 0, the interface's own.
    type: int
    default: 0
  loss:
    description: The share of packets that may be lost, 0 to 1.
    type: float
    default: 0
  latency_ms:
    description: The median round trip that is accepted, in milliseconds.
    type: float
    default: 2
  throughput_mbit:
    description: The throughput that is needed, in Mbit/s.
    type: float
    default: 900
  clock_ms:
    description: How far clocks may be apart, in milliseconds. Ceph's mons warn from 50.
    type: float
    default: 50
  gate:
    description: Fail when a limit is broken, with one line for each.
    type: bool
    default: true
attributes:
  check_mode:
    description: The same as without.
    support: full
author: the croft contributors
"""

EXAMPLES = r"""
- name: Measure the storage network
  croft.infra.network_probe:
    host: kvm1
    peers: "{{ ['kvm2', 'kvm3'] | map('extract', hostvars, ['responder', 'responder']) }}"
    mtu: 9000
    throughput_mbit: 9000
  throttle: 1
"""

RETURN = r"""
pairs:
  description: What was measured to each peer.
  returned: always
  type: list
  elements: dict
  sample:
    - {host: kvm1, peer: kvm2, reason: "", mtu: 9000, wanted_mtu: 9000, sent: 200, received: 200, loss: 0.0,
       latency_ms: 0.12, latency_p99_ms: 0.2, throughput_mbit: 9411, clock_ms: 0.3}
problems:
  description: One line for each limit that is broken.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils import network_quality as pure
from ansible_collections.croft.infra.plugins.module_utils.network_probe import Probe

PEER = {
    "name": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
    "token": {"type": "str", "required": True, "no_log": True},
}
ARGUMENTS = {
    "host": {"type": "str", "required": True},
    "peers": {"type": "list", "elements": "dict", "required": True, "options": PEER},
    "packets": {"type": "int", "default": 200},
    "seconds": {"type": "float", "default": 1.0},
    "mtu": {"type": "int", "default": 0},
    "loss": {"type": "float", "default": 0.0},
    "latency_ms": {"type": "float", "default": 2.0},
    "throughput_mbit": {"type": "float", "default": 900.0},
    "clock_ms": {"type": "float", "default": 50.0},
    "gate": {"type": "bool", "default": True},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    given = module.params
    limits = pure.limits_of(given)
    measured = [
        Probe(given["host"], peer["name"], peer["address"], peer["port"], peer["token"]).measure(
            given["packets"], given["seconds"], limits.mtu
        )
        for peer in given["peers"]
    ]
    lines = [line for one in measured for line in pure.problems(one, limits)]
    result = {"changed": False, "pairs": [one.as_dict() for one in measured], "problems": lines}
    if lines and given["gate"]:
        module.fail_json(msg="\n".join(lines), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
