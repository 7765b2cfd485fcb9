"""The backfill: every image of a source ends as one observation and one verdict in the store.

Knows the order of things: plan, check, start the cluster, run, commit, conserve. Does not know Ray (`pipeline.py`) nor
how rows are made (`stages.py`).
"""

import functools
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NoReturn

from pydantic import Field

import assay.jobs.pipeline as ray_pipeline
from assay.jobs.arrivals import Arrivals
from assay.jobs.backlog import Backlog, find_backlog, lies_on_s3, read_work
from assay.jobs.binding import Binding, bind, check_binding
from assay.jobs.committer import Committer
from assay.jobs.compact import compact_grown, take_apart
from assay.jobs.conservation import conserve, open_shards
from assay.jobs.erasure import finish_erasure
from assay.jobs.generation import Generation, generations
from assay.jobs.lease import Lease
from assay.jobs.pipeline import Flow
from assay.jobs.plan import PlanSpec, plan
from assay.jobs.pools import Cluster, ClusterSpec, Pools, decoders_of, encoder_threads_of, size_pools
from assay.jobs.release_copy import keep_release
from assay.jobs.repair import refuse_stranded
from assay.jobs.run import BackfillFacts, Run
from assay.jobs.stages import JudgeSpec, JudgeStage, LookSpec, LookStage
from assay.jobs.store import PlacesSpec, Store, new_run
from assay.jobs.watcher import Watcher
from assay.jobs.work import Work
from assay.jobs.written_sizes import written_sizes
from assay.platform.errors import AssayError, Interrupted
from assay.platform.images import Budget
from assay.platform.release import resolve_release
from assay.platform.storage import Storage

TIDY = 4096
"""Shards committed between two looks at how many files the tables have."""


class BackfillSpec(PlanSpec, PlacesSpec):
    """One backfill: what, into which store, judged how, and on what."""

    release: str | None = Field(None, description="release directory; unset: the bundled starter release")
    policy: str | None = Field(None, description="policy of the release; unset: its default")
    retry_faults: bool = Field(False, description="fetch images with transient faults again and replace their rows")
    max_fault_rate: float = Field(
        0.01, ge=0, le=1, description="exit 3 when a greater share of images ends with a fault"
    )
    device: str = Field("auto", description="auto, cpu or cuda")
    threads: int | None = Field(
        None, ge=1, le=256, description="images a look actor fetches at once; unset: 4 on disk, 16 on S3"
    )
    budget: Budget = Field(Budget(), description="what one image may cost")
    cluster: ClusterSpec = Field(ClusterSpec(), description="where it runs")


def backfill(spec: BackfillSpec, watcher: Watcher, stop: threading.Event, command: str = "") -> BackfillFacts:
    """Run one backfill to its end, or until `stop` is set.

    Raises:
        SpecError: something asked for cannot be done; nothing was started and the store is as it was.
        Interrupted: `stop` was set; what was received is committed.
        AssayError: the job cannot go on; what is committed stays.
    """
    store = Store.attach(Storage(spec.storage), spec.store)
    with _in_a_hurry_after(stop, store.storage):
        return _run(store, spec, watcher, stop, command)


@contextmanager
def _in_a_hurry_after(stop: threading.Event, storage: Storage) -> Iterator[None]:
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


def _run(store: Store, spec: BackfillSpec, watcher: Watcher, stop: threading.Event, command: str) -> BackfillFacts:
    run = _prepare(store, spec, watcher, time.monotonic())
    run.command = command
    if run.backlog.shards:
        with store.hold(command or run.name, watcher.noticed) as lease:
            refuse_stranded(store)
            run.backlog = _backlog(store, run, spec)  # again: only now nobody else can change it
            if take_apart(store, run.backlog.retry):
                run.backlog = _backlog(store, run, spec)
            watcher.planned(run.listing, run.backlog, run.release)
            _Job(spec, store, run, watcher, stop, lease).work_through()
            return _finish(store, run, stop)
    watcher.planned(run.listing, run.backlog, run.release)
    return _finish(store, run, stop)


