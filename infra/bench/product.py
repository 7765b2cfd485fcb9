"""Our own side: the whole backfill, with its plan, guard, lease, verdicts and commits.

Knows when its work begins and ends. Does not know what it is compared with.
"""

import logging
import os
import shutil
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray._private.internal_api import get_memory_info_reply, get_state_from_address  # there is no public way

from assay.jobs.backfill import BackfillSpec, backfill
from assay.jobs.pipeline import NO_TASK_EVENTS
from assay.jobs.run import BackfillFacts
from assay.jobs.work import Receipt
from infra.bench.race import Lap
from infra.bench.side import Task


class Stopwatch:
    """A watcher that notes when the first shard's work began, when the last one came back, and the images between."""

    def __init__(self) -> None:
        self.began: float | None = None
        self.ended = 0.0
        self.images = 0
        self.first: tuple[float, int] = (0.0, 0)
        self.steps: dict[str, float] = {}

    def listed(self, images: int, size: int) -> None: ...

    def planned(self, facts: object, backlog: object, release: object) -> None: ...

    def started(self, cluster: object, pools: object) -> None: ...

    def received(self, receipt: Receipt) -> None:
        """Count a shard; the first one tells when its own work began: before it there was only start-up."""
        self.ended = time.monotonic()
        self.images += receipt.rows
        for step, seconds in receipt.seconds.items():
            self.steps[step] = self.steps.get(step, 0.0) + seconds
        if self.began is None:
            self.began = self.ended - sum(receipt.seconds.values())
            self.first = self.ended, receipt.rows

    def committed(self, receipts: object) -> None: ...

    def noticed(self, what: str) -> None: ...

    def clock(self, from_first_result: bool) -> tuple[float, int]:
        """When the clock starts, and the images that come while it runs."""
        assert self.began is not None, "there was something to do"
        when, images = self.first
        if from_first_result and images < self.images:
            return when, self.images - images
        return self.began, self.images


class Backfill:
    """One backfill a lap, into a new store, on the Ray this process is in."""

    def __init__(self, task: Task, shard: int, settings: Mapping[str, Any] | None = None) -> None:
        self._task = task
        self._settings = {"shard": {"images": shard}, "max_fault_rate": 1.0, **(settings or {})}

    def lap(self) -> Lap:
        """Every image once. Its clock runs from the first fetch, or the first receipt, to the last one."""
        store = Path(self._task.scratch) / "store"
        shutil.rmtree(store, ignore_errors=True)
        asked = time.monotonic()
        watch, facts = run_backfill(self._task, str(store), self._settings)
        began, timed = watch.clock(self._task.from_first_result)
        told = {f"{step} s per image": round(sum_s / watch.images, 5) for step, sum_s in watch.steps.items()}
        return Lap(facts.ok + facts.faulted, self._task.images, watch.ended - began, began - asked, told, timed)

    def close(self) -> None:
        """The Ray is not ours."""


class BackfillJob(Backfill):
    """The same in a process and on a Ray of its own, whose memory and spilled bytes are this job's alone.

    Its clock stops when the backfill returns: the last commit and the count of all rows are in it.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(task, task.batch)
        start_ray()

    def lap(self) -> Lap:
        """As `Backfill.lap`, in a process that has just begun."""
        asked = time.monotonic()
        store = Path(self._task.scratch) / "store"
        watch, facts = run_backfill(self._task, str(store), self._settings)
        ended = time.monotonic()
        assert watch.began is not None, "there was something to do"
        told = {"spilled bytes": float(spilled_bytes())}
        return Lap(facts.ok + facts.faulted, self._task.images, ended - watch.began, watch.began - asked, told)

    def close(self) -> None:
        """End the Ray."""
        ray.shutdown()


def run_backfill(task: Task, store: str, settings: Mapping[str, Any]) -> tuple[Stopwatch, BackfillFacts]:
    """One backfill of the task's images."""
    spec = {"source": task.pictures, "store": store, "release": task.release, **settings}
    watch = Stopwatch()
    facts = backfill(BackfillSpec.model_validate(spec), watch, threading.Event())
    return watch, facts


def start_ray() -> None:
    """A Ray of our own, whatever else runs on the machine. Asked twice: it gives a node 30 s, too few on a busy one."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its core tells of every actor, on stderr
    os.environ.update(NO_TASK_EVENTS | os.environ)  # as the product's own has it
    try:
        _start_ray()
    except Exception:  # noqa: BLE001  # that is what Ray raises then; the second one is told
        ray.shutdown()
        _start_ray()


def _start_ray() -> None:
    ray.init("local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)


def spilled_bytes() -> int:
    """Bytes this process's Ray has written to disk for want of memory."""
    state = get_state_from_address(ray.get_runtime_context().gcs_address)  # type: ignore[no-untyped-call]  # Ray's
    reply = get_memory_info_reply(state)  # type: ignore[no-untyped-call]  # likewise
    return int(reply.store_stats.spilled_bytes_total)
