"""Writing a migrated store: manifests as they are, what was forgotten, and every observed shard for the new encoder.

Knows the order in which things are written, so that a kill anywhere costs only time: what is there is left, what is
missing is made. Shards become visible as in a backfill: files first, under names nobody reads, then one transaction
that names them. Does not know what becomes of a row (`migration_rows.py`).
"""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from assay.jobs.binding import Binding, bind
from assay.jobs.committer import check_written
from assay.jobs.compact import compact_grown
from assay.jobs.datafile import OBSERVED, read_by_shard, write_observations
from assay.jobs.forgotten import hand_down, has_forgotten_more
from assay.jobs.generation import Generation, emptied_shards, generation_file, generations, publish
from assay.jobs.lease import Lease
from assay.jobs.ledger import DataFile
from assay.jobs.manifest import read_shard_rows
from assay.jobs.migration_record import MigrationRecord, read_record, write_record
from assay.jobs.migration_rows import Carrier
from assay.jobs.release_copy import keep_release
from assay.jobs.shard_ranges import ShardRanges
from assay.jobs.store import Store
from assay.jobs.written_sizes import written_sizes
from assay.platform.embedding_map import EmbeddingMap
from assay.platform.errors import CommitError, ConservationError, ManifestError, SpecError
from assay.platform.faults import OK, FaultKind
from assay.platform.release import Release

GROUP = 128
"""Shards made and committed together: their rows are in memory."""
AT_ONCE = 4
"""Shards made at a time: on S3 writing one takes 20 ms of waiting."""
TIDY = 4096
"""Shards committed between two looks at how many files the table has."""

Tell = Callable[[int, int], None]
"""Told how many rows of how many were carried over."""


class CarriedFacts(BaseModel):
    """What this run wrote."""

    model_config = ConfigDict(frozen=True)

    shards: int
    rows: int
    mapped: int
    stale: int
    faults: int
    """Rows that had a fault, and have it still."""
    already_done: int
    """Shards that an earlier run, or a backfill, had done."""
    unobserved_shards: int
    """Planned, and not observed in the old store: they are not observed in the new one either."""


@dataclass(frozen=True, slots=True)
class Stores:
    """The two of them; `new` is held with `lease`."""

    old: Store
    new: Store
    lease: Lease


def prepare(stores: Stores, record: MigrationRecord, found: EmbeddingMap, release: Release) -> None:
    """Write everything but rows; what is there already stays.

    Raises:
        SpecError: the old store was made to forget something since the migration began.
        CommitError: something else was planned into the new store.
    """
    old, new = stores.old, stores.new
    if read_record(new) is None:
        hand_down(old, new)
        write_record(new, record, found)
    refuse_forgotten_since(old, new)
    for generation in generations(old)[: record.generations]:
        stores.lease.check()
        _copy_generation(old, new, generation)
    keep_release(new, release)
    bind(new, Binding.of(release))


def refuse_forgotten_since(old: Store, new: Store) -> None:
    """Refuse to go on if rows carried over before may be of what was forgotten since.

    Raises:
        SpecError: they may be.
    """
    if has_forgotten_more(old, new):
        raise SpecError(
            "the old store was made to forget something since this migration began",
            where=new.shown,
            why="the new store may hold what was forgotten",
            fix="remove the new store, and run the same command again",
        )


def _copy_generation(old: Store, new: Store, generation: Generation) -> None:
    """Copy one generation, the next one of the new store; one that is there may have less in it: the new store may have
    been made to forget something, too."""
    known = generations(new)
    if generation.number < len(known):
        if _identity(known[generation.number]) != _identity(generation):
            raise _planned_by_another(new, generation)
        return
    for part in generation.parts:
        name = ("manifests", generation.folder, part.name)
        data = old.storage.read(old.path(*name))
        if data is None:
            raise ManifestError(
                "a manifest part is missing", where=old.path(*name), why="not there", fix="restore it from a backup"
            )
        new.storage.write(new.path(*name), data)
    if not publish(new, generation):
        raise _planned_by_another(new, generation)


def _identity(generation: Generation) -> tuple[str, int, int]:
    """What stays the same of a generation, whatever is forgotten."""
    return generation.created, generation.first_shard, generation.shards


def _planned_by_another(new: Store, generation: Generation) -> CommitError:
    return CommitError(
        "something else was planned into the new store",
        where=generation_file(new, generation),
        why="the generation is not the old store's",
        fix="remove the new store, and run the same command again",
    )


