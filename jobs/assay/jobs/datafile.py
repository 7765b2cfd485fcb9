"""Data files of the two tables: written once under a random name, read back by shard.

Knows how rows lie in Parquet, and when a file is no longer what was written. Does not decide when a file becomes
visible: that is the ledger's transaction.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs
import pyarrow.parquet as pq

from assay.jobs.work import WrittenFile
from assay.platform.errors import StorageError
from assay.platform.other_clients import arrow_place
from assay.platform.rows import OBSERVATIONS, VERDICT_FILE
from assay.platform.storage import Storage
from assay.platform.uris import parse_uri

NEIGHBOURS = 256
"""Shards in a row whose files lie in one folder."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the rows of one table lie in its files."""

    table: str
    """The table's folder in the store."""
    schema: pa.Schema
    rows_per_group: int
    """Rows after which a row group ends, with the shard that reaches it."""


OBSERVED = Layout("observations", OBSERVATIONS, 1)
"""A row group for each shard: judging again reads one shard out of a wide file."""
JUDGED = Layout("verdicts", VERDICT_FILE, 16_384)
"""Release and policy are partition values of the transaction, not columns of the file."""


SCORED_LABEL, SCORE = "scores.key_value.key", "scores.key_value.value"
"""Parquet's names of what `scores` has."""


@cache
def _options(layout: Layout) -> dict[str, object]:
    if layout is not OBSERVED:
        # Names and scores hardly repeat: looking for repetitions takes longer than all the rest.
        said = ("label", "action", "concept", "prompt", "counter")
        return {
            "compression": "zstd",
            "use_dictionary": ["outcome", "action", SCORED_LABEL, *(f"findings.list.element.{name}" for name in said)],
            "write_statistics": ["shard", "uri", "etag", "outcome", "action"],
            "write_page_checksum": True,
        }
    # Embeddings lie plain and uncompressed: random mantissas gain nothing, and a reader can view them as a matrix.
    return {
        "compression": {name: ("NONE" if name == "embedding" else "ZSTD") for name in _leaves(layout.schema)},
        "use_dictionary": ["outcome", "format", "detail", "views.list.element.kind"],
        "write_statistics": ["shard", "uri", "etag", "outcome"],
        "write_page_checksum": True,
    }


def _leaves(schema: pa.Schema) -> list[str]:
    """Parquet's dotted column paths of an Arrow schema."""
    probe = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), probe)
    facts = pq.ParquetFile(pa.BufferReader(probe.getvalue())).schema
    return [facts.column(i).path for i in range(len(facts))]


class FileWriter:
    """One data file in the making. It is held in memory, so that it is stored whole or not at all."""

    def __init__(self, layout: Layout) -> None:
        self.layout, self.rows = layout, 0
        self._sink = pa.BufferOutputStream()
        self._file = pq.ParquetWriter(self._sink, layout.schema, **_options(layout))
        self._held: list[pa.Table] = []
        self._uris: list[str] = []

    def add(self, rows: pa.Table) -> None:
        """Add one shard's rows; shards come in ascending order."""
        if not rows.num_rows:
            return
        ends = pc.min_max(rows["uri"]).as_py()
        self._uris += [ends["min"], ends["max"]]
        mine = [name for name in rows.column_names if name in self.layout.schema.names]
        self._held.append(rows.select(mine).cast(self.layout.schema))
        self.rows += rows.num_rows
        if sum(map(len, self._held)) >= self.layout.rows_per_group:
            self._end_group()

    def _end_group(self) -> None:
        if self._held:
            self._file.write_table(pa.concat_tables(self._held), row_group_size=2**31 - 1)
            self._held = []

    def write(self, storage: Storage, store: str, shard: int) -> WrittenFile:
        """Store the file under a new name, in which its first `shard` stands."""
        self._end_group()
        self._file.close()
        data = self._sink.getvalue()
        path = f"data/{_folder(shard)}/{shard:012d}-{os.urandom(8).hex()}.parquet"
        storage.write(f"{store}/{self.layout.table}/{path}", data.to_pybytes())
        uris = self._uris or [""]
        return WrittenFile(path=path, size=data.size, first_uri=min(uris), last_uri=max(uris))


