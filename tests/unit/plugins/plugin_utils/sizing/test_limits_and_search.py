# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The integer ceilings by which VMs are admitted to a host, and the search on a board of its own."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.croft.infra.plugins.plugin_utils.sizing import limits, search
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.limits import UNLIMITED, Ceiling, Demand
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.parse import read_inputs
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.search import DEEPEST, Board, complete
from sizing_cases import TODAY, cluster, host, plan, rules, vm


@pytest.mark.parametrize(
    ("policy", "changes", "entries", "placed"),
    [
        # 2.1 * 32 threads are 67.2 vCPUs: the 68th has no place
        ({"cpu_overcommit": {"limit": 2.1}}, {}, [vm("a", vcpus=40), vm("b", vcpus=27)], 2),
        ({"cpu_overcommit": {"limit": 2.1}}, {}, [vm("a", vcpus=40), vm("b", vcpus=28)], 1),
        # 0.4 * 16384 MiB are 6553.6, 0.4 * 31 threads are 12.4
        ({"vm_share": {}}, {"memory_mib": 16384}, [vm("a", memory_mib=6553), vm("b", memory_mib=6554)], 1),
        ({"vm_share": {}}, {"threads": 31}, [vm("a", vcpus=12), vm("b", vcpus=13)], 1),
        # 1.5 * 33 GiB are 49.5
        ({"storage_capacity": {"limit": 1.5}}, {"disk_gib": 33}, [vm("a", disk_gib=49)], 1),
        ({"storage_capacity": {"limit": 1.5}}, {"disk_gib": 33}, [vm("a", disk_gib=50)], 0),
        # 1.5 * (10000 - 65) MiB are 14902.5
        ({"memory_overcommit": {"limit": 1.5}}, {"memory_mib": 10000}, [vm("a", memory_mib=14902)], 1),
        ({"memory_overcommit": {"limit": 1.5}}, {"memory_mib": 10000}, [vm("a", memory_mib=14903)], 0),
    ],
)
def test_a_limit_between_two_whole_numbers(policy: Any, changes: Any, entries: Any, placed: int) -> None:
    made = plan(cluster(1, **changes), entries, rules(**policy))
    assert made["summary"]["placed"] == placed
    assert made["verdict"] == ("admitted" if placed == len(entries) else "refused")


def _ceiling(changes: dict[str, Any], policy: dict[str, Any], layout: str = "local") -> tuple[Ceiling, int]:
    inputs, problems = read_inputs(
        ["kvm1"], {"kvm1": host(**changes)}, [], policy=rules(**policy), storage_layout=layout, today=TODAY
    )
    assert inputs is not None, problems
    return limits.ceilings(inputs, "deny")[0], limits.pool_mib(inputs)


def test_ceilings_are_the_whole_numbers_below_the_limits() -> None:
    policy: dict[str, Any] = {
        "vm_share": {},
        "cpu_overcommit": {"limit": 2.1, "cpu_unit": "core"},
        "memory_overcommit": {"limit": 1.5},
        "storage_capacity": {"limit": 1.3},
        "consolidation": {"max": 7},
        "affinity": {},
    }
    made, _ = _ceiling({"disk_gib": 0.25, "memory_mib": 9999, "reserved": {"cpus": 1, "memory_mib": 99}}, policy)
    # 2.1 * 31 * 16 / 32 = 32.55 vCPUs; disk 1.3 * 256 = 332.8; memory in halves of a MiB: 3 * 9900
    assert made == Ceiling(32, 29700, 332, 7, 12, 3999, True)
    policy["storage_capacity"] = {"replicas": 1}
    _, pool = _ceiling({"disk_gib": 100.003}, policy, "distributed")
    assert pool == 87042  # 102403 * 0.85 = 87042.55


def test_rules_that_are_off_have_no_ceiling() -> None:
    made, _ = _ceiling({}, {})
    assert made == Ceiling(UNLIMITED, UNLIMITED, UNLIMITED, UNLIMITED, UNLIMITED, UNLIMITED, False)


