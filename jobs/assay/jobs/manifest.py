"""Manifests: append-only generations of listings, cut into shards whose numbers never shift.

    manifests/generation-000000/part-00000.parquet …   rows (uri, etag, size, shard), sorted by uri
    manifests/generation-000000/generation.json        written last: without it the generation does not exist

Knows how listings become shards and how they are read back. Does not know what was done with a shard.
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
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from assay.jobs.store import Store
from assay.platform.errors import ConservationError, ManifestError
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


class Part(BaseModel):
    """One Parquet file of a generation."""

    model_config = ConfigDict(frozen=True)

    name: str
    rows: int
    first_shard: int
    last_shard: int


class Generation(BaseModel):
    """One listing that brought something new."""

    model_config = ConfigDict(frozen=True)

    number: int
    source: str
    root: str
    """The uri that names in digests are relative to."""
    created: str
    listed: int
    """Objects the listing saw, new or known."""
    images: int
    bytes: int
    first_shard: int
    shards: int
    parts: list[Part]
    emptied: list[tuple[int, int]] = []
    """First and last of runs of shards whose images were all forgotten: they keep their numbers and have no work."""

    @property
    def folder(self) -> str:
        """The generation's folder below `manifests`."""
        return f"generation-{self.number:06d}"

    @property
    def next_shard(self) -> int:
        """The first shard number after this generation."""
        return self.first_shard + self.shards


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard: its number and images, in the order of their uris."""

    number: int
    refs: tuple[ImageRef, ...]


def cut(refs: Iterable[ImageRef], first_shard: int, spec: ShardSpec) -> Iterator[Shard]:
    """Cut sorted `refs` into shards, numbered from `first_shard`."""
    held: list[ImageRef] = []
    held_bytes, number = 0, first_shard
    for ref in refs:
        if held and (len(held) >= spec.images or held_bytes + ref.size > spec.bytes):
            yield Shard(number, tuple(held))
            held, held_bytes, number = [], 0, number + 1
        held.append(ref)
        held_bytes += ref.size
    if held:
        yield Shard(number, tuple(held))


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


def generations(store: Store) -> list[Generation]:
    """The store's generations, in order.

    Raises:
        ConservationError: a number is missing or shard ranges do not follow on each other.
    """
    where = store.path("manifests")
    found = outlast(store.storage, where, lambda: _look_into(store, where))
    names = sorted(info.base_name for info in found if _NAME.search(info.base_name))
    known = [one for name in names if (one := _read_generation(store, name)) is not None]
    expected = 0
    for index, generation in enumerate(known):
        if generation.number != index or generation.first_shard != expected:
            raise ConservationError(
                "the store's manifests do not follow on each other",
                where=store.path("manifests", generation.folder),
                why=f"expected generation {index} from shard {expected}",
                fix="restore the missing generation.json from a backup",
            )
        expected = generation.next_shard
    return known


def refuse_unplanned(store: Store, known: list[Generation]) -> None:
    """Refuse a store whose last `generation.json` was lost: the shards of a new one would be taken for done.

    Raises:
        ConservationError: shards were observed that no generation has.
    """
    end = known[-1].next_shard if known else 0
    last = max((file.last_shard for file in store.observations.files()), default=-1)
    if last >= end:
        raise ConservationError(
            "the store has rows that none of its manifests plans",
            where=store.path("manifests"),
            why=f"shard {last} was observed; the manifests end before shard {end}",
            fix="restore the missing generation.json from a backup",
        )


def _look_into(store: Store, where: str) -> list[pyarrow.fs.FileInfo]:
    fs, path = arrow_place(store.storage, where)
    return list(fs.get_file_info(pyarrow.fs.FileSelector(path, allow_not_found=True)))


def _read_generation(store: Store, name: str) -> Generation | None:
    where = store.path("manifests", name, "generation.json")
    data = store.storage.read(where)
    try:
        return None if data is None else Generation.model_validate_json(data)
    except ValidationError as error:
        raise ManifestError(
            "a manifest generation cannot be read", where=where, why=str(error), fix="restore it from a backup"
        ) from error


def emptied_shards(known: Iterable[Generation]) -> frozenset[int]:
    """The shards whose images were all forgotten."""
    ranges = (ends for generation in known for ends in generation.emptied)
    return frozenset(shard for first, last in ranges for shard in range(first, last + 1))


def read_rows(
    store: Store, generation: Generation, shards: range | None = None, uris: Between | None = None
) -> Iterator[pa.Table]:
    """A generation's rows (schema `MANIFEST`) by row group; with `shards` or `uris`, only groups that can have such."""
    for part in generation.parts:
        if shards is not None and (part.last_shard < shards.start or part.first_shard >= shards.stop):
            continue
        where = store.path("manifests", generation.folder, part.name)
        try:
            yield from _read_part(store.storage, where, shards, uris)
        except (OSError, pa.ArrowInvalid) as error:
            raise ManifestError(
                "a manifest part cannot be read", where=where, why=str(error), fix="restore it from a backup"
            ) from error


def _read_part(storage: Storage, where: str, shards: range | None, uris: Between | None) -> Iterator[pa.Table]:
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


def _touches(facts: pq.FileMetaData, group: int, shards: range | None, uris: Between | None) -> bool:
    """Whether a row group can have rows of these shards and uris; one without statistics can."""

    def ends(column: str) -> pq.Statistics | None:
        found = facts.row_group(group).column(MANIFEST.get_field_index(column)).statistics
        return found if found is not None and found.has_min_max else None

    numbers, names = ends("shard"), ends("uri")
    if shards is not None and numbers is not None and not (numbers.max >= shards.start and numbers.min < shards.stop):
        return False
    return uris is None or names is None or uris(names.min, names.max)


def read_shards(store: Store, generation: Generation, wanted: frozenset[int] | set[int]) -> Iterator[Shard]:
    """The wanted shards of a generation, in order; row groups without any are not read."""
    mine = sorted(number for number in wanted if generation.first_shard <= number < generation.next_shard)
    if not mine:
        return
    for rows in read_rows(store, generation, range(mine[0], mine[-1] + 1)):
        yield from (shard for shard in _shards_of(rows) if shard.number in wanted)


def _shards_of(rows: pa.Table) -> Iterator[Shard]:
    numbers = rows["shard"].to_numpy()
    starts = [0, *(i for i in range(1, len(numbers)) if numbers[i] != numbers[i - 1]), len(numbers)]
    for start, stop in itertools.pairwise(starts):
        piece = rows.slice(start, stop - start)
        columns = (piece["uri"].to_pylist(), piece["etag"].to_pylist(), piece["size"].to_pylist())
        yield Shard(int(numbers[start]), tuple(ImageRef(*one) for one in zip(*columns, strict=True)))
