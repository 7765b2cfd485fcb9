"""Compaction: the small files of a whole segment of shards become few, and are taken apart again when a shard is to be
replaced.

Knows which files may become one, and that rows are neither lost nor doubled on the way. Does not know what the rows
mean. Every step is one transaction that removes the old files and adds the new ones: a reader sees the former or the
latter. The old ones stay, for readers of older versions, until `vacuum`.

A backfill compacts by itself when a table has very many files (`compact_grown`): a commit, and the start of a driver,
take time and memory by the file.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from assay.jobs.datafile import JUDGED, OBSERVED, FileWriter, Layout, read_by_shard
from assay.jobs.delta_log import DeltaLedger
from assay.jobs.generation import emptied_shards, generations
from assay.jobs.ledger import DataFile
from assay.jobs.shard_ranges import ShardRanges
from assay.jobs.store import Store
from assay.platform.errors import ConservationError
from assay.platform.spec import Spec
from assay.platform.storage import Storage, StorageSpec

AT_ONCE = 4
"""Files made together."""
READS_AT_ONCE = 8
"""Small files read together for one of them: on S3 each answer takes some 20 ms to come."""
IN_COMMIT = 64
"""Files made in one transaction: it costs by the file of the whole table."""
SLICE = 64
"""Segments looked at together, so that not every file of a table is an object at once."""
GROWN = 65_536
"""Files of a table above which a backfill compacts: 17 million images. With as many, a commit takes some 0.1 s."""


class CompactSpec(Spec):
    """Which store, and how wide its files may become."""

    store: str = Field(kw_only=False, description="the store")
    segment_shards: int = Field(
        256, ge=2, description="shards in a segment; one is compacted once all its shards are committed"
    )
    max_bytes: int = Field(
        128 * 2**20, ge=1, description="bytes of a compacted file, at most; four of them are held in memory, twice"
    )
    storage: StorageSpec = Field(StorageSpec(), description="object storage")


class CompactFacts(BaseModel):
    """What was rearranged."""

    model_config = ConfigDict(frozen=True)

    files_before: int
    files_after: int
    written: int
    """Files that took the place of several."""
    written_bytes: int
    rows: int
    """Rows that lie in another file now."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table's files and how they are laid out."""

    ledger: DeltaLedger
    layout: Layout


def tables_of(store: Store) -> tuple[Table, Table]:
    """Both tables."""
    return Table(store.observations, OBSERVED), Table(store.verdicts, JUDGED)


def compact(spec: CompactSpec, tell: Callable[[str], None] = lambda _line: None) -> CompactFacts:
    """Make one file of many in every complete segment of both tables.

    Raises:
        SpecError: there is no store.
        FencedError: another driver has it.
        ConservationError: rows out would differ from rows in; what was committed until then is sound.
    """
    store = Store.open(Storage(spec.storage), spec.store)
    with store.hold("assay compact", tell) as lease:
        before = _num_files(store)
        emptied = emptied_shards(generations(store))
        groups = [(table, _all_groups(table, spec, emptied)) for table in tables_of(store)]
        written = [file for table, some in groups for file in _compacted(store, table, some, lease.check)]
        return CompactFacts(
            files_before=before,
            files_after=_num_files(store),
            written=len(written),
            written_bytes=sum(file.size for file in written),
            rows=sum(file.rows for file in written),
        )


def compact_grown(store: Store, check: Callable[[], None], grown: int = GROWN) -> int:
    """Go on compacting the tables that have more than `grown` files, as by default, by one transaction each, so that
    nobody waits long; returns how many files were made. Call it while the store is held and nothing is under way;
    `check` says so when it is not held any more.

    Raises:
        FencedError, ConservationError: as `compact`.
    """
    spec = CompactSpec(store=store.uri)
    tables = [table for table in tables_of(store) if len(table.ledger.table()) > grown]
    emptied = emptied_shards(generations(store)) if tables else ()
    groups = [(table, islice(_all_groups(table, spec, emptied), IN_COMMIT)) for table in tables]
    return sum(len(_compacted(store, table, some, check)) for table, some in groups)


def _compacted(
    store: Store, table: Table, groups: Iterator[list[DataFile]], check: Callable[[], None]
) -> list[DataFile]:
    """Make one file of each group of a table's; the files made."""
    written: list[DataFile] = []
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="compact") as pool:
        while some := list(islice(groups, IN_COMMIT)):
            check()
            joined = list(pool.map(partial(_join, store, table), some))
            check()
            _commit(store, table, joined, [file for group in some for file in group])
            written += joined
    return written


def _all_groups(table: Table, spec: CompactSpec, emptied: Collection[int]) -> Iterator[list[DataFile]]:
    """What `groups_of` finds in a table, looked for in some segments after the other."""
    files = table.ledger.table()
    stride = SLICE * spec.segment_shards
    for first in range(0, int(files.lasts.max(initial=-1)) + 1, stride):
        some = files.holding(ShardRanges.of_numbers(range(first, first + stride)))
        yield from groups_of(some, spec.segment_shards, spec.max_bytes, emptied)


def _num_files(store: Store) -> int:
    return sum(len(table.ledger.table()) for table in tables_of(store))


def take_apart(store: Store, shards: Collection[int]) -> int:
    """Give each shard a file of its own again, in every file of both tables that holds one of `shards` and others;
    returns how many files were taken apart. Call it while the store is held.

    Raises:
        ConservationError: rows out would differ from rows in.
    """
    return sum(split(store, table, file) for table in tables_of(store) for file in wide_files(table, shards))


