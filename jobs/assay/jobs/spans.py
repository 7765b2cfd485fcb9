"""Spans: shards in a row that are judged together from what is stored, and the files that have them.

Knows how the shards that want judging are cut into spans, and what the plan has of each. Does not know how they are
judged (`judge_stage.py`). A shard by itself is read in a few milliseconds and judged in as many; handing each on by
itself would cost more than both.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from assay.jobs.file_table import FileOfShard, FileTable
from assay.jobs.generation import Generation
from assay.jobs.ledger import DataFile
from assay.jobs.manifest import read_rows
from assay.jobs.shard_ranges import Numbers, ShardRanges
from assay.jobs.store import Store
from assay.jobs.work import Task, Work

SPAN = 64
"""Shards in a span, at most. It never crosses a multiple of this, so that compaction finds whole segments."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The files to judge from: of observations and, where older verdicts are at hand, of these."""

    observed: Mapping[int, DataFile]
    carried: Mapping[int, DataFile]

    @classmethod
    def of(cls, wanted: ShardRanges, observed: FileTable, carried: FileTable) -> "Sources":
        """For some shards."""
        return cls(FileOfShard(observed, wanted), FileOfShard(carried, wanted))


def read_spans(store: Store, known: list[Generation], wanted: ShardRanges, sources: Sources) -> Iterator[Work]:
    """The `wanted` shards, which are all observed, as spans; manifests are read as they are needed."""
    for generation in known:
        mine = ShardRanges.of_numbers(range(generation.first_shard, generation.next_shard)) & wanted
        for rows in read_rows(store, generation, mine) if mine else ():
            shards, counts = np.unique(rows["shard"].to_numpy(), return_counts=True)
            inside = mine.has_each(shards)
            yield from _cut(shards[inside], counts[inside], sources)


def _cut(shards: Numbers, counts: Numbers, sources: Sources) -> Iterator[Work]:
    """`shards`, ascending, that have `counts` rows each, cut where one is missing and at multiples of `SPAN`."""
    if not len(shards):
        return
    ends = (np.diff(shards) != 1) | (shards[1:] % SPAN == 0)
    starts = [0, *(np.flatnonzero(ends) + 1).tolist()]
    for start, stop in zip(starts, [*starts[1:], len(shards)], strict=True):
        first, last = int(shards[start]), int(shards[stop - 1])
        yield Work(
            shard=first,
            last_shard=last,
            task=Task.JUDGE,
            rows=int(counts[start:stop].sum()),
            observed=_files(sources.observed, first, last),
            carried=_files(sources.carried, first, last) if sources.carried else (),
        )


def _files(files: Mapping[int, DataFile], first: int, last: int) -> tuple[str, ...]:
    """Paths of the files that have the shards from first to last; none when one of these is in no file."""
    found, shard = [], first
    while shard <= last:
        file = files.get(shard)
        if file is None:
            return ()
        found.append(file.path)
        shard = file.last_shard + 1
    return tuple(found)
