# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which guest is reset, which is not, and why."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.module_utils.guest_health import (
    GIVE_UP,
    HEALTHY,
    RESET,
    SUSPECT,
    Decision,
    Memory,
    Policy,
    Seen,
    cleared,
    decide,
    observe,
    remembered,
    spent,
    was_reset,
)

POLICY = Policy()
AGENT, WATCHDOG, BOTH = frozenset({"agent"}), frozenset({"watchdog"}), frozenset({"agent", "watchdog"})
STEP = POLICY.interval
Look = dict[str, Any]


def watch(
    asked: frozenset[str], looks: list[Look], *, obstacle: str | None = None, memory: Memory | None = None
) -> tuple[Memory, list[Decision]]:
    """One look each interval; a field of a look stays as it is until another look says otherwise, events do not."""
    at, decisions, state = 1000.0 if memory is None else memory.at + STEP, [], Seen(0, run=1)
    for look in looks:
        times = look.get("times", 1)
        for number in range(times):
            change = {key: value for key, value in look.items() if key not in ("times", "writes", "sends", "later")}
            if number:
                change = {key: value for key, value in change.items() if key not in ("fired", "panics", "booted")}
            events = {"fired": False, "panics": 0, "booted": False}
            at += look.get("later", 0) if not number else 0
            state = replace(
                state, **(events | change), at=at, block=state.block + look.get("writes", 0),
                sent=state.sent + look.get("sends", 0),
            )  # fmt: skip
            memory = observe(memory, state, POLICY)
            after, decision = decide(memory, state, asked, POLICY)
            if decision.verdict == RESET:
                after, decision = decide(memory, state, asked, POLICY, obstacle)
            memory = after
            if decision.verdict == RESET:
                memory = was_reset(memory, at)
            decisions.append(decision)
            at += STEP
    assert memory is not None
    return memory, decisions


WELL = {"agent": "answers", "times": 30}
HUNG = {"agent": "silent", "times": 15}
# What a kernel still says while its programs hang: a ping a second.
PINGED = HUNG | {"sends": 980}
FIRED = {"agent": None, "fired": True}
BUSY = {"agent": "silent", "writes": 1, "times": 60}
DULL = {"agent": None, "times": 40}


