"""The backfill: every image of a source ends as one observation and one verdict in the store.

Knows the order of things: plan, check, start the cluster, run, commit, conserve. Does not know Ray (`pipeline.py`) nor
how rows are made (`stages.py`).
"""

import itertools
import platform
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

import assay.jobs.pipeline as ray_pipeline
from assay.jobs.backlog import Backlog, find_backlog, read_work
from assay.jobs.committer import Committer
from assay.jobs.manifest import Generation, generations
from assay.jobs.pipeline import Cluster, ClusterSpec, Pools
from assay.jobs.plan import PlanFacts, PlanSpec, plan
from assay.jobs.release_copy import keep_release
from assay.jobs.stages import JudgeSpec, LookSpec
from assay.jobs.store import Binding, PlacesSpec, Store, new_run, now
from assay.jobs.work import Receipt, Task, Work
from assay.platform.errors import AssayError, ConservationError, Interrupted
from assay.platform.faults import OK
from assay.platform.images import Budget
from assay.platform.release import Release, resolve_release
from assay.platform.storage import Storage
from assay.platform.uris import parse_uri

WINDOW = 4096
"""Shards handed to Ray at once: each is a block the driver holds."""


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
        None, ge=1, le=256, description="fetch and decode threads of a look actor; unset: 4 on disk, 16 on S3"
    )
    budget: Budget = Field(Budget(), description="what one image may cost")
    cluster: ClusterSpec = Field(ClusterSpec(), description="where it runs")


class BackfillFacts(BaseModel):
    """What a run did. At its end planned == already_done + ok + faulted, counted in the store's manifests."""

    model_config = ConfigDict(frozen=True)

    planned: int
    ok: int
    faulted: int
    already_done: int
    seconds: float
    images_per_second: float
    run: str
    release: str
    policy: str
    listed: int
    """Objects of this run's listing."""
    retried: int
    judged: int
    """Images judged from stored embeddings, without fetching."""
    fetched: int
    fetched_bytes: int
    first_commit_s: float | None
    faults: dict[str, int]
    actions: dict[str, int]
    flagged: dict[str, int]
    store: str
    source: str
    state: str

    @property
    def fault_rate(self) -> float:
        """Share of this run's images that ended with a fault."""
        return self.faulted / max(1, self.ok + self.faulted)


class Watcher(Protocol):
    """Is told how a run goes; the live panel is one."""

    def planned(self, facts: PlanFacts, backlog: Backlog, release: Release) -> None:
        """Listing is over."""

    def started(self, cluster: Cluster, pools: Pools) -> None:
        """The cluster is there."""

    def received(self, receipt: Receipt) -> None:
        """A shard came back."""

    def committed(self, receipts: list[Receipt]) -> None:
        """Shards are visible."""

    def listed(self, images: int, size: int) -> None:
        """Listing goes on."""


