"""Manifests: the rows of listings, cut into shards whose numbers never shift.

    manifests/generation-000000/part-00000.parquet …   rows (uri, etag, size, shard), sorted by uri

Knows how listings become shards and how they are read back. Does not know which generations there are
(`generation.py`), nor what was done with a shard.
"""

import contextlib
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
from pydantic import Field

from assay.jobs.generation import Generation, Part
from assay.jobs.shard_ranges import ShardRanges
from assay.jobs.store import Store
from assay.platform.errors import ManifestError
from assay.platform.members import Row, parse_member
from assay.platform.other_clients import arrow_place, outlast
from assay.platform.rows import MANIFEST, ImageRef
from assay.platform.spec import Spec
from assay.platform.storage import Storage
from assay.platform.uris import parse_uri

T = TypeVar("T")

Between = Callable[[str, str], bool]
"""Says whether uris from the first to the second can be wanted."""

ROWS_PER_GROUP = 65_536
ROWS_PER_PART = 1_000_000
"""A part is held in memory, some 50 MB of it, and written whole: a listing of hours outlives the keys it began with."""
_NAME = re.compile(r"generation-(\d{6,})$")


class ShardSpec(Spec):
    """How a listing is cut. A shard is the unit of work, retry, commit and resume."""

    images: int = Field(256, ge=1, le=65_536, description="images in a shard, at most")
    bytes: int = Field(
        256 * 2**20, ge=1, description="stored bytes in a shard, at most (one larger image is its own shard)"
    )


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard: its number and images, in the order of their uris."""

    number: int
    refs: tuple[ImageRef, ...]


def cut(refs: Iterable[ImageRef], first_shard: int, spec: ShardSpec) -> Iterator[Shard]:
    """Cut sorted `refs` into shards, numbered from `first_shard`. None has images of two packs, and a Parquet row group
    that fits into one is not shared out among several."""
    held: list[ImageRef] = []
    held_bytes, held_pack, number = 0, "", first_shard
    for unit, pack in _units(refs, spec):
        unit_bytes = sum(ref.size for ref in unit)
        is_full = len(held) + len(unit) > spec.images or held_bytes + unit_bytes > spec.bytes
        if held and (is_full or pack != held_pack):
            yield Shard(number, tuple(held))
            held, held_bytes, number = [], 0, number + 1
        held += unit
        held_bytes, held_pack = held_bytes + unit_bytes, pack
    if held:
        yield Shard(number, tuple(held))


def _units(refs: Iterable[ImageRef], spec: ShardSpec) -> Iterator[tuple[list[ImageRef], str]]:
    """What stays together: single images, or those of one row group as far as one shard can have them; with their
    pack."""
    unit, unit_bytes, key = list[ImageRef](), 0, ("", 0)
    for ref in refs:
        member = parse_member(ref.uri)
        if member is None or not isinstance(member.place, Row):
            if unit:
                yield unit, key[0]
                unit = []
            yield [ref], member.pack if member else ""
            continue
        mine = (member.pack, member.place.group)
        if unit and (mine != key or len(unit) >= spec.images or unit_bytes + ref.size > spec.bytes):
            yield unit, key[0]
            unit, unit_bytes = [], 0
        unit.append(ref)
        unit_bytes, key = unit_bytes + ref.size, mine
    if unit:
        yield unit, key[0]


class ManifestWriter:
    """Writes the parts of one generation; `generation.json` is the caller's, and comes last."""

    def __init__(self, store: Store, folder: str) -> None:
        self._storage, self._folder = store.storage, store.path("manifests", folder)
        self.parts: list[Part] = []
        self._written: list[str] = []
        self._rows: list[pa.Table] = []
        self._sink = pa.BufferOutputStream()
        self._open: pq.ParquetWriter | None = None
        self._first, self._last, self._count = 0, 0, 0

    def add(self, shard: Shard) -> None:
        """Write one shard; row groups and parts end only between shards."""
        if not self._count:
            self._first = shard.number
        self._rows.append(_manifest_rows(shard))
        self._last, self._count = shard.number, self._count + len(shard.refs)
        if sum(map(len, self._rows)) >= ROWS_PER_GROUP:
            self._flush()
        if self._count >= ROWS_PER_PART:
            self._close_part()

    def close(self) -> list[Part]:
        """Finish; the parts written."""
        if self._count:
            self._close_part()
        return self.parts

    def abort(self) -> None:
        """Remove what was written: the listing failed half way, and the store stays as it was."""
        for name in self._written:
            self._storage.remove(f"{self._folder}/{name}")
        folder = parse_uri(self._folder)
        if not folder.is_s3:
            with contextlib.suppress(OSError):  # not there yet, or not empty: another planner writes the generation too
                Path(folder.key).rmdir()

    def _flush(self) -> None:
        if self._open is None:
            self._sink = pa.BufferOutputStream()
            self._open = pq.ParquetWriter(self._sink, MANIFEST, compression="zstd", write_page_checksum=True)
        if self._rows:
            self._open.write_table(pa.concat_tables(self._rows), row_group_size=2**31 - 1)
            self._rows = []

    def _close_part(self) -> None:
        self._flush()
        assert self._open is not None
        self._open.close()
        # A random name: a planner that lost the race must not write over the winner's files.
        name = f"part-{len(self.parts):05d}-{os.urandom(4).hex()}.parquet"
        self._written.append(name)
        self._storage.write(f"{self._folder}/{name}", self._sink.getvalue().to_pybytes())
        self.parts.append(Part(name=name, rows=self._count, first_shard=self._first, last_shard=self._last))
        self._open, self._count = None, 0


