# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input: one line a problem that says where, what it is, and what to do; all in one run, never a traceback."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils.identity import vm_mac, vm_uuid
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.plan import make_plan
from hypothesis import given, settings
from hypothesis import strategies as st
from sizing_cases import TODAY, cluster, found, host, plan, problems_of, vm

WHOLE = "must be a whole number of"
GIVE = {
    "vcpus": "vCPUs >= 1; give the number of virtual CPUs",
    "memory_mib": "MiB >= 1; give the memory that the guest gets",
    "disk_gib": "GiB >= 1; give the size of the root disk",
}


@pytest.mark.parametrize("field", ["vcpus", "memory_mib", "disk_gib"])
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (-5, "-5"),
        (0, "0"),
        (2.5, "2.5"),
        (True, "true"),
        (False, "false"),
        ("many", "'many'"),
        ("2.5", "'2.5'"),
        ("-1", "'-1'"),
        ("", "''"),
        ("1e3", "'1e3'"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        ([1], "a list"),
        ({}, "a mapping"),
        ("9" * 40, f"'{'9' * 40}'"),
        ("two\nlines", "'two?lines'"),
    ],
)
def test_a_size_that_is_none(field: str, value: Any, said: str) -> None:
    entry = {**vm("web1"), field: value}
    assert problems_of(cluster(1), [entry]) == [f"virtual_machines[web1].{field}: is {said}, {WHOLE} {GIVE[field]}"]


@pytest.mark.parametrize("field", ["vcpus", "memory_mib", "disk_gib"])
def test_a_size_that_is_missing_or_empty(field: str) -> None:
    entry = vm("web1")
    del entry[field]
    assert problems_of(cluster(1), [entry]) == [f"virtual_machines[web1].{field}: is missing, {WHOLE} {GIVE[field]}"]
    assert problems_of(cluster(1), [{**entry, field: None}])[0].startswith(f"virtual_machines[web1].{field}: is empty")


