# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils import pacemaker

DIR = "/etc/croft/ha"


def vm(name: str, folder: str = DIR, memory: int = 192, role: str = "") -> str:
    meta = f'<meta_attributes id="{name}-m"><nvpair id="{name}-r" name="target-role" value="{role}"/></meta_attributes>'
    return (
        f'<primitive id="{name}" class="ocf" provider="heartbeat" type="VirtualDomain">'
        f'<instance_attributes id="{name}-i"><nvpair id="{name}-c" name="config" value="{folder}/{name}.xml"/>'
        f"</instance_attributes>{meta if role else ''}"
        f'<utilization id="{name}-u"><nvpair id="{name}-u-memory" name="memory" value="{memory}"/></utilization>'
        "</primitive>"
    )


FENCE = '<primitive id="fence-kvm1" class="stonith" type="fence_ipmilan"/>'


def configuration(*resources: str, options: str = "", constraints: str = "", nodes: str = "") -> str:
    return (
        f'<configuration><crm_config><cluster_property_set id="cib-bootstrap-options">{options}</cluster_property_set>'
        f"</crm_config><nodes>{nodes}</nodes><resources>{''.join(resources)}</resources>"
        f"<constraints>{constraints}</constraints></configuration>"
    )


def pair(name: str, value: str) -> str:
    return f'<nvpair id="cib-bootstrap-options-{name}" name="{name}" value="{value}"/>'


def cib(text: str) -> str:
    return f'<cib epoch="3">{text}<status/></cib>'


def changed(live: str, wanted: str) -> tuple[pacemaker.Change, ET.Element]:
    change = pacemaker.wanted_change(cib(live), wanted, DIR)
    return change, ET.fromstring(change.cib)


def ids(root: ET.Element, section: str) -> list[str | None]:
    return [child.get("id") for child in root.iterfind(f"configuration/{section}/*")]


def test_what_is_as_wanted_is_not_changed() -> None:
    wanted = configuration(vm("web1"), FENCE, options=pair("stonith-enabled", "true"))
    live = configuration(FENCE, vm("web1"), options=pair("dc-version", "3.0") + pair("stonith-enabled", "true"))
    change, _root = changed(live, wanted)
    assert not change.changed
    assert change.before == change.after


@pytest.mark.parametrize("name", ["dc-version", "cluster-name", "maintenance-mode", "last-lrm-refresh"])
def test_the_clusters_own_properties_stay(name: str) -> None:
    change, root = changed(configuration(options=pair(name, "x") + pair("batch-limit", "3")), configuration())
    assert change.changed
    assert [p.get("name") for p in root.iter("nvpair")] == [name]


def test_a_node_keeps_its_id_and_its_standby_and_gets_its_utilization() -> None:
    live = configuration(
        nodes='<node id="17" uname="kvm1"><instance_attributes id="n"><nvpair id="s" name="standby" value="on"/>'
        "</instance_attributes></node>"
    )
    room = '<utilization id="kvm1-utilization"><nvpair id="k" name="cpu" value="8"/></utilization>'
    wanted = configuration(nodes=f'<node id="kvm1" uname="kvm1">{room}</node><node id="kvm2" uname="kvm2"/>')
    change, root = changed(live, wanted)
    (node,) = root.iterfind("configuration/nodes/node")
    assert (node.get("id"), [child.tag for child in node]) == ("17", ["instance_attributes", "utilization"])
    assert change.missing == ("kvm2",)


def test_others_resources_and_moves_under_way_stay() -> None:
    foreign = '<primitive id="ip" class="ocf" type="IPaddr2"/>'
    live = configuration(
        vm("web1"),
        vm("theirs", "/srv"),
        vm("gone"),
        FENCE,
        foreign,
        constraints='<rsc_location id="cli-ban-web1" rsc="web1"/><rsc_location id="cli-ban-gone" rsc="gone"/>'
        '<rsc_location id="old" rsc="web1"/><rsc_location id="ip-on" rsc="ip"/>',
    )
    change, root = changed(live, configuration(vm("web1"), constraints='<rsc_location id="new" rsc="web1"/>'))
    assert ids(root, "resources") == ["web1", "theirs", "ip"]
    assert ids(root, "constraints") == ["cli-ban-web1", "ip-on", "new"]
    assert change.leaving == ("gone",)
    assert change.dropped == ("fence-kvm1",)


def alerts(*names: str) -> str:
    entries = "".join(f'<alert id="{name}" path="/{name}"><select><select_fencing/></select></alert>' for name in names)
    return f"<alerts>{entries}</alerts></configuration>"


@pytest.mark.parametrize(
    ("live", "wanted", "after"),
    [
        ([], ["croft-a"], ["croft-a"]),
        (["mail", "croft-a"], ["croft-a"], ["mail", "croft-a"]),
        (["mail", "croft-old"], [], ["mail"]),
    ],
)
def test_alerts_of_others_stay(live: list[str], wanted: list[str], after: list[str]) -> None:
    here, there = (
        configuration().replace("</configuration>", alerts(*names)) if names else configuration()
        for names in (live, wanted)
    )
    change, root = changed(here, there)
    assert ids(root, "alerts") == after
    assert change.changed == (live != after)


