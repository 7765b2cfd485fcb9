"""The backlog: what a run still has to do, told from manifests and file facts.

Knows which shards want observing, judging or retrying. Does not know how, nor in which process.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from assay.jobs.file_table import FileOfShard, FileTable
from assay.jobs.generation import Generation, emptied_shards
from assay.jobs.ledger import DataFile
from assay.jobs.manifest import read_shards
from assay.jobs.shard_ranges import ShardRanges
from assay.jobs.spans import Sources, read_spans
from assay.jobs.store import Store
from assay.jobs.work import Task, Work, digest_of_keys
from assay.platform.faults import FAULTS
from assay.platform.rows import ImageRef
from assay.platform.uris import parse_uri

TRANSIENT = sorted(kind.value for kind, facts in FAULTS.items() if facts.transient)
"""Outcomes that trying again can mend."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What there is to do. `retry` maps a shard to its images with a transient fault."""

    observe: Set[int]
    judge: Set[int]
    retry: dict[int, tuple[ImageRef, ...]]
    observed: Mapping[int, DataFile]
    """The observation files of shards to judge or retry."""
    judged: Mapping[int, Sequence[DataFile]]
    """The verdict files, of whatever release, of shards to retry."""
    rows_done: int
    """Images with a committed observation, before this run."""
    rows: int
    """Images of the shards that have work."""

    @classmethod
    def nothing(cls) -> "Backlog":
        """No work."""
        return cls(ShardRanges(), ShardRanges(), {}, {}, {}, 0, 0)

    @property
    def shards(self) -> int:
        """How many shards have work."""
        return len(self.observe) + len(self.judge) + len(self.retry)


def find_backlog(store: Store, known: list[Generation], partition: dict[str, str], *, retry_faults: bool) -> Backlog:
    """What is left to do for the release and policy of `partition`."""
    observed, verdicts = store.observations.table(), store.verdicts.table()
    retry = _faulted(store) if retry_faults else {}
    planned = sum(generation.images for generation in known)
    last = known[-1].next_shard if known else 0
    return backlog_of(observed, verdicts, partition, range(last), planned, retry, emptied_shards(known))


def backlog_of(
    observed: FileTable,
    verdicts: FileTable,
    partition: dict[str, str],
    shards: range,
    planned: int,
    retry: dict[int, tuple[ImageRef, ...]],
    emptied: Set[int] = frozenset(),
) -> Backlog:
    """What is left to do of `planned` images in `shards`, told from the committed files and what shall be retried.

    Shards that were `emptied` have no images: neither a file nor its absence means anything for them.
    """
    done = observed.shards()
    judge = done - verdicts.shards(partition) - retry.keys() - emptied
    again = judge | retry.keys()
    done_rows = observed.num_rows()
    return Backlog(
        observe=ShardRanges.of_numbers(shards) - done - emptied,
        judge=judge,
        retry=retry,
        observed=FileOfShard(observed, again) if again else {},
        judged=_all_by_shard(verdicts, retry.keys()),
        rows_done=done_rows,
        rows=planned - done_rows + observed.rows_of(again),
    )


def _all_by_shard(files: FileTable, wanted: Set[int]) -> dict[int, list[DataFile]]:
    found: dict[int, list[DataFile]] = {shard: [] for shard in wanted}
    for file in files.holding(ShardRanges.of_numbers(wanted)):
        for shard in wanted & set(range(file.first_shard, file.last_shard + 1)):
            found[shard].append(file)
    return found


def _faulted(store: Store) -> dict[int, tuple[ImageRef, ...]]:
    rows = store.observations.dataset().to_table(
        columns=["shard", "uri", "etag", "size"], filter=pc.field("outcome").isin(pa.array(TRANSIENT))
    )
    found: dict[int, list[ImageRef]] = {}
    for row in rows.to_pylist():
        found.setdefault(row["shard"], []).append(ImageRef(row["uri"], row["etag"], row["size"]))
    return {shard: tuple(refs) for shard, refs in found.items()}


def read_work(store: Store, known: list[Generation], backlog: Backlog) -> Iterator[Work]:
    """The backlog as work: what is judged from what is stored in spans, then shards in the order of their generations;
    manifests are read as they are needed."""
    yield from read_spans(store, known, ShardRanges.of_numbers(backlog.judge), Sources(backlog.observed, {}))
    wanted = ShardRanges.of_numbers(backlog.observe) | backlog.retry.keys()
    for generation in known:
        for shard in read_shards(store, generation, wanted):
            again = backlog.retry.get(shard.number, ())
            yield Work(
                shard=shard.number,
                task=Task.RETRY if again else Task.OBSERVE,
                rows=len(shard.refs),
                keys=digest_of_keys((ref.uri, ref.etag) for ref in shard.refs),
                refs=again or shard.refs,
                observed=(backlog.observed[shard.number].path,) if again else (),
            )


def lies_on_s3(store: Store, known: list[Generation]) -> bool:
    """Whether images lie in a bucket: told from the place a generation was listed at or, of a list, its first image."""
    return any(parse_uri(place).is_s3 for one in known if (place := one.root or _first_uri(store, one)))


def _first_uri(store: Store, generation: Generation) -> str:
    shards = range(generation.first_shard, generation.next_shard)
    return next((shard.refs[0].uri for shard in read_shards(store, generation, shards)), "")
