# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a VM's new name changes."""

from __future__ import annotations

import pytest
from ansible_collections.croft.infra.plugins.module_utils.renaming import Seen, new_name, problems, renamed_xml

XML = """<domain><devices>
<disk><source file='/pool/web1.qcow2'/></disk><disk><source protocol='nfs' name='/srv/web1-seed.iso'/></disk>
<disk><source file='/srv/data.img'/></disk>
<serial><log file='/var/log/libvirt/qemu/web1-console.log'/></serial></devices></domain>"""


def test_names_of_volumes_and_the_console_follow() -> None:
    moved = {"web1.qcow2": "front.qcow2", "web1-seed.iso": "front-seed.iso"}
    xml = renamed_xml(XML, moved, "web1", "front")
    for text in ("/pool/front.qcow2", "/srv/front-seed.iso", "/srv/data.img", "qemu/front-console.log"):
        assert text in xml
    assert "web1" not in xml
    assert new_name("rbd:///vms/web1.data.raw", "web1", "front") == "front.data.raw"


@pytest.mark.parametrize(
    ("seen", "to", "says"),
    [
        (Seen("stopped"), "front", None),
        (Seen(), "front", "there is no such VM"),
        (Seen("stopped"), "app1", "there is a VM app1 already"),
        (Seen("stopped"), "Front!", "is no name"),
        (Seen("running"), "front", "only a stopped VM"),
        (Seen("stopped", managed=False), "front", "was not made by croft"),
        (Seen("stopped", snapshots=1), "front", "1 snapshots"),
        (Seen("stopped", saved=True), "front", "memory saved"),
        (Seen("stopped", clashes=("front.qcow2",)), "front", "has a volume front.qcow2"),
        (Seen("stopped", volumes={"/pool/web1.qcow2": "app1.qcow2"}, renamed=True), "app1", None),
    ],
)
def test_what_forbids_it(seen: Seen, to: str, says: str | None) -> None:
    lines = problems([{"name": "web1", "to": to}], {"web1": seen}, ["web1", "app1"])
    assert [says in line for line in lines] == ([] if says is None else [True])
