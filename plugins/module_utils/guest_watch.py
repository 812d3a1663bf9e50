# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service that watches the guests of a host, and resets those that hang; what it decides is in guest_health.py.

Role guest_health installs it as croft-guest-health. It asks libvirt for the counters of all VMs in one call, the agents
of those VMs that ask for it side by side, and hears of watchdogs and panics as libvirt's events. What it knows lies in
/run/croft/guest_health.json: it survives a restart of the service and ends with the host.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.croft.infra.plugins.module_utils.guest_health import (
    GIVE_UP,
    HEALTHY,
    RESET,
    Decision,
    Memory,
    Policy,
    Seen,
    cleared,
    decide,
    observe,
    remembered,
    spent,
    was_reset,
)
from ansible_collections.croft.infra.plugins.module_utils.libvirt_connection import (
    DOMAIN_STATES,
    LibvirtFailedError,
    bindings,
    connection,
    words,
)

CONFIG = Path("/etc/croft/guest_health.json")
STATE = Path("/run/croft/guest_health.json")
# A file with the name of a VM in it says: reset it again when it hangs.
CLEAR = Path("/run/croft/guest_health.clear")

_AGENT_PORT = "devices/channel/target[@name='org.qemu.guest_agent.0']"
# VIR_ERR_AGENT_UNRESPONSIVE, _UNSYNCED and _COMMAND_TIMEOUT; older bindings lack the last name.
_NO_ANSWER = (86, 97, 112)
_AGENTS_AT_ONCE = 16
_STORAGE_SECONDS = 10
_RECONNECT_SECONDS = 5
# Priorities of syslog, which systemd takes from the beginning of a line.
_LEVELS = {HEALTHY: 6, "suspect": 5, RESET: 4, GIVE_UP: 3}


def now() -> float:
    """Seconds since the host was booted; the wall clock may jump."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def say(level: int, text: str) -> None:
    """A line for the journal."""
    print(f"<{level}>{text}", flush=True)


@dataclass
class Heard:
    """What libvirt's events said about one VM since the last look."""

    fired: bool = False
    panics: int = 0
    booted: bool = False

    def and_then(self, later: Heard) -> Heard:
        return Heard(self.fired or later.fired, self.panics + later.panics, self.booted or later.booted)


@dataclass
class Ear:
    """Collects libvirt's events, which come in a thread of their own."""

    lv: Any
    _events: queue.Queue[tuple[str, str]] = field(default_factory=queue.Queue)

    def listen(self, conn: Any) -> None:
        lv = self.lv

        def lifecycle(_conn: Any, domain: Any, event: int, _detail: int, _opaque: Any) -> None:
            if event == lv.VIR_DOMAIN_EVENT_CRASHED:
                self._events.put((domain.UUIDString(), "panic"))

        def watchdog(_conn: Any, domain: Any, _action: int, _opaque: Any) -> None:
            self._events.put((domain.UUIDString(), "fired"))

        def reboot(_conn: Any, domain: Any, _opaque: Any) -> None:
            self._events.put((domain.UUIDString(), "booted"))

        conn.domainEventRegisterAny(None, lv.VIR_DOMAIN_EVENT_ID_LIFECYCLE, lifecycle, None)
        conn.domainEventRegisterAny(None, lv.VIR_DOMAIN_EVENT_ID_WATCHDOG, watchdog, None)
        conn.domainEventRegisterAny(None, lv.VIR_DOMAIN_EVENT_ID_REBOOT, reboot, None)

    def heard(self, seconds: float) -> dict[str, Heard]:
        """Wait so long, or until a kernel panics, and return what was said, by UUID."""
        found: dict[str, Heard] = {}
        end = time.monotonic() + seconds
        while True:
            try:
                uuid, word = self._events.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                return found
            about = found.setdefault(uuid, Heard())
            about.fired |= word == "fired"
            about.booted |= word == "booted"
            about.panics += word == "panic"
            if word == "panic":
                # libvirt boots it anew meanwhile, and says so.
                end = min(end, time.monotonic() + 1)


def ask_agent(domain: Any, seconds: int) -> str:
    """answers, silent, closed or busy, as guest_health.Seen has it."""
    lv = bindings()
    try:
        bindings("libvirt_qemu").qemuAgentCommand(domain, '{"execute": "guest-ping"}', seconds, 0)
    except lv.libvirtError as error:
        if error.get_error_code() not in _NO_ANSWER:
            return "busy"
    else:
        return "answers"
    try:
        port = ET.fromstring(domain.XMLDesc(0)).find(_AGENT_PORT)
    except lv.libvirtError:
        return "busy"
    return "silent" if port is not None and port.get("state") == "connected" else "closed"


