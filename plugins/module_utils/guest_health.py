# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does a guest hang, and may it be reset? Pure: what was seen of it goes in, a verdict with its reason comes out.

A guest is reset only when something that it does by itself when it is well has stopped (its agent answers no more, its
watchdog was not fed) and, as a second signal, its disks and its network have stood still for a while. Times are seconds
of CLOCK_BOOTTIME of the host.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

# What a VM may ask to be judged by.
SIGNALS = ("agent", "watchdog")

HEALTHY, SUSPECT, RESET, GIVE_UP = "healthy", "suspect", "reset", "give_up"


@dataclass(frozen=True)
class Policy:
    """The limits; seconds, except for ``max_resets`` and ``net_bytes``.

    ``net_bytes``: what a guest must send within ``quiet`` to count as alive by its network. A kernel whose userland
    hangs still answers ARP, pings and TCP handshakes, a few bytes each.
    """

    interval: int = 10
    silence: int = 60
    quiet: int = 120
    grace: int = 180
    max_resets: int = 3
    reset_window: int = 3600
    net_bytes: int = 65536

    @property
    def gap(self) -> int:
        """A look that comes so late says more about the host than about its guests."""
        return max(60, 3 * self.interval)


@dataclass(frozen=True)
class Seen:
    """One look at a guest.

    ``run``: libvirt's number of the QEMU process. ``agent``: answers, silent (it is there, and does not answer), closed
    (nothing in the guest has its port open), busy (libvirt itself talks to it), or None when it was not asked.
    ``block``: requests that its disks have completed; ``sent``: bytes that its network cards have sent; ``cpu``:
    nanoseconds of CPU time.
    Since the last look: ``fired``, whether its watchdog ran out; ``panics`` after which libvirt booted it anew by
    itself; ``booted``, whether it was booted by anybody.
    """

    at: float
    run: int
    state: str = "running"
    agent: str | None = None
    block: int = 0
    sent: int = 0
    cpu: int = 0
    fired: bool = False
    panics: int = 0
    booted: bool = False


@dataclass(frozen=True)
class Memory:
    """What is known of a guest from earlier looks.

    ``since``: when it was booted, as far as is known. ``armed``: its agent has answered since then. ``answered_at``:
    when it last did, or when watching began anew. ``spoke_at``: when it last did. ``moved_at``: when its disks or
    network last did something, by ``moved``. ``sent``: (time, bytes) of the last ``Policy.quiet`` seconds. ``share``:
    its CPU time per second. ``crashed``: its kernel panicked, though by now it may be paused. ``hindered``: what
    forbade to reset it a while ago.
    """

    run: int
    at: float
    since: float
    answered_at: float
    moved_at: float
    moved: str = ""
    armed: bool = False
    spoke_at: float = -1.0
    fired_at: float | None = None
    block: int = 0
    cpu: int = 0
    share: float = 0.0
    sent: tuple[tuple[float, int], ...] = ()
    resets: tuple[float, ...] = ()
    gave_up: str | None = None
    crashed: bool = False
    hindered: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Decision:
    """The verdict (healthy, suspect, reset or give_up), and why. ``news``: told, though the verdict is as before."""

    verdict: str
    reason: str
    news: bool = False


def remembered(data: Mapping[str, Any]) -> Memory:
    """The memory that ``as_dict`` wrote, perhaps an older one's. Raises TypeError, KeyError or ValueError else."""
    known = {field.name: data[field.name] for field in fields(Memory) if field.name in data}
    known["sent"] = tuple((float(at), int(count)) for at, count in known["sent"])
    known["resets"] = tuple(float(at) for at in known["resets"])
    return Memory(**known)


