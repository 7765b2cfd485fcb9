"""R10: does a job ten times as large take ten times as long, in the same memory?

Knows N: as many images as take a minute here. Each job runs in a process and on a Ray of its own, null encoder; N is
run before and after 10 N, so that a machine that changes meanwhile shows in low and high.
"""

import shutil
from contextlib import closing
from dataclasses import dataclass

from infra.bench.bench import Bench
from infra.bench.figure import Figure, Result
from infra.bench.memory import PeakMemory
from infra.bench.race import Lap
from infra.bench.spec import SHARD

TIMES = 10
MARGIN = 1.1
"""N is so much larger than the trial says: it must not take less than the minute."""


@dataclass(frozen=True, slots=True)
class Job:
    """One job's lap and its peak memory, bytes."""

    lap: Lap
    peak: int


def measure(bench: Bench) -> Result:
    """N, 10 N, N."""
    spec = bench.spec
    trial = _job(bench, spec.null_images)
    count = max(SHARD, round(trial.lap.rate * spec.growth_s * MARGIN))
    jobs = {name: _job(bench, size) for name, size in (("N", count), ("10 N", TIMES * count), ("N again", count))}
    small, large = (jobs["N"], jobs["N again"]), jobs["10 N"]
    peak = Figure.of([large.peak / one.peak for one in small], 1.05, "at most")
    return Result(
        title="wall(10 N) ÷ 10 wall(N), null",
        figure=Figure.of([large.lap.seconds / (TIMES * one.lap.seconds) for one in small], 1.05, "at most"),
        bound_by="the pipeline's steady rate: nothing in it may grow with what is done",
        more={
            "peak memory(10 N) ÷ (N)": peak if large.peak else Figure.missing("no /proc here", 1.05, "at most"),
            "bytes spilled": Figure.of([float(large.lap.facts["spilled bytes"])], 0, "at most"),
        },
        facts={"N": count, **{name: value for job in jobs for name, value in _facts(job, jobs[job]).items()}},
    )


def _facts(name: str, job: Job) -> dict[str, float | str]:
    return {
        f"{name}: wall s": round(job.lap.seconds, 1),
        f"{name}: images/s": round(job.lap.rate, 1),
        f"{name}: peak MiB": round(job.peak / 2**20),
    }


def _job(bench: Bench, images: int) -> Job:
    task = bench.task(bench.release("null"), images, SHARD)
    with closing(bench.child("infra.bench.product:BackfillJob", task)) as side, PeakMemory(side.pid) as memory:
        lap = side.lap()
    for folder in (task.pictures, task.scratch):
        shutil.rmtree(folder)
    lap.check()
    bench.say(f"  {images} images: {lap.seconds:.1f} s, {lap.rate:.1f} images/s, peak {memory.peak / 2**20:.0f} MiB")
    return Job(lap, memory.peak)