def disk_addresses(xml: str) -> Iterator[tuple[str, str]]:
    """(target, what qemu-io calls it) of each disk that the guest can write to."""
    for disk in ET.fromstring(xml).iterfind("devices/disk"):
        source, target = disk.find("source"), disk.find("target")
        if source is None or target is None or disk.find("readonly") is not None:
            continue
        name, host, auth = source.get("name", ""), source.find("host"), disk.find("auth")
        auth = auth if auth is not None else source.find("auth")
        if source.get("protocol") == "rbd":
            yield target.get("dev", ""), f"rbd:{name}" + ("" if auth is None else f":id={auth.get('username')}")
        elif source.get("protocol") is not None:
            server = "" if host is None else host.get("name", "")
            yield target.get("dev", ""), f"{source.get('protocol')}://{server}/{name.lstrip('/')}"
        elif address := source.get("file") or source.get("dev"):
            yield target.get("dev", ""), address


def unreadable(address: str) -> str | None:
    """Why the first bytes of a disk cannot be read from its storage, or None."""
    command = ["qemu-io", "-r", "-U", "-t", "none", "-f", "raw", "-c", "read -q 0 4096", address]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said, _nothing = process.communicate(timeout=_STORAGE_SECONDS)
    except subprocess.TimeoutExpired:
        # Not waited for: whoever waits for a disk that is away cannot be ended.
        process.kill()
        return f"no answer within {_STORAGE_SECONDS} s"
    # Who may not read it was answered all the same.
    if (process.returncode == 0 and not said.strip()) or "Permission denied" in said:
        return None
    return (said.strip().splitlines() or ["qemu-io failed"])[-1]


def obstacle(domain: Any) -> str | None:
    """What forbids to reset a VM just now, or None."""
    lv = bindings()
    try:
        if domain.jobInfo()[0] != lv.VIR_DOMAIN_JOB_NONE:
            return "libvirt works on it (a migration, a backup, a dump)"
        for target, address in disk_addresses(domain.XMLDesc(0)):
            why = unreadable(address)
            if why is not None:
                return f"the storage of its disk {target} does not answer: {why}"
        # QEMU stands still while it asks storage that is away, so this comes last.
        errors = domain.diskErrors(0)
    except lv.libvirtError as error:
        return f"libvirt does not tell how it is: {words(error)}"
    return f"its disk {min(errors)} has an error" if errors else None


