"""Manifests: append-only generations of listings, cut into shards whose numbers never shift.

    manifests/generation-000000/part-00000.parquet …   rows (uri, etag, size, shard), sorted by uri
    manifests/generation-000000/generation.json        written last: without it the generation does not exist

Knows how listings become shards and how they are read back. Does not know what was done with a shard.
"""

import contextlib
import itertools
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from assay.jobs.store import Store
from assay.platform.errors import ConservationError, ManifestError
from assay.platform.rows import MANIFEST, ImageRef
from assay.platform.spec import Spec

ROWS_PER_GROUP = 65_536
ROWS_PER_PART = 4_000_000
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
        self._fs, base = store.storage.arrow(store.path("manifests", folder))
        self._base = base
        if isinstance(self._fs, pyarrow.fs.LocalFileSystem):
            self._fs.create_dir(base, recursive=True)
        self.parts: list[Part] = []
        self._written: list[str] = []
        self._rows: list[pa.Table] = []
        self._open: pq.ParquetWriter | None = None
        self._name, self._first, self._last, self._count = "", 0, 0, 0

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
        if self._open is not None:
            self._open.close()
        for name in self._written:
            self._fs.delete_file(f"{self._base}/{name}")
        if isinstance(self._fs, pyarrow.fs.LocalFileSystem):
            with contextlib.suppress(OSError):  # not empty: another planner writes the same generation
                Path(self._base).rmdir()

    def _flush(self) -> None:
        if self._open is None:
            # A random name: a planner that lost the race must not write over the winner's files.
            self._name = f"part-{len(self.parts):05d}-{os.urandom(4).hex()}.parquet"
            self._written.append(self._name)
            self._open = pq.ParquetWriter(
                f"{self._base}/{self._name}", MANIFEST, filesystem=self._fs, compression="zstd"
            )
        if self._rows:
            self._open.write_table(pa.concat_tables(self._rows), row_group_size=2**31 - 1)
            self._rows = []

    def _close_part(self) -> None:
        self._flush()
        assert self._open is not None
        self._open.close()
        self.parts.append(Part(name=self._name, rows=self._count, first_shard=self._first, last_shard=self._last))
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
    fs, base = store.storage.arrow(store.path("manifests"))
    found = fs.get_file_info(pyarrow.fs.FileSelector(base, allow_not_found=True))
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


def _read_generation(store: Store, name: str) -> Generation | None:
    where = store.path("manifests", name, "generation.json")
    data = store.storage.read(where)
    try:
        return None if data is None else Generation.model_validate_json(data)
    except ValidationError as error:
        raise ManifestError(
            "a manifest generation cannot be read", where=where, why=str(error), fix="restore it from a backup"
        ) from error


def read_rows(store: Store, generation: Generation, shards: range | None = None) -> Iterator[pa.Table]:
    """A generation's rows (schema `MANIFEST`) by row group; with `shards`, only groups that touch the range."""
    for part in generation.parts:
        if shards is not None and (part.last_shard < shards.start or part.first_shard >= shards.stop):
            continue
        fs, path = store.storage.arrow(store.path("manifests", generation.folder, part.name))
        try:
            file = pq.ParquetFile(path, filesystem=fs)
        except (OSError, pa.ArrowInvalid) as error:
            raise ManifestError(
                "a manifest part cannot be read", where=path, why=str(error), fix="restore it from a backup"
            ) from error
        with file:
            for group in range(file.num_row_groups):
                if shards is None or _touches(file, group, shards):
                    yield file.read_row_group(group)


def _touches(file: pq.ParquetFile, group: int, shards: range) -> bool:
    facts = file.metadata.row_group(group).column(MANIFEST.get_field_index("shard")).statistics
    return facts is None or (facts.max >= shards.start and facts.min < shards.stop)


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
