# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.croft.infra.plugins.module_utils.migrator import Limits


@pytest.mark.parametrize(
    ("limits", "channels"),
    [
        pytest.param(Limits(connections=2), 2, id="as many as wished"),
        pytest.param(Limits(connections=2, bandwidth_mib=100), 1, id="one keeps to a limit"),
        pytest.param(Limits(connections=2, mode="post_copy"), 1, id="post-copy takes one"),
        pytest.param(Limits(connections=2, mode="auto_converge"), 2, id="a slowed guest takes all"),
    ],
)
def test_connections_that_a_migration_uses(limits: Limits, channels: int) -> None:
    assert limits.channels == channels