@dataclass
class Watch:
    """The VMs of one host that ask to be watched: ``asked`` has the signals of each, by name."""

    policy: Policy
    asked: Mapping[str, frozenset[str]]
    agent_seconds: int = 5
    memories: dict[str, Memory] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    decisions: dict[str, Decision] = field(default_factory=dict)
    ask: Callable[[Any, int], str] = ask_agent
    forbids: Callable[[Any], str | None] = obstacle
    clock: Callable[[], float] = now
    _on_crash: dict[tuple[str, int], str] = field(default_factory=dict)
    # What was said of a VM at a moment at which it could not be judged; the next look has it.
    _unjudged: dict[str, Heard] = field(default_factory=dict)

    def look(self, conn: Any, heard: Mapping[str, Heard]) -> None:
        """Look at all of them once, and reset those that hang."""
        lv = bindings()
        kinds = (lv.VIR_DOMAIN_STATS_STATE | lv.VIR_DOMAIN_STATS_CPU_TOTAL | lv.VIR_DOMAIN_STATS_INTERFACE
                 | lv.VIR_DOMAIN_STATS_BLOCK)  # fmt: skip
        flags = lv.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE | lv.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
        found = [
            (domain, stats) for domain, stats in conn.getAllDomainStats(kinds, flags) if domain.name() in self.asked
        ]
        with ThreadPoolExecutor(_AGENTS_AT_ONCE) as threads:
            agents = list(threads.map(lambda one: self._agent(*one), found))
        unjudged: dict[str, Heard] = {}
        for (domain, stats), agent in zip(found, agents, strict=True):
            uuid = domain.UUIDString()
            said = self._unjudged.get(uuid, Heard()).and_then(heard.get(uuid, Heard()))
            counters = _counters(stats)
            if not counters:
                # libvirt is busy with it (it boots it anew, perhaps) and counts nothing: not the time to judge.
                unjudged[uuid] = said
                continue
            try:
                self._judge(domain, DOMAIN_STATES.get(stats["state.state"], "unknown"), counters, agent, said)
            except lv.libvirtError as error:
                # It ended, or moved away, while it was looked at.
                say(6, f"{domain.name()}: {words(error)}")
        self._unjudged = unjudged
        here = {domain.UUIDString() for domain, _stats in found}
        self.decisions = {uuid: decision for uuid, decision in self.decisions.items() if uuid in here}
        self._on_crash = {key: reaction for key, reaction in self._on_crash.items() if key[0] in here}
        horizon = self.clock() - self.policy.reset_window
        self.memories = {u: memory for u, memory in self.memories.items() if u in here or memory.at > horizon}

    def _agent(self, domain: Any, stats: Mapping[str, Any]) -> str | None:
        if "agent" not in self.asked[domain.name()] or DOMAIN_STATES.get(stats["state.state"]) != "running":
            return None
        return self.ask(domain, self.agent_seconds)

    def _judge(self, domain: Any, state: str, counters: Mapping[str, int], agent: str | None, heard: Heard) -> None:
        uuid, name, run = domain.UUIDString(), domain.name(), domain.ID()
        asked = self.asked[name]
        restarts = self._reaction(domain, uuid, run) == "restart"
        if state == "crashed" and restarts:
            # libvirt boots it anew at this moment.
            state = "booting"
        seen = Seen(
            at=self.clock(), run=run, state=state, agent=agent, fired=heard.fired and "watchdog" in asked,
            panics=heard.panics if restarts else 0, booted=heard.booted, **counters,
        )  # fmt: skip
        before = self.memories.get(uuid)
        memory = observe(before, seen, self.policy)
        if seen.panics:
            say(_LEVELS[RESET], f"{name}: its kernel panicked, and libvirt booted it anew")
        after, decision = decide(memory, seen, asked, self.policy)
        if decision.verdict == RESET:
            after, decision = decide(memory, seen, asked, self.policy, self.forbids(domain))
        if decision.verdict == RESET:
            domain.reset(0)
            if seen.state != "running":
                domain.resume()
            after = was_reset(after, seen.at)
        elif decision.verdict == GIVE_UP and seen.state == "crashed":
            # A cluster takes the state "crashed" for an error, and would stop and start it. A reset makes "paused" of
            # it, and libvirt has nothing else that does.
            domain.reset(0)
        self._tell(uuid, name, decision)
        self.memories[uuid], self.names[uuid] = after, name
        self._react(domain, uuid, run, spent(after, self.policy))

    def _tell(self, uuid: str, name: str, decision: Decision) -> None:
        last = self.decisions.get(uuid)
        self.decisions[uuid] = decision
        if last is not None and last.verdict == decision.verdict != RESET and not decision.news:
            return
        if last is None and decision.verdict == HEALTHY:
            return
        verb = {RESET: "reset, since ", GIVE_UP: "not reset any more: "}.get(decision.verdict, f"{decision.verdict}: ")
        say(_LEVELS[decision.verdict], f"{name}: {verb}{decision.reason}")

    def _reaction(self, domain: Any, uuid: str, run: int) -> str:
        """What libvirt does after a panic."""
        if (uuid, run) not in self._on_crash:
            self._on_crash[uuid, run] = ET.fromstring(domain.XMLDesc(0)).findtext("on_crash", "")
        return self._on_crash[uuid, run]

    def _react(self, domain: Any, uuid: str, run: int, stop: bool) -> None:
        """Let libvirt boot it anew after a panic as long as it may be reset, so that it is when nobody watches, too."""
        lv = bindings()
        wanted = "preserve" if stop else "restart"
        if self._on_crash[uuid, run] in ("preserve", "restart") and self._on_crash[uuid, run] != wanted:
            actions = {
                "preserve": lv.VIR_DOMAIN_LIFECYCLE_ACTION_PRESERVE,
                "restart": lv.VIR_DOMAIN_LIFECYCLE_ACTION_RESTART,
            }
            domain.setLifecycleAction(lv.VIR_DOMAIN_LIFECYCLE_CRASH, actions[wanted], lv.VIR_DOMAIN_AFFECT_LIVE)
            self._on_crash[uuid, run] = wanted

    def clear(self, names: Sequence[str]) -> None:
        """Reset these again when they hang."""
        for uuid, memory in self.memories.items():
            name = self.names.get(uuid, "")
            if name in names:
                self.memories[uuid] = cleared(memory)
                self.decisions.pop(uuid, None)
                say(5, f"{name}: is reset again when it hangs, as somebody wished")

    def as_dict(self) -> dict[str, Any]:
        """What the state's file has."""
        machines = {}
        for uuid, memory in sorted(self.memories.items()):
            decision = self.decisions.get(uuid, Decision("away", "does not run here"))
            machines[uuid] = {
                "name": self.names.get(uuid, ""),
                "verdict": decision.verdict,
                "reason": decision.reason,
                "resets": len(memory.resets),
                "memory": memory.as_dict(),
            }
        return {"at": self.clock(), "late_after": 3 * self.policy.gap, "virtual_machines": machines}

    def remember(self, state: Mapping[str, Any]) -> None:
        """Take over what an earlier run of the service knew."""
        for uuid, machine in state["virtual_machines"].items():
            self.memories[uuid] = remembered(machine["memory"])
            self.names[uuid] = machine["name"]


