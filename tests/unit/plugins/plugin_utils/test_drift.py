# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wished beside real."""

from __future__ import annotations

from typing import Any

from ansible_collections.croft.infra.plugins.plugin_utils.drift import drift, here


def row(field: str, wished: Any, configured: Any, running: Any = None, *, differs: bool = False) -> dict[str, Any]:
    return {"field": field, "wished": wished, "configured": configured, "running": running, "differs": differs}


def test_differences_are_told_and_every_field_shown() -> None:
    fields = [
        row("vcpus", 2, 2, 2),
        row("memory_mib", 192, 256, 192, differs=True),
        row("autostart", True, False, differs=True),
        row("disks", ("data",), [], differs=True),
    ]
    vm = {"name": "web1", "fields": fields, "strays": [["disk", "vdc (/srv/x.img)", "until it stops"]]}
    assert drift({"kvm1": {"virtual_machines": [vm]}}) == {
        "lines": [
            "VM web1 on kvm1: memory_mib: wished 192, real 192 now, 256 from its next start on",
            "VM web1 on kvm1: autostart: wished yes, real no",
            "VM web1 on kvm1: disks: wished data, real none",
            "VM web1 on kvm1: has a disk that was attached by hand, until it stops: vdc (/srv/x.img)",
        ],
        "table": {
            "VM web1 on kvm1": {
                "vcpus": "2",
                "memory_mib": "wished 192, real 192 now, 256 from its next start on",
                "autostart": "wished yes, real no",
                "disks": "wished data, real none",
            }
        },
    }


def test_what_could_not_be_compared_is_told() -> None:
    failed = {"msg": "2 problems", "problems": ["web1: disk_gib is 1 GiB, its disk has 2 GiB"]}
    results = {"kvm1": failed, "kvm2": None, "kvm3": {"unreachable": True}, "kvm4": {"msg": "no libvirt"}}
    assert drift(results)["lines"] == [
        "host kvm1: web1: disk_gib is 1 GiB, its disk has 2 GiB",
        "host kvm4: no libvirt",
    ]


def test_a_host_is_asked_about_what_it_has() -> None:
    assert here([{"name": "a"}, {"name": "b"}], {"virtual_machines": [{"name": "b"}, {"name": "x"}]}) == [{"name": "b"}]
    assert here([{"name": "a"}], {}) == []