def _folder(shard: int) -> str:
    """Two letters, since object stores share out request limits by prefix; neighbours have the same, so that one
    listing tells of all that a commit names."""
    return hashlib.sha256(str(shard // NEIGHBOURS).encode()).hexdigest()[:2]


def write_observations(storage: Storage, store: str, shard: int, rows: pa.Table) -> WrittenFile:
    """Write a shard's observations."""
    return _write(OBSERVED, storage, store, shard, rows)


def write_verdicts(storage: Storage, store: str, shard: int, rows: pa.Table) -> WrittenFile:
    """Write a shard's verdicts."""
    return _write(JUDGED, storage, store, shard, rows)


def _write(layout: Layout, storage: Storage, store: str, shard: int, rows: pa.Table) -> WrittenFile:
    file = FileWriter(layout)
    file.add(rows)
    return file.write(storage, store, shard)


def read_shard(storage: Storage, store: str, path: str, shard: int) -> pa.Table:
    """The observations of one shard out of a committed file (which may hold more, once compacted).

    Raises:
        StorageError: the file is gone or cannot be read.
    """
    where = f"{store}/{OBSERVED.table}/{path}"
    try:
        fs, place = arrow_place(storage, where)
        return _only(place, shard, filesystem=fs)
    except (OSError, pa.ArrowException):
        # Asked again by the client that waits for a store that went away, it is whole or it is damaged.
        data = storage.read(where)
    if data is None:
        raise unreadable(store, where, "the file is gone")
    try:
        return _only(pa.BufferReader(data), shard)
    except (OSError, pa.ArrowException) as error:
        raise unreadable(store, where, str(error)) from error


def _only(source: str | pa.BufferReader, shard: int, **place: pyarrow.fs.FileSystem) -> pa.Table:
    mine = pc.field("shard") == shard
    return pq.read_table(source, schema=OBSERVATIONS, filters=mine, page_checksum_verification=True, **place)


def read_by_shard(storage: Storage, store: str, layout: Layout, path: str) -> Iterator[tuple[int, pa.Table]]:
    """The rows of a committed file, shard after shard, each in the order of uris.

    Raises:
        StorageError: the file is gone, cannot be read, or has a shard in two places.
    """
    where = f"{store}/{layout.table}/{path}"
    data = storage.read(where)
    if data is None:
        raise unreadable(store, where, "the file is gone")
    last = -1
    try:
        for shard, rows in _runs(_groups(data, layout)):
            if shard <= last:
                raise unreadable(store, where, f"shard {shard} comes after shard {last}")
            last = shard
            yield shard, rows.sort_by([("uri", "ascending"), ("etag", "ascending")])
    except (OSError, pa.ArrowException) as error:
        raise unreadable(store, where, str(error)) from error


def _groups(data: bytes, layout: Layout) -> Iterator[pa.Table]:
    with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, columns=layout.schema.names)


def _runs(groups: Iterator[pa.Table]) -> Iterator[tuple[int, pa.Table]]:
    """Rows cut where the shard changes; a shard may go on in the next row group."""
    held: list[pa.Table] = []
    shard = -1
    for rows in groups:
        numbers = rows["shard"].to_numpy()
        starts = [0, *(int(at) for at in (numbers[1:] != numbers[:-1]).nonzero()[0] + 1)] if len(numbers) else []
        for start, stop in zip(starts, [*starts[1:], len(numbers)], strict=True):
            if held and numbers[start] != shard:
                yield shard, pa.concat_tables(held)
                held = []
            shard = int(numbers[start])
            held.append(rows.slice(start, stop - start))
    if held:
        yield shard, pa.concat_tables(held)


def damage_of(data: bytes, rows: int) -> str:
    """What is wrong with the content of a data file that should hold `rows` rows; empty when it is whole. Every page
    is read, and held against its checksum where it has one."""
    try:
        with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
            found = sum(len(file.read_row_group(group)) for group in range(file.num_row_groups))
    except (OSError, pa.ArrowException) as error:
        return str(error)
    return "" if found == rows else f"{found} rows, committed with {rows}"


def unreadable(store: str, where: str, why: str) -> StorageError:
    """The refusal of a committed file that is not what was written."""
    place = parse_uri(store)
    shown = place.uri if place.is_s3 else place.key
    return StorageError(
        "a committed file cannot be read",
        where=where,
        why=why,
        fix=f"run `assay verify {shown}` to see which, then `assay repair {shown}`",
    )
