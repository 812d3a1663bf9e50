# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples one host, and asks the guests from here, until all are back or the time is up."""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible.utils.vars import transform_to_native_types
from ansible_collections.croft.infra.plugins.plugin_utils.drill.probe import Prober, note, waiting
from ansible_collections.croft.infra.plugins.plugin_utils.sizing.text import listed

display = Display()

# Lines that were written while the drill began are read as well; what is older is left out later.
EARLIER = 5.0
LEAST_TURN = 0.5
# To look costs a host CPU time that its guests want for their boot: it rests twice as long as it took. What is told of
# processes and in the journal has its own times, so that nothing is less exact.
REST = 2
# The clock may be stopped together with the machine: a time-out counts turns as well.
TURN_SECONDS = 1.0


class ActionModule(ActionBase):  # type: ignore[misc]
    """See modules/drill_watch.py for the documentation."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, given = self.validate_argument_spec(
            {
                "began": {"type": "float", "required": True},
                "follow": {"type": "list", "elements": "dict", "required": True},
                "port": {"type": "int", "default": 22},
                "timeout": {"type": "int", "default": 300},
                "full": {"type": "bool", "default": False},
            }
        )
        if self._task.check_mode:
            return {**result, "changed": False, "skipped": True, "msg": "check mode: nothing was broken"}
        given = transform_to_native_types(given)
        return {**result, "changed": False, **self._watch(given, task_vars or {})}

    def _watch(self, given: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        began, follow = given["began"], given["follow"]
        asked = {vm["name"]: vm["address"] for vm in follow if vm["address"]} if given["port"] else {}
        by_agent = [vm["name"] for vm in follow if vm["name"] not in asked]
        broken = {vm["name"] for vm in follow if vm["restarts"]}
        prober = Prober(asked, given["port"])
        prober.start()
        samples: list[dict[str, Any]] = []
        agents: dict[str, list[list[Any]]] = {}
        missed = 0
        turns = 0
        try:
            while True:
                turns += 1
                before = time.monotonic()
                arguments = {"seconds": before - began + EARLIER, "agents": by_agent}
                seen = self._sample(arguments, task_vars)
                after = time.monotonic()
                if seen.get("failed") or "now" not in seen:
                    missed += 1
                else:
                    kept = {key: seen[key] for key in ("now", "qemu", "journal")}
                    # Each sample's journal holds all of the ones before it.
                    samples = [{**sample, "journal": []} for sample in samples]
                    samples.append({**kept, "before": before, "after": after})
                    for name, up in seen["agents"].items():
                        note(agents.setdefault(name, [[began, False]] if name in broken else []), after, up)
                guests = {**agents, **prober.changes}
                left = waiting(follow, guests)
                # The clock of a machine that was paused meanwhile may jump: turns count too.
                over = after - began >= given["timeout"] and turns * TURN_SECONDS >= min(given["timeout"], 30)
                if over or (not left and samples and not given["full"]):
                    break
                host = task_vars.get("inventory_hostname", "this host")
                if turns % 10 == 0:
                    display.display(f"{host}: {after - began:.0f} s, waiting for {listed(left) or 'the time to be up'}")
                took = time.monotonic() - before
                time.sleep(max(LEAST_TURN - took, REST * took))
        finally:
            prober.stop()
        return {"samples": samples, "guests": guests, "ended": after, "waiting": left, "missed": missed}

    def _sample(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """One sample; a host that cannot be reached at the moment has none."""
        try:
            seen: dict[str, Any] = self._execute_module(
                "croft.infra.drill_sample", module_args=arguments, task_vars=task_vars
            )
        except AnsibleConnectionFailure as error:
            return {"failed": True, "msg": str(error)}
        return seen