def carry_over(stores: Stores, record: MigrationRecord, carrier: Carrier, tell: Tell) -> CarriedFacts:
    """Carry every shard that the old store has observed and the new one has not.

    Raises:
        ConservationError: rows out would differ from rows in; what was committed until then is sound.
        StorageError: committed rows cannot be read, or new ones not written.
        FencedError: another driver has the new store.
    """
    known = generations(stores.new)[: record.generations]
    planned = ShardRanges.of_numbers(range(known[-1].next_shard if known else 0)) - emptied_shards(known)
    files = stores.old.observations.table()
    observed, done = files.shards() & planned, stores.new.observations.table().shards() & planned
    wanted = observed - done
    before, total = stores.new.observations.table().num_rows(), files.rows_of(wanted)
    outcomes = Counter[str]()
    shards = untidy = 0
    coming = _shards(stores, known, wanted)
    while some := list(islice(coming, GROUP)):
        outcomes += _carry_group(stores, carrier, some)
        shards, untidy = shards + len(some), untidy + len(some)
        tell(outcomes.total(), total)
        if untidy >= TIDY:
            untidy = 0
            compact_grown(stores.new, stores.lease.check)
    _conserve(stores.new, before + outcomes.total())
    stale = outcomes[FaultKind.STALE]
    return CarriedFacts(
        shards=shards,
        rows=outcomes.total(),
        mapped=outcomes[OK],
        stale=stale,
        faults=outcomes.total() - outcomes[OK] - stale,
        already_done=len(done),
        unobserved_shards=len(planned - observed - done),
    )


def _conserve(new: Store, expected: int) -> None:
    found = new.observations.table().num_rows()
    if found != expected:
        raise ConservationError(
            "rows out differ from rows in",
            where=new.shown,
            why=f"{expected} rows should be there, {found} are",
            fix="run `assay verify`, and report this",
        )


def _shards(stores: Stores, known: list[Generation], wanted: ShardRanges) -> Iterator[tuple[int, pa.Table]]:
    """The old rows of the wanted shards, in order, as far as the new store has planned them."""
    planned = (one for generation in known for one in read_shard_rows(stores.new, generation, wanted))
    may_lack = has_forgotten_more(stores.new, stores.old)
    for number, rows in _observed(stores.old, wanted):
        other, plan = next(planned, (None, None))
        if plan is None or number != other:
            raise _not_as_planned(stores.old, number, f"the manifests go on with shard {other}")
        yield number, _as_planned(stores.old, number, (rows, plan), may_lack=may_lack)
    for other, _ in planned:
        raise _not_as_planned(stores.old, other, "its rows are not in the file that should hold them")


def _as_planned(old: Store, shard: int, both: tuple[pa.Table, pa.Table], *, may_lack: bool) -> pa.Table:
    """A shard's old rows, given with its plan, which `may_lack` some that the new store was made to forget.

    Raises:
        ConservationError: an image was planned and not observed, or observed and not planned.
    """
    rows, names = both[0], ["uri", "etag"]
    plan = both[1].select(names).sort_by([(name, "ascending") for name in names])
    if rows.select(names).equals(plan):
        return rows
    places = rows.select(names).append_column("place", pa.array(np.arange(len(rows))))
    left = places.join(plan, names, join_type="left semi")["place"].to_numpy()
    if len(left) != len(plan) or not may_lack:
        raise _not_as_planned(old, shard, f"{len(plan)} images planned, {len(rows)} observed, {len(left)} of both")
    return rows.take(pa.array(np.sort(left)))


def _observed(old: Store, wanted: ShardRanges) -> Iterator[tuple[int, pa.Table]]:
    for file in _in_order(old, wanted):
        for shard, rows in read_by_shard(old.storage, old.uri, OBSERVED, file.path):
            if shard in wanted:
                yield shard, rows


def _in_order(old: Store, wanted: ShardRanges) -> Iterator[DataFile]:
    """The files that hold a wanted shard; one object at a time, however many there are."""
    files = old.observations.table()
    for place in np.argsort(files.firsts, kind="stable").tolist():
        if wanted.meets(int(files.firsts[place]), int(files.lasts[place])):
            yield files.at(place)


def _carry_group(stores: Stores, carrier: Carrier, some: list[tuple[int, pa.Table]]) -> Counter[str]:
    """Make and commit some shards; how their rows ended."""
    stores.lease.check()
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="carry") as pool:
        made = list(pool.map(partial(_carry, stores.new, carrier), *zip(*some, strict=True)))
    check_written(
        {f"{OBSERVED.table}/{file.path}": (file.first_shard, file.size) for file, _ in made},
        partial(written_sizes, stores.new),
    )
    stores.lease.check()
    stores.new.observations.commit([file for file, _ in made], [], {"assay.did": "migrated"})
    return sum((outcomes for _, outcomes in made), Counter())


def _carry(new: Store, carrier: Carrier, shard: int, old_rows: pa.Table) -> tuple[DataFile, Counter[str]]:
    rows = carrier.carry(old_rows)
    if rows.num_rows != old_rows.num_rows:
        raise _not_as_planned(new, shard, f"{old_rows.num_rows} rows in, {rows.num_rows} out")
    written = write_observations(new.storage, new.uri, shard, rows)
    counts = pc.value_counts(rows["outcome"]).to_pylist()
    outcomes = Counter({str(pair["values"]): int(pair["counts"]) for pair in counts})
    ends = (written.first_uri, written.last_uri)
    return DataFile(written.path, written.size, rows.num_rows, shard, shard, *ends), outcomes


def _not_as_planned(store: Store, shard: int, why: str) -> ConservationError:
    return ConservationError(
        "a shard's rows are not what was planned",
        where=f"{store.shown}, shard {shard}",
        why=why,
        fix=f"run `assay verify {store.shown}`",
    )
