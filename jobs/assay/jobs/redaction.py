"""Redaction: rows taken out of the files that hold them. The rest of each file stays as it is, under a new name.

Knows data files of both tables and parts of manifests. Does not know why rows must go, nor in which order tables do.
"""

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from assay.jobs.datafile import JUDGED, OBSERVED, FileWriter, Layout, read_by_shard, unreadable
from assay.jobs.delta_log import DeltaLedger
from assay.jobs.extent import HIDDEN, Extent
from assay.jobs.generation import Generation, Part
from assay.jobs.ledger import DataFile
from assay.jobs.manifest import read_rows
from assay.jobs.store import Store
from assay.platform.other_clients import arrow_place, outlast
from assay.platform.rows import MANIFEST

FILES_AT_ONCE = 8
FILES_IN_COMMIT = 256

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Redactor:
    """Takes the rows of an extent out of one table."""

    store: Store
    table: DeltaLedger
    layout: Layout
    extent: Extent

    @classmethod
    def of_verdicts(cls, store: Store, extent: Extent) -> "Redactor":
        """For the verdicts of all releases and policies."""
        return cls(store, store.verdicts, JUDGED, extent)

    @classmethod
    def of_observations(cls, store: Store, extent: Extent) -> "Redactor":
        """For the observations."""
        return cls(store, store.observations, OBSERVED, extent)

    def meant(self) -> Iterator[list[Key]]:
        """The (uri, etag) of the rows that must go, by file; only files that have any.

        Raises:
            StorageError: a committed file cannot be read.
        """
        with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
            yield from filter(None, pool.map(self._keys, self._suspects()))

    def redact(self, note: dict[str, str]) -> None:
        """Replace every file that has such rows by one without them, or by none; a commit for every 256 of them.

        Raises:
            StorageError: a committed file cannot be read.
            FencedError: another driver has the store.
        """
        suspects = iter(self._suspects())
        with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
            while some := list(itertools.islice(suspects, FILES_IN_COMMIT)):
                rewritten = [one for one in pool.map(self._rewritten, some) if one is not None]
                adds = [new for _, new in rewritten if new is not None]
                if rewritten:
                    self.table.commit(adds, [old for old, _ in rewritten], note)

    def _suspects(self) -> list[DataFile]:
        files = self.table.files()
        return [file for file in files if self.extent.may_lie_between(file.first_uri, file.last_uri)]

    def _rewritten(self, file: DataFile) -> tuple[DataFile, DataFile | None] | None:
        """The file, and what takes its place; None for a file that stays."""
        if not self._keys(file):
            return None
        store, writer, shards = self.store, FileWriter(self.layout), list[int]()
        for shard, rows in read_by_shard(store.storage, store.uri, self.layout, file.path):
            left = rows.filter(pc.invert(self.extent.mask(rows["uri"])))
            if left.num_rows:
                writer.add(left)
                shards.append(shard)
        if not shards:
            return file, None
        written = writer.write(store.storage, store.uri, shards[0])
        ends = (shards[0], shards[-1], written.first_uri, written.last_uri)
        return file, DataFile(written.path, written.size, writer.rows, *ends, file.partition)

    def _keys(self, file: DataFile) -> list[Key]:
        where = f"{self.table.uri}/{file.path}"

        def read() -> pa.Table:
            fs, path = arrow_place(self.store.storage, where)
            return pq.read_table(path, filesystem=fs, schema=self.layout.schema, columns=["uri", "etag"])

        try:
            rows = outlast(self.store.storage, where, read)
        except (OSError, pa.ArrowException) as error:
            raise unreadable(self.store.uri, where, str(error)) from error
        meant = rows.filter(self.extent.mask(rows["uri"]))
        return list(zip(meant["uri"].to_pylist(), meant["etag"].to_pylist(), strict=True))


def planned_keys(store: Store, known: Iterable[Generation], extent: Extent) -> Iterator[list[Key]]:
    """The (uri, etag) of an extent's rows in manifests."""
    for generation in known:
        for rows in read_rows(store, generation, uris=extent.may_lie_between):
            meant = rows.filter(extent.mask(rows["uri"]))
            yield list(zip(meant["uri"].to_pylist(), meant["etag"].to_pylist(), strict=True))


def redact_generation(store: Store, generation: Generation, extent: Extent, erasure: str) -> Generation:
    """`generation` without an extent's rows, its new parts written; the same one if it has none.

    The shards keep their numbers; those left without images are recorded. Old parts stay where they are. New ones are
    named after the erasure: who carries it out again, or at the same time unawares, writes the same.
    """
    parts: list[Part] = []
    images = size = 0
    emptied: set[int] = set()
    for index, part in enumerate(generation.parts):
        alone = generation.model_copy(update={"parts": [part]})
        meant = [rows.filter(extent.mask(rows["uri"])) for rows in read_rows(store, alone, uris=extent.may_lie_between)]
        gone = pa.concat_tables([MANIFEST.empty_table(), *meant])
        if not gone.num_rows:
            parts.append(part)
            continue
        images, size = images + gone.num_rows, size + (pc.sum(gone["size"]).as_py() or 0)
        name = f"part-{index:05d}-{hashlib.sha256(erasure.encode()).hexdigest()[:8]}.parquet"
        left, shards = _write_part(store, alone, name, extent)
        emptied |= set(gone["shard"].to_pylist()) - shards
        parts += [left] if left is not None else []
    update = {
        "parts": parts,
        "images": generation.images - images,
        "bytes": generation.bytes - size,
        "emptied": _ranges(emptied.union(*(range(first, last + 1) for first, last in generation.emptied))),
    }
    return _unnamed(store, generation.model_copy(update=update), extent)


def _write_part(store: Store, alone: Generation, name: str, extent: Extent) -> tuple[Part | None, set[int]]:
    """A part without an extent's rows, and the shards that are left in it; None when none is."""
    sink, count, shards = pa.BufferOutputStream(), 0, set[int]()
    with pq.ParquetWriter(sink, MANIFEST, compression="zstd") as out:
        for rows in read_rows(store, alone):
            left = rows.filter(pc.invert(extent.mask(rows["uri"])))
            if left.num_rows:
                out.write_table(left, row_group_size=2**31 - 1)
                count, shards = count + left.num_rows, shards | set(pc.unique(left["shard"]).to_pylist())
    if not count:
        return None, shards
    [old] = alone.parts
    store.storage.write(store.path("manifests", alone.folder, name), sink.getvalue().to_pybytes())
    return old.model_copy(update={"name": name, "rows": count}), shards


def _unnamed(store: Store, generation: Generation, extent: Extent) -> Generation:
    """A generation whose source does not name what is gone. Its root stays while other images are named below it."""
    source = HIDDEN if extent.names(generation.source) else generation.source
    root = generation.root
    if extent.names(root):
        stem = f"{root.rstrip('/')}/"
        left = (uri for rows in read_rows(store, generation) for uri in rows["uri"].to_pylist())
        root = root if any(uri.startswith(stem) for uri in left) else ""
    return generation.model_copy(update={"source": source, "root": root})


def _ranges(shards: Iterable[int]) -> list[tuple[int, int]]:
    """Numbers as runs, each by its first and last."""
    runs: list[tuple[int, int]] = []
    for shard in sorted(shards):
        if runs and shard == runs[-1][1] + 1:
            runs[-1] = runs[-1][0], shard
        else:
            runs.append((shard, shard))
    return runs
