"""Repair: committed data files that are gone or damaged are found, and unnamed, so that the same backfill makes them
again.

Knows when a file is no longer what was committed, and which verdicts fall with an observation. Does not make anything
again, and cannot bring back what was stored only there: an image that changed since becomes a fault.
"""

from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from assay.jobs.compact import Table, split, tables_of, wide_files
from assay.jobs.datafile import JUDGED, damage_of, read_by_shard
from assay.jobs.ledger import DataFile
from assay.jobs.shard_ranges import ShardRanges
from assay.jobs.store import Store
from assay.platform.errors import ConservationError
from assay.platform.other_clients import arrow_place
from assay.platform.spec import Spec
from assay.platform.storage import Storage, StorageSpec

AT_ONCE = 8
"""Files looked at together. One that is suspected is held in memory."""


class RepairSpec(Spec):
    """Which store, and how closely to look."""

    store: str = Field(kw_only=False, description="the store")
    deep: bool = Field(False, description="read every page of every file, not only sizes and footers")
    dry_run: bool = Field(False, description="tell what is damaged, and change nothing")
    storage: StorageSpec = Field(StorageSpec(), description="object storage")


class RepairFacts(BaseModel):
    """What was found damaged, and unnamed unless with `--dry-run`."""

    model_config = ConfigDict(frozen=True)

    looked_at: int
    """Files the tables consisted of."""
    damaged: tuple[str, ...]
    """Each file that is not what was committed, and why."""
    observations: int
    """Rows that must be observed again."""
    verdicts: int
    """Rows that must be judged again, of all releases and policies."""
    shards: int
    """Shards with anything to do again, also those whose verdicts had lost their observations before."""
    releases: tuple[str, ...]
    """`release/policy` whose verdicts are concerned: a backfill with each of them makes them again."""
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Damage:
    """A committed file that is not what was written."""

    table: str
    file: DataFile
    why: str

    def __str__(self) -> str:
        return f"{self.table}/{self.file.path}: {self.why}"


@dataclass(frozen=True, slots=True)
class _Loss:
    """What a store must give up."""

    damaged: list[Damage]
    unseen: ShardRanges
    """Shards that have verdicts or had observations, and have no observations that can be read."""
    falling: list[DataFile]
    """Verdict files, whole themselves, that hold such shards."""

    def files(self, table: str) -> list[DataFile]:
        """The damaged files of one table."""
        return [one.file for one in self.damaged if one.table == table]


def repair(spec: RepairSpec, tell: Callable[[str], None] = lambda _line: None) -> RepairFacts:
    """Find damaged files and unname them; verdicts of lost observations go with them.

    Raises:
        SpecError: there is no store.
        FencedError: another driver has it.
        StorageError: the store cannot be asked, so nothing is known of its files.
    """
    store = Store.open(Storage(spec.storage), spec.store)
    if spec.dry_run:
        return _facts(store, _examine(store, spec), spec)
    with store.hold("assay repair", tell):
        loss = _examine(store, spec)
        facts = _facts(store, loss, spec)
        _unname(store, loss)
    return facts


def _examine(store: Store, spec: RepairSpec) -> _Loss:
    observations, verdicts = tables_of(store)
    damaged = [
        one
        for table in (observations, verdicts)
        for one in find_damage(store, table, table.ledger.files(), deep=spec.deep)
    ]
    unseen = ShardRanges.of(one.file for one in damaged if one.table == "observations") | stranded(store)
    # What is about to be taken apart must be whole: look at it closely, whatever was asked for.
    known = {one.file.path for one in damaged}
    wide = [file for file in wide_files(verdicts, unseen) if file.path not in known]
    damaged += find_damage(store, verdicts, wide, deep=True)
    return _Loss(damaged, unseen, _falling(verdicts, unseen, {one.file.path for one in damaged}))


def _falling(verdicts: Table, unseen: ShardRanges, damaged: Collection[str]) -> list[DataFile]:
    return [file for file in verdicts.ledger.table().holding(unseen) if file.path not in damaged]


