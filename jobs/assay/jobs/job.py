"""A job under way: a run's work goes through the cluster, and what comes back is committed in time.

Knows the order of things between the first shard and the last. Does not know Ray (`pipeline.py`), what is done with a
shard, nor whether it is a backfill or a re-audit.
"""

import functools
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

import assay.jobs.pipeline as ray_pipeline
from assay.jobs.arrivals import Arrivals
from assay.jobs.committer import Committer
from assay.jobs.compact import compact_grown
from assay.jobs.lease import Lease
from assay.jobs.pools import Cluster, ClusterSpec
from assay.jobs.release_copy import keep_release, lend_release
from assay.jobs.run import Run
from assay.jobs.store import Store
from assay.jobs.watcher import Watcher
from assay.jobs.work import Receipt, Work
from assay.jobs.written_sizes import written_sizes
from assay.platform.errors import AssayError
from assay.platform.storage import Storage

TIDY = 4096
"""Shards committed between two looks at how many files the tables have."""


class Flowing(Protocol):
    """Work on its way through the cluster; `pipeline.Flow` is one."""

    def receipts(self) -> Generator[Receipt]:
        """Receipts as they come."""

    def trouble(self, quiet_s: float) -> AssayError | None:
        """What is wrong after so many seconds without one."""

    def stop(self) -> None:
        """Read no more work, and end what is under way."""


MakeFlow = Callable[[Iterator[Work], Cluster], Flowing]
"""Starts the work on a cluster that was joined; tells the watcher how many actors there are."""


@dataclass(slots=True)
class Job:
    """What the steps of a run under way have in common."""

    store: Store
    run: Run
    watcher: Watcher
    stop: threading.Event
    lease: Lease
    untidy: int = 0
    """Shards committed since it was last seen how many files the tables have."""
    told: set[str] = field(default_factory=set)

    def work_through(self, work: Iterator[Work], cluster: ClusterSpec, make_flow: MakeFlow) -> None:
        """Start the cluster, run `work` through it, commit what comes back."""
        store, run = self.store, self.run
        keep_release(store, run.release)
        lend_release(store, run.release)
        store.write_run(run.name, run.record("running"))
        committer = self._committer()
        with ray_pipeline.joined(cluster) as joined:
            run.cluster = joined
            self._take(make_flow(_expected(work, committer), joined), committer)
            self._keep_small()

    def _keep_small(self) -> None:
        """Compact tables of very many files: a commit and a start cost by the file.

        Shards under way do not mind. What they write, no transaction names yet, so nothing here sees it; those to judge
        read the files that had them when the run began, which stay until `vacuum`, for which it takes the lease that
        this run has. Commits are made in this very thread. Only a retry must find its shards' files as they were: its
        commit names them, to take them away.
        """
        self.untidy = 0
        if not self.run.backlog.retry and not self.stop.is_set():
            compact_grown(self.store, self.lease.check)

    def _committer(self) -> Committer:
        run, store = self.run, self.store
        return Committer(
            store.observations,
            store.verdicts,
            run.partition,
            run.name,
            functools.partial(written_sizes, store),
            observed=run.backlog.observed,
            judged=run.backlog.judged,
        )

    def _take(self, flow: Flowing, committer: Committer) -> None:
        """Take receipts as they come and commit in time, also while none comes; at the end commit what is held."""
        arrivals = Arrivals(flow.receipts(), flow.trouble)
        try:
            failure = self._commit_as_they_come(arrivals, committer)
        finally:  # also when a commit fails: a cluster cannot be left while a pipeline goes on in it
            arrivals.leave(flow.stop)
        failure = failure or arrivals.error
        if failure is not None:
            self._fail(failure)

    def _fail(self, failure: AssayError) -> NoReturn:
        """Record that the run failed, and raise why; also when it cannot be recorded."""
        try:
            self.store.write_run(self.run.name, self.run.record("failed"))
        except AssayError as unwritten:
            raise failure from unwritten
        raise failure

    def _commit_as_they_come(self, arrivals: Arrivals, committer: Committer) -> AssayError | None:
        failure: AssayError | None = None
        for receipt in arrivals:
            if receipt is not None and receipt.failure is not None:
                failure = receipt.failure.error()
                break
            if receipt is not None and committer.take(receipt):
                self.run.note_arrival(receipt)
                self.watcher.received(receipt)
                self._tell(receipt.notes)
            if committer.due:
                self._commit(committer)
            if self.untidy >= TIDY:
                self._keep_small()
            if self.stop.is_set():
                break
        self._commit(committer)
        return failure

    def _tell(self, notes: Iterable[str]) -> None:
        """Hand on what workers note, each note once, however many workers have it."""
        for note in notes:
            if note not in self.told:
                self.told.add(note)
                self.watcher.noticed(note)

    def _commit(self, committer: Committer) -> None:
        self.lease.check()
        receipts = committer.commit()
        if receipts:
            self.untidy += len(receipts)
            self.run.count(receipts)
            self.watcher.committed(receipts)
            self.store.write_run(self.run.name, self.run.record("running"))


@contextmanager
def in_a_hurry_after(stop: threading.Event, storage: Storage) -> Iterator[None]:
    """Whoever stops the job does not wait for a store that is away."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.25):
            if stop.is_set():
                storage.patience.hurry()
                return

    watching = threading.Thread(target=watch, name="stop", daemon=True)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join()


def _expected(work: Iterator[Work], committer: Committer) -> Iterator[Work]:
    """The work, as it is asked for; the committer hears of each piece first."""
    for one in work:
        committer.expect([one])
        yield one