def _counters(stats: Mapping[str, Any]) -> dict[str, int]:
    """block, sent and cpu; empty when libvirt cannot ask QEMU now. It knows the CPU time only of VMs in a cgroup."""
    if stats.get("block.count", 0) and "block.0.rd.reqs" not in stats:
        return {}
    block = sum(
        stats.get(f"block.{index}.{kind}.reqs", 0)
        for index in range(stats.get("block.count", 0))
        for kind in ("rd", "wr", "fl")
    )
    sent = sum(stats.get(f"net.{index}.tx.bytes", 0) for index in range(stats.get("net.count", 0)))
    return {"block": block, "sent": sent, "cpu": stats.get("cpu.time", 0)}


def read_state() -> dict[str, Any]:
    """The state's file; one without VMs where there is none."""
    try:
        state: dict[str, Any] = json.loads(STATE.read_text())
    except FileNotFoundError:
        return {"virtual_machines": {}}
    return state


def configured() -> Watch:
    """What the role wrote, and what an earlier run left."""
    config = json.loads(CONFIG.read_text())
    asked = {name: frozenset(signals) for name, signals in config["virtual_machines"].items()}
    watch = Watch(Policy(**config["policy"]), asked, config["agent_timeout"])
    try:
        watch.remember(read_state())
    except (ValueError, KeyError, TypeError) as error:
        say(4, f"{STATE} cannot be read and is made anew: {error!r}")
        watch.memories.clear()
    return watch


def run(watch: Watch, ear: Ear) -> None:
    """Watch over one connection until it breaks."""
    with connection() as conn:
        ear.listen(conn)
        heard: dict[str, Heard] = {}
        while True:
            wishes = list(CLEAR.iterdir())
            watch.clear([path.name for path in wishes])
            for path in wishes:
                path.unlink()
            watch.look(conn, heard)
            fresh = STATE.with_suffix(".new")
            fresh.write_text(json.dumps(watch.as_dict(), indent=1) + "\n")
            fresh.replace(STATE)
            heard = ear.heard(watch.policy.interval)


def serve() -> None:
    lv = bindings()
    lv.virEventRegisterDefaultImpl()

    def turn() -> None:
        while True:
            lv.virEventRunDefaultImpl()

    threading.Thread(target=turn, daemon=True).start()
    CLEAR.mkdir(mode=0o700, parents=True, exist_ok=True)
    watch, ear = configured(), Ear(lv)
    while True:
        try:
            run(watch, ear)
        except LibvirtFailedError as error:
            say(4, f"{error}; trying again")
            time.sleep(_RECONNECT_SECONDS)


def told() -> tuple[str | None, dict[str, str]]:
    """(what is wrong with the service, the VMs that it gave up and why), for a host that may have none."""
    if not CONFIG.exists():
        return None, {}
    try:
        state = read_state()
        late = now() - state.get("at", 0) > state.get("late_after", 0)
        gave_up = {
            one["name"]: one["reason"] for one in state["virtual_machines"].values() if one["verdict"] == GIVE_UP
        }
    except (ValueError, KeyError, TypeError):
        late, gave_up = True, {}
    wrong = "nobody watches its guests; look with 'systemctl status croft-guest-health'" if late else None
    return wrong, gave_up


def show() -> str:
    """A line for each VM."""
    machines = sorted(read_state()["virtual_machines"].values(), key=lambda one: str(one["name"]))
    return "".join(f"{one['name']}: {one['verdict']} ({one['reason']}), resets {one['resets']}\n" for one in machines)


def main(arguments: Sequence[str]) -> int:
    """`serve`; `clear NAME...`; without arguments, tell."""
    match list(arguments[1:]):
        case ["serve"]:
            serve()
        case ["clear", *names] if names:
            for name in names:
                (CLEAR / Path(name).name).touch()
        case []:
            sys.stdout.write(show())
        case _:
            sys.stderr.write("croft-guest-health, or croft-guest-health clear NAME...\n")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
