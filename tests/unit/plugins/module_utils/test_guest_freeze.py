# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from ansible_collections.croft.infra.plugins.module_utils import guest_freeze


class LibvirtError(Exception):
    """Stands for libvirt's."""


@pytest.mark.parametrize(
    ("answer", "refusal", "said", "calls"),
    [
        (None, None, None, ["fsFreeze", "fsThaw"]),
        ("no agent", None, "no agent", []),
        (None, LibvirtError("guest is busy"), "guest is busy", ["fsFreeze"]),
    ],
)
def test_what_was_frozen_is_thawed_also_when_the_copy_fails(
    monkeypatch: pytest.MonkeyPatch, answer: str | None, refusal: Exception | None, said: str | None, calls: list[str]
) -> None:
    monkeypatch.setattr(guest_freeze, "agent_answers", lambda _domain, _seconds: answer)
    monkeypatch.setattr(guest_freeze, "bindings", lambda: SimpleNamespace(libvirtError=LibvirtError))
    monkeypatch.setattr(guest_freeze, "quietly", lambda call: call())
    domain = MagicMock()
    domain.fsFreeze.side_effect = refusal

    def copy() -> None:
        with guest_freeze.frozen(domain) as reason:
            assert reason == said
            assert not domain.fsThaw.called
            raise RuntimeError("no room")

    with pytest.raises(RuntimeError, match="no room"):
        copy()
    assert [call[0] for call in domain.method_calls] == calls
