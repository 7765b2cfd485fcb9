"""The re-audit: everything a store has observed is judged by another release or policy, and no picture is touched.

Knows the order of things: check, choose what can be carried over, start the cluster, run, commit, conserve. Does not
know Ray (`pipeline.py`), nor how a span of shards is judged (`judge_stage.py`). The source is never read: it may be
gone. Older verdicts stay beside the new ones.
"""

import functools
import shlex
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

from pydantic import Field

from assay.jobs.backlog import Backlog, find_backlog
from assay.jobs.binding import Binding, read_binding
from assay.jobs.carry import Base, files_of, find_base
from assay.jobs.conservation import conserve_judged
from assay.jobs.erasure import finish_erasure
from assay.jobs.generation import generations
from assay.jobs.job import Job, in_a_hurry_after
from assay.jobs.judge_stage import JudgeSpec, JudgeStage
from assay.jobs.judged import find_release
from assay.jobs.pipeline import Flow
from assay.jobs.pools import Cluster, ClusterSpec, size_judges
from assay.jobs.recorded import RecordChoice, RecordedFacts, recorded, refuse_unrecordable
from assay.jobs.reencode_price import price_of_reencoding
from assay.jobs.release_choice import RegistryChoice, tell_moved
from assay.jobs.repair import refuse_stranded
from assay.jobs.run import Run
from assay.jobs.run_summary import summary_of_reaudit
from assay.jobs.shard_ranges import ShardRanges
from assay.jobs.spans import SPAN, Sources, read_spans
from assay.jobs.store import Store, StoreSpec, new_run
from assay.jobs.watcher import Unwatched, Watcher
from assay.jobs.work import Work
from assay.platform.errors import Interrupted, SpecError, StoreVersionError
from assay.platform.storage import Storage
from assay.registry.place import RegistrySpec


class ReauditSpec(StoreSpec):
    """One re-audit: of which store, judged how, and on what."""

    release: str | None = Field(
        None, description="release: directory, models:/…, or id in the store; unset: the bundled starter release"
    )
    policy: str | None = Field(None, description="policy of the release; unset: its default")
    carry: bool = Field(True, description="carry scores over from older verdicts for labels that are scored alike")
    cluster: ClusterSpec = Field(ClusterSpec(), description="where it runs")
    registry: RegistryChoice = RegistrySpec()
    record: RecordChoice = False


class ReauditFacts(RecordedFacts, frozen=True):
    """What a re-audit did. At its end observed == already_judged + judged."""

    observed: int
    """Images the store has an observation of."""
    already_judged: int
    """Of those, the ones this release and policy had judged before this run."""
    judged: int
    unobserved: int
    """Images that are planned and not observed yet: a backfill is to come, or to go on."""
    carried: int
    """Of the judged, those of which scores were carried over."""
    base: str
    """Whose scores they are: release and policy; empty if nobody's."""
    labels_carried: tuple[str, ...]
    labels_scored: tuple[str, ...]
    """Labels scored from the embeddings. Of images that are flagged, all are."""
    seconds: float
    images_per_second: float
    first_commit_s: float | None
    actions: dict[str, int]
    flagged: dict[str, int]
    run: str
    release: str
    policy: str
    store: str
    state: str


def reaudit(
    spec: ReauditSpec, watcher: Watcher | None = None, stop: threading.Event | None = None, command: str = ""
) -> ReauditFacts:
    """Judge all observations of a store under a release and a policy, to the end or until `stop` is set.

    Raises:
        SpecError: there is no store, nothing was observed, or something asked for cannot be done.
        StoreVersionError: the store was observed with another encoder than the release's.
        Interrupted: `stop` was set; what was received is committed.
        AssayError: the job cannot go on; what is committed stays.
    """
    watcher, stop = watcher or Unwatched(), stop or threading.Event()
    store = Store.open(Storage(spec.storage), spec.store)
    refuse_unrecordable(spec)
    with in_a_hurry_after(stop, store.storage):
        audit = _Audit.prepare(store, spec, watcher)
        audit.run.command = command
        facts = audit.work_through(watcher, stop)
    return recorded(facts, spec, lambda: summary_of_reaudit(facts, audit.run))


