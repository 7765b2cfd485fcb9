"""The whole backfill in one process, without Ray: planner, stages, ledgers and committer are the product's; only the
pools are a loop. For tests that run it hundreds of times, each in a process of its own that is forked from one which
has imported everything and connected to nothing.
"""

import multiprocessing
import sys
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

import assay.jobs.backfill as job
import assay.jobs.reaudit as audit
from assay.jobs import pipeline
from assay.jobs.pipeline import MakeStage
from assay.jobs.pools import Cluster
from assay.jobs.reaudit import ReauditFacts
from assay.jobs.run import BackfillFacts
from assay.jobs.watcher import Watcher
from assay.jobs.work import Receipt, Work
from assay.platform.errors import AssayError
from tests.conftest import Silent


@contextmanager
def _alone(_spec: object) -> Iterator[Cluster]:
    yield Cluster(cpus=2, gpus=0, nodes=1, memory_gib=1)


class _OneByOne:
    """Shards in the order they come, each through both stages."""

    def __init__(
        self, work: Iterable[Work], look: MakeStage | None, judge: MakeStage, _pools: object, _stall_s: float
    ) -> None:
        self.work, self.look, self.judge = work, look, judge

    def receipts(self) -> Generator[Receipt]:
        looking, judging = self.look() if self.look else None, self.judge()
        for one in self.work:
            receipt = judging(looking(one.row()) if looking else one.row())
            yield Receipt.model_validate_json(receipt["receipt"][0].as_py())

    def trouble(self, _quiet_s: float) -> AssayError | None:
        return None

    def stop(self) -> None: ...


def run(settings: dict[str, Any], told: str) -> None:
    """Run one backfill, or a re-audit where no source is named; what goes wrong is written to the file `told`, and the
    exit code is the product's."""
    pipeline.joined = _alone  # type: ignore[assignment]  # nobody to join
    for one in (job, audit):
        one.Flow = _OneByOne  # type: ignore[attr-defined]  # the loop, not Ray
    told_to = Silent(), threading.Event(), "assay …"
    try:
        if "source" in settings:
            job.backfill(job.BackfillSpec.model_validate(settings), *told_to)
        else:
            audit.reaudit(audit.ReauditSpec.model_validate(settings), *told_to)
    except AssayError as error:
        Path(told).write_text(str(error))
        sys.exit(error.exit_code)


def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let jobs of this process run so, commands too."""
    monkeypatch.setattr(pipeline, "joined", _alone)
    for one in (job, audit):
        monkeypatch.setattr(one, "Flow", _OneByOne)


def run_alone(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, watcher: Watcher | None = None
) -> BackfillFacts:
    """The same in this process, for tests that change what it does."""
    without_ray(monkeypatch)
    spec = job.BackfillSpec.model_validate(settings)
    return job.backfill(spec, watcher or Silent(), threading.Event(), "assay backfill …")


def reaudit_alone(
    settings: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    watcher: Watcher | None = None,
    stop: threading.Event | None = None,
) -> ReauditFacts:
    """A whole re-audit likewise."""
    without_ray(monkeypatch)
    spec = audit.ReauditSpec.model_validate(settings)
    return audit.reaudit(spec, watcher or Silent(), stop or threading.Event(), "assay reaudit …")


class ForkServer:
    """Starts such processes in a few milliseconds each."""

    def __init__(self) -> None:
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.serial_backfill"])

    def start(self, settings: dict[str, Any], told: Path) -> ForkServerProcess:
        """A backfill under way."""
        process = self._context.Process(target=run, args=(settings, str(told)))
        process.start()
        return process

    def finish(self, settings: dict[str, Any], told: Path) -> None:
        """A backfill from its start to its good end."""
        process = self.start(settings, told)
        process.join(120)
        assert process.exitcode == 0, (process.exitcode, told.read_text() if told.exists() else "")