def _unname(store: Store, loss: _Loss) -> None:
    """Verdicts first: a verdict without its observation would be found contradicting nothing."""
    if not (loss.damaged or loss.unseen):
        return
    _, verdicts = tables_of(store)
    for file in loss.falling:
        if file.first_shard != file.last_shard:
            split(store, verdicts, file)
    judged = loss.files("verdicts")
    judged += _falling(verdicts, loss.unseen, {file.path for file in judged})
    observed, note = loss.files("observations"), {"assay.did": "repaired"}
    if judged:
        store.verdicts.commit([], judged, note)
    if observed:
        store.observations.commit([], observed, note)


def _facts(store: Store, loss: _Loss, spec: RepairSpec) -> RepairFacts:
    observed, judged = loss.files("observations"), loss.files("verdicts")
    concerned = [*judged, *loss.falling]
    return RepairFacts(
        looked_at=sum(len(table.ledger.table()) for table in tables_of(store)),
        damaged=tuple(sorted(map(str, loss.damaged))),
        observations=sum(file.rows for file in observed),
        verdicts=sum(file.rows for file in judged) + sum(_rows_of(store, file, loss.unseen) for file in loss.falling),
        shards=len(ShardRanges.of([*observed, *judged]) | loss.unseen),
        releases=tuple(sorted({"/".join(file.partition.values()) for file in concerned})),
        dry_run=spec.dry_run,
    )


def _rows_of(store: Store, file: DataFile, shards: ShardRanges) -> int:
    """The rows that a verdict file has of some shards."""
    if file.first_shard == file.last_shard:
        return file.rows
    found = read_by_shard(store.storage, store.uri, JUDGED, file.path)
    return sum(rows.num_rows for shard, rows in found if shard in shards)


def stranded(store: Store) -> ShardRanges:
    """Shards with verdicts and without observations: a table that was taken back to an older state left them."""
    return store.verdicts.table().shards() - store.observations.table().shards()


def refuse_stranded(store: Store) -> None:
    """Refuse a store, held by us, whose shards would be judged twice.

    Raises:
        ConservationError: some have verdicts and no observations.
    """
    shards = stranded(store)
    if shards:
        raise ConservationError(
            "the store has verdicts of shards that were not observed",
            where=store.shown,
            why=f"{len(shards)} shards, the first is {next(iter(shards))}: observations were committed and are gone",
            fix=f"run `assay repair {store.shown}`, then the same command again",
        )


def sizes_of(store: Store, table: Table) -> dict[str, int]:
    """Every file that lies below a table's `data`, by its path below the table, with its size."""
    listed = store.storage.list(store.path(table.layout.table, "data"))
    return {f"data/{one.name}": one.size for one in listed}


def missing_files(store: Store, table: Table, files: Iterable[DataFile], sizes: dict[str, int]) -> list[Damage]:
    """The files that are not there, or have another size: told from `sizes`, a listing, and made sure of."""
    found = []
    for file in files:
        if sizes.get(file.path) != file.size:
            size = store.size_of(f"{table.layout.table}/{file.path}")
            if size != file.size:
                why = "gone" if size is None else f"{size} bytes, committed with {file.size}"
                found.append(Damage(table.layout.table, file, why))
    return found


def find_damage(store: Store, table: Table, files: Collection[DataFile], *, deep: bool) -> list[Damage]:
    """The files that are not what was committed: gone, of another size, without a footer, with another number of rows
    or, looking `deep`, with a page that its checksum refutes.

    Raises:
        StorageError: the store cannot be asked.
    """
    missing = missing_files(store, table, files, sizes_of(store, table))
    lost = {one.file.path for one in missing}
    left = [file for file in files if file.path not in lost]
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="repair") as pool:
        found = pool.map(partial(_damage, store, table, deep=deep), left)
        return missing + [one for one in found if one is not None]


def _damage(store: Store, table: Table, file: DataFile, *, deep: bool) -> Damage | None:
    if not deep and _footer_tells(store, table, file):
        return None
    # The whole file, through the client that waits for a store that went away: only what it holds can condemn it.
    data = store.storage.read(store.path(table.layout.table, file.path))
    why = "gone" if data is None else damage_of(data, file.rows)
    return Damage(table.layout.table, file, why) if why else None


def _footer_tells(store: Store, table: Table, file: DataFile) -> bool:
    """Whether the footer can be read and says what was committed."""
    fs, path = arrow_place(store.storage, store.path(table.layout.table, file.path))
    try:
        return bool(pq.read_metadata(path, filesystem=fs).num_rows == file.rows)
    except (OSError, pa.ArrowException):
        return False