@dataclass(slots=True)
class Run:
    """One run under way: its counts and clock."""

    name: str
    spec: BackfillSpec
    release: Release
    policy: str
    listing: PlanFacts
    backlog: Backlog
    planned: int
    began: float
    stop: threading.Event
    watcher: Watcher
    command: str = ""
    started: str = field(default_factory=now)
    first_commit_s: float | None = None
    working: float | None = None
    outcomes: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    flagged: Counter[str] = field(default_factory=Counter)
    retried: int = 0
    judged: int = 0
    fetched: int = 0
    fetched_bytes: int = 0
    cluster: Cluster | None = None

    @property
    def partition(self) -> dict[str, str]:
        """Where this run's verdicts belong."""
        return {"release": self.release.id, "policy": self.policy}

    def count(self, receipts: list[Receipt]) -> None:
        """Add committed receipts to the tally."""
        if receipts and self.first_commit_s is None:
            self.first_commit_s = round(time.monotonic() - self.began, 2)
        for receipt in receipts:
            self.actions += receipt.actions
            self.flagged += receipt.flagged
            self.fetched += receipt.fetched
            self.fetched_bytes += receipt.fetched_bytes
            if receipt.task is Task.OBSERVE:
                self.outcomes += receipt.outcomes
            elif receipt.task is Task.RETRY:
                self.retried += receipt.fetched
            else:
                self.judged += receipt.rows

    def facts(self, state: str) -> BackfillFacts:
        """What there is to say of the run now."""
        seconds = time.monotonic() - self.began
        worked = time.monotonic() - (self.working or self.began)
        return BackfillFacts(
            planned=self.planned,
            ok=self.outcomes[OK],
            faulted=self.outcomes.total() - self.outcomes[OK],
            already_done=self.backlog.rows_done,
            seconds=round(seconds, 2),
            images_per_second=round(self.fetched / worked, 2) if self.fetched else 0.0,
            run=self.name,
            release=self.release.id,
            policy=self.policy,
            listed=self.listing.images,
            retried=self.retried,
            judged=self.judged,
            fetched=self.fetched,
            fetched_bytes=self.fetched_bytes,
            first_commit_s=self.first_commit_s,
            faults={kind: count for kind, count in sorted(self.outcomes.items()) if kind != OK},
            actions=dict(sorted(self.actions.items())),
            flagged=dict(sorted(self.flagged.items())),
            store=self.spec.store,
            source=self.spec.source,
            state=state,
        )

    def record(self, state: str) -> dict[str, Any]:
        """The run record: facts, spec (no secrets), versions and host."""
        return self.facts(state).model_dump() | {
            "command": self.command,
            "started": self.started,
            "written": now(),
            "finished": None if state == "running" else now(),
            "spec": self.spec.model_dump(
                mode="json", exclude={"storage": {"access_key", "secret_key", "session_token"}}
            ),
            "host": {} if self.cluster is None else asdict(self.cluster),
            "versions": {"python": platform.python_version(), **ray_pipeline.versions()},
        }


def backfill(spec: BackfillSpec, watcher: Watcher, stop: threading.Event, command: str = "") -> BackfillFacts:
    """Run one backfill to its end, or until `stop` is set.

    Raises:
        SpecError: something asked for cannot be done; nothing was started and the store is as it was.
        Interrupted: `stop` was set; what was received is committed.
        AssayError: the job cannot go on; what is committed stays.
    """
    began = time.monotonic()
    store, run = _prepare(spec, watcher, began, stop)
    run.command = command
    watcher.planned(run.listing, run.backlog, run.release)
    if run.backlog.shards:
        keep_release(store, run.release)
        store.observations.create()
        store.verdicts.create()
        store.write_run(run.name, run.record("running"))
        _work_through(store, run)
    _conserve(store, run)
    state = "interrupted" if stop.is_set() and find_open(store, run) else "done"
    store.write_run(run.name, run.record(state))
    if state == "interrupted":
        raise Interrupted(
            "stopped as asked", where=store.shown, why="Ctrl-C", fix="the same command goes on where it stopped"
        )
    return run.facts(state)


def _prepare(spec: BackfillSpec, watcher: Watcher, began: float, stop: threading.Event) -> tuple[Store, Run]:
    """Everything that can be found wrong before a cluster starts is found here."""
    release = resolve_release(spec.release)
    policy = release.policy(spec.policy).name
    store = Store.attach(Storage(spec.storage), spec.store)
    binding = Binding(
        encoder=release.manifest.encoder.digest,
        dim=release.manifest.encoder.dim,
        preprocess=release.preprocess.model_dump(mode="json"),
    )
    store.check_binding(binding)
    listing = plan(store, spec.source, spec, watcher.listed)
    store.bind(binding)
    known = generations(store)
    backlog = find_backlog(store, known, {"release": release.id, "policy": policy}, retry_faults=spec.retry_faults)
    planned = sum(generation.images for generation in known)
    return store, Run(new_run(), spec, release, policy, listing, backlog, planned, began, stop, watcher)


def _work_through(store: Store, run: Run) -> None:
    """Start the cluster, run the backlog window by window, commit what comes back."""
    with ray_pipeline.joined(run.spec.cluster) as cluster:
        pools = ray_pipeline.size_pools(cluster.cpus, cluster.gpus, run.spec.cluster)
        run.cluster = cluster
        run.watcher.started(cluster, pools)
        run.working = time.monotonic()
        committer = _committer(store, run)
        work = read_work(store, generations(store), run.backlog)
        while window := list(itertools.islice(work, WINDOW)):
            committer.rows = {one.shard: one.rows for one in window}
            _run_window(store, run, committer, _receipts(store, run, window, pools))
            if run.stop.is_set():
                return


