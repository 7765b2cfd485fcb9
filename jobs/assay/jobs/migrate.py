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
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from assay.jobs.binding import Binding, read_binding
from assay.jobs.extent import HIDDEN
from assay.jobs.forgotten import unerased
from assay.jobs.generation import generations
from assay.jobs.migration_agreement import Decider
from assay.jobs.migration_measure import MeasureSpec, measure_migration
from assay.jobs.migration_record import Measured, MigrationRecord, Pair, read_map, read_record
from assay.jobs.migration_rows import Carrier
from assay.jobs.migration_writer import CarriedFacts, Stores, carry_over, prepare, refuse_forgotten_since
from assay.jobs.reencode_price import RatesSpec, ReencodePrice, price_of_reencoding
from assay.jobs.store import Store, now
from assay.platform.embedding_map import EmbeddingMap
from assay.platform.errors import SpecError, StoreVersionError
from assay.platform.faults import FaultKind
from assay.platform.release import Release, resolve_release
from assay.platform.spec import Spec
from assay.platform.storage import Storage, StorageSpec
from assay.platform.uris import parse_uri, relative_uri

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
    release: str = Field(description="release directory with the new encoder")
    policies: tuple[str, ...] = Field(
        (), description="policies of the release whose decisions must agree; unset: all of them"
    )
    storage: StorageSpec = Field(StorageSpec(), description="object storage of both stores and the images")


class MigrateSpec(MeasureSpec, MigratePlaces):
    """From which store to which, for which release, and what must be promised."""

    dry_run: bool = Field(False, description="sample, learn and measure; write nothing")
    price: RatesSpec = Field(RatesSpec(), description="what an hour and a request cost")


class MigrateFacts(BaseModel):
    """What was found out, and done."""

    model_config = ConfigDict(frozen=True)

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
    release = resolve_release(spec.release)
    held = _refuse_same(old, release)
    decider = Decider.of(release, spec.policies or tuple(release.manifest.policies))
    new = _heir(old, spec, _pair(old, held, decider))
    with unerased(old):
        return _Migration(spec, old, new, decider, held, progress).run()


def _refuse_same(old: Store, release: Release) -> Binding:
    """What the old store is bound to.

    Raises:
        SpecError: to nothing yet, or to the very same.
    """
    held = read_binding(old)
    if held is None:
        fix = "run `assay backfill` with the new release: there is nothing to migrate"
        raise SpecError("nothing was observed yet", where=old.shown, why="binding.json is missing", fix=fix)
    if held == Binding.of(release):
        raise SpecError(
            "the store has this release's embeddings already",
            where=old.shown,
            why=f"both have encoder {held.encoder[:12]} and the same preprocessing",
            fix="judge it again with `assay reaudit`: no image is fetched",
        )
    return held


def _pair(old: Store, held: Binding, decider: Decider) -> Pair:
    return Pair(
        store_id=old.id,
        old_encoder=held.encoder,
        new_encoder=decider.release.manifest.encoder.digest,
        release=decider.release.id,
        policies=tuple(policy.name for policy in decider.policies),
    )


def _heir(old: Store, spec: MigrateSpec, pair: Pair) -> Store | None:
    """The new store, or the place where it may come; None for a dry run without one.

    Raises:
        SpecError: it lies in the old one or among the images, or something else is there.
        StoreVersionError: it came of another pair.
    """
    if spec.new_store is None:
        if spec.dry_run:
            return None
        fix = "name one, or add --dry-run"
        raise SpecError("where is the new store to be?", where="NEW_STORE", why="it is not named", fix=fix)
    new = Store.attach(old.storage, spec.new_store)
    _refuse_inside(old, new)
    record = read_record(new)
    if record is None:
        _refuse_taken(new)
    elif record.pair != pair:
        differing = [name for name in Pair.model_fields if getattr(record.pair, name) != getattr(pair, name)]
        said = (f"{name}: there {getattr(record.pair, name)}, asked {getattr(pair, name)}" for name in differing)
        raise StoreVersionError(
            "the new store came of another migration",
            where=new.shown,
            why="; ".join(said),
            fix="use another new store, or the release and policies it was begun with",
        )
    return new


def _refuse_inside(old: Store, new: Store) -> None:
    roots = [generation.root for generation in generations(old)]
    inner, outer = _real(new.uri), [_real(old.uri), *(_real(root) for root in roots if root)]
    within = next((one for one in outer if relative_uri(inner, one) != inner or inner == one), None)
    if within is None and relative_uri(outer[0], inner) != outer[0]:
        within = inner
    if within is not None:
        raise SpecError(
            "the new store lies in the wrong place",
            where=new.shown,
            why=f"one store would lie in another, or among the images: {within}",
            fix="put it beside them",
        )


def _real(uri: str) -> str:
    """A uri with the links in its path followed."""
    place = parse_uri(uri)
    return uri if place.is_s3 else parse_uri(str(Path(place.key).resolve())).uri


def _refuse_taken(new: Store) -> None:
    """Refuse a place where anything else is than what a migration that was cut off at once leaves."""
    if new.id:
        empty = read_binding(new) is None and not generations(new) and not len(new.observations.table())
        what = "" if empty else "another store is there"
    else:
        other = (file.name for file in new.storage.list(new.uri) if not file.name.startswith("probe-"))
        found = next(other, None)
        what = "" if found is None else f"it is not empty: {found}"
    if what:
        fix = "name a place where nothing is"
        raise SpecError("the new store cannot be made here", where=new.shown, why=what, fix=fix)


class _Migration:
    """One migration under way; `new` is None for a dry run without a place."""

    def __init__(
        self, spec: MigrateSpec, old: Store, new: Store | None, decider: Decider, held: Binding, progress: Progress
    ) -> None:
        self.spec, self.old, self.new, self.decider, self.progress = spec, old, new, decider, progress
        self.pair = _pair(old, held, decider)
        self.record: MigrationRecord
        self.map: EmbeddingMap
        self.notes: list[str] = []

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
        words = ["assay", "backfill", sources[-1] if sources else "SOURCE"]
        words += ["--store", self.spec.new_store or "NEW_STORE", "--release", self.spec.release]
        return shlex.join([*words, *([] if refused else ["--retry-faults"])])
