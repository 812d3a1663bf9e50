# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration as text, and that Pacemaker takes it without a word."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.croft.infra.plugins.filter.ha_configuration import FilterModule
from ansible_collections.croft.infra.plugins.filter.ha_fence_secrets import FilterModule as Secrets
from ansible_collections.croft.infra.plugins.plugin_utils.ha.cib import configuration
from ansible_collections.croft.infra.plugins.plugin_utils.ha.parse import read_cluster
from ansible_collections.croft.infra.plugins.plugin_utils.ha.room import MOST
from ha_cases import case, fenced, live, vms
from sizing_cases import cluster, host, plan, vm
from test_ha_deaths import CASES, FEW

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", CASES)
def test_the_configuration_is_the_golden_file(name: str) -> None:
    """CROFT_WRITE_GOLDEN=1 writes them anew."""
    made = CASES[name]()
    file = GOLDEN / f"{name}.xml"
    if os.environ.get("CROFT_WRITE_GOLDEN"):
        file.write_text(made.xml)
    assert made.xml == file.read_text()


@pytest.mark.parametrize("name", CASES)
def test_pacemaker_finds_nothing_to_say_about_it(name: str, tmp_path: Path) -> None:
    made = CASES[name]()
    file = tmp_path / "cib.xml"
    file.write_text(live(made, made.ha))
    done = subprocess.run(
        ["crm_verify", "--verbose", f"--xml-file={file}"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("name", CASES)
def test_ids_are_unique(name: str) -> None:
    ids = [element.get("id") for element in ElementTree.fromstring(CASES[name]().xml).iter() if element.get("id")]
    assert len(ids) == len(set(ids))


def values(xml: str, owner: str, block: str) -> dict[str, str]:
    root = ElementTree.fromstring(xml)
    (element,) = [one for one in root.iter() if one.get("id") == owner]
    return {pair.get("name", ""): pair.get("value", "") for pair in element.iterfind(f"{block}/nvpair")}


def test_capacities_are_the_ceilings_less_what_is_no_ha_vm() -> None:
    own = fenced(cluster(3, reserved={"cpus": 2, "memory_mib": 2048}))
    wished = [
        vm("a", 4, 4096, ha=True),
        vm("plain", 3, 8192, host="kvm2", anti_affinity="g"),
        vm("b", 1, 1024, ha=True, anti_affinity="g"),
    ]
    xml = case(own, wished, FEW).xml
    assert values(xml, "kvm1", "utilization") == {"cpu": "60", "memory": "63488", "vms": "10", "apart-g": "1"}
    assert values(xml, "kvm2", "utilization") == {
        "cpu": str(60 - 3),
        "memory": str(63488 - 8192 - 65),
        "vms": "9",
        "apart-g": "0",
    }
    assert values(xml, "a", "utilization") == {"cpu": "4", "memory": str(4096 + 65), "vms": "1"}
    assert values(xml, "b", "utilization") == {"cpu": "1", "memory": str(1024 + 65), "vms": "1", "apart-g": "1"}


def test_memory_overcommit_is_exact_in_units_of_its_own() -> None:
    policy = {"rules": {**FEW["rules"], "memory-overcommit": {"limit": 1.5}}}
    xml = case(fenced(cluster(3)), [vm("a", 4, 4096, ha=True)], policy).xml
    assert values(xml, "kvm1", "utilization")["memory"] == str(3 * 65536)
    assert values(xml, "a", "utilization")["memory"] == str(2 * 4096 + 3 * 65)


def test_numbers_beyond_a_c_int_are_divided_in_favour_of_the_rules() -> None:
    policy = {"rules": {**FEW["rules"], "memory-overcommit": {"limit": 1.23456}}}
    xml = case(fenced(cluster(3, memory_mib=4_000_000)), [vm("a", 4, 4096, ha=True)], policy).xml
    top, takes = (int(values(xml, name, "utilization")["memory"]) for name in ("kvm1", "a"))
    assert top <= MOST
    exact = (3858 * 4_000_000, 3125 * 4096 + 3858 * 65)
    assert takes * exact[0] >= top * exact[1]


def test_a_rule_that_is_off_is_no_capacity() -> None:
    policy = {"rules": {"consolidation": {"level": "off"}, "cpu-overcommit": {"level": "warn"}}}
    made = values(case(fenced(cluster(3)), vms(2), policy).xml, "kvm1", "utilization")
    assert (made["cpu"], made["vms"]) == (str(MOST), str(MOST))


def test_a_vm_goes_never_where_its_share_is_too_large() -> None:
    own = fenced({**cluster(3), "kvm4": host(threads=16, cores=8, memory_mib=16384)})
    made = case(own, [vm("big", 8, 8192, ha=True)], FEW)
    assert made.cluster.vms[0].never == ("kvm4",)
    assert '<rsc_location id="big-never-kvm4" rsc="big" node="kvm4" score="-INFINITY" />' in made.xml


def test_a_rule_that_warns_is_kept_where_there_is_a_choice() -> None:
    policy = {"rules": {**FEW["rules"], "affinity": {"level": "warn"}}}
    wished = [*vms(3, "web", anti_affinity="web"), *vms(2, "pair", affinity="pair")]
    made = case(fenced(cluster(3)), wished, policy)
    assert [(g.name, g.vms, g.score) for g in made.cluster.apart] == [("web", ("web1", "web2", "web3"), -20)]
    assert [(g.name, g.score) for g in made.cluster.together] == [("pair", 20)]
    assert made.xml.count('id="apart-web-') == 3
    assert "apart-web" not in values(made.xml, "kvm1", "utilization")


def test_no_password_is_in_it_and_the_scripts_have_them() -> None:
    own = fenced(cluster(3))
    own["kvm2"]["ha_cluster_fence_devices"][0]["options"]["password"] = "it's"
    made = case(own, vms(2), FEW)
    assert "it's" not in made.xml
    path = "/etc/croft/ha/fence/fence-kvm2.password"
    assert values(made.xml, "fence-kvm2", "instance_attributes")["password_script"] == path
    scripts = {one["path"]: one["content"] for one in Secrets().filters()["ha_fence_secrets"](own)}
    assert len(scripts) == 3
    done = subprocess.run(["sh", "-c", scripts[path]], capture_output=True, text=True, check=True)
    assert done.stdout == "it's\n"


def test_the_filter_gives_text_or_problems() -> None:
    own, wished = fenced(cluster(3)), vms(3)
    made = plan(own, wished, FEW, storage_layout="centralized")
    ask = FilterModule().filters()["ha_configuration"]
    good = ask(made, wished, own)
    assert good["problems"] == []
    assert good["xml"] == ask(made, list(reversed(wished)), own, {})["xml"]
    bad = ask(made, wished, cluster(3))
    assert (bad["xml"], len(bad["problems"])) == ("", 3)
    with pytest.raises(AnsibleFilterError, match="takes a plan, not 'x'"):
        ask("x", wished, own)


def test_a_watchdog_is_a_level_for_those_that_name_it() -> None:
    own = fenced(cluster(3))
    for name in ("kvm1", "kvm2"):
        own[name]["ha_cluster_fence_devices"].append({"name": "watchdog", "level": 2})
    own["kvm2"]["ha_cluster_fence_devices"].append({"name": "disks", "level": 3})
    shared = [
        {"name": "watchdog", "agent": "fence_watchdog"},
        {"name": "disks", "agent": "sbd", "options": {"devices": "/dev/b,/dev/a"}},
    ]
    settings = {"ha_cluster_shared_fence_devices": shared, "ha_cluster_watchdog_timeout": 15}
    made = case(own, vms(3), FEW, **settings).xml
    assert values(made, "watchdog", "instance_attributes")["pcmk_host_list"] == "kvm1 kvm2"
    assert 'name="stonith-watchdog-timeout" value="30s"' in made
    assert 'target="kvm2" index="2" devices="watchdog"' in made
    told_of = FilterModule().filters()["ha_configuration"](
        plan(own, vms(3), FEW, storage_layout="centralized"), vms(3), own, settings
    )
    assert told_of["sbd"] == {"kvm1": [], "kvm2": ["/dev/a", "/dev/b"]}
    assert "stonith-watchdog-timeout" not in case(fenced(cluster(3)), vms(3), FEW).xml


# --- what is wrong ----------------------------------------------------------------------------------------------------

BMC = {"agent": "fence_ipmilan", "options": {"ip": "10.0.0.1"}}


def told(own: Any = None, wished: Any = None, layout: str = "centralized", **settings: Any) -> list[str]:
    hosts = fenced(cluster(3)) if own is None else own
    entries = vms(3) if wished is None else wished
    policy = {"rules": {**FEW["rules"], "failover": {"level": "warn"}}}
    _, problems = read_cluster(plan(hosts, entries, policy, storage_layout=layout), entries, hosts, settings)
    return problems


def with_devices(*entries: Any) -> dict[str, Any]:
    own = fenced(cluster(3))
    own["kvm1"]["ha_cluster_fence_devices"] = list(entries)
    return own


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"layout": "local"}, "storage_layout: is local, where the disks of vm1, vm2, vm3 die with their host; "),
        (
            {"own": fenced(cluster(2)), "wished": vms(2)},
            "ha_cluster_quorum_device: is not set, and of 2 hosts no majority",
        ),
        (
            {"ha_cluster_quorum_device": "storage1"},
            "ha_cluster_quorum_device: is 'storage1', must name a machine of the inventory such as {host: storage1}",
        ),
        (
            {"ha_cluster_quorum_device": {"host": "kvm2"}},
            "ha_cluster_quorum_device: names kvm2, a host that it would judge; name a machine that runs none",
        ),
        (
            {"ha_cluster_quorum_device": {"host": "q", "algorithm": "half"}},
            "ha_cluster_quorum_device.algorithm: is 'half', must be",
        ),
        (
            {"ha_cluster_quorum_device": {"host": "q", "port": 5403}},
            "ha_cluster_quorum_device: has port, which is not known; it takes host, address and algorithm",
        ),
        ({"own": with_devices()}, "kvm1: has no fence device, and a VM of a silent host may start elsewhere only when"),
        (
            {"own": with_devices({**BMC, "agent": "fence_ipmi"})},
            "[0].agent: is 'fence_ipmi', no agent that turns a host",
        ),
        (
            {"own": with_devices({"agent": "fence_kdump"})},
            "[0].agent: is 'fence_kdump', no agent that turns a host off",
        ),
        ({"own": with_devices({"agent": "fence_ipmilan"})}, "[0].options: has no ip; give the address of the device"),
        ({"own": with_devices({"agent": "sbd"})}, "[0].options: has no devices; give the address of the device"),
        (
            {"own": with_devices({"agent": "fence_watchdog", "level": 2})},
            "[0].agent: is fence_watchdog, of which there is one for all hosts; give it once, in ha_cluster_shared",
        ),
        (
            {"ha_cluster_shared_fence_devices": [{"name": "dog", "agent": "fence_watchdog"}]},
            "ha_cluster_shared_fence_devices[0].name: is 'dog', must be watchdog: Pacemaker knows it by no other name",
        ),
        (
            {"ha_cluster_watchdog_timeout": 0},
            "ha_cluster_watchdog_timeout: is 0, must be a whole number of seconds >= 1",
        ),
        ({"own": with_devices({"name": "pdu"})}, "[0].name: is 'pdu', no device of ha_cluster_shared_fence_devices"),
        (
            {"own": with_devices({"level": 2})},
            "[0]: has no agent; give one, such as fence_ipmilan, or the name of a device",
        ),
        ({"own": with_devices({**BMC, "level": 0})}, "[0].level: is 0, must be a whole number of tries >= 1 and <= 9"),
        ({"own": with_devices({**BMC, "lvl": 1})}, "[0].lvl: is not known here; did you mean 'level'?"),
        (
            {"own": with_devices({**BMC, "name": "fence-kvm1"}, {**BMC, "name": "fence-kvm1"})},
            "which another device has",
        ),
        (
            {"own": with_devices({"agent": "fence_ipmilan", "options": {"ip": "10.0.0.22"}})},
            "kvm2: fence-kvm2: has the address '10.0.0.22' of fence-kvm1 of kvm1: fencing one would turn the other off",
        ),
        ({"own": with_devices("fence_ipmilan")}, "[0]: is 'fence_ipmilan', must be a mapping"),
        (
            {"ha_cluster_start_order": [["vm1", "vm9"]]},
            "ha_cluster_start_order[0]: names 'vm9', no VM with ha: true; did",
        ),
        (
            {"ha_cluster_start_order": [["vm1", "vm2"], ["vm2", "vm3", "vm1"]]},
            "in a circle: vm1 > vm2 > vm3 > vm1; take",
        ),
        (
            {"ha_cluster_start_order": [["vm1"]]},
            "ha_cluster_start_order[0]: is a list, must be a list of two VMs or more",
        ),
        ({"ha_cluster_start_order": "vm1"}, "ha_cluster_start_order: is 'vm1', must be a list of chains"),
        ({"ha_cluster_priorities": {"vm7": 1}}, "ha_cluster_priorities.vm7: names 'vm7', no VM with ha: true"),
        ({"ha_cluster_priorities": {"vm1": -1}}, "ha_cluster_priorities.vm1: is -1, must be a whole number of points"),
        (
            {"ha_cluster_migration_limit": 0},
            "ha_cluster_migration_limit: is 0, must be a whole number of migrations >= 1",
        ),
        (
            {"ha_cluster_placement_strategy": "x"},
            "ha_cluster_placement_strategy: is 'x', must be one of balanced, utili",
        ),
        ({"ha_cluster_config_dir": "ha"}, "ha_cluster_config_dir: is 'ha', must be an absolute path"),
        ({"ha_cluster_stickiness": 10}, "ha_cluster_stickiness: is 10, must be a whole number of points >= 1000"),
    ],
)
def test_each_problem_is_one_clear_line(settings: dict[str, Any], says: str) -> None:
    problems = told(**settings)
    assert [line for line in problems if says in line], problems