def test_a_shared_pool_is_no_hosts_own() -> None:
    hosts = cluster(3, disk_gib=100)
    made = plan(hosts, [vm("a", disk_gib=150)], rules(storage_capacity={"replicas": 1}), storage_layout="distributed")
    assert made["verdict"] == "admitted"


def _item(name: str, memory: int, only: int | None = None) -> Demand:
    return Demand((name,), 1, memory, 1, 1, 1, 1, frozenset(), only)


def _board(*memory: int) -> Board:
    return Board([Ceiling(100, each, 100, 100, 100, 100, True) for each in memory])


def _first(board: Board, item: Demand, where: int) -> tuple[object, ...]:
    del board, item
    return (where,)


def test_equal_hosts_are_not_the_same_when_something_must_go_to_one_of_them() -> None:
    # Both hosts are alike; b may only go to the first, so a has to leave it free.
    board = _board(10, 10)
    found = complete(board, [_item("a", 10), _item("b", 10, only=0)], [0, 1], _first, 100)
    assert found.where == [1, 0]
    assert (board.memory, board.vms) == ([10, 10], [1, 1])


def test_equal_hosts_are_not_the_same_when_they_are_said_to_be_special() -> None:
    def on_the_second(where: list[int | None]) -> bool:
        return where == [1]

    wanted: dict[str, Any] = {"accept": on_the_second}
    assert not complete(_board(10, 10), [_item("a", 1)], [0], _first, 100, **wanted).complete
    assert complete(_board(10, 10), [_item("a", 1)], [0], _first, 100, special=frozenset({1}), **wanted).complete


def test_hosts_that_carry_as_much_are_not_the_same_to_one_who_chooses() -> None:
    board = _board(10, 10)
    for where in (0, 1):
        board.put(_item("there", 1), where)

    def on_the_second(where: list[int | None]) -> bool:
        return where == [1]

    assert complete(board, [_item("a", 1)], [0], _first, 100, accept=on_the_second).complete


def test_a_ranking_that_is_carried_on_still_gives_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    # Keys of an earlier flavour: the host that is emptiest now takes each in turn.
    def emptiest(board: Board, item: Demand, where: int) -> tuple[object, ...]:
        del item
        return (board.memory[where], where)

    monkeypatch.setattr(search, "REKEYED", 1)
    items = [_item("a", 5), _item("b", 4), _item("c", 3)]
    assert search.greedy(_board(10, 10), items, range(3), emptiest).where == [0, 1, 1]
    # The third host was no host for the first flavour; it is the only one for the last.
    items = [_item("a", 10), _item("b", 9), _item("c", 2)]
    assert search.greedy(_board(10, 10, 2), items, range(3), emptiest).where == [0, 1, 2]


def test_equal_hosts_are_tried_once() -> None:
    found = complete(_board(*[10] * 50), [_item("a", 6), _item("b", 6), _item("c", 11)], [0, 1, 2], _first, 10_000)
    assert (found.complete, found.proved) == (False, True)
    assert found.steps == 2


def test_the_bound_is_kept_and_said() -> None:
    items = [_item(name, 6) for name in "abc"]
    found = complete(_board(10, 11, 5), items, [0, 1, 2], _first, 4)
    assert (found.complete, found.proved, found.steps) == (False, True, 4)
    found = complete(_board(10, 11, 5), items, [0, 1, 2], _first, 3)
    assert (found.complete, found.proved, found.steps) == (False, False, 3)


def test_a_failed_search_leaves_the_board_as_it_was() -> None:
    board = _board(10, 10)
    complete(board, [_item("a", 6), _item("b", 6), _item("c", 6)], [0, 1, 2], _first, 100)
    assert (board.memory, board.vcpus, board.vms) == ([0, 0], [0, 0], [0, 0])


def test_the_depth_is_bounded() -> None:
    items = [_item(f"v{i}", 1) for i in range(DEEPEST + 1)]
    order = list(range(len(items)))
    wide = Board([Ceiling(10**6, 10**6, 10**6, 10**6, 9, 9, True)])
    assert complete(wide, items[:-1], order[:-1], _first, 10**6).complete
    found = complete(wide, items, order, _first, 10**6)
    assert (found.complete, found.proved) == (False, False)