def test_digits_as_text_and_whole_floats_are_numbers() -> None:
    made = plan(cluster(1), [{"name": "a", "vcpus": "2", "memory_mib": 1024.0, "disk_gib": " 10 ", "ha": "yes"}])
    entry = made["virtual_machines"][0]
    assert (entry["vcpus"], entry["memory_mib"], entry["disk_gib"], entry["ha"]) == (2, 1024, 10, True)
    assert all(type(entry[key]) is int for key in ("vcpus", "memory_mib", "disk_gib"))


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ({"name": "Web1"}, "virtual_machines[Web1].name: is 'Web1', must be an RFC 1123 label"),
        ({"name": "-a"}, "virtual_machines[-a].name: is '-a', must be an RFC 1123 label"),
        ({"name": "a_b"}, "virtual_machines[a_b].name: is 'a_b', must be an RFC 1123 label"),
        ({"name": "a" * 64}, f"virtual_machines[{'a' * 64}].name: is '{'a' * 60}...', must be an RFC 1123 label"),
        ({"name": "a\n"}, "virtual_machines[a\n].name"),
        ({"name": None}, "virtual_machines[0].name: is empty, must be an RFC 1123 label"),
        ({"name": 5}, "virtual_machines[0].name: is 5, must be an RFC 1123 label"),
        ({"workload": "databse"}, "virtual_machines[web1].workload: is 'databse', must be one of general, web,"),
        ({"workload": "databse"}, "did you mean 'database'?"),
        ({"workload": 1}, "virtual_machines[web1].workload: is 1, must be one of"),
        ({"state": "on"}, "virtual_machines[web1].state: is 'on', must be one of running, stopped"),
        ({"ha": "maybe"}, "virtual_machines[web1].ha: is 'maybe', must be true or false"),
        ({"ha": 1}, "virtual_machines[web1].ha: is 1, must be true or false"),
        ({"host": "kvm9"}, "virtual_machines[web1].host: is 'kvm9', not a host of this plan; did you mean 'kvm1'?"),
        ({"host": 1}, "virtual_machines[web1].host: is 1, not a host of this plan"),
        ({"memory": 5}, "virtual_machines[web1].memory: is not known; did you mean 'memory_mib'?"),
        ({5: 5}, "virtual_machines[web1].5: is not known"),
        ({"anti_affinity": ["a"]}, "virtual_machines[web1].anti_affinity: is a list, must be a name of letters"),
        ({"image": "../etc/passwd"}, "virtual_machines[web1].image: is '../etc/passwd', must be a name of letters"),
        ({"address": "10.0.0.5"}, "virtual_machines[web1].address: is '10.0.0.5', must be an address with its prefix"),
        ({"address": "10.0.0.500/24"}, "virtual_machines[web1].address: is '10.0.0.500/24', must be an address with"),
        ({"gateway": "here"}, "virtual_machines[web1].gateway: is 'here', must be an address such as 10.0.0.1"),
        (
            {"address": "10.0.0.5/24", "gateway": "10.0.1.1"},
            "virtual_machines[web1].gateway: is 10.0.1.1, not in 10.0.0.0/24; give the router of that network",
        ),
        ({"health": "agent"}, "virtual_machines[web1].health: is 'agent', must be a list of agent and watchdog"),
        ({"health": ["agnet"]}, "virtual_machines[web1].health[0]: is 'agnet', must be one of agent, watchdog"),
        ({"nameservers": "9.9.9.9"}, "virtual_machines[web1].nameservers: is '9.9.9.9', must be a list of addresses"),
        ({"nameservers": [None]}, "virtual_machines[web1].nameservers[0]: is empty, must be an address such as"),
        ({"uuid": "1"}, "virtual_machines[web1].uuid: is '1', must be a uuid"),
        ({"mac": "52:54"}, "virtual_machines[web1].mac: is '52:54', must be a unicast MAC address"),
        ({"mac": "53:54:00:00:00:01"}, "virtual_machines[web1].mac: is '53:54:00:00:00:01', must be a unicast MAC"),
    ],
)
def test_a_bad_field(entry: dict[Any, Any], line: str) -> None:
    lines = problems_of(cluster(1), [{**vm("web1"), **entry}])
    assert len(lines) == 1
    assert line.replace("\n", "?") in lines[0].replace("\n", "?")


def test_every_problem_of_every_entry_in_one_run() -> None:
    hosts = {**cluster(1), "kvm2": {}, "kvm3": {"croft_host_facts": {"unreachable": True, "msg": "no route\nto host"}}}
    lines = problems_of(
        hosts,
        [vm("a", vcpus=-1, workload="wbe"), vm("a"), {"name": "b"}, 7],
        {"rules": {"vm-shares": {}}},
        storage_layout="nfs",
    )
    for part in (
        "storage_layout: is 'nfs'",
        "virtual_machines[a]: is named 2 times; give each VM a name of its own",
        "virtual_machines[3]: is 7, must be a mapping",
        "virtual_machines[a].vcpus: is -1",
        "virtual_machines[a].workload: is 'wbe'",
        "virtual_machines[b].disk_gib: is missing",
        "sizing_policy.rules.vm-shares: is not a rule; did you mean 'vm-share'?",
        "host kvm2: has no capacity, neither declared nor read",
        "host kvm3: unreachable (no route to host); check that it runs and ansible_host is right",
    ):
        assert [line for line in lines if line.startswith(part)], part
    assert not [line for line in lines if "\n" in line]


@pytest.mark.parametrize("field", ["uuid", "mac", "address"])
def test_what_must_be_unique(field: str) -> None:
    same = {
        "uuid": "6f0b3b0e-7c1c-5d0e-9d0a-2f8f0c6d3a51",
        "mac": "52:54:00:00:00:01",
        "address": "10.0.0.5/24",
    }[field]
    other = same.upper() if field != "address" else "10.0.0.5/16"
    lines = problems_of(cluster(1), [{**vm("a"), field: same}, {**vm("b"), field: other}])
    assert len(lines) == 1
    assert lines[0].startswith(f"virtual_machines[b].{field}: is ")
    assert "of 'a' too; give one of them another" in lines[0]