def test_all_problems_are_told_at_once() -> None:
    problems = told(
        with_devices({"agent": "fence_no"}),
        layout="local",
        ha_cluster_start_order=[["no1", "no2"]],
        ha_cluster_migration_limit="many",
    )
    assert [line.split(":")[0] for line in problems] == [
        "ha_cluster_migration_limit",
        "kvm1",
        "storage_layout",
        "ha_cluster_start_order[0]",
        "ha_cluster_start_order[0]",
    ]


def test_a_refused_plan_makes_no_cluster() -> None:
    own, wished = fenced(cluster(3)), [vm("a", 30, ha=True)]
    made = plan(own, wished, FEW, storage_layout="centralized")
    assert read_cluster(made, wished, own, {})[1] == [
        "plan: is refused, and a cluster restarts only what a plan admits; see its findings"
    ]


# --- fencing ----------------------------------------------------------------------------------------------------------


def test_two_power_supplies_are_one_level_and_the_bmc_comes_first() -> None:
    own = fenced(cluster(3))
    for number, variables in enumerate(own.values(), 1):
        for pdu in ("pdu-a", "pdu-b"):
            variables["ha_cluster_fence_devices"].append({"name": pdu, "level": 2, "plug": number})
    pdus = [{"name": f"pdu-{n}", "agent": "fence_apc", "options": {"ip": f"10.0.1.{n}"}} for n in "ab"]
    xml = case(own, vms(3), FEW, ha_cluster_shared_fence_devices=pdus).xml
    assert '<fencing-level id="fencing-kvm2-1" target="kvm2" index="1" devices="fence-kvm2" />' in xml
    assert '<fencing-level id="fencing-kvm2-2" target="kvm2" index="2" devices="pdu-a,pdu-b" />' in xml
    made = values(xml, "pdu-a", "instance_attributes")
    assert (made["pcmk_host_list"], made["pcmk_host_map"]) == ("kvm1 kvm2 kvm3", "kvm1:1;kvm2:2;kvm3:3")
    # A BMC is no good to the host that it belongs to; a PDU is.
    assert "fence-kvm1-never-kvm1" in xml
    assert "pdu-a-never" not in xml


