"""Rows of some images out of a table of the store, without reading the rest.

Knows which files and row groups can hold an image: rows lie in the order of uris. Does not know what the rows mean, nor
who asks. Memory: the rows found, and one row group for each reading thread.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from assay.jobs.datafile import Layout, unreadable
from assay.jobs.file_table import FileTable
from assay.jobs.store import Store
from assay.platform.errors import StorageError
from assay.platform.other_clients import arrow_place, outlast

READERS = 8
"""Files read at once: on a bucket they wait for answers, not for a processor."""


@dataclass(frozen=True, slots=True)
class ImageRows:
    """Some columns of files of one table, to be asked for images."""

    store: Store
    layout: Layout
    files: FileTable
    columns: Sequence[str]

    def of(self, uris: Sequence[str], where: pc.Expression | None = None) -> Iterator[pa.Table]:
        """The rows of images with one of `uris` (sorted), file by file; of them those that `where` selects.

        Raises:
            StorageError: committed rows cannot be read.
        """
        with ThreadPoolExecutor(READERS, thread_name_prefix="lookup") as pool:
            yield from pool.map(lambda some: self._read(some[0], some[1], where), self._files_of(uris))

    def _files_of(self, uris: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
        """The files that may hold one of `uris`, each with those of them."""
        for batch in self.files.columns.select(["path", "first_uri", "last_uri"]).to_batches(max_chunksize=65_536):
            for path, first, last in zip(*(batch[name].to_pylist() for name in batch.schema.names), strict=True):
                # Without statistics a file may hold anything.
                some = uris[bisect_left(uris, first or "") : len(uris) if last is None else bisect_right(uris, last)]
                if some:
                    yield path, some

    def _read(self, path: str, uris: Sequence[str], where: pc.Expression | None) -> pa.Table:
        place = f"{self.store.uri}/{self.layout.table}/{path}"
        # The bounds let whole row groups be passed over by their statistics.
        mine = (pc.field("uri") >= uris[0]) & (pc.field("uri") <= uris[-1]) & pc.field("uri").isin(list(uris))
        chosen = mine if where is None else mine & where

        def look() -> pa.Table:
            fs, file = arrow_place(self.store.storage, place)
            named = list(self.columns)
            return pq.read_table(file, columns=named, filters=chosen, filesystem=fs, page_checksum_verification=True)

        try:
            return outlast(self.store.storage, place, look)
        except StorageError:
            raise
        except (OSError, pa.ArrowException) as error:
            raise unreadable(self.store.uri, place, str(error)) from error
