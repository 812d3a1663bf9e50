# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for bcrypt inside ceph-mgr alone.

The mgr runs each of its modules in an interpreter of its own, and python3-bcrypt can be loaded in one interpreter of a
process only (https://github.com/PyO3/pyo3/issues/576), so every module fails at `import bcrypt` in mgr_util.py. The
one function there that uses it hashes passwords of the dashboard, which this cluster has not.
"""


def gensalt(*_arguments: object) -> bytes:
    raise NotImplementedError("bcrypt cannot be loaded in ceph-mgr; passwords of the dashboard cannot be made here")


def hashpw(*_arguments: object) -> bytes:
    raise NotImplementedError("bcrypt cannot be loaded in ceph-mgr; passwords of the dashboard cannot be made here")