def observe(memory: Memory | None, seen: Seen, policy: Policy) -> Memory:
    """The memory with one more look in it."""
    if memory is None:
        memory = _anew(seen, resets=(), gave_up=None)
    # What is left after a panic was reset, so that it is paused, and not resumed.
    crashed = seen.state == "crashed" or (memory.crashed and seen.state == "paused" and seen.run == memory.run)
    resets = tuple(at for at in memory.resets if seen.at - at < policy.reset_window) + (seen.at,) * seen.panics
    if seen.run != memory.run:
        # Somebody stopped and started it, which also says: try again.
        memory = _anew(seen, resets=resets, gave_up=None)
    elif seen.booted or seen.panics:
        memory = _anew(seen, resets=resets, gave_up=memory.gave_up)
    elif seen.state != "running" or seen.agent == "busy" or not 0 <= seen.at - memory.at <= policy.gap:
        memory = held(memory, seen.at)
    memory = _moved(replace(memory, resets=resets), seen, policy)
    if seen.fired and not seen.booted and not seen.panics:
        memory = replace(memory, fired_at=seen.at)
    if seen.agent == "answers":
        memory = replace(memory, armed=True, answered_at=seen.at, spoke_at=seen.at, hindered=None)
    elif seen.agent == "closed":
        # Whoever closed it was alive; there is no answer to wait for.
        memory = replace(memory, answered_at=seen.at)
    return replace(memory, at=seen.at, block=seen.block, cpu=seen.cpu, crashed=crashed)


def _anew(seen: Seen, *, resets: tuple[float, ...], gave_up: str | None) -> Memory:
    return Memory(
        run=seen.run, at=seen.at, since=seen.at, answered_at=seen.at, moved_at=seen.at, moved="boot", block=seen.block,
        cpu=seen.cpu, resets=resets, gave_up=gave_up,
    )  # fmt: skip


def held(memory: Memory, at: float) -> Memory:
    """The memory when what was seen until now says nothing, since the guest was stopped by other than itself."""
    return replace(memory, answered_at=at, moved_at=at, moved="hold", fired_at=at if _fired(memory) else None, sent=())


def _fired(memory: Memory) -> bool:
    """Whether its watchdog ran out, and its agent has not answered since."""
    return memory.fired_at is not None and memory.fired_at > memory.spoke_at


def _moved(memory: Memory, seen: Seen, policy: Policy) -> Memory:
    """What its counters say since the last look."""
    sent = (*((at, count) for at, count in memory.sent if seen.at - at <= policy.quiet), (seen.at, seen.sent))
    passed = seen.at - memory.at
    share = (seen.cpu - memory.cpu) / (passed * 1e9) if passed > 0 else memory.share
    memory = replace(memory, sent=sent, share=max(0.0, share))
    if seen.block != memory.block:
        return replace(memory, moved_at=seen.at, moved="disk")
    if seen.sent - sent[0][1] >= policy.net_bytes:
        return replace(memory, moved_at=seen.at, moved="network")
    return memory


def was_reset(memory: Memory, at: float) -> Memory:
    """The memory after the guest was reset."""
    return replace(
        memory, since=at, answered_at=at, moved_at=at, moved="boot", armed=False, fired_at=None, sent=(),
        crashed=False, hindered=None, resets=(*memory.resets, at),
    )  # fmt: skip


def given_up(memory: Memory, reason: str) -> Memory:
    """The memory of a guest that is not reset any more until somebody says so."""
    return replace(memory, gave_up=reason)


def cleared(memory: Memory) -> Memory:
    """The memory when somebody said: try again."""
    return replace(held(memory, memory.at), gave_up=None, resets=())


def spent(memory: Memory, policy: Policy) -> bool:
    """Whether the guest was reset as often as it may be; libvirt must not boot it anew by itself either then."""
    return memory.gave_up is not None or len(memory.resets) >= policy.max_resets


def decide(
    memory: Memory, seen: Seen, asked: frozenset[str], policy: Policy, obstacle: str | None = None
) -> tuple[Memory, Decision]:
    """The verdict, and the memory that goes with it; ``memory`` has ``seen`` in it.

    ``obstacle`` says what forbids a reset just now (a migration, a backup, storage that does not answer). It need only
    be looked for when the verdict without it is a reset.
    """
    if memory.gave_up is not None:
        return memory, Decision(GIVE_UP, memory.gave_up)
    if memory.crashed:
        return _act(memory, "its kernel panicked", policy)
    signs = "" if _booting(memory, seen, policy) or seen.state != "running" else _signs(memory, seen, asked, policy)
    if signs:
        memory, decision = _with_signs(memory, seen, asked, policy, signs=signs, obstacle=obstacle)
    else:
        decision = _without_signs(memory, seen, asked, policy)
    if decision.verdict == SUSPECT and memory.hindered is not None and obstacle is None:
        decision = replace(decision, reason=f"{decision.reason}; was not reset, since {memory.hindered}")
    return memory, decision


