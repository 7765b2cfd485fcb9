"""The committer: turns receipts into transactions, in groups.

Knows the order of commits over the two tables and what a receipt must agree with. Does not know Ray, nor how the work
was done. Both tables go through the ledgers it is given.

Order, so that a crash between two commits is mended by the next run: observations before verdicts (a shard without
verdicts is judged from what is stored); a retry first takes the old verdicts away.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from assay.jobs.ledger import DataFile
from assay.jobs.shard_ranges import ShardRanges
from assay.jobs.work import Receipt, Task, Work, WrittenFile
from assay.platform.errors import ConservationError

GROUP = 256
"""Receipts in a commit, at most."""
WAIT_S = 20.0
"""Seconds a receipt waits for its commit, at most: what a kill costs."""


class Commits(Protocol):
    """What the committer needs of a ledger."""

    def commit(
        self, adds: Sequence[DataFile], removes: Sequence[DataFile] = (), note: Mapping[str, str] | None = None
    ) -> int:
        """Name `adds` and unname `removes` in one transaction."""


class FileSizes(Protocol):
    """Asks the store for the sizes of written files."""

    def __call__(self, names: Sequence[str]) -> Sequence[int | None]:
        """The size in bytes of what lies at each of `names` below the store; None where nothing does."""


@dataclass(slots=True)
class Committer:
    """Collects receipts and commits them.

    `observed` and `judged` are the files that shards to be retried have now, one shard in each.
    """

    observations: Commits
    verdicts: Commits
    partition: Mapping[str, str]
    run: str
    sizes_of: FileSizes
    observed: Mapping[int, DataFile] = field(default_factory=dict)
    judged: Mapping[int, Sequence[DataFile]] = field(default_factory=dict)
    planned: dict[int, Work] = field(default_factory=dict)
    """What the plan has of the shards under way."""
    taken: set[int] = field(default_factory=set)
    """Shards that came since the last commit."""
    before: ShardRanges = field(default_factory=ShardRanges)
    """Shards that came before that: few ranges, however many there are."""
    held: list[Receipt] = field(default_factory=list)
    oldest: float = 0.0
    commits: int = 0

    def expect(self, work: Iterable[Work]) -> None:
        """Say which shards are under way from now on, and what the plan has of them: in any thread, before they are."""
        for one in work:
            self.planned[one.shard] = one.model_copy(update={"refs": ()})

    def take(self, receipt: Receipt) -> bool:
        """Hold a receipt until the next commit. False for one of a shard that came before: a task that was run again
        wrote files of its own, which stay nobody's.

        Raises:
            ConservationError: it does not agree with the plan.
        """
        if receipt.shard in self.taken or receipt.shard in self.before:
            return False
        for what, wanted, found in _agreement(self.planned.get(receipt.shard), receipt):
            if wanted != found:
                raise ConservationError(
                    "a receipt does not agree with the plan",
                    where=f"shard {receipt.shard}",
                    why=f"{what}: planned {wanted}, the receipt has {found}",
                    fix="run `assay verify`, and report this",
                )
        if not self.held:
            self.oldest = time.monotonic()
        self.taken.add(receipt.shard)
        self.held.append(receipt)
        del self.planned[receipt.shard]
        return True

    @property
    def due(self) -> bool:
        """Whether it is time to commit. The first receipt of a run is committed at once: it shows that all works."""
        waited = time.monotonic() - self.oldest
        return bool(self.held) and (not self.commits or len(self.held) >= GROUP or waited >= WAIT_S)

    def commit(self) -> list[Receipt]:
        """Commit what is held; the receipts that are now visible."""
        receipts, note = self.held, {"assay.run": self.run}
        if not receipts:
            return []
        self._check_files(receipts)
        retried = [receipt.shard for receipt in receipts if receipt.task is Task.RETRY]
        stale = {file.path: file for shard in retried for file in self._alone(shard, self.judged.get(shard, []))}
        if stale:
            self.verdicts.commit([], list(stale.values()), note)
        seen = {r.shard: _file(r, r.observed, {}) for r in receipts if r.observed is not None}
        if seen:
            replaced = {file.path: file for shard in retried for file in self._alone(shard, [self.observed[shard]])}
            self.observations.commit(list(seen.values()), list(replaced.values()), note)
        judged = {r.shard: _file(r, r.judged, self.partition) for r in receipts if r.judged is not None}
        self.verdicts.commit(list(judged.values()), [], note)
        self.held, self.commits = [], self.commits + 1
        self.before, self.taken = self.before | self.taken, set()
        return receipts

    def _alone(self, shard: int, files: Sequence[DataFile]) -> Sequence[DataFile]:
        """Files that are about to go, which must not take other shards with them."""
        for file in files:
            if not file.first_shard == shard == file.last_shard:
                raise ConservationError(
                    "a file that is to be replaced holds other shards too",
                    where=file.path,
                    why=f"shard {shard} is retried, the file has {file.first_shard} to {file.last_shard}",
                    fix="report this: it should have been taken apart first",
                )
        return files

    def _check_files(self, receipts: list[Receipt]) -> None:
        told = {
            f"{table}/{file.path}": (receipt.shard, file.size)
            for receipt in receipts
            for table, file in (("observations", receipt.observed), ("verdicts", receipt.judged))
            if file is not None
        }
        check_written(told, self.sizes_of)


def check_written(told: Mapping[str, tuple[int, int]], sizes_of: FileSizes) -> None:
    """A transaction that names a missing file ruins the table, so look first. `told`: shard and size of each name.

    Raises:
        ConservationError: one is not there, or not of this size.
    """
    for (where, (shard, size)), found in zip(told.items(), sizes_of(list(told)), strict=True):
        if found != size:
            raise ConservationError(
                "a written file is missing or has another size",
                where=where,
                why=f"the receipt of shard {shard} says {size} bytes",
                fix="run the same command again; if it persists, the store loses writes",
            )


def _agreement(planned: Work | None, receipt: Receipt) -> Iterator[tuple[str, object, object]]:
    """What a receipt must have in common with the plan: each thing, as planned and as found."""
    if planned is None:
        yield "shard", "no such shard", "one"
        return
    yield "task", planned.task.value, receipt.task.value
    yield "shards", planned.shards, receipt.shards
    yield "rows", planned.rows, receipt.rows
    yield "images", planned.keys, receipt.keys
    yield "outcomes", planned.rows, receipt.outcomes.total()
    yield "observations", planned.task is not Task.JUDGE, receipt.observed is not None
    yield "verdicts", True, receipt.judged is not None


def _file(of: Receipt, written: WrittenFile, partition: Mapping[str, str]) -> DataFile:
    first, last = of.shards[0], of.shards[-1]
    return DataFile(
        written.path, written.size, of.rows, first, last, written.first_uri, written.last_uri, dict(partition)
    )