def _manifest_rows(shard: Shard) -> pa.Table:
    refs = shard.refs
    columns = [[r.uri for r in refs], [r.etag for r in refs], [r.size for r in refs], [shard.number] * len(refs)]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, MANIFEST, strict=True)], schema=MANIFEST)


def read_rows(
    store: Store, generation: Generation, shards: Iterable[int] | None = None, uris: Between | None = None
) -> Iterator[pa.Table]:
    """A generation's rows (schema `MANIFEST`) by row group; with `shards` or `uris`, only groups that can have such."""
    wanted = None if shards is None else ShardRanges.of_numbers(shards)
    for part in generation.parts:
        if wanted is not None and not wanted.meets(part.first_shard, part.last_shard):
            continue
        where = store.path("manifests", generation.folder, part.name)
        try:
            read = _read_small if part.rows <= ROWS_PER_GROUP else _read_part
            yield from read(store.storage, where, wanted, uris)
        except (OSError, pa.ArrowInvalid) as error:
            raise ManifestError(
                "a manifest part cannot be read", where=where, why=str(error), fix="restore it from a backup"
            ) from error


def _read_small(storage: Storage, where: str, shards: ShardRanges | None, uris: Between | None) -> Iterator[pa.Table]:
    """A part of one row group, in one request where pyarrow makes three."""
    data = storage.read(where)
    if data is None:
        raise FileNotFoundError("it is not there")
    with pq.ParquetFile(pa.BufferReader(data)) as file:
        for group in range(file.num_row_groups):
            if _touches(file.metadata, group, shards, uris):
                yield file.read_row_group(group)


def _read_part(storage: Storage, where: str, shards: ShardRanges | None, uris: Between | None) -> Iterator[pa.Table]:
    """Row groups, each opened anew: the next one may be asked for an hour later, with other keys."""
    facts = outlast(storage, where, lambda: _part(storage, where, None, lambda file: file.metadata))
    for group in range(facts.num_row_groups):
        if _touches(facts, group, shards, uris):
            yield outlast(storage, where, partial(_part, storage, where, facts, partial(_read_group, group=group)))


def _part(storage: Storage, where: str, facts: pq.FileMetaData | None, use: Callable[[pq.ParquetFile], T]) -> T:
    fs, path = arrow_place(storage, where)
    with pq.ParquetFile(path, filesystem=fs, metadata=facts) as file:
        return use(file)


def _read_group(file: pq.ParquetFile, group: int) -> pa.Table:
    return file.read_row_group(group)


def _touches(facts: pq.FileMetaData, group: int, shards: ShardRanges | None, uris: Between | None) -> bool:
    """Whether a row group can have rows of these shards and uris; one without statistics can."""

    def ends(column: str) -> pq.Statistics | None:
        found = facts.row_group(group).column(MANIFEST.get_field_index(column)).statistics
        return found if found is not None and found.has_min_max else None

    numbers, names = ends("shard"), ends("uri")
    if shards is not None and numbers is not None and not shards.meets(numbers.min, numbers.max):
        return False
    return uris is None or names is None or uris(names.min, names.max)


def read_shards(store: Store, generation: Generation, wanted: Iterable[int]) -> Iterator[Shard]:
    """The wanted shards of a generation, in order; row groups without any are not read."""
    for number, rows in read_shard_rows(store, generation, wanted):
        columns = (rows["uri"].to_pylist(), rows["etag"].to_pylist(), rows["size"].to_pylist())
        yield Shard(number, tuple(ImageRef(*one) for one in zip(*columns, strict=True)))


def read_shard_rows(store: Store, generation: Generation, wanted: Iterable[int]) -> Iterator[tuple[int, pa.Table]]:
    """The same as tables (schema `MANIFEST`), each with its shard's number."""
    mine = ShardRanges.of_numbers(range(generation.first_shard, generation.next_shard)) & wanted
    if not mine:
        return
    for rows in read_rows(store, generation, mine):
        yield from _by_shard(rows.filter(pa.array(mine.has_each(rows["shard"].to_numpy()))))


def _by_shard(rows: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    numbers = rows["shard"].to_numpy()
    starts = [0, *(int(at) for at in (numbers[1:] != numbers[:-1]).nonzero()[0] + 1), len(numbers)]
    for start, stop in itertools.pairwise(starts) if len(numbers) else ():
        yield int(numbers[start]), rows.slice(start, stop - start)