def _booting(memory: Memory, seen: Seen, policy: Policy) -> bool:
    return seen.at - memory.since < policy.grace and not memory.armed


def _with_signs(  # noqa: PLR0913
    memory: Memory, seen: Seen, asked: frozenset[str], policy: Policy, *, signs: str, obstacle: str | None
) -> tuple[Memory, Decision]:
    """The second signal: a guest whose disks or network go on is busy."""
    since = seen.at - max(memory.moved_at, memory.spoke_at)
    if since >= policy.quiet:
        if obstacle is not None:
            news = obstacle != memory.hindered
            memory = replace(held(memory, seen.at), hindered=obstacle)
            return memory, Decision(SUSPECT, f"{signs}; not reset, since {obstacle}", news)
        still = f"no disk or network I/O for {since:.0f} s, CPU {100 * memory.share:.0f} %"
        return _act(memory, f"{signs}, {still}", policy)
    if "agent" not in asked and memory.fired_at is not None and memory.moved_at > memory.fired_at + policy.quiet:
        # Nothing else would tell that it has come round. Not sooner: a kernel writes for a while what its userland
        # left behind.
        return replace(memory, fired_at=None), Decision(HEALTHY, f"{signs}, and its {memory.moved} goes on")
    return memory, Decision(SUSPECT, f"{signs}; {_still(memory, since)}: it is busy, or will be reset")


def _signs(memory: Memory, seen: Seen, asked: frozenset[str], policy: Policy) -> str:
    """What says that the guest hangs; empty when nothing does."""
    signs = []
    silent = seen.at - memory.answered_at
    if "agent" in asked and memory.armed and seen.agent == "silent" and silent >= policy.silence:
        signs.append(f"its agent has not answered for {silent:.0f} s")
    fired = seen.at - memory.fired_at if memory.fired_at is not None and _fired(memory) else 0
    if fired >= policy.silence:
        signs.append(f"its watchdog ran out {fired:.0f} s ago")
    return ", ".join(signs)


def _without_signs(memory: Memory, seen: Seen, asked: frozenset[str], policy: Policy) -> Decision:
    silent = seen.at - memory.answered_at
    ran_out = memory.fired_at is not None and seen.at - memory.fired_at < policy.quiet
    cases = (
        (seen.state != "running", HEALTHY, f"is {seen.state.replace('_', ' ')}"),
        (
            "agent" not in asked and _fired(memory) and not _booting(memory, seen, policy),
            SUSPECT,
            "its watchdog ran out",
        ),
        ("agent" not in asked, HEALTHY, "its watchdog is quiet"),
        (seen.agent == "answers" and ran_out, SUSPECT, "its watchdog ran out, and its agent answers: is it fed?"),
        (seen.agent == "answers", HEALTHY, "its agent answers"),
        (_booting(memory, seen, policy), HEALTHY, "is booting"),
        (seen.agent == "busy", HEALTHY, "libvirt is busy with it"),
        (not memory.armed, SUSPECT, "its agent has not answered since it booted"),
        (seen.agent == "closed", SUSPECT, "its agent does not run"),
    )
    last = Decision(SUSPECT, f"its agent has not answered for {silent:.0f} s")
    return next((Decision(verdict, reason) for holds, verdict, reason in cases if holds), last)


def _still(memory: Memory, since: float) -> str:
    if memory.spoke_at > memory.moved_at:
        return f"its agent answered {since:.0f} s ago"
    if memory.moved in ("hold", "boot"):
        return f"watched for {since:.0f} s"
    return f"its {memory.moved} did something {since:.0f} s ago"


def _act(memory: Memory, why: str, policy: Policy) -> tuple[Memory, Decision]:
    if spent(memory, policy):
        reason = f"{why}; was reset {len(memory.resets)} times in {policy.reset_window // 60} min, and is left so"
        return given_up(memory, reason), Decision(GIVE_UP, reason)
    return memory, Decision(RESET, why)
