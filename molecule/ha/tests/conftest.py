# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the cluster share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from on_cluster import Cluster
from on_lab import HOSTS

HA = ("app1", "web1", "web2")


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    return Cluster(HOSTS, HA, ceph=True)


@pytest.fixture
def whole_again(play: Callable[..., Any], all_nodes: list[dict[str, Any]], cluster: Cluster) -> Iterator[None]:
    """Have all nodes up again, whatever the test did."""
    yield
    cluster.asked = next(iter(HOSTS))
    assert play("playbooks/lab.yml", lab_nodes=all_nodes).rc == 0
    cluster.wait(cluster.whole)