def _committer(store: Store, run: Run) -> Committer:
    return Committer(
        store.observations,
        store.verdicts,
        run.partition,
        run.name,
        store.size_of,
        {},
        run.backlog.observed,
        run.backlog.judged,
    )


def _receipts(store: Store, run: Run, window: list[Work], pools: Pools) -> Iterator[Receipt]:
    spec, release = run.spec, run.release
    threads = spec.threads or (16 if parse_uri(window[0].refs[0].uri if window[0].refs else spec.store).is_s3 else 4)
    storage = store.storage.settled()
    look = LookSpec(storage, release.preprocess, spec.budget, threads)
    judge = JudgeSpec(
        spec.storage,
        store.uri,
        release.id,
        run.policy,
        release.preprocess.size,
        spec.device,
        _encoder_threads(run, pools),
    )
    return ray_pipeline.run_shards(window, look, judge, pools)


def _encoder_threads(run: Run, pools: Pools) -> int:
    """A node's cores shared out among its encoders; beside a GPU one is enough."""
    assert run.cluster is not None
    cores = run.cluster.cpus / run.cluster.nodes
    return 1 if pools.judge.gpus else max(1, round(cores / pools.judge.max))


def _run_window(store: Store, run: Run, committer: Committer, receipts: Iterator[Receipt]) -> None:
    """Take receipts as they come and commit in time, also while none comes; whatever happens, commit what is held."""
    failure: AssayError | None = None
    arrivals = _Arrivals(receipts)
    for receipt in arrivals:
        if receipt is not None and receipt.failure is not None:
            failure = receipt.failure.error()
            break
        if receipt is not None:
            committer.take(receipt)
            run.watcher.received(receipt)
        if committer.due:
            _commit(store, run, committer)
        if run.stop.is_set():
            break
    _commit(store, run, committer)
    arrivals.leave()
    failure = failure or arrivals.error
    if failure is not None:
        store.write_run(run.name, run.record("failed"))
        raise failure


def _commit(store: Store, run: Run, committer: Committer) -> None:
    receipts = committer.commit()
    if receipts:
        run.count(receipts)
        run.watcher.committed(receipts)
        store.write_run(run.name, run.record("running"))


class _Arrivals:
    """Receipts as they arrive, and None whenever a while passes without one: commits and stops do not wait for work."""

    WHILE_S = 0.25
    GRACE_S = 5.0
    """How long leaving waits for the pipeline to end in good order."""

    def __init__(self, receipts: Iterator[Receipt]) -> None:
        self.error: AssayError | None = None
        self._left = False
        self._queue: queue.Queue[Receipt | None] = queue.Queue()
        self._receipts = receipts
        self._thread = threading.Thread(target=self._fill, name="receipts", daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Take no more receipts; the pipeline ends with the next one, or with the cluster."""
        self._left = True
        self._thread.join(self.GRACE_S)

    def _fill(self) -> None:
        try:
            for receipt in self._receipts:
                self._queue.put(receipt)
                if self._left:
                    break
        except AssayError as error:
            self.error = error
        except Exception:
            # Ray pulled away from under an iteration nobody waits for any more raises whatever it likes.
            if not self._left:
                raise
        finally:
            self._queue.put(None)

    def __iter__(self) -> Iterator[Receipt | None]:
        while True:
            try:
                receipt = self._queue.get(timeout=self.WHILE_S)
            except queue.Empty:
                yield None
                continue
            if receipt is None:
                return
            yield receipt


def find_open(store: Store, run: Run) -> bool:
    """Whether shards are left to do."""
    return find_backlog(store, generations(store), run.partition, retry_faults=False).shards > 0


def _conserve(store: Store, run: Run) -> None:
    """Rows out == rows in, from the ledgers' own counts; or the run is not done.

    Raises:
        ConservationError: with the counts.
    """
    if run.stop.is_set():
        return
    known: list[Generation] = generations(store)
    left = find_backlog(store, known, run.partition, retry_faults=False)
    verdicts = sum(file.rows for file in store.verdicts.files() if dict(file.partition) == run.partition)
    if left.shards or not left.rows_done == verdicts == run.planned:
        raise ConservationError(
            "rows out differ from rows in",
            where=store.shown,
            why=f"planned {run.planned}, observed {left.rows_done}, judged {verdicts}, open shards {left.shards}",
            fix="run `assay verify`; the same command goes on where it stopped",
        )