def test_a_mapping_by_name_is_the_same_as_a_list() -> None:
    listed = plan(cluster(1), [vm("a"), vm("b")])
    mapped = plan(cluster(1), {"b": {"vcpus": 1, "memory_mib": 1024, "disk_gib": 10}, "a": vm("a")})
    assert listed == mapped
    assert problems_of(cluster(1), {"a": vm("b")}) == [
        "virtual_machines[a].name: is 'b', must be its key 'a' or left out"
    ]
    assert len(problems_of(cluster(1), {"a": None})) == 3


@pytest.mark.parametrize("raw", [5, "web1", None])
def test_virtual_machines_must_be_a_collection(raw: Any) -> None:
    assert problems_of(cluster(1), raw)[0].startswith("virtual_machines: is ")


def test_defaults_are_filled() -> None:
    entry = plan(cluster(1), [vm("web1", host=None, image=None)])["virtual_machines"][0]
    assert entry == {
        **vm("web1"),
        "workload": "general",
        "host": "kvm1",
        "anti_affinity": None,
        "affinity": None,
        "ha": False,
        "autostart": True,
        "state": "running",
        "image": None,
        "network": None,
        "address": None,
        "gateway": None,
        "nameservers": [],
        "uuid": vm_uuid("web1"),
        "mac": vm_mac("web1"),
        "health": [],
    }


@pytest.mark.parametrize(
    ("own", "line"),
    [
        ({}, "host kvm1: has no capacity, neither declared nor read; set croft_capacity or let the plan read it"),
        ({"croft_host_facts": {"skipped": True}}, "host kvm1: has no capacity"),
        ({"croft_capacity": 5}, "hosts[kvm1].croft_capacity: is 5, must be a mapping"),
        (host(threads=-1), "hosts[kvm1].croft_capacity.threads: is -1, must be a whole number of threads >= 1"),
        (host(memory_mib=None), "hosts[kvm1].croft_capacity.memory_mib: is missing"),
        (host(disk_gib="x"), "hosts[kvm1].croft_capacity.disk_gib: is 'x', must be a number of GiB >= 0"),
        (host(disk_gib=-1), "hosts[kvm1].croft_capacity.disk_gib: is -1"),
        (host(disk_gib=True), "hosts[kvm1].croft_capacity.disk_gib: is true"),
        (host(core=3), "hosts[kvm1].croft_capacity.core: is not known; did you mean 'cores'?"),
        (host(cores=33), "hosts[kvm1].croft_capacity.threads: is 32, below cores 33; give the count of the whole host"),
        (host(sockets=17), "hosts[kvm1].croft_capacity.cores: is 16, below sockets 17"),
        (host(reserved={"cpus": 32}), "hosts[kvm1].host_reserved.cpus: is 32 of 32 threads; leave at least 1 for VMs"),
        (host(reserved={"memory_mib": 65536}), "hosts[kvm1].host_reserved.memory_mib: is 65536 of 65536 MiB"),
        (host(reserved={"memory_mib": -1}), "hosts[kvm1].host_reserved.memory_mib: is -1, must be a whole number"),
        (host(reserved={"cpu": 1}), "hosts[kvm1].host_reserved.cpu: is not known; did you mean 'cpus'?"),
        (host(reserved=3), "hosts[kvm1].host_reserved: is 3, must be a mapping"),
        (
            {**host(), "croft_host_facts": {"unreachable": True}},
            "host kvm1: unreachable; check that it runs and ansible_host is right",
        ),
        (
            {"croft_host_facts": {"failed": True, "msg": "virsh: broken"}},
            "host kvm1: its capacity could not be read (virsh: broken); repair that, or declare croft_capacity",
        ),
        ({"croft_host_facts": 3}, "host kvm1: croft_host_facts is 3; register the result of croft.infra.host_capacity"),
        (host(facts=["x"]), "host kvm1: reports a VM as 'x'"),
        (host(facts=[found("x", vcpus=0)]), "host kvm1, VM x: vcpus: is 0"),
    ],
)
def test_a_bad_host(own: dict[str, Any], line: str) -> None:
    lines = problems_of({"kvm1": own}, [vm("a")])
    assert len(lines) == 1
    assert lines[0].startswith(line)


