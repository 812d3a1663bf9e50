# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change one comparison of the sizing rules at a time, and see that a unit test fails for it.

`>` becomes `>=` and the like (a limit that is met is the case that matters), `==` becomes `!=`, `in` becomes `not in`.
Each mutant runs in a process of its own, up to the first test that fails. A mutant that no test can tell from the
original is named in EQUIVALENT, with the reason. Exit code 1 when another one survives.

    python tests/mutation/run.py [part of a module's or function's name]
"""

from __future__ import annotations

import ast
import importlib.abc
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = "ansible_collections.croft.infra.plugins.plugin_utils.sizing"
SOURCES = ROOT / "plugins/plugin_utils/sizing"
TESTS = ROOT / "tests/unit/plugins/plugin_utils/sizing"
MODULES = ("limits", "checks", "model", "search", "failover")
# Those that tell most mutants from the original first.
ORDER = (
    *("test_rules.py", "test_limits_and_search.py", "test_failover.py", "test_placing.py", "test_fixes.py"),
    *(
        "test_distributed_storage.py",
        "test_classes.py",
        "test_maintenance.py",
        "test_packing.py",
        "test_outputs.py",
        "test_whatif.py",
        "test_properties.py",
        "test_repair.py",
    ),
)
# CPU seconds for one mutant: one that makes a loop endless is told from the original as well.
SECONDS = 180

OTHER: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}

# (module.function, the comparison): why no test can see the difference.
EQUIVALENT = {
    (
        "search.greedy",
        "flavour(items[a]) != flavour(items[b])",
    ): "decides how often keys are computed anew; what fits is asked exactly all the same",
    (
        "search.greedy",
        "age % carried == 0",
    ): "the same; what finds no host among those that are carried on is asked again with keys of its own",
    (
        "search.greedy",
        "last is None",
    ): "what has one host only goes first, and the first kind after it is ranked by its age, which is 0",
}


@dataclass(frozen=True)
class Mutant:
    """One operator of one comparison: the ``number``-th of the module, at this ``line``."""

    module: str
    number: int
    function: str
    text: str
    changed: str
    line: int

    @property
    def key(self) -> tuple[str, str]:
        return (f"{self.module}.{self.function}", self.text)


class _Finder(ast.NodeVisitor):
    def __init__(self) -> None:
        self.inside: list[str] = []
        self.found: list[tuple[str, ast.Compare, int]] = []

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.inside.append(node.name)
        self.generic_visit(node)
        self.inside.pop()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.inside.append(node.name)
        self.generic_visit(node)
        self.inside.pop()

    def visit_Compare(self, node: ast.Compare) -> None:
        self.found += [(".".join(self.inside), node, i) for i in range(len(node.ops))]
        self.generic_visit(node)


def comparisons(tree: ast.AST) -> list[tuple[str, ast.Compare, int]]:
    finder = _Finder()
    finder.visit(tree)
    return finder.found


def mutants() -> Iterator[Mutant]:
    for module in MODULES:
        tree = ast.parse((SOURCES / f"{module}.py").read_text(encoding="utf-8"))
        for number, (function, node, at) in enumerate(comparisons(tree)):
            text = ast.unparse(node)
            kept = node.ops[at]
            node.ops[at] = OTHER[type(kept)]()
            yield Mutant(module, number, function, text, ast.unparse(node), node.lineno)
            node.ops[at] = kept


class _Mutated(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives the one module with its mutation to whoever imports it."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != f"{PACKAGE}.{self.mutant.module}":
            return None
        return importlib.util.spec_from_loader(name, self, origin=str(SOURCES / f"{self.mutant.module}.py"))

    def exec_module(self, module: ModuleType) -> None:
        source = SOURCES / f"{self.mutant.module}.py"
        tree = ast.parse(source.read_text(encoding="utf-8"))
        _, node, at = comparisons(tree)[self.mutant.number]
        node.ops[at] = OTHER[type(node.ops[at])]()
        exec(compile(ast.fix_missing_locations(tree), str(source), "exec"), module.__dict__)


def judge(mutant: Mutant | None) -> int:
    """The exit code of the tests with this mutant; in a process of its own, as it is loaded in place of the module."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    if mutant is not None:
        sys.meta_path.insert(0, _Mutated(mutant))
    with Path(os.devnull).open("w") as silent:
        os.dup2(silent.fileno(), 1)
        os.dup2(silent.fileno(), 2)
    quick = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
    # The tests of the module itself before the others.
    files = sorted(ORDER, key=lambda name: mutant is not None and mutant.module not in name)
    return int(pytest.main([*quick, *(str(TESTS / name) for name in files)]))


def survivors(asked: list[Mutant]) -> Iterator[Mutant]:
    """Those that all tests pass with, as they are found."""
    waiting, running = list(reversed(asked)), dict[int, Mutant]()
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            mutant = waiting.pop()
            child = os.fork()
            if not child:
                os._exit(judge(mutant))
            running[child] = mutant
        done, status = os.wait()
        mutant = running.pop(done)
        # What was stopped has no exit code, and is told from the original as well.
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == pytest.ExitCode.OK:
            yield mutant


def main(part: str) -> int:
    chosen = [mutant for mutant in mutants() if part in f"{mutant.module}.{mutant.function}"]
    asked = [mutant for mutant in chosen if mutant.key not in EQUIVALENT]
    begin = time.perf_counter()
    child = os.fork()
    if not child:
        os._exit(judge(None))
    if os.waitpid(child, 0)[1]:
        print("the tests fail without a mutation: see pytest")
        return 1
    alive = 0
    for mutant in survivors(asked):
        alive += 1
        where = f"{mutant.module}.py:{mutant.line} {mutant.function}"
        print(f"survives: {where}: {mutant.text} -> {mutant.changed}", flush=True)
    print(
        f"{len(asked)} mutants, {len(asked) - alive} found by a test, {alive} not; "
        f"{len(chosen) - len(asked)} more are equivalent; {time.perf_counter() - begin:.0f} s"
    )
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
