"""The committer: turns receipts into transactions, in groups.

Knows the order of commits over the two tables and what a receipt must agree with. Does not know Ray, nor how the work
was done. Both tables go through the ledgers it is given.

Order, so that a crash between two commits is mended by the next run: observations before verdicts (a shard without
verdicts is judged from what is stored); a retry first takes the old verdicts away.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from assay.jobs.ledger import DataFile
from assay.jobs.work import Receipt, Task, WrittenFile
from assay.platform.errors import ConservationError

GROUP = 256
"""Receipts in a commit, at most."""
WAIT_S = 20.0
"""Seconds a receipt waits for its commit, at most: what a kill costs."""


class Ledger(Protocol):
    """What the committer needs of a table."""

    def files(self) -> list[DataFile]:
        """The committed files."""

    def commit(
        self, adds: Sequence[DataFile], removes: Sequence[DataFile] = (), note: Mapping[str, str] | None = None
    ) -> int:
        """Name `adds` and unname `removes` in one transaction."""


class FileFacts(Protocol):
    """Asks the store for the size of a written file, or None when it is not there."""

    def __call__(self, name: str) -> int | None:
        """The size in bytes of what lies at `name` below the store."""


@dataclass(slots=True)
class Committer:
    """Collects receipts and commits them.

    `rows` holds the planned rows of every shard in flight; `observed` and `judged` the files that shards to be retried
    have now.
    """

    observations: Ledger
    verdicts: Ledger
    partition: Mapping[str, str]
    run: str
    size_of: FileFacts
    rows: dict[int, int] = field(default_factory=dict)
    observed: dict[int, DataFile] = field(default_factory=dict)
    judged: dict[int, list[DataFile]] = field(default_factory=dict)
    held: list[Receipt] = field(default_factory=list)
    oldest: float = 0.0
    commits: int = 0

    def take(self, receipt: Receipt) -> None:
        """Hold a receipt until the next commit.

        Raises:
            ConservationError: it does not agree with the plan.
        """
        planned = self.rows.pop(receipt.shard, None)
        if planned != receipt.rows:
            raise ConservationError(
                "a receipt does not agree with the plan",
                where=f"shard {receipt.shard}",
                why=f"planned {planned} rows, the receipt has {receipt.rows}",
                fix="run `assay verify`, and report this",
            )
        if not self.held:
            self.oldest = time.monotonic()
        self.held.append(receipt)

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
        stale = {file.path: file for shard in retried for file in self.judged.get(shard, [])}
        if stale:
            self.verdicts.commit([], list(stale.values()), note)
        seen = {r.shard: _file(r.shard, r.rows, r.observed, {}) for r in receipts if r.observed is not None}
        if seen:
            replaced = {self.observed[shard].path: self.observed[shard] for shard in retried}
            self.observations.commit(list(seen.values()), list(replaced.values()), note)
        judged = {r.shard: _file(r.shard, r.rows, r.judged, self.partition) for r in receipts if r.judged is not None}
        self.verdicts.commit(list(judged.values()), [], note)
        self.held, self.commits = [], self.commits + 1
        return receipts

    def _check_files(self, receipts: list[Receipt]) -> None:
        """A transaction that names a missing file ruins the table, so look first."""
        for receipt in receipts:
            for table, file in (("observations", receipt.observed), ("verdicts", receipt.judged)):
                if file is not None and self.size_of(f"{table}/{file.path}") != file.size:
                    raise ConservationError(
                        "a written file is missing or has another size",
                        where=f"{table}/{file.path}",
                        why=f"the receipt of shard {receipt.shard} says {file.size} bytes",
                        fix="run the same command again; if it persists, the store loses writes",
                    )


def _file(shard: int, rows: int, written: WrittenFile, partition: Mapping[str, str]) -> DataFile:
    return DataFile(
        written.path, written.size, rows, shard, shard, written.first_uri, written.last_uri, dict(partition)
    )