def _finish(store: Store, run: Run, stop: threading.Event) -> BackfillFacts:
    if stop.is_set() and open_shards(store, run):
        store.write_run(run.name, run.record("interrupted"))
        raise Interrupted("stopped as asked", where=store.shown, why="Ctrl-C", fix="the same command goes on from here")
    conserve(store, run)
    if run.backlog.shards or not _is_latest(store, run):
        store.write_run(run.name, run.record("done"))
    return run.facts("done")


def _prepare(store: Store, spec: BackfillSpec, watcher: Watcher, began: float) -> Run:
    """Everything that can be found wrong before a cluster starts is found here."""
    release = resolve_release(spec.release)
    policy = release.policy(spec.policy).name
    binding = Binding(
        encoder=release.manifest.encoder.digest,
        dim=release.manifest.encoder.dim,
        preprocess=release.preprocess.model_dump(mode="json"),
    )
    check_binding(store, binding)
    finish_erasure(store, watcher.noticed)
    listing = plan(store, spec.source, spec, watcher.listed)
    bind(store, binding)
    run = Run(new_run(), spec, release, policy, listing, Backlog.nothing(), began)
    run.backlog = _backlog(store, run, spec)
    return run


def _backlog(store: Store, run: Run, spec: BackfillSpec) -> Backlog:
    """What there is to do, as the store is now."""
    run.known = generations(store)
    run.planned = sum(generation.images for generation in run.known)
    return find_backlog(store, run.known, run.partition, retry_faults=spec.retry_faults)


@dataclass(slots=True)
class _Job:
    """What the steps of a run under way have in common."""

    spec: BackfillSpec
    store: Store
    run: Run
    watcher: Watcher
    stop: threading.Event
    lease: Lease
    untidy: int = 0
    """Shards committed since it was last seen how many files the tables have."""
    told: set[str] = field(default_factory=set)

    def work_through(self) -> None:
        """Start the cluster, run the backlog through it, commit what comes back."""
        store, run = self.store, self.run
        keep_release(store, run.release)
        store.write_run(run.name, run.record("running"))
        committer = self._committer()
        with ray_pipeline.joined(self.spec.cluster) as cluster:
            pools = size_pools(cluster.cpus, cluster.gpus, self.spec.cluster, cluster.nodes)
            run.cluster = cluster
            self.watcher.started(cluster, pools)
            flow = self._flow(self._expected(run.known, committer), run.known, cluster, pools)
            try:
                self._take(Arrivals(flow.receipts(), flow.trouble), committer)
            finally:
                flow.stop()
            self._keep_small()

    def _expected(self, known: list[Generation], committer: Committer) -> Iterator[Work]:
        """The backlog's work, as it is asked for; the committer hears of each shard first."""
        for work in read_work(self.store, known, self.run.backlog):
            committer.expect([work])
            yield work

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

    def _flow(self, work: Iterator[Work], known: list[Generation], cluster: Cluster, pools: Pools) -> Flow:
        release, storage, backlog = self.run.release, self.store.storage.settled(), self.run.backlog
        threads = self.spec.threads or (16 if lies_on_s3(self.store, known) else 4)
        look = LookSpec(storage, release.preprocess, self.spec.budget, threads, decoders_of(cluster, pools))
        judge = JudgeSpec(
            storage=storage,
            store=self.store.uri,
            release=release.id,
            policy=self.run.policy,
            size=release.preprocess.size,
            device=self.spec.device,
            threads=encoder_threads_of(cluster, pools),
            encodes=bool(backlog.observe or backlog.retry),
        )
        stages = functools.partial(LookStage, look), functools.partial(JudgeStage, judge)
        return Flow(work, *stages, pools, self.spec.cluster.stall_s)

    def _take(self, arrivals: Arrivals, committer: Committer) -> None:
        """Take receipts as they come and commit in time, also while none comes; at the end commit what is held."""
        try:
            failure = self._commit_as_they_come(arrivals, committer)
        finally:  # also when a commit fails: Ray taken from under a pipeline that goes on may never let the process end
            arrivals.leave()
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


def _is_latest(store: Store, run: Run) -> bool:
    """Whether the store's latest record speaks of the same release and policy: a run that found nothing to do then
    leaves it, so that reports go on telling how the verdicts were made."""
    latest = store.run() or {}
    return all(latest.get(name) == value for name, value in run.partition.items())
