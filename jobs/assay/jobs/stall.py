"""What is in hand where, and what is wrong when nothing comes back.

Knows what actors say of themselves, and how a standstill is named from that. Does not know Ray: the pipeline carries
reports here (`pipeline.py`), tests write them.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from assay.platform.errors import AssayError

MOST_STARTS = 5
"""Starts in a row after which an actor that never gets ready is given up: its process is killed each time."""
MOST_TRIES = 5
"""Times a shard is taken up by a stage that never finishes it; also lost nodes take shards with them."""
SHOWN = 6
"""Shards that an error names."""


@dataclass(frozen=True, slots=True)
class Report:
    """What an actor says of itself: all of it, each time."""

    actor: str
    """The same after a restart."""
    stage: str
    node: str
    pid: int
    ready: bool = False
    """Whether its encoder is loaded; one that is not ready has just started."""
    shards: frozenset[int] = frozenset()
    """In hand now."""
    pause: str = ""
    """Why it waits, when it does so on purpose."""
    pause_s: float = 0.0
    """Seconds until it stops waiting."""

    @property
    def place(self) -> str:
        """Where to look for it."""
        return f"on {self.node} (process {self.pid})"


@dataclass(frozen=True, slots=True)
class Held:
    """A shard in an actor's hands."""

    shard: int
    by: Report
    for_s: float


@dataclass(frozen=True, slots=True)
class Picture:
    """All that was reported, as of now."""

    ready: frozenset[str] = frozenset()
    """Stages of which an actor has been ready."""
    loading: tuple[tuple[Report, float], ...] = ()
    """Actors that are not ready, and the seconds since they started."""
    held: tuple[Held, ...] = ()
    """Shards in hand, the longest held first."""
    pause: str = ""
    pause_s: float = 0.0
    """Seconds until the last of the actors that wait on purpose stops doing so."""
    dying: tuple[Report, int] | None = None
    """An actor that never gets ready, and how often it started."""
    deadly: tuple[str, int, int] | None = None
    """A stage, a shard that it never finishes, and how often it tried."""


@dataclass(slots=True)
class _Actor:
    """What is known of one actor. Times are the board's own: nodes' clocks differ."""

    report: Report
    since: float
    starts: int = 0
    held: dict[int, float] = field(default_factory=dict)
    pause_ends: float = 0.0


class Board:
    """Where actors' reports are pinned up: one for each actor, the newest."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._actors: dict[str, _Actor] = {}
        self._tries: Counter[tuple[str, int]] = Counter()
        self._ready: set[str] = set()

    def tell(self, report: Report) -> None:
        """Pin up a report in place of the actor's last one."""
        now = self._clock()
        actor = self._actors.setdefault(report.actor, _Actor(report, now))
        if not report.ready:
            actor.starts, actor.since, actor.held = actor.starts + 1, now, {}
        else:
            actor.starts = 0
            self._ready.add(report.stage)
        for done in actor.held.keys() - report.shards:
            del self._tries[report.stage, done], actor.held[done]
        for taken in report.shards - actor.held.keys():
            self._tries[report.stage, taken] += 1
            actor.held[taken] = now
        actor.report, actor.pause_ends = report, now + report.pause_s if report.pause else 0.0

    def read(self) -> Picture:
        """All that is pinned up."""
        now, actors = self._clock(), self._actors.values()
        held = [Held(shard, one.report, now - since) for one in actors for shard, since in one.held.items()]
        waiting = max(actors, key=lambda one: one.pause_ends, default=None)
        paused = waiting is not None and waiting.pause_ends > now
        most = max(actors, key=lambda one: one.starts, default=None)
        worst = max(self._tries, key=lambda one: self._tries[one], default=None)
        return Picture(
            ready=frozenset(self._ready),
            loading=tuple((one.report, now - one.since) for one in actors if not one.report.ready),
            held=tuple(sorted(held, key=lambda one: -one.for_s)),
            pause=waiting.report.pause if waiting is not None and paused else "",
            pause_s=waiting.pause_ends - now if waiting is not None and paused else 0.0,
            dying=(most.report, most.starts) if most is not None and most.starts >= MOST_STARTS else None,
            deadly=(*worst, self._tries[worst]) if worst is not None and self._tries[worst] >= MOST_TRIES else None,
        )


@dataclass(slots=True)
class Quiet:
    """How long it has been quiet while something was under way: who waits for the source does not stand still."""

    excused_s: float = 0.0

    def stood_s(self, quiet_s: float, *, starves: bool) -> float:
        """Of so many seconds since the last receipt, those that count. `starves` says that nothing is under way now."""
        self.excused_s = quiet_s if starves else min(self.excused_s, quiet_s)
        return quiet_s - self.excused_s


def find_death(picture: Picture) -> AssayError | None:
    """What would go on for ever: an actor that dies while it loads, or a shard that kills whoever takes it."""
    if picture.dying is not None:
        report, starts = picture.dying
        return AssayError(
            f"an actor of the {report.stage} stage is killed each time it starts",
            where=f"last {report.place}",
            why=f"{starts} starts in a row ended before it was ready, and none of them by an error of its own",
            fix="too little memory, or a crash in native code: see the node's log; then run the same command again",
        )
    if picture.deadly is not None:
        stage, shard, tries = picture.deadly
        return AssayError(
            f"shard {shard} is never finished: the {stage} stage dies each time it takes it up",
            where=f"shard {shard}, {stage}",
            why=f"taken up {tries} times, and its process was killed each time",
            fix="too little memory (lower --shard.images), or a crash in native code: see the nodes' logs",
        )
    return None


def name_stall(picture: Picture, wanted: dict[str, str], room: str, silent_s: float) -> AssayError:
    """The standstill in words. `wanted` is what one actor of each stage asks for; `room` is what the cluster has."""
    held = [f"shard {one.shard} in {one.by.stage} {one.by.place} for {one.for_s:.0f} s" for one in picture.held]
    more = [f"and {len(held) - SHOWN} more"] if len(held) > SHOWN else []
    loading = [f"an actor of {one.stage} {one.place} loading for {age:.0f} s" for one, age in picture.loading]
    begun = picture.ready | {one.stage for one, _ in picture.loading}
    unplaced = [f"no actor of {stage} has found a place: each needs {each}" for stage, each in wanted.items()]
    missing = [text for text, stage in zip(unplaced, wanted, strict=True) if stage not in begun]
    return AssayError(
        f"the job stands still: no shard has come back for {silent_s:.0f} s",
        where="; ".join([*held[:SHOWN], *more, *loading[:SHOWN]]) or "nothing is in hand anywhere",
        why="; ".join([*missing, f"the cluster has {room}"] if missing else ["what is in hand does not end"]),
        fix=(
            "free or add what is missing, then run the same command again: what is committed stays"
            if missing
            else "see what these processes do; if a shard may take so long: --cluster.stall-s, or fewer --shard.images"
        ),
    )
