"""A race: several sides do the same work in turn, round after round, on one machine.

Knows interleaving, and that a side that fails is told and the others go on. Does not know what the sides do.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol

from infra.bench.figure import Figure, Goal


class SideError(Exception):
    """A side cannot take part, or lost images."""


@dataclass(frozen=True, slots=True)
class Lap:
    """One side's turn. `images` came out of it, faults included, of `asked` that went in."""

    images: int
    asked: int
    seconds: float
    """From the first image's work to the last result: without start-up."""
    startup_s: float = 0.0
    facts: Mapping[str, float | str] = field(default_factory=dict)
    timed: int | None = None
    """Images that came while the clock ran, where it began with the first result; unset: all."""

    @property
    def rate(self) -> float:
        """Images per second."""
        return (self.images if self.timed is None else self.timed) / self.seconds

    def check(self) -> None:
        """Every image is accounted for.

        Raises:
            SideError: or it is not.
        """
        if self.images != self.asked:
            raise SideError(f"{self.images} of {self.asked} images came out")


class Side(Protocol):
    """One way of doing the work."""

    def lap(self) -> Lap:
        """Do it once."""

    def close(self) -> None:
        """End what was started."""


MakeSide = Callable[[], Side]


@dataclass(slots=True)
class Race:
    """What came of it. A side that failed has its reason, and no laps count."""

    laps: dict[str, list[Lap]]
    failures: dict[str, str] = field(default_factory=dict)

    def rates(self, name: str) -> list[float]:
        """Images per second of a side, by round.

        Raises:
            SideError: the side failed, or was not there.
        """
        if name in self.failures:
            raise SideError(f"{name}: {self.failures[name]}")
        if not self.laps.get(name):
            raise SideError(f"{name}: took no part")
        return [lap.rate for lap in self.laps[name]]

    def ratio(self, ours: str, theirs: str, target: float | None, goal: Goal = "at least") -> Figure:
        """Ours over theirs, round by round: what slows a round slows both."""
        try:
            pairs = list(zip(self.rates(ours), self.rates(theirs), strict=True))
        except SideError as error:
            return Figure.missing(str(error), target, goal)
        return Figure.of([one / other for one, other in pairs], target, goal)

    def facts(self, prefix: str = "") -> dict[str, float | str]:
        """Every side's median rate and start-up, by name, and what the sides say of themselves."""
        told: dict[str, float | str] = {f"{prefix}{name} failed": why for name, why in self.failures.items()}
        for name, laps in self.laps.items():
            if name in self.failures or not laps:
                continue
            told[f"{prefix}{name} images/s"] = Figure.of([lap.rate for lap in laps]).value or 0.0
            told[f"{prefix}{name} start-up s"] = Figure.of([lap.startup_s for lap in laps]).value or 0.0
            told |= {f"{prefix}{name} {what}": value for what, value in laps[-1].facts.items()}
        return told


def order(names: list[str], turn: int) -> list[str]:
    """The order of a round: each round begins with another side, so that none always has the same neighbour's heat."""
    start = turn % max(1, len(names))
    return names[start:] + names[:start]


def race(
    sides: Mapping[str, MakeSide], rounds: int, said: Callable[[str], None] = lambda _what: None, warm_up: bool = True
) -> Race:
    """Let the sides run `rounds` rounds, interleaved, after one that does not count (caches, page cache, clocks)."""
    run = Race({name: [] for name in sides})
    with ExitStack() as stack:
        entered = {name: side for name, make in sides.items() if (side := _enter(name, make, run, stack)) is not None}
        for turn in range(-1 if warm_up else 0, rounds):
            for name in order(list(entered), max(0, turn)):
                if name not in run.failures:
                    _turn(name, entered[name], run, counts=turn >= 0, said=said)
    return run


def _enter(name: str, make: MakeSide, run: Race, stack: ExitStack) -> Side | None:
    try:
        side = make()
    except Exception as error:  # noqa: BLE001  # a baseline fails in its own way: the table tells, the race goes on
        run.failures[name] = _reason(error)
        return None
    stack.callback(side.close)
    return side


def _turn(name: str, side: Side, run: Race, counts: bool, said: Callable[[str], None]) -> None:
    try:
        lap = side.lap()
        lap.check()
    except Exception as error:  # noqa: BLE001  # as above
        run.failures[name] = _reason(error)
        said(f"{name}: {run.failures[name]}")
        return
    said(f"{name}: {lap.rate:.1f} images/s{'' if counts else ', not counted'}, start-up {lap.startup_s:.1f} s")
    if counts:
        run.laps[name].append(lap)


def _reason(error: BaseException) -> str:
    text = (str(error).strip() or "no reason given").splitlines()[-1]
    return text if isinstance(error, SideError) else f"{type(error).__name__}: {text}"
