"""Migration: a store of another encoder's embeddings becomes one of a release's, without encoding every image again.

Knows the order of things, and when to refuse. A sample of images is encoded again; a map from old embeddings to new
ones is learnt from one half of it, and on the other half it is measured how often decisions on mapped embeddings are
those on real ones. Images of which that can be promised are mapped. The others become `STALE` rows, which
`assay backfill --retry-faults` fetches and encodes: these, and nothing else. If too little can be promised, nothing is
written.

The old store is only read, and stays as it is. Does not know what is measured (`migration_measure.py`), nor how rows
are written (`migration_writer.py`).
"""

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import pyarrow.compute as pc
from pydantic import Field

from assay.jobs.decider import Decider
from assay.jobs.extent import HIDDEN
from assay.jobs.forgotten import unerased
from assay.jobs.generation import generations
from assay.jobs.migration_measure import MeasureSpec, measure_migration
from assay.jobs.migration_places import heir_of, pair_of
from assay.jobs.migration_record import Measured, MigrationRecord, Pair, read_map, read_record
from assay.jobs.migration_rows import Carrier
from assay.jobs.migration_writer import CarriedFacts, Stores, carry_over, prepare, refuse_forgotten_since
from assay.jobs.reencode_price import RatesSpec, ReencodePrice, price_of_reencoding
from assay.jobs.release_choice import ChosenFacts, choose_release, origins_of, pinned
from assay.jobs.store import Store, now
from assay.platform.embedding_map import EmbeddingMap
from assay.platform.errors import SpecError
from assay.platform.faults import FaultKind
from assay.platform.spec import Spec
from assay.platform.storage import Storage, StorageSpec
from assay.registry.resolving import Resolved

Progress = Callable[[str, int, int], None]
"""Told what is done, how much of it, and how much there is."""


class MigratePlaces(Spec):
    """From where to where. A base of `MigrateSpec`: its fields come first."""

    store: str = Field(kw_only=False, description="the store, which is only read")
    new_store: str | None = Field(
        None,
        kw_only=False,
        description="where the new store is to be, or one that this command began; unset only with --dry-run",
    )
    release: str = Field(description="release with the new encoder: directory, or models:/…")
    policies: tuple[str, ...] = Field(
        (), description="policies of the release whose decisions must agree; unset: all of them"
    )
    storage: StorageSpec = Field(StorageSpec(), description="object storage of both stores and the images")


class MigrateSpec(MeasureSpec, MigratePlaces):
    """From which store to which, for which release, and what must be promised."""

    dry_run: bool = Field(False, description="sample, learn and measure; write nothing")
    price: RatesSpec = Field(RatesSpec(), description="what an hour and a request cost")


class MigrateFacts(ChosenFacts, frozen=True):
    """What was found out, and done."""

    state: Literal["refused", "measured", "migrated"]
    store: str
    new_store: str | None
    pair: Pair
    measured: Measured
    price: ReencodePrice
    """Of encoding every image again."""
    rest: ReencodePrice
    """Of encoding those that are not clear: counted once all is carried over, estimated before."""
    carried: CarriedFacts | None
    notes: tuple[str, ...]
    next: str
    """The command that encodes the rest or, of a migration that is refused, everything."""


def migrate(spec: MigrateSpec, progress: Progress = lambda _what, _done, _total: None) -> MigrateFacts:
    """Migrate a store, or go on with a migration that was cut off; refused, nothing is written.

    Raises:
        SpecError: it cannot be done: the same encoder, nothing to sample, a new store that is another one.
        CommitError: something was erased meanwhile, or another driver has the new store.
        StorageError: rows cannot be read or written; the same command goes on.
        ConservationError: the old store's rows are not what was planned.
    """
    old = Store.open(Storage(spec.storage), spec.store)
    chosen = choose_release(spec.release, spec.registry)
    decider = Decider.of(chosen.release, spec.policies or tuple(chosen.release.manifest.policies))
    pair = pair_of(old, decider)
    if spec.new_store is None and not spec.dry_run:
        fix = "name one, or add --dry-run"
        raise SpecError("where is the new store to be?", where="NEW_STORE", why="it is not named", fix=fix)
    new = None if spec.new_store is None else heir_of(old, spec.new_store, pair)
    with unerased(old):
        return _Migration(spec, old, new, chosen, decider, pair, progress).run()


