#!/usr/bin/python
# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: the test boot is in module_utils/boot_probe.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: accelerator
short_description: Find out by a test boot how this host can run VMs
version_added: "0.1.0"
author: [the croft contributors (@croft)]
description:
  - Boots a guest of one sector with QEMU and waits for it to answer on its serial port. That /dev/kvm is there and
    opens says little; on some hosts every guest dies on it all the same.
  - Changes nothing on the host. Runs in check mode too.
  - What was seen is noted in C(/run/croft/accelerator.json) and holds until the host is started again, or has another
    QEMU or another /dev/kvm (a module of the kernel that was loaded anew). Whoever insists on an accelerator that
    failed has it tried again.
options:
  accelerator:
    description:
      - C(auto) takes KVM when a guest boots with it, else QEMU's own translator (TCG), which is slow and works
        anywhere.
      - C(kvm) and C(tcg) insist, and fail when no guest boots so.
    type: str
    choices: [auto, kvm, tcg]
    default: auto
  timeout:
    description: Seconds that one test boot gets.
    type: int
    default: 10
  binary:
    description: Path of the QEMU to try; found by itself without it.
    type: path
requirements: [qemu-system-x86]
attributes:
  check_mode:
    support: partial
    description: It only looks; where QEMU is not installed yet it guesses from /dev/kvm, with a warning.
"""

EXAMPLES = r"""
- name: Find out how VMs run here
  croft.infra.accelerator:
  register: how

- name: Insist on KVM
  croft.infra.accelerator:
    accelerator: kvm
"""

RETURN = r"""
accelerator:
  description: C(kvm) or C(tcg).
  returned: success
  type: str
  sample: kvm
reason:
  description: What was seen.
  returned: success
  type: str
  sample: a test boot with kvm answered after 0.6 s
"""

import contextlib
import os
import shutil
from dataclasses import replace
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.croft.infra.plugins.module_utils.boot_probe import (
    BINARIES,
    Boot,
    note,
    recall,
    surroundings,
    try_boot,
)

STORE = Path("/run/croft/accelerator.json")


def kvm_boot(binary: str, timeout: int) -> Boot:
    """A test boot with KVM, with a better word than QEMU's when there is no KVM at all."""
    if not os.path.exists("/dev/kvm"):
        return Boot(False, "there is no /dev/kvm: the CPU, the firmware's settings or the kernel do not offer KVM")
    return try_boot(binary, "kvm", timeout)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "accelerator": {"type": "str", "choices": ["auto", "kvm", "tcg"], "default": "auto"},
            "timeout": {"type": "int", "default": 10},
            "binary": {"type": "path"},
        },
        supports_check_mode=True,
    )
    wanted, timeout = module.params["accelerator"], module.params["timeout"]
    candidates = [module.params["binary"]] if module.params["binary"] else BINARIES
    binary = next(filter(None, map(shutil.which, candidates)), "")
    if timeout < 1:
        module.fail_json(msg=f"timeout is {timeout}; give a whole number of at least 1")
    if not binary and module.check_mode:
        guess = "kvm" if os.path.exists("/dev/kvm") else "tcg"
        module.warn("check mode: QEMU is not installed yet, so what a test boot will say is a guess")
        module.exit_json(changed=False, accelerator=guess if wanted == "auto" else wanted, reason="not tried")
    if not binary:
        module.fail_json(msg="QEMU is not installed (Debian package qemu-system-x86): there is nothing to boot with")
    around = {**surroundings(binary), "timeout": timeout}
    known = recall(STORE, around)
    fresh: dict[str, Boot] = {}
    boots: dict[str, Boot] = {}
    for accelerator in ("kvm", "tcg") if wanted == "auto" else (wanted,):
        before = known.get(accelerator)
        if before is not None and (before.works or wanted == "auto"):
            boots[accelerator] = replace(before, reason=f"{before.reason} (seen by an earlier run)")
        else:
            boots[accelerator] = kvm_boot(binary, timeout) if accelerator == "kvm" else try_boot(binary, "tcg", timeout)
            fresh[accelerator] = boots[accelerator]
        if boots[accelerator].works:
            break
    if fresh and not module.check_mode:
        # What cannot be noted is tried again by the next run.
        with contextlib.suppress(OSError):
            note(STORE, around, known | fresh)
    reason = "; ".join(boot.reason for boot in boots.values())
    last, boot = list(boots.items())[-1]
    if not boot.works:
        module.fail_json(msg=f"no guest boots on this host: {reason}")
    module.exit_json(changed=False, accelerator=last, reason=reason)


if __name__ == "__main__":
    main()