class _Audit:
    """A re-audit and what it found out."""

    def __init__(self, store: Store, spec: ReauditSpec, run: Run) -> None:
        self.store, self.spec, self.run, self.base = store, spec, run, Base.nothing()
        self.labels = tuple(run.release.library().labels)  # read now: where the release lies, another may soon be

    @classmethod
    def prepare(cls, store: Store, spec: ReauditSpec, watcher: Watcher) -> "_Audit":
        """Everything that can be found wrong before a cluster starts is found here."""
        began = time.monotonic()
        chosen = find_release(store, spec.release or "starter", spec.registry, watcher.noticed)
        tell_moved(store.run() or {}, chosen, watcher.noticed)
        policy = chosen.release.policy(spec.policy).name
        _refuse_other_encoder(store, Binding.of(chosen.release))
        finish_erasure(store, watcher.noticed)
        run = Run(new_run(), spec, spec.store, "", chosen, policy, None, Backlog.nothing(), began)
        audit = cls(store, spec, run)
        audit.look()
        if not run.backlog.rows_done:
            raise SpecError(
                "there is nothing to judge again",
                where=store.shown,
                why="no image was observed yet",
                fix="run `assay backfill` first",
            )
        return audit

    def look(self) -> None:
        """What there is to do, as the store is now: only what is observed."""
        run = self.run
        run.known = generations(self.store)
        run.planned = sum(generation.images for generation in run.known)
        found = find_backlog(self.store, run.known, run.partition, retry_faults=False)
        wanted = ShardRanges.of_numbers(found.judge)
        run.backlog = replace(found, observe=ShardRanges(), rows=self.store.observations.table().rows_of(wanted))
        self.base = find_base(self.store, run.release, run.policy, wanted) if self.spec.carry else Base.nothing()

    def work_through(self, watcher: Watcher, stop: threading.Event) -> ReauditFacts:
        """Do it."""
        run, store = self.run, self.store
        before = store.verdicts.table().num_rows(run.partition)
        if run.backlog.judge:
            with store.hold(run.command or run.name, watcher.noticed) as lease:
                refuse_stranded(store)
                self.look()  # again: only now nobody else can change it
                before = store.verdicts.table().num_rows(run.partition)
                watcher.planned(None, run.backlog, run.release)
                watcher.noticed(self._told())
                work = self._work()
                start = functools.partial(self._flow, watcher)
                Job(store, run, watcher, stop, lease).work_through(work, self.spec.cluster, start)
        else:
            watcher.planned(None, run.backlog, run.release)
        return self._finish(before, stop)

    def _told(self) -> str:
        """What is carried over, in words."""
        scored = len(self._scored())
        if not self.base.labels:
            return f"all {scored} labels are scored"
        of = f"{self.base.release} under {self.base.policy}"
        return f"{len(self.base.labels)} labels are scored just as by {of}: carried over; scored anew: {scored}"

    def _scored(self) -> tuple[str, ...]:
        return tuple(label for label in self.labels if label not in self.base.labels)

    def _work(self) -> Iterator[Work]:
        wanted = ShardRanges.of_numbers(self.run.backlog.judge)
        carried = files_of(self.store.verdicts.table(), self.base)
        sources = Sources.of(wanted, self.store.observations.table(), carried)
        return read_spans(self.store, self.run.known, wanted, sources)

    def _flow(self, watcher: Watcher, work: Iterator[Work], cluster: Cluster) -> Flow:
        pieces = -(-len(self.run.backlog.judge) // SPAN)
        pools = size_judges(cluster.cpus, pieces, self.spec.cluster)
        watcher.started(cluster, pools)
        judge = JudgeSpec(
            storage=self.store.storage.settled(),
            store=self.store.uri,
            release=self.run.release.id,
            policy=self.run.policy,
            size=self.run.release.preprocess.size,
            device="cpu",
            threads=1,
            encodes=False,
            carried=self.base.labels,
        )
        return Flow(work, None, functools.partial(JudgeStage, judge), pools, self.spec.cluster.stall_s)

    def _finish(self, before: int, stop: threading.Event) -> ReauditFacts:
        run, store = self.run, self.store
        judged = store.verdicts.table().num_rows(run.partition)
        if stop.is_set() and judged < store.observations.table().num_rows():
            store.write_run(run.name, run.record("interrupted"))
            raise Interrupted(
                "stopped as asked", where=store.shown, why="Ctrl-C", fix="the same command goes on from here"
            )
        conserve_judged(store, run)
        store.write_run(run.name, run.record("done"))
        facts = run.facts("done")
        return ReauditFacts(
            observed=run.backlog.rows_done,
            already_judged=before,
            judged=run.judged,
            unobserved=run.planned - run.backlog.rows_done,
            carried=run.carried,
            base="/".join(self.base.partition.values()) if self.base.labels else "",
            labels_carried=self.base.labels,
            labels_scored=self._scored(),
            **facts.model_dump(include=set(ReauditFacts.model_fields) & set(type(facts).model_fields) - {"judged"}),
        )


def _refuse_other_encoder(store: Store, wanted: Binding) -> None:
    """Refuse a release whose encoder did not make the store's embeddings, and say what encoding again would take.

    Raises:
        StoreVersionError: naming what differs.
    """
    held = read_binding(store)
    if held is None or held == wanted:
        return
    price, last = price_of_reencoding(store), store.run() or {}
    if last.get("fetched") and last.get("images_per_second"):
        price = price.at(float(last["images_per_second"]))
    hours = "" if price.hours is None else f", {price.hours:,.1f} hours at the last backfill's rate"
    raise StoreVersionError(
        "a re-audit needs the encoder that made the embeddings, and this release has another "
        + ", ".join(held.differing(wanted)),
        where=store.shown,
        why=f"{held.told(wanted)}; {price.images:,} images would have to be fetched and encoded again: "
        f"{price.bytes:,} bytes, {price.requests:,} requests{hours}",
        fix=f"use a release with the store's encoder, or see how much of it `assay migrate "
        f"{shlex.quote(store.shown)} NEWSTORE --release … --dry-run` can spare",
    )
