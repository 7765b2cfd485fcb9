"""The online service: beside the bare loop, beside the least that answers over HTTP, and under more load than it can.

Knows which sides are compared and what is asked of an overloaded service. Does not know how load is made (`load.py`).
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from assay.serving.limits import BatchSpec
from infra.bench.bench import Bench, Regime
from infra.bench.figure import Figure, Result
from infra.bench.load import LoadFacts, LoadSpec, put_load
from infra.bench.memory import PeakMemory, family_bytes
from infra.bench.online_sides import CLIENTS, SETTLE_S, HttpSide, minimal_side, online, online_side
from infra.bench.pictures import compose_posted, link_pictures
from infra.bench.race import MakeSide, SideError, race
from infra.bench.served import Served

PICTURES = 64
"""Posted over and over; nothing is remembered from one request to the next."""
STEADY, BUSY, OVER = 0.7, 0.8, 2.0
"""Of what 32 clients get out of it."""
RECOVERED_S = 5.0
LOOPS = {"loop": "ModeratorLoop", "loop, decoding ahead": "ModeratorLoopAhead"}
MIB = 2**20


def beside_loop(bench: Bench) -> Result:
    """The whole service ÷ the moderator in a loop, on the same cores at the same batch: the faster of two loops."""
    posted, release = _posted(bench), bench.release("real")
    task = bench.task(release, 1, BatchSpec().views)
    images = bench.images("real")
    task = task.model_copy(update={"pictures": str(link_pictures(posted, bench.scratch(), images)), "images": images})
    sides: dict[str, MakeSide] = {
        "HTTP": partial(_online, bench, "real", posted),
        **{name: partial(bench.child, f"infra.bench.online_sides:{side}", task) for name, side in LOOPS.items()},
    }
    found = race(sides, bench.spec.rounds, lambda what: bench.say(f"  {what}"))
    fastest = max(LOOPS, key=lambda name: statistics.median(found.rates(name)))
    return Result(
        title="service ÷ bare Moderator loop, real, 32 clients",
        figure=found.ratio("HTTP", fastest, 0.85),
        bound_by="the encoder's arithmetic on the cores that also decode and answer",
        facts=found.facts() | _of_bodies(posted),
    )


def beside_minimal(bench: Bench) -> Result:
    """The whole service ÷ a handler that decodes and answers, where the encoder costs nothing."""
    posted, seconds = _posted(bench), bench.spec.online_s
    sides: dict[str, MakeSide] = {
        "HTTP": partial(_online, bench, "null", posted),
        "minimal": partial(
            minimal_side, bench.scratch(), bench.release("null"), posted[0].parent, seconds, bench.cores
        ),
    }
    found = race(sides, bench.spec.rounds, lambda what: bench.say(f"  {what}"))
    return Result(
        title="service ÷ uvicorn and FastAPI with the same decoders, null, 32 clients",
        figure=found.ratio("HTTP", "minimal", 0.5),
        bound_by="decoding on both sides; ours also goes through HAProxy and Serve, judges, counts and logs",
        facts=found.facts() | _of_bodies(posted),
    )


def _online(bench: Bench, regime: Regime, posted: Sequence[Path]) -> HttpSide:
    release, seconds = bench.release(regime), bench.spec.online_s
    return online_side(bench.scratch(), release, posted[0].parent, seconds, bench.cores)


def _posted(bench: Bench) -> list[Path]:
    return compose_posted(bench.scratch(), PICTURES, bench.spec.seed)


def _of_bodies(posted: Sequence[Path]) -> dict[str, float | str]:
    return {"body KB": round(sum(path.stat().st_size for path in posted) / len(posted) / 1000, 1), "clients": CLIENTS}


@dataclass(frozen=True, slots=True)
class _Round:
    """One service's answers to five loads, one after the other."""

    full: LoadFacts
    """32 clients: what it gave is the capacity."""
    steady: LoadFacts
    busy: LoadFacts
    over: LoadFacts
    after: LoadFacts
    """As busy, from so many seconds after the overload ended."""
    growth: int
    """Bytes of all its processes: the most during the overload, over just before."""