def test_no_hosts_at_all() -> None:
    assert problems_of({}, [vm("a")]) == [
        "hosts: is empty; put the hypervisors into the inventory group that the plan reads"
    ]


def test_osd_memory_counts_for_the_reserve() -> None:
    hosts = cluster(1, memory_mib=8192, reserved={"memory_mib": 4096, "cpus": 0})
    assert problems_of(hosts, []) == []
    assert problems_of(hosts, [], storage_layout="distributed")[0].startswith(
        "hosts[kvm1].host_reserved.memory_mib: is with 1 OSDs 8192 of 8192 MiB"
    )


def test_what_is_declared_wins_over_what_is_read() -> None:
    read = {"sockets": 1, "cores": 4, "threads": 8, "memory_mib": 9999, "disk_gib": 93.7}
    read["numa_nodes"] = [{"id": 0, "threads": 4, "memory_mib": 5000}, {"id": 1, "threads": 4, "memory_mib": 4999}]
    facts = {"croft_host_facts": {"capacity": read, "virtual_machines": []}}
    made = plan({"kvm1": facts}, [])["hosts"]["kvm1"]["capacity"]
    assert made == {**read, "disk_gib": 93.69921875, "numa_nodes": 2, "source": "read"}
    made = plan({"kvm1": {**facts, "croft_capacity": {"threads": 16}}}, [])["hosts"]["kvm1"]["capacity"]
    assert (made["threads"], made["memory_mib"], made["source"]) == (16, 9999, "both")


def test_a_name_that_is_somebody_elses() -> None:
    assert problems_of(cluster(1, facts=[found("a", managed=False)]), [vm("a")]) == [
        "virtual_machines[a]: exists on host kvm1 and was not made by croft; choose another name, or take that VM away"
    ]


@pytest.mark.parametrize(("first", "second"), [("running", "running"), ("running", "paused"), ("stopped", "stopped")])
def test_one_vm_in_two_places(first: str, second: str) -> None:
    hosts = {"kvm1": host(facts=[found("a", state=first)]), "kvm2": host(facts=[found("a", state=second)])}
    for vms in ([vm("a")], []):
        lines = problems_of(hosts, vms)
        assert len(lines) == 1
        assert lines[0].startswith(f"virtual_machines[a]: is defined on kvm1 ({first}) and kvm2 ({second})")


def test_two_unmanaged_vms_may_share_a_name() -> None:
    hosts = {name: host(facts=[found("x", managed=False)]) for name in ("kvm1", "kvm2")}
    assert problems_of(hosts, []) == []