def wide_files(table: Table, shards: Collection[int]) -> list[DataFile]:
    """The files of a table that hold one of `shards`, and others."""
    found = table.ledger.table().holding(ShardRanges.of_numbers(shards))
    return [file for file in found if file.first_shard != file.last_shard]


def groups_of(
    files: Iterable[DataFile], segment_shards: int, max_bytes: int, emptied: Collection[int] = ()
) -> Iterator[list[DataFile]]:
    """Files that shall become one: of one partition and one complete segment, following on each other without a gap,
    and not greater together than `max_bytes`. Shards that were `emptied` by `assay forget` have no file, and are no
    gap.

    Raises:
        ConservationError: two files of a partition hold the same shard.
    """
    segments: dict[tuple[object, int], list[DataFile]] = {}
    for partition, members in _by_partition(files).items():
        for file in members:
            segment = file.first_shard // segment_shards
            if file.last_shard // segment_shards == segment:
                segments.setdefault((partition, segment), []).append(file)
    for (_, segment), members in segments.items():
        shards = ShardRanges.of_numbers(range(segment * segment_shards, (segment + 1) * segment_shards))
        if not shards - ShardRanges.of(members) - emptied:
            yield from (group for group in _fill(members, max_bytes) if len(group) > 1)


def _by_partition(files: Iterable[DataFile]) -> dict[tuple[tuple[str, str], ...], list[DataFile]]:
    found: dict[tuple[tuple[str, str], ...], list[DataFile]] = {}
    for file in sorted(files, key=lambda file: file.first_shard):
        found.setdefault(tuple(sorted(file.partition.items())), []).append(file)
    for members in found.values():
        for one, following in pairwise(members):
            if following.first_shard <= one.last_shard:
                raise ConservationError(
                    "two committed files hold the same shard",
                    where=f"{one.path} and {following.path}",
                    why=f"shard {following.first_shard}",
                    fix="run `assay verify`, and report this",
                )
    return found


def _fill(files: Iterable[DataFile], max_bytes: int) -> Iterator[list[DataFile]]:
    group: list[DataFile] = []
    for file in files:
        if group and sum(one.size for one in group) + file.size > max_bytes:
            yield group
            group = []
        group.append(file)
    if group:
        yield group


def _join(store: Store, table: Table, files: list[DataFile]) -> DataFile:
    """Make one file of several that follow on each other. No transaction names it yet.

    Raises:
        ConservationError: it has not the same rows.
    """
    writer = FileWriter(table.layout)
    with ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="compact-read") as pool:
        for found in pool.map(lambda file: list(_read(store, table, file)), files):
            for _, rows in found:
                writer.add(rows)
    joined = _store(store, writer, files[0].first_shard, files[-1].last_shard, files[0])
    _refuse_other_rows(store, table, [joined], files)
    return joined


def split(store: Store, table: Table, file: DataFile) -> bool:
    """Make a file of each shard of one file; a shard whose rows are all gone keeps an empty one, since it is done."""
    found = dict(_read(store, table, file))
    parts = []
    for shard in range(file.first_shard, file.last_shard + 1):
        writer = FileWriter(table.layout)
        writer.add(found.pop(shard, table.layout.schema.empty_table()))
        parts.append(_store(store, writer, shard, shard, file))
    _refuse_other_rows(store, table, parts, [file])
    _commit(store, table, parts, [file])
    return True


def _read(store: Store, table: Table, file: DataFile) -> Iterator[tuple[int, pa.Table]]:
    for shard, rows in read_by_shard(store.storage, store.uri, table.layout, file.path):
        if not file.first_shard <= shard <= file.last_shard:
            raise ConservationError(
                "a committed file holds a shard that it should not",
                where=store.path(table.layout.table, file.path),
                why=f"shard {shard}; committed with {file.first_shard} to {file.last_shard}",
                fix=f"run `assay repair {store.shown}`",
            )
        yield shard, rows


def _store(store: Store, writer: FileWriter, first: int, last: int, like: DataFile) -> DataFile:
    written = writer.write(store.storage, store.uri, first)
    ends = (written.first_uri, written.last_uri)
    return DataFile(written.path, written.size, writer.rows, first, last, *ends, dict(like.partition))


def _refuse_other_rows(store: Store, table: Table, adds: list[DataFile], removes: list[DataFile]) -> None:
    rows_in, rows_out = (sum(file.rows for file in files) for files in (removes, adds))
    if rows_in != rows_out:
        raise ConservationError(
            "rows out differ from rows in",
            where=store.path(table.layout.table, removes[0].path),
            why=f"{rows_in} rows were committed, {rows_out} are there",
            fix=f"run `assay verify {store.shown}`",
        )


def _commit(store: Store, table: Table, adds: list[DataFile], removes: list[DataFile]) -> None:
    """Replace files by others with the same rows.

    Raises:
        ConservationError: one of them is not there.
    """
    for file in adds:
        if store.size_of(f"{table.layout.table}/{file.path}") != file.size:
            raise ConservationError(
                "a written file is missing or has another size",
                where=store.path(table.layout.table, file.path),
                why=f"{file.size} bytes were written",
                fix="run the same command again; if it persists, the store loses writes",
            )
    table.ledger.commit(adds, removes, {"assay.did": "rearranged"}, rearranged=True)
