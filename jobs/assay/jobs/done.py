"""Which shards are done, told from file facts alone: no data file is read.

A committed file covers the shards from its first to its last: files are written per shard and compacted only per
complete segment. Knows ranges of numbers, nothing else.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from assay.jobs.ledger import DataFile


@dataclass(frozen=True, slots=True)
class DoneShards:
    """A set of shard numbers as disjoint, ascending, inclusive ranges: small even for millions of shards."""

    starts: tuple[int, ...]
    stops: tuple[int, ...]

    @classmethod
    def of(cls, files: Iterable[DataFile]) -> "DoneShards":
        """The shards that `files` cover."""
        merged: list[list[int]] = []
        for first, last in sorted((file.first_shard, file.last_shard) for file in files):
            if merged and first <= merged[-1][1] + 1:
                merged[-1][1] = max(merged[-1][1], last)
            else:
                merged.append([first, last])
        return cls(tuple(start for start, _ in merged), tuple(stop for _, stop in merged))

    def __contains__(self, shard: int) -> bool:
        index = bisect_right(self.starts, shard) - 1
        return index >= 0 and shard <= self.stops[index]

    def __len__(self) -> int:
        return sum(stop - start + 1 for start, stop in zip(self.starts, self.stops, strict=True))

    def __iter__(self) -> Iterator[int]:
        for start, stop in zip(self.starts, self.stops, strict=True):
            yield from range(start, stop + 1)