@pytest.mark.parametrize(
    ("policy", "line"),
    [
        (5, "sizing_policy: is 5, must be a mapping"),
        ({"rule": {}}, "sizing_policy.rule: is not known; did you mean 'rules'?"),
        ({"vm-share": {}}, "sizing_policy.vm-share: is not known; rules stand under sizing_policy.rules"),
        (
            {"cpu_unit": "core"},
            "sizing_policy.cpu_unit: is not known; it belongs to sizing_policy.rules",
        ),
        ({"placement": "both"}, "sizing_policy.placement: is 'both', must be one of spread, pack"),
        ({"rules": []}, "sizing_policy.rules: is a list, must be a mapping from rule id"),
        ({"rules": {"vm_share": {}}}, "sizing_policy.rules.vm_share: is not a rule; did you mean 'vm-share'?"),
        ({"rules": {"vm-share": 0.5}}, "sizing_policy.rules.vm-share: is 0.5, must be a mapping such as {level: warn}"),
        (
            {"rules": {"vm-share": {"level": "error"}}},
            "sizing_policy.rules.vm-share.level: is 'error', must be one of",
        ),
        ({"rules": {"vm-share": {"level": True}}}, "sizing_policy.rules.vm-share.level: is true, must be one of deny"),
        (
            {"rules": {"vm-share": {"limit": "half"}}},
            "sizing_policy.rules.vm-share.limit: is 'half', must be a",
        ),
        ({"rules": {"vm-share": {"limit": 0}}}, "sizing_policy.rules.vm-share.limit: is 0, must be a number > 0"),
        ({"rules": {"vm-share": {"limit": True}}}, "sizing_policy.rules.vm-share.limit: is true, must be a number > 0"),
        (
            {"rules": {"vm-share": {"limt": 1}}},
            "sizing_policy.rules.vm-share.limt: is not known; did you mean 'lim",
        ),
        (
            {"rules": {"host-overhead": {"level": "off"}}},
            "sizing_policy.rules.host-overhead.level: is not known; host",
        ),
        ({"rules": {"unmanaged": {"x": 1}}}, "sizing_policy.rules.unmanaged.x: is not known"),
        (
            {"rules": {"cpu-overcommit": {"cpu_unit": "cores"}}},
            "sizing_policy.rules.cpu-overcommit.cpu_unit: is 'c",
        ),
        ({"rules": {"consolidation": {"min": 11}}}, "sizing_policy.rules.consolidation.min: is 11, above max 10"),
        (
            {"rules": {"consolidation": {"max": 0}}},
            "sizing_policy.rules.consolidation.max: is 0, must be a whole",
        ),
        (
            {"rules": {"failover": {"host_failures_tolerated": -1}}},
            "sizing_policy.rules.failover.host_failures_tolerated: is -1",
        ),
        ({"rules": {"storage-capacity": {"near_full": 1.1}}}, "sizing_policy.rules.storage-capacity.near_full: is 1.1"),
        (
            {"rules": {"io-workload": {"workloads": "database"}}},
            "sizing_policy.rules.io-workload.workloads: is 'd",
        ),
        (
            {"rules": {"io-workload": {"workloads": ["db"]}}},
            "sizing_policy.rules.io-workload.workloads[0]: is 'db'",
        ),
        ({"waivers": {}}, "sizing_policy.waivers: is a mapping, must be a list of waivers"),
        ({"waivers": ["x"]}, "sizing_policy.waivers[0]: is 'x', must be a mapping"),
    ],
)
def test_a_bad_policy(policy: Any, line: str) -> None:
    lines = problems_of(cluster(1), [vm("a")], policy)
    assert len(lines) == 1
    assert lines[0].startswith(line)