@dataclass
class _Migration:
    """One migration under way; `new` is None for a dry run without a place."""

    spec: MigrateSpec
    old: Store
    new: Store | None
    chosen: Resolved
    decider: Decider
    pair: Pair
    progress: Progress
    record: MigrationRecord = field(init=False)
    map: EmbeddingMap = field(init=False)
    notes: list[str] = field(default_factory=list)

    def run(self) -> MigrateFacts:
        """Measure, or read what was measured; then write, if nothing speaks against it."""
        self._measure()
        if self.record.measured.why_not or self.spec.dry_run or self.new is None:
            return self._facts(None)
        self.new.establish()
        with self.new.hold("assay migrate", self.notes.append) as lease:
            stores = Stores(self.old, self.new, lease)
            prepare(stores, self.record, self.map, self.decider.release)
            return self._facts(carry_over(stores, self.record, self._carrier(), self._tell("images carried over")))

    def _measure(self) -> None:
        record = None if self.new is None else read_record(self.new)
        if record is not None and self.new is not None:
            refuse_forgotten_since(self.old, self.new)
            self.record, self.map = record, read_map(self.new)
            self.notes.append(f"goes on with what was measured when it was begun, {record.begun}; nothing is sampled")
            return
        measured, self.map = measure_migration(
            self.old, self.decider, self.spec, self._tell("images of the sample encoded")
        )
        self.record = MigrationRecord(
            pair=self.pair,
            from_store=self.old.uri,
            begun=now(),
            generations=len(generations(self.old)),
            measured=measured,
        )

    def _tell(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self.progress(what, done, total)

    def _carrier(self) -> Carrier:
        rule, clear = self.record.measured.rule, self.record.measured.clear
        assert rule is not None, "a migration without a rule is refused"
        assert clear is not None, "and a rule was measured"
        return Carrier(self.map, self.decider, rule, clear.low, self.pair.old_encoder)

    def _facts(self, carried: CarriedFacts | None) -> MigrateFacts:
        measured, spec = self.record.measured, self.spec
        price, rate = price_of_reencoding(self.old), measured.sample.images_per_second
        state: Literal["refused", "measured", "migrated"] = "measured" if carried is None else "migrated"
        return MigrateFacts(
            state="refused" if measured.why_not else state,
            store=spec.store,
            new_store=spec.new_store,
            pair=self.pair,
            measured=measured,
            price=price.at(rate, spec.price),
            rest=price.of_part(self._rest(carried)).at(rate, spec.price),
            carried=carried,
            notes=(*self.notes, *self._remarks(carried)),
            next=self._next(),
            origins=origins_of(release=self.chosen),
        )

    def _rest(self, carried: CarriedFacts | None) -> int:
        """Images that are, or will be, `STALE`."""
        if carried is not None and self.new is not None:
            stale = pc.field("outcome") == FaultKind.STALE.value
            return int(self.new.observations.dataset().count_rows(filter=stale))
        sample, clear = self.record.measured.sample, self.record.measured.clear
        mappable = 1 - sample.mapped_before / sample.drawn
        share = 0.0 if clear is None or self.record.measured.why_not else clear.clear
        return round(sample.population * (1 - share * mappable))

    def _remarks(self, carried: CarriedFacts | None) -> list[str]:
        release, sample = self.decider.release, self.record.measured.sample
        said = []
        if not release.calibration().labels:
            said.append(f"release {release.id} has no calibration: raw scores were compared")
        if not release.operating_points().policies:
            said.append(f"release {release.id} has no operating points: nothing it decides is blocked")
        if sample.missing:
            lost = ", ".join(f"{count:,} {kind}" for kind, count in sample.missing.items())
            said.append(
                f"of {sample.drawn:,} images drawn could not be encoded again: {lost}; nothing is known of those"
            )
        if sample.mapped_before:
            said.append(
                f"{sample.mapped_before:,} of {sample.drawn:,} images drawn were mapped themselves: never again"
            )
        if carried is not None and carried.unobserved_shards:
            said.append(f"{carried.unobserved_shards:,} shards were never observed; the backfill will do them")
        return said

    def _next(self) -> str:
        sources = [one.source for one in generations(self.old) if one.shards and one.source != HIDDEN]
        refused = bool(self.record.measured.why_not)
        words = ["assay", "backfill", sources[-1] if sources else "SOURCE", *_listed_with(self.old)]
        words += ["--store", self.spec.new_store or "NEW_STORE", "--release", pinned(self.spec.release, self.chosen)]
        return shlex.join([*words, *([] if refused else ["--retry-faults"])])


def _listed_with(store: Store) -> Iterator[str]:
    """The flags that the latest run listed its source with: with others, other images would be planned."""
    spec = (store.run() or {}).get("spec") or {}
    if spec.get("packed"):
        yield "--packed"
    for name in ("include", "exclude", "image_columns"):
        for value in spec.get(name) or ():
            yield from (f"--{name.replace('_', '-')}", str(value))
