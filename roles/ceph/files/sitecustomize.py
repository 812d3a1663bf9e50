# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ceph-mgr needs with Debian 13's Python, for its process alone; it finds this through PYTHONPATH.

The mgr runs each of its modules in an interpreter of its own, and loads all of them at start, also those that are
switched off; one that cannot be loaded is a warning, and a report of a crash at every start. python3-bcrypt and
python3-cryptography (below OpenSSL) can be loaded in one interpreter of a process only
(https://github.com/PyO3/pyo3/issues/576). Every module imports bcrypt by way of mgr_util, where the one function that
uses it hashes passwords of the dashboard; and restful imports OpenSSL to make itself a certificate. Neither is used
here. A module class without NOTIFY_TYPES, as half of them are, is reported as well; an empty list means the same.
"""

from __future__ import annotations

import importlib.machinery
import sys
import types
from collections.abc import Sequence
from typing import ClassVar


class _Absent:
    """Stands where a library cannot be loaded; who really uses it is told so."""

    def __getattr__(self, name: str) -> object:
        raise AttributeError(f"{name}: this library can be loaded once in ceph-mgr, and not in this module")


class _MgrModule(importlib.machinery.SourceFileLoader):
    """Loads mgr_module, and gives its base classes what their heirs may lack."""

    def exec_module(self, module: types.ModuleType) -> None:
        super().exec_module(module)
        for name in ("MgrModule", "MgrStandbyModule"):
            base = getattr(module, name)
            if not hasattr(base, "NOTIFY_TYPES"):
                base.NOTIFY_TYPES = []


class _OpenSSL(importlib.machinery.SourceFileLoader):
    """Loads OpenSSL where it can be loaded."""

    def exec_module(self, module: types.ModuleType) -> None:
        try:
            super().exec_module(module)
        except ImportError:
            module.crypto = module.SSL = _Absent()  # type: ignore[attr-defined]


class _Finder:
    loaders: ClassVar = {"mgr_module": _MgrModule, "OpenSSL": _OpenSSL}

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in cls.loaders:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = cls.loaders[name](name, spec.origin)
        return spec


sys.modules["bcrypt"] = _Absent()  # type: ignore[assignment]
sys.meta_path.insert(0, _Finder)  # type: ignore[arg-type]