GOOD_WAIVER = {"rule": "vm-share", "vm": "a", "reason": "x", "owner": "me", "until": "2027-01-31"}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"until": None}, "sizing_policy.waivers[0].until: is missing; give the last day on which the waiver holds"),
        ({"until": "31.1.2027"}, "sizing_policy.waivers[0].until: is '31.1.2027', not a date"),
        ({"until": 2027}, "sizing_policy.waivers[0].until: is 2027, not a date"),
        ({"reason": None}, "sizing_policy.waivers[0].reason: is missing; say why the rule may be broken"),
        ({"reason": " "}, "sizing_policy.waivers[0].reason: is missing"),
        ({"owner": None}, "sizing_policy.waivers[0].owner: is missing; name who answers for it"),
        ({"owner": 5}, "sizing_policy.waivers[0].owner: is 5, must be a text"),
        ({"rule": None}, "sizing_policy.waivers[0].rule: is missing; name the rule that is waived"),
        ({"rule": "vm-shar"}, "sizing_policy.waivers[0].rule: is 'vm-shar', not a rule; did you mean 'vm-share'?"),
        ({"rule": "unmanaged"}, "sizing_policy.waivers[0].rule: is 'unmanaged', which always counts"),
        ({"rule": "consolidation"}, "sizing_policy.waivers[0].vm: is 'a', but consolidation is measured per host"),
        ({"vm": "c"}, "sizing_policy.waivers[0].vm: is 'c', not a VM of virtual_machines"),
        ({"vm": None, "host": "kvm7"}, "sizing_policy.waivers[0].host: is 'kvm7', not a host of this plan"),
        ({"host": "kvm1"}, "sizing_policy.waivers[0]: names both vm and host"),
        ({"vm": None}, "sizing_policy.waivers[0]: names neither vm nor host; name one vm or one host"),
        ({"expires": 1}, "sizing_policy.waivers[0].expires: is not known"),
    ],
)
def test_a_bad_waiver(changes: dict[str, Any], line: str) -> None:
    lines = problems_of(cluster(1), [vm("a")], {"waivers": [{**GOOD_WAIVER, **changes}]})
    assert len(lines) == 1
    assert lines[0].startswith(line)


@pytest.mark.parametrize("until", ["2027-01-31", date(2027, 1, 31), datetime(2027, 1, 31, 12, 0)])
def test_a_date_as_yaml_gives_it(until: Any) -> None:
    made = plan(cluster(1), [vm("a")], {"waivers": [{**GOOD_WAIVER, "until": until}]})
    assert made["waivers"][0]["until"] == "2027-01-31"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    ["name", "vcpus", "memory_mib", "host", "ha", "address", "rules", "waivers", "vm-share", "until", "rule"]
)


@settings(max_examples=150)
@given(
    vms=ANYTHING | st.lists(st.dictionaries(KEYS, ANYTHING), max_size=3),
    policy=ANYTHING | st.dictionaries(KEYS, ANYTHING | st.lists(st.dictionaries(KEYS, ANYTHING), max_size=2)),
    own=st.dictionaries(st.sampled_from(["croft_capacity", "host_reserved", "croft_host_facts"]), ANYTHING),
    layout=ANYTHING,
)
def test_whatever_is_given_gives_lines_and_no_traceback(vms: Any, policy: Any, own: Any, layout: Any) -> None:
    made, lines = make_plan(["kvm1"], {"kvm1": own}, vms, policy=policy, storage_layout=layout, today=TODAY)
    assert made["verdict"] in ("admitted", "refused")
    assert all("\n" not in line and ": " in line for line in lines)


def test_what_the_host_does_with_an_entry_goes_along_and_its_disks_count() -> None:
    more = {
        "max_memory_mib": 4096,
        "disks": [{"name": "data", "size_gib": 30}],
        "networks": [{"bridge": "br0", "address": "10.0.0.5/24"}, {"network": "dmz"}],
    }
    made = plan(cluster(1), [vm("web1", **more)])
    entry = made["virtual_machines"][0]
    assert {key: entry[key] for key in more} == more
    assert (entry["network"], entry["address"], entry["mac"]) == ("br0", "10.0.0.5/24", vm_mac("web1"))
    assert made["hosts"]["kvm1"]["used"] == {**made["hosts"]["kvm1"]["used"], "memory_mib": 1024, "disk_gib": 40}
    # The plan's own entries are wishes again.
    assert plan(cluster(1), [entry]) == made


def test_what_the_host_would_refuse_is_refused_by_the_plan() -> None:
    entry = vm("web1", max_vcpus=0, disks=[{"name": "data"}], firmware="efi")
    assert problems_of(cluster(1), [entry]) == [
        "virtual_machines[web1].max_vcpus: is 0; give a whole number of at least 1",
        "virtual_machines[web1].disks[0].size_gib: is missing",
        "virtual_machines[web1].firmware: is 'efi'; give bios, uefi or uefi-secure",
    ]
