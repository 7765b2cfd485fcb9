"""The files of a table as columns: what they cover and hold, told for millions of them without an object for each.

Knows file facts as Arrow columns, and makes a `DataFile` of those that are asked for. Reads no data file.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from assay.jobs.ledger import DataFile
from assay.jobs.shard_ranges import Numbers, ShardRanges

COLUMNS = ("path", "size", "rows", "first_shard", "last_shard", "first_uri", "last_uri")
"""The fields of a `DataFile` before its partition, in order."""
PARTITION = "partition."
"""Before the names of columns with partition values."""


@dataclass(frozen=True)
class FileTable:
    """The files of a table. Columns: `COLUMNS`, and one for each partition value."""

    columns: pa.Table

    @classmethod
    def of(cls, files: Iterable[DataFile]) -> "FileTable":
        """These files."""
        rows = [
            {name: getattr(file, name) for name in COLUMNS}
            | {PARTITION + name: value for name, value in file.partition.items()}
            for file in files
        ]
        return cls(pa.Table.from_pylist(rows) if rows else cls.none().columns)

    @classmethod
    def none(cls) -> "FileTable":
        """No file."""
        texts = {"path", "first_uri", "last_uri"}
        return cls(pa.schema([(name, pa.string() if name in texts else pa.int64()) for name in COLUMNS]).empty_table())

    def __len__(self) -> int:
        return int(self.columns.num_rows)

    @cached_property
    def firsts(self) -> Numbers:
        """The first shard of each."""
        return self._numbers("first_shard")

    @cached_property
    def lasts(self) -> Numbers:
        """The last shard of each."""
        return self._numbers("last_shard")

    def _numbers(self, name: str) -> Numbers:
        found: Numbers = self.columns[name].to_numpy().astype(np.int64, copy=False)
        return found

    def shards(self, partition: Mapping[str, str] | None = None) -> ShardRanges:
        """The shards that they cover, or those of one partition do."""
        mine = self._in(partition or {})
        return ShardRanges.covering(self.firsts[mine], self.lasts[mine])

    def within(self, partition: Mapping[str, str]) -> "FileTable":
        """The files of one partition."""
        return FileTable(self.columns.filter(pa.array(self._in(partition))))

    def num_rows(self, partition: Mapping[str, str] | None = None) -> int:
        """The rows that they hold, or those of one partition do."""
        return int(self._numbers("rows")[self._in(partition or {})].sum())

    def _in(self, partition: Mapping[str, str]) -> npt.NDArray[np.bool_]:
        """Which are of a partition. Only this is computed: columns of text are not copied."""
        found = np.ones(len(self), np.bool_)
        for name, value in partition.items():
            if f"{PARTITION}{name}" not in self.columns.column_names:
                return np.zeros(len(self), np.bool_)
            found &= pc.equal(self.columns[f"{PARTITION}{name}"], value).to_numpy()
        return found

    def part(self, partition: Mapping[str, str]) -> "FileTable":
        """Those of one partition."""
        return FileTable(self.columns.filter(pa.array(self._in(partition))))

    def in_order(self) -> Iterator[DataFile]:
        """All, by the first shard of each."""
        yield from FileTable(self.columns.sort_by("first_shard"))

    def rows_of(self, shards: ShardRanges) -> int:
        """The rows that they hold of some shards; where a file holds others too, its rows in proportion."""
        share = shards.num_in(self.firsts, self.lasts) / (self.lasts - self.firsts + 1)
        return round(float((share * self._numbers("rows")).sum()))

    def partitions(self) -> dict[tuple[str, ...], int]:
        """The rows of each partition, by its values."""
        names = [name for name in self.columns.column_names if name.startswith(PARTITION)]
        counts = self.columns.select([*names, "rows"]).group_by(names).aggregate([("rows", "sum")])
        return {tuple(row[name] for name in names): row["rows_sum"] for row in counts.to_pylist()}

    def holding(self, shards: ShardRanges) -> list[DataFile]:
        """The files that hold one of `shards`."""
        places = np.flatnonzero(shards.num_in(self.firsts, self.lasts))
        return [_file(row) for row in self.columns.take(pa.array(places)).to_pylist()]

    def __iter__(self) -> Iterator[DataFile]:
        for some in self.columns.to_batches(max_chunksize=65_536):
            yield from map(_file, some.to_pylist())

    def at(self, place: int) -> DataFile:
        """One of them."""
        return _file(self.columns.slice(place, 1).to_pylist()[0])


def _file(row: dict[str, object]) -> DataFile:
    partition = {name.removeprefix(PARTITION): str(row[name]) for name in row if name.startswith(PARTITION)}
    path, size, rows, first, last, first_uri, last_uri = (row[name] for name in COLUMNS)
    size, rows, first, last = (int(str(count)) for count in (size, rows, first, last))
    return DataFile(str(path), size, rows, first, last, str(first_uri), str(last_uri), partition)


class FileOfShard(Mapping[int, DataFile]):
    """The file that holds each of some shards, looked up when asked for: a mapping that is small for millions."""

    def __init__(self, files: FileTable, shards: ShardRanges) -> None:
        self._files = files
        self._shards = shards & files.shards()
        self._order = np.argsort(files.firsts, kind="stable")
        self._firsts = files.firsts[self._order]

    def __getitem__(self, shard: int) -> DataFile:
        if shard not in self._shards:
            raise KeyError(shard)
        return self._files.at(int(self._order[np.searchsorted(self._firsts, shard, "right") - 1]))

    def __iter__(self) -> Iterator[int]:
        return iter(self._shards)

    def __len__(self) -> int:
        return len(self._shards)