@pytest.mark.parametrize(
    ("asked", "looks", "verdicts", "reason"),
    [
        pytest.param(AGENT, [WELL], {HEALTHY}, "its agent answers", id="well"),
        pytest.param(AGENT, [WELL, HUNG], {HEALTHY, SUSPECT, RESET}, "has not answered for 120 s", id="hangs"),
        pytest.param(AGENT, [WELL, PINGED], {HEALTHY, SUSPECT, RESET}, "no disk or network I/O", id="answers pings"),
        pytest.param(AGENT, [WELL, HUNG | {"times": 5}], {HEALTHY, SUSPECT}, "", id="not long enough"),
        pytest.param(AGENT, [WELL, BUSY], {HEALTHY, SUSPECT}, "it is busy, or will be reset", id="busy with its disk"),
        pytest.param(
            AGENT, [WELL, HUNG | {"sends": 9000, "times": 60}], {HEALTHY, SUSPECT}, "its network did", id="busy sending"
        ),
        pytest.param(
            AGENT, [WELL, HUNG | {"times": 10}, WELL], {HEALTHY, SUSPECT}, "its agent answers", id="slow, and back"
        ),
        pytest.param(
            AGENT, [WELL, BUSY, HUNG], {HEALTHY, SUSPECT, RESET}, "I/O for 120 s", id="busy first, then it hangs"
        ),
        pytest.param(
            AGENT, [WELL, {"agent": "closed", "times": 90}], {HEALTHY, SUSPECT}, "its agent does not run", id="ended"
        ),
        pytest.param(
            AGENT, [HUNG | {"times": 90}], {HEALTHY, SUSPECT}, "has not answered since it booted", id="no agent at all"
        ),
        pytest.param(AGENT, [HUNG | {"times": 17}], {HEALTHY}, "is booting", id="boots"),
        pytest.param(AGENT, [WELL, HUNG | {"fired": True, "times": 5}], {HEALTHY, SUSPECT}, "", id="both, not yet"),
        pytest.param(
            BOTH, [WELL, HUNG | {"fired": True}], {HEALTHY, SUSPECT, RESET}, "its watchdog ran out", id="both signs"
        ),
        pytest.param(BOTH, [WELL, HUNG], {HEALTHY, SUSPECT, RESET}, "", id="nothing says that the watchdog is in use"),
        pytest.param(
            BOTH, [WELL, WELL | {"fired": True, "times": 3}], {HEALTHY, SUSPECT}, "is it fed?", id="only the watchdog"
        ),
        pytest.param(
            BOTH,
            [WELL, WELL | {"fired": True}, {"agent": "closed", "times": 40}],
            {HEALTHY, SUSPECT},
            "its agent does not run",
            id="the agent answered after the watchdog ran out, and ends later",
        ),
        pytest.param(
            BOTH,
            [WELL, {"agent": "closed", "fired": True, "times": 15}],
            {HEALTHY, SUSPECT, RESET},
            "its watchdog ran out",
            id="the agent's port is closed, and the watchdog runs out",
        ),
        pytest.param(BOTH, [WELL, BUSY | {"fired": True}], {HEALTHY, SUSPECT}, "", id="starved of CPU, and it writes"),
        pytest.param(WATCHDOG, [DULL], {HEALTHY}, "its watchdog is quiet", id="idle"),
        pytest.param(
            WATCHDOG, [DULL, FIRED, DULL], {HEALTHY, SUSPECT, RESET}, "no disk or network I/O", id="not fed any more"
        ),
        pytest.param(
            WATCHDOG,
            [DULL, FIRED, {"agent": None, "writes": 1, "times": 4}, DULL],
            {HEALTHY, SUSPECT, RESET},
            "",
            id="not fed any more, and the kernel writes what is left",
        ),
        pytest.param(
            WATCHDOG,
            [DULL, FIRED, {"agent": None, "writes": 1, "times": 20}, DULL],
            {HEALTHY, SUSPECT},
            "its watchdog is quiet",
            id="was starved for a while, and goes on",
        ),
        pytest.param(WATCHDOG, [{"fired": True, "times": 5}], {HEALTHY}, "its watchdog is quiet", id="while it boots"),
        pytest.param(
            BOTH, [WELL, HUNG | {"state": "paused", "times": 90}], {HEALTHY}, "is paused", id="paused for long"
        ),
        pytest.param(
            BOTH,
            [WELL, HUNG | {"state": "paused", "times": 90}, HUNG | {"state": "running", "times": 9}],
            {HEALTHY, SUSPECT},
            "",
            id="what was before a pause does not count",
        ),
        pytest.param(
            AGENT, [WELL, {"agent": "busy", "times": 90}], {HEALTHY}, "libvirt is busy with it", id="a job of libvirt's"
        ),
        pytest.param(
            AGENT,
            [WELL, HUNG | {"times": 10}, HUNG | {"later": 600, "times": 5}],
            {HEALTHY, SUSPECT},
            "",
            id="the service, or the host, stood still meanwhile",
        ),
        pytest.param(
            AGENT, [WELL, HUNG | {"times": 10}, HUNG | {"run": 2, "times": 17}], {HEALTHY, SUSPECT}, "", id="restarted"
        ),
        pytest.param(
            AGENT, [WELL, HUNG | {"booted": True, "times": 17}], {HEALTHY}, "is booting", id="booted by itself"
        ),
        pytest.param(BOTH, [WELL, {"state": "crashed"}], {HEALTHY, RESET}, "its kernel panicked", id="a panic"),
    ],
)  # fmt: skip
def test_the_table(asked: frozenset[str], looks: list[Look], verdicts: set[str], reason: str) -> None:
    # Nothing but what was asked for is handed on, as the service does it.
    looks = [look if "watchdog" in asked else look | {"fired": False} for look in looks]
    _memory, decisions = watch(asked, looks)
    assert {decision.verdict for decision in decisions} == verdicts, decisions
    last = next((d for d in decisions if d.verdict == RESET), decisions[-1])
    assert reason in last.reason