def test_a_changed_value_is_seen() -> None:
    change, root = changed(configuration(vm("web1")), configuration(vm("web1", memory=256)))
    assert change.changed
    assert 'value="256"' in change.after
    assert ids(root, "resources") == ["web1"]


@pytest.mark.parametrize("text", ["<configuration>", "<cib/>"])
def test_what_is_no_configuration_is_told(text: str) -> None:
    with pytest.raises(pacemaker.ConfigurationError):
        pacemaker.wanted_change(cib(configuration()), text, DIR)


MONITOR = """
<pacemaker-result><summary><current_dc present="true" with_quorum="{quorum}"/></summary>
<nodes><node name="kvm1" online="true" standby="false" pending="false"/>
<node name="kvm2" online="{online}" standby="true" pending="false"/></nodes>
<resources>
<resource id="fence-kvm1" role="Started" failed="false"><node name="kvm2"/></resource>
<resource id="web1" resource_agent="ocf:heartbeat:VirtualDomain" role="{role}" failed="{failed}">
<node name="kvm1"/></resource>
</resources>
<failures><failure op_key="web1_start_0" node="kvm1" exitstatus="error" exitreason="no disk"/></failures>
</pacemaker-result>"""
WANTED = configuration(
    FENCE, vm("web1"), vm("off1", role="Stopped"), nodes='<node id="1" uname="kvm1"/><node id="2" uname="kvm2"/>'
)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"quorum": "false"}, ["the cluster has no quorum"]),
        ({"online": "false"}, ["kvm2: is not online in the cluster"]),
        ({"role": "Stopped"}, ["VM web1: does not run"]),
        ({"failed": "true"}, ["VM web1: does not run"]),
    ],
)
def test_what_is_not_up_is_told(change: dict[str, str], expected: list[str]) -> None:
    said = MONITOR.format(**({"quorum": "true", "online": "true", "role": "Started", "failed": "false"} | change))
    state = pacemaker.read_state(said)
    assert pacemaker.lacking(state, WANTED) == expected
    assert state.failures == ("web1_start on kvm1: no disk",)
    assert state.standby == {"kvm2"}
    assert state.nodes == {"kvm1", "kvm2"}
    assert state.virtual_machines == {"web1"}


def test_a_vm_on_two_nodes_is_told() -> None:
    state = pacemaker.State(frozenset({"kvm1", "kvm2"}), quorate=True, running={"web1": ("kvm1", "kvm2")})
    assert "VM web1: runs on kvm1 and kvm2" in pacemaker.lacking(state, WANTED)


FOUR = frozenset({"kvm1", "kvm2", "kvm3", "kvm4"})
REST = FOUR - {"kvm4"}


def four(**change: Any) -> pacemaker.State:
    running = {"web1": ("kvm1",), "fence-kvm1": ("kvm4",)}
    return pacemaker.State(
        **{"online": FOUR, "nodes": FOUR, "running": running, "virtual_machines": frozenset({"web1"}), **change}
    )


@pytest.mark.parametrize(
    ("state", "others", "third_vote", "dead", "said"),
    [
        (four(), REST, False, False, []),
        (four(nodes=REST, online=REST), REST, False, False, []),
        (four(), {"kvm1", "kvm2"}, True, False, []),
        (four(), {"kvm1", "kvm2"}, False, False, ["kvm4: without it 2 hosts are left"]),
        (four(), {"kvm1"}, True, False, ["kvm4: without it 1 hosts are left"]),
        (four(running={"web1": ("kvm4",)}), REST, False, False, ["kvm4: runs web1; drain it first"]),
        (four(online=FOUR - {"kvm2"}), REST, False, False, ["kvm2: is not online in the cluster"]),
        (four(online=REST), REST, False, False, ["kvm4: is not online in the cluster; bring it back"]),
        (four(online=REST), REST, False, True, []),
        (four(online=REST, unclean=frozenset({"kvm4"})), REST, False, True, ["kvm4: is not fenced yet"]),
        (four(), REST, False, True, ["kvm4: is online in the cluster"]),
        (
            four(online=REST - {"kvm1"}, running={"web1": ("kvm4",)}),
            REST,
            False,
            False,
            ["kvm1: is not online", "kvm4: is not online", "kvm4: runs web1"],
        ),
    ],
)
def test_a_host_leaves_only_when_nothing_is_lost_by_it(
    state: pacemaker.State, others: set[str], third_vote: bool, dead: bool, said: list[str]
) -> None:
    lines = pacemaker.departure_problems(state, pacemaker.Departure("kvm4", others, FOUR, third_vote, dead))
    assert len(lines) == len(said)
    assert all(line.startswith(begin) for line, begin in zip(lines, said, strict=True)), lines


def test_a_host_that_nobody_knows_is_told() -> None:
    said = pacemaker.departure_problems(four(), pacemaker.Departure("kvm9", REST, FOUR))
    assert said == [
        "kvm9: is neither in the cluster, which has kvm1, kvm2, kvm3, kvm4, nor in the inventory; name one of it"
    ]
