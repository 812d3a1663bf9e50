# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.croft.infra.plugins.filter.subject_alt_names import subject_alt_names


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["kvm1", "10.99.0.11"], ["DNS:kvm1", "IP:10.99.0.11"]),
        (["kvm1", "kvm1"], ["DNS:kvm1"]),
        (["2001:DB8::1"], ["IP:2001:db8::1"]),
        ([], []),
    ],
)
def test_each_entry_gets_its_kind(names: list[str], expected: list[str]) -> None:
    assert subject_alt_names(names) == expected


@pytest.mark.parametrize("bad", ["kvm1", None, 5])
def test_what_is_no_list_is_refused(bad: object) -> None:
    with pytest.raises(AnsibleFilterError, match="takes a list"):
        subject_alt_names(bad)  # type: ignore[arg-type]
