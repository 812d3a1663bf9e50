# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs defined and started on libvirt's test driver: one call of croft's module beside a loop of community.libvirt.virt.

The driver keeps its state as long as a process has it open, so croft's module runs in this process, on the driver that
the unit tests prepare, and what Ansible needs to send and start it is measured as a task and added. The loop's modules
each find the VMs that the driver's file has, and only look and compare: it would take longer with a real libvirt. They
need Debian's python3-lxml.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils.identity import vm_uuid
from ansible_collections.croft.infra.plugins.modules import virtual_machines

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
DRIVER = ROOT / "tests/unit/plugins/modules/conftest.py"
_spec = importlib.util.spec_from_file_location("test_driver", DRIVER)
assert _spec is not None
assert _spec.loader is not None
test_driver = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(test_driver)
conn, volumes, run_module = test_driver.conn, test_driver.volumes, test_driver.run_module

MANY = 100
XML = (
    "<domain type='test'><name>{name}</name><uuid>{uuid}</uuid><memory unit='MiB'>128</memory><vcpu>1</vcpu>"
    "<os><type>hvm</type></os></domain>"
)
NODE = "<node>{domains}</node>"
# The driver's own host is an i686.
X86_64 = "<node><cpu><model>x86_64</model></cpu></node>"
LOOP = """\
- hosts: localhost
  connection: local
  gather_facts: false
  vars: {ansible_python_interpreter: /usr/bin/python3}
  tasks:
    - name: Define the VMs
      community.libvirt.virt:
        command: define
        xml: "{{ lookup('ansible.builtin.file', folder ~ '/' ~ item ~ '.xml') }}"
        uri: "test://{{ folder }}/node.xml"
      loop: "{{ names }}"

    - name: Start them
      community.libvirt.virt:
        name: "{{ item }}"
        state: running
        uri: "test://{{ folder }}/node.xml"
      loop: "{{ names }}"
"""
TASK = """\
- hosts: localhost
  connection: local
  gather_facts: false
  vars: {ansible_python_interpreter: /usr/bin/python3}
  tasks:
    - name: Call the module with all VMs of a host
      croft.infra.virtual_machines:
        virtual_machines: "{{ wished }}"
        pool: default-pool
        image: base.qcow2
        uri: "test://{{ folder }}/empty.xml"
      check_mode: true
"""
EMPTY = "- hosts: localhost\n  connection: local\n  gather_facts: false\n  tasks: []\n"


def entries(count: int) -> list[dict[str, Any]]:
    return [{"name": f"vm{number:03}", "vcpus": 1, "memory_mib": 128} for number in range(count)]


def play(home: Path, text: str, **variables: Any) -> float:
    """Seconds that ansible-playbook takes."""
    book = home / "play.yml"
    book.write_text(text)
    (home / "variables.json").write_text(json.dumps(variables))
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "PATH": f"{BIN}:{os.environ['PATH']}"}
    began = time.monotonic()
    done = subprocess.run(
        ["ansible-playbook", "-i", "localhost,", book, "-e", f"@{home}/variables.json"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - began
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return seconds


def apply(run_module: Callable[..., Any], count: int) -> tuple[float, dict[str, Any]]:
    """Seconds of one call of croft's module for so many VMs, and its result."""
    wished = {"virtual_machines": entries(count), "pool": test_driver.POOL, "image": test_driver.IMAGE}
    began = time.monotonic()
    outcome = run_module(virtual_machines, {**wished, "uri": test_driver.URI})
    seconds = time.monotonic() - began
    assert not outcome.get("failed"), outcome
    return seconds, outcome


@pytest.mark.usefixtures("conn")
def test_a_hundred_vms_beside_a_loop(
    tmp_path: Path, run_module: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    names = [entry["name"] for entry in entries(MANY)]
    texts = {name: XML.format(name=name, uuid=vm_uuid(name)) for name in names}
    for name, text in texts.items():
        (tmp_path / f"{name}.xml").write_text(text)
    (tmp_path / "node.xml").write_text(NODE.format(domains="".join(texts.values())))
    empty = min(play(tmp_path, EMPTY) for _round in range(2))
    # Nothing is there for it to look at in a process of its own: the fewest VMs, the whole way of a task.
    (tmp_path / "empty.xml").write_text(X86_64)
    task = min(play(tmp_path, TASK, wished=[], folder=str(tmp_path)) for _round in range(2)) - empty
    first, outcome = apply(run_module, MANY)
    assert all(machine["state"] == "running" for machine in outcome["virtual_machines"])
    second, again = apply(run_module, MANY)
    assert not again["changed"]
    loop = play(tmp_path, LOOP, names=names, folder=str(tmp_path)) - empty
    with capsys.disabled():
        print(f"\n{MANY} VMs, seconds: loop {loop:.1f}; croft {task + first:.2f} (task {task:.2f}, module {first:.2f})")
        print(f"ratio {loop / (task + first):.1f}; second run {task + second:.2f} (module {second:.2f}), changed=0")
    assert loop / (task + first) >= 15


@pytest.mark.usefixtures("conn")
def test_how_a_second_run_grows(run_module: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"\n{'VMs':>5} {'first run':>10} {'second run':>11}"]
    for count in (10, 50, 100, 200):
        first, _outcome = apply(run_module, count)
        second = min(apply(run_module, count)[0] for _round in range(3))
        lines.append(f"{count:>5} {first:>8.3f} s {second:>9.3f} s")
        for domain in test_driver.libvirt.open(test_driver.URI).listAllDomains():
            domain.destroy()
            domain.undefine()
        for volume in (
            test_driver.libvirt.open(test_driver.URI).storagePoolLookupByName("default-pool").listAllVolumes()
        ):
            if volume.name() != test_driver.IMAGE:
                volume.delete()
    with capsys.disabled():
        print("\n".join(lines))
