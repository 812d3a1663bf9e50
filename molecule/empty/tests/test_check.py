# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""On hosts with nothing on them: a check run goes through, tells what would come, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Play = Callable[..., Any]
OnHosts = Callable[[str], dict[str, str]]
EVERYTHING = "dpkg-query -W; mount; find /etc /usr /root -newer /etc/croft-lab/disks -not -path '*/apt/*' | sort"


def test_a_check_of_empty_hosts_predicts_and_changes_nothing(
    play: Play, on_hosts: OnHosts, lab_inventory: Mapping[str, Any]
) -> None:
    before = on_hosts(EVERYTHING)
    run = play("site.yml", cmdline="--check --diff")
    assert run.rc == 0, run.output
    assert set(run.changed) >= {"kvm1", "kvm2", "kvm3"}
    foretold = [vm for call in run.results("croft.infra.virtual_machines") for vm in call["res"]["virtual_machines"]]
    assert sorted(vm["name"] for vm in foretold) == sorted(vm["name"] for vm in lab_inventory["virtual_machines"])
    for vm in foretold:
        actions = [action["action"] for action in vm["actions"]]
        assert actions == ["write_seed", "create_disk", "define", "set_autostart", "start"]
    assert on_hosts(EVERYTHING) == before