def test_no_fencing_is_possible_when_it_is_said() -> None:
    own = cluster(3)
    xml = case(own, vms(3), FEW, ha_cluster_accept_no_fencing=True).xml
    assert values(xml, "cib-bootstrap-options", ".")["stonith-enabled"] == "false"
    assert "fencing-topology" not in xml


def test_options_of_the_inventory_win() -> None:
    own = with_devices(
        {**BMC, "options": {"ip": "10.0.0.1", "pcmk_reboot_action": "off", "pcmk_reboot_timeout": "300s"}}
    )
    made = values(case(own, vms(3), FEW).xml, "fence-kvm1", "instance_attributes")
    assert (made["pcmk_reboot_action"], made["pcmk_reboot_timeout"]) == ("off", "300s")


def test_ceph_is_told_of_fenced_hosts_and_only_ceph(tmp_path: Path) -> None:
    own, wished = fenced(cluster(3)), vms(2)
    made = case(own, wished)
    assert ElementTree.fromstring(made.xml).find("alerts") is None
    on_ceph, problems = read_cluster({**made.plan, "storage_layout": "distributed"}, wished, own, {})
    assert on_ceph is not None, problems
    xml = configuration(on_ceph)
    (alert,) = ElementTree.fromstring(xml).iterfind("alerts/alert")
    assert (alert.get("id"), alert.get("path")) == ("croft-ceph-fenced", "/usr/lib/croft/ceph-fenced")
    assert [one.tag for one in alert.iterfind("select/*")] == ["select_fencing"]
    file = tmp_path / "cib.xml"
    file.write_text(live(replace(made, xml=xml), made.ha))
    done = subprocess.run(
        ["crm_verify", "--verbose", f"--xml-file={file}"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
