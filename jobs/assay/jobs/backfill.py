"""The backfill: every image of a source ends as one observation and one verdict in the store.

Knows the order of things: plan, check, start the cluster, run, commit, conserve. Does not know Ray (`pipeline.py`) nor
how rows are made (`stages.py`).
"""

import functools
import threading
import time
from collections.abc import Iterator

from pydantic import Field

from assay.jobs.backlog import Backlog, find_backlog, lies_on_s3, read_work
from assay.jobs.binding import Binding, bind, check_binding
from assay.jobs.compact import take_apart
from assay.jobs.conservation import conserve, open_shards
from assay.jobs.erasure import finish_erasure
from assay.jobs.generation import generations
from assay.jobs.job import Job, in_a_hurry_after
from assay.jobs.judge_stage import JudgeSpec, JudgeStage
from assay.jobs.pipeline import Flow
from assay.jobs.plan import PlanSpec, plan
from assay.jobs.pools import Cluster, ClusterSpec, decoders_of, encoder_threads_of, size_pools
from assay.jobs.recorded import RecordChoice, recorded, refuse_unrecordable
from assay.jobs.release_choice import RegistryChoice, choose_release, tell_moved
from assay.jobs.repair import refuse_stranded
from assay.jobs.run import BackfillFacts, Run
from assay.jobs.run_summary import summary_of_backfill
from assay.jobs.stages import LookSpec, LookStage
from assay.jobs.store import PlacesSpec, Store, new_run
from assay.jobs.watcher import Unwatched, Watcher
from assay.jobs.work import Work
from assay.platform.errors import Interrupted
from assay.platform.images import Budget
from assay.platform.storage import Storage
from assay.registry.place import RegistrySpec


class BackfillSpec(PlanSpec, PlacesSpec):
    """One backfill: what, into which store, judged how, and on what."""

    release: str | None = Field(None, description="release: directory or models:/…; unset: the bundled starter release")
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
    registry: RegistryChoice = RegistrySpec()
    record: RecordChoice = False


def backfill(
    spec: BackfillSpec, watcher: Watcher | None = None, stop: threading.Event | None = None, command: str = ""
) -> BackfillFacts:
    """Run one backfill to its end, or until `stop` is set.

    Raises:
        SpecError: something asked for cannot be done; nothing was started and the store is as it was.
        Interrupted: `stop` was set; what was received is committed.
        AssayError: the job cannot go on; what is committed stays.
    """
    watcher, stop = watcher or Unwatched(), stop or threading.Event()
    store = Store.attach(Storage(spec.storage), spec.store)
    refuse_unrecordable(spec)
    with in_a_hurry_after(stop, store.storage):
        run, facts = _run(store, spec, watcher, stop, command)
    return recorded(facts, spec, lambda: summary_of_backfill(facts, run))


def _run(
    store: Store, spec: BackfillSpec, watcher: Watcher, stop: threading.Event, command: str
) -> tuple[Run, BackfillFacts]:
    run = _prepare(store, spec, watcher, time.monotonic())
    run.command = command
    is_grown = run.listing is not None and run.listing.generation is not None
    if is_grown or run.backlog.shards:
        with store.hold(command or run.name, watcher.noticed) as lease:
            refuse_stranded(store)
            run.backlog = _backlog(store, run, spec)  # only now nobody else can change it
            if take_apart(store, run.backlog.retry):
                run.backlog = _backlog(store, run, spec)
            watcher.planned(run.listing, run.backlog, run.release)
            work = read_work(store, run.known, run.backlog)
            start = functools.partial(_flow, spec, store, run, watcher)
            Job(store, run, watcher, stop, lease).work_through(work, spec.cluster, start)
            return run, _finish(store, run, stop)
    watcher.planned(run.listing, run.backlog, run.release)
    return run, _finish(store, run, stop)


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
    chosen = choose_release(spec.release, spec.registry, watcher.noticed)
    tell_moved(store.run() or {}, chosen, watcher.noticed)
    policy = chosen.release.policy(spec.policy).name
    binding = Binding.of(chosen.release)
    check_binding(store, binding)
    finish_erasure(store, watcher.noticed)
    listing = plan(store, spec.source, spec, watcher.listed)
    bind(store, binding)
    run = Run(new_run(), spec, spec.store, spec.source, chosen, policy, listing, Backlog.nothing(), began)
    if listing.generation is None:  # otherwise there is something to do
        run.backlog = _backlog(store, run, spec)
    return run


def _backlog(store: Store, run: Run, spec: BackfillSpec) -> Backlog:
    """What there is to do, as the store is now."""
    run.known = generations(store)
    run.planned = sum(generation.images for generation in run.known)
    return find_backlog(store, run.known, run.partition, retry_faults=spec.retry_faults)


def _flow(spec: BackfillSpec, store: Store, run: Run, watcher: Watcher, work: Iterator[Work], cluster: Cluster) -> Flow:
    pools = size_pools(cluster.cpus, cluster.gpus, spec.cluster, cluster.nodes)
    watcher.started(cluster, pools)
    release, storage, backlog = run.release, store.storage.settled(), run.backlog
    threads = spec.threads or (16 if lies_on_s3(store, run.known) else 4)
    look = LookSpec(storage, release.preprocess, spec.budget, threads, decoders_of(cluster, pools))
    judge = JudgeSpec(
        storage=storage,
        store=store.uri,
        release=release.id,
        policy=run.policy,
        size=release.preprocess.size,
        device=spec.device,
        threads=encoder_threads_of(cluster, pools),
        encodes=bool(backlog.observe or backlog.retry),
    )
    stages = functools.partial(LookStage, look), functools.partial(JudgeStage, judge)
    return Flow(work, *stages, pools, spec.cluster.stall_s)


def _is_latest(store: Store, run: Run) -> bool:
    """Whether the store's latest record speaks of the same release and policy: a run that found nothing to do then
    leaves it, so that reports go on telling how the verdicts were made."""
    latest = store.run() or {}
    return all(latest.get(name) == value for name, value in run.partition.items())
