# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the cluster share."""

from __future__ import annotations

import pytest
from on_cluster import Cluster
from on_lab import HOSTS

HA = ("app1", "web1", "web2")


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    return Cluster(HOSTS, HA, ceph=True)