def under_load(bench: Bench) -> Result:
    """Latencies at a rate that it can serve, and what is left of it at twice what it can."""
    posted = _posted(bench)
    with online(bench.scratch(), bench.release("real"), bench.cores) as service:
        loads = _Loads(bench, service, posted[0].parent)
        loads.full()  # not counted
        before = family_bytes(service.process)
        rounds = [loads.round(turn) for turn in range(bench.spec.rounds)]
        grown = (family_bytes(service.process) - before) / MIB
    odd = sum(
        sum(load.odd.values()) for one in rounds for load in (one.full, one.steady, one.busy, one.over, one.after)
    )
    return Result(
        title="goodput at twice the capacity ÷ capacity, real",
        figure=Figure.of([one.over.good_rate / one.full.good_rate for one in rounds], 0.85),
        bound_by="the encoder's arithmetic; refusing takes what is left",
        more={
            "p99 of the accepted ÷ p99 at 0.8": Figure.of([r.over.p99 / r.busy.p99 for r in rounds], 2.0, "at most"),
            "p99 from 5 s after it ÷ before": Figure.of([r.after.p99 / r.busy.p99 for r in rounds], 1.5, "at most"),
            "neither 200 nor 429 with Retry-After": Figure.of([odd], 0, "at most"),
            "growth of all its processes amid it, MiB": Figure.of([r.growth / MIB for r in rounds], 50, "at most"),
            "growth of all its processes from first to last, MiB": Figure.of([grown], 50, "at most"),
            "p50 at 0.7 of the capacity, s": Figure.of([one.steady.p50 for one in rounds]),
            "p95 at 0.7, s": Figure.of([one.steady.p95 for one in rounds]),
            "p99 at 0.7, s": Figure.of([one.steady.p99 for one in rounds]),
            "p99 at 0.8, s": Figure.of([one.busy.p99 for one in rounds]),
            "p99 of the accepted at 2.0, s": Figure.of([one.over.p99 for one in rounds]),
            "p99 of a refusal, s": Figure.of([one.over.refusal_p99 for one in rounds]),
        },
        facts={**_told(rounds), **_of_bodies(posted)},
    )


def _told(rounds: Sequence[_Round]) -> dict[str, float | str]:
    last = rounds[-1]
    return {
        "capacity images/s": Figure.of([one.full.good_rate for one in rounds]).value or 0.0,
        "asked at twice that": last.over.asked,
        "answered 200": last.over.good,
        "answered 429": last.over.statuses.get("429", 0),
        "generator late by, p99 s": round(last.over.lag_p99, 4),
        "generator's cores": round(last.over.own_cpu, 3),
    }


@dataclass(frozen=True, slots=True)
class _Loads:
    """Loads on one service."""

    bench: Bench
    service: Served
    pictures: Path

    def round(self, turn: int) -> _Round:
        """All five."""
        full = self.full()
        rate = full.good_rate
        if not rate:
            raise SideError(f"nothing was answered: {full.odd or full.statuses}")
        steady, busy = self._open(STEADY * rate, turn), self._open(BUSY * rate, turn)
        before = family_bytes(self.service.process)
        with PeakMemory(self.service.process) as memory:
            over = self._open(OVER * rate, turn)
        after = self._open(BUSY * rate, turn, settle_s=RECOVERED_S)
        told = f"{rate:.1f} images/s; at twice that {over.good_rate:.1f}, p99 {over.p99:.2f} s"
        self.bench.say(f"  {told}; p99 at 0.7 {steady.p99:.2f}, at 0.8 {busy.p99:.2f}, afterwards {after.p99:.2f} s")
        return _Round(full, steady, busy, over, after, memory.peak - before)

    def full(self) -> LoadFacts:
        """As many clients as capacity is measured with."""
        return put_load(self._spec(SETTLE_S).model_copy(update={"clients": CLIENTS}))

    def _open(self, rate: float, turn: int, settle_s: float = SETTLE_S) -> LoadFacts:
        return put_load(self._spec(settle_s).model_copy(update={"rate": rate, "clients": None, "seed": turn}))

    def _spec(self, settle_s: float) -> LoadSpec:
        return LoadSpec(
            url=self.service.url,
            headers=self.service.headers,
            pictures=str(self.pictures),
            seconds=self.bench.spec.online_s,
            warm_s=settle_s,
            clients=CLIENTS,
        )