def test_a_reset_needs_both_times_to_pass() -> None:
    _memory, decisions = watch(AGENT, [WELL, BUSY | {"times": 3}, HUNG | {"times": 14}])
    first = [decision.verdict for decision in decisions].index(RESET)
    assert (first - 30 - 3 + 1) * STEP == POLICY.quiet
    assert "CPU 0 %" in decisions[first].reason


@pytest.mark.parametrize("why", ["a migration", "the storage of its disk vda does not answer"])
def test_an_obstacle_forbids_a_reset_and_the_time_begins_anew(why: str) -> None:
    memory, decisions = watch(BOTH, [WELL, HUNG | {"times": 60, "fired": True}], obstacle=why)
    assert RESET not in {decision.verdict for decision in decisions}
    assert sum(f"not reset, since {why}" in d.reason for d in decisions) > 40
    assert [decision.news for decision in decisions].count(True) == 1
    assert "was not reset, since" in decisions[-2].reason
    _memory, decisions = watch(BOTH, [HUNG | {"times": 20}], memory=memory)
    assert [decision.verdict for decision in decisions].count(RESET) == 1


def test_after_three_resets_in_an_hour_it_is_left_and_told() -> None:
    memory, decisions = watch(AGENT, [WELL, HUNG, WELL, HUNG, WELL, HUNG, WELL, HUNG, HUNG])
    verdicts = [decision.verdict for decision in decisions]
    assert verdicts.count(RESET) == 3
    assert verdicts[-1] == GIVE_UP
    assert decisions[-1].reason.endswith("was reset 3 times in 60 min, and is left so")
    # Until somebody says so, or stops and starts it.
    later, decisions = watch(AGENT, [WELL | {"times": 600}], memory=memory)
    assert {decision.verdict for decision in decisions} == {GIVE_UP}
    assert later.resets == ()
    assert (
        decide(observe(later, Seen(later.at + 1, run=2), POLICY), Seen(1, run=2), AGENT, POLICY)[1].verdict == HEALTHY
    )
    again, decisions = watch(AGENT, [WELL, HUNG], memory=cleared(memory))
    assert RESET in {decision.verdict for decision in decisions}
    assert len(again.resets) == 1


def test_resets_of_an_hour_ago_do_not_count() -> None:
    _memory, decisions = watch(AGENT, [WELL, HUNG, WELL, HUNG, WELL, HUNG, WELL | {"times": 400}, HUNG])
    verdicts = [decision.verdict for decision in decisions]
    assert (verdicts.count(RESET), verdicts.count(GIVE_UP)) == (4, 0)


def test_panics_after_which_libvirt_boots_it_count_as_resets() -> None:
    memory, decisions = watch(AGENT, [WELL, {"panics": 1}, WELL, {"panics": 1}, WELL])
    assert {decision.verdict for decision in decisions} == {HEALTHY}
    assert not spent(memory, POLICY)
    memory, _decisions = watch(AGENT, [{"panics": 1}], memory=memory)
    # From now on libvirt must not: the next panic finds it crashed.
    assert spent(memory, POLICY)
    _memory, decisions = watch(AGENT, [WELL, {"state": "crashed"}], memory=memory)
    assert decisions[-1].verdict == GIVE_UP
    assert "its kernel panicked; was reset 3 times" in decisions[-1].reason


def test_a_start_anew_keeps_count_of_the_resets() -> None:
    memory, _decisions = watch(AGENT, [WELL, HUNG, WELL, HUNG, WELL, HUNG])
    memory, decisions = watch(AGENT, [WELL | {"run": 2}, HUNG | {"run": 2}], memory=memory)
    assert decisions[-1].verdict == GIVE_UP


def test_what_is_remembered_comes_back_as_it_was() -> None:
    memory, _decisions = watch(BOTH, [WELL, HUNG | {"fired": True, "sends": 5}])
    assert remembered(json.loads(json.dumps(memory.as_dict()))) == memory
    older = {name: value for name, value in memory.as_dict().items() if name != "hindered"}
    assert remembered(older) == memory
    with pytest.raises(KeyError):
        remembered({})
