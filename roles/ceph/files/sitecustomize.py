# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two things that ceph-mgr needs with Debian 13's Python, for its process alone; it finds this through PYTHONPATH.

The mgr runs each of its modules in an interpreter of its own. python3-bcrypt can be loaded in one interpreter of a
process only (https://github.com/PyO3/pyo3/issues/576), so each module would fail at `import bcrypt` in mgr_util.py;
the one function there that uses it hashes passwords of the dashboard, which this cluster has not. And a module class
without NOTIFY_TYPES, as half of them are, is reported as a crash at every start; an empty list says the same in order.
"""

from __future__ import annotations

import importlib.machinery
import sys
import types
from collections.abc import Sequence


def _refuse(*_arguments: object) -> bytes:
    raise NotImplementedError("bcrypt cannot be loaded in ceph-mgr; passwords of the dashboard cannot be made here")


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads mgr_module, and gives its base classes what their heirs may lack."""

    def exec_module(self, module: types.ModuleType) -> None:
        super().exec_module(module)
        for name in ("MgrModule", "MgrStandbyModule"):
            base = getattr(module, name)
            if not hasattr(base, "NOTIFY_TYPES"):
                base.NOTIFY_TYPES = []


class _Finder:
    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "mgr_module":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(name, spec.origin)
        return spec


_bcrypt = types.ModuleType("bcrypt")
_bcrypt.gensalt = _bcrypt.hashpw = _refuse  # type: ignore[attr-defined]
sys.modules["bcrypt"] = _bcrypt
sys.meta_path.insert(0, _Finder)  # type: ignore[arg-type]
