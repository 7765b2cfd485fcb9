"""What can be read of a store's rows, under one release and policy: the evidence that verification goes by.

Knows tables, and which of their files cannot be read: those are found on the way, and kept apart. Does not know what
the rows should be (`verify.py`, `difference.py`); it writes nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset

from assay.jobs.compact import Table, tables_of
from assay.jobs.generation import Generation, generations
from assay.jobs.ledger import DataFile
from assay.jobs.repair import Damage, find_damage, missing_files, sizes_of
from assay.jobs.store import Store
from assay.platform.errors import StorageError
from assay.platform.other_clients import outlast

BEYOND = 2**62
"""More shards than there will ever be."""

Key = tuple[str, str]
"""What tells images apart: name and etag."""


class Rows:
    """The rows of one table that can be read. Files that cannot are found on the way, and kept apart."""

    def __init__(self, store: Store, table: Table, *, deep: bool = False) -> None:
        self.store, self.table = store, table
        files, sizes = table.ledger.files(), sizes_of(store, table)
        named = {file.path for file in files}
        self.orphans = len(sizes.keys() - named)
        self.damaged = missing_files(store, table, files, sizes)
        if deep:
            self.damaged += find_damage(store, table, self._left(range(BEYOND)), deep=True)
        self._rows = self._open()

    def _open(self) -> pyarrow.dataset.Dataset:
        rows = self.table.ledger.dataset()
        if not self.damaged:
            return rows
        lost = {one.file.path for one in self.damaged}
        whole = [one for one in rows.get_fragments() if one.path not in lost]
        return pyarrow.dataset.FileSystemDataset(whole, rows.schema, rows.format, rows.filesystem)

    def read(self, columns: list[str], where: pc.Expression, shards: range) -> pa.Table:
        """Some columns of the rows that `where` selects, all of them of `shards`.

        Raises:
            StorageError: they cannot be read, and it is no file's fault.
        """
        while True:
            try:
                return self._table(columns, where)
            except (OSError, pa.ArrowException) as error:
                found = find_damage(self.store, self.table, self._left(shards), deep=True)
                self.damaged += found
                self._rows = self._open()
                if not found:
                    return self._patiently(columns, where, error)

    def _table(self, columns: list[str], where: pc.Expression) -> pa.Table:
        checked = pyarrow.dataset.ParquetFragmentScanOptions(page_checksum_verification=True)
        if not isinstance(self._rows, pyarrow.dataset.FileSystemDataset):
            return self._rows.to_table(columns=columns, filter=where)
        return self._rows.to_table(columns=columns, filter=where, fragment_scan_options=checked)

    def _patiently(self, columns: list[str], where: pc.Expression, error: Exception) -> pa.Table:
        def again() -> pa.Table:
            self._rows = self._open()
            return self._table(columns, where)

        try:
            return outlast(self.store.storage, self.table.ledger.uri, again)
        except (OSError, pa.ArrowException) as refusal:
            raise StorageError(
                "committed rows cannot be read",
                where=self.table.ledger.uri,
                why=str(refusal),
                fix="check access; then run the same command again",
            ) from error

    def _left(self, shards: range) -> list[DataFile]:
        lost = {one.file.path for one in self.damaged}
        touching = (
            one for one in self.table.ledger.files() if one.last_shard >= shards.start and one.first_shard < shards.stop
        )
        return [one for one in touching if one.path not in lost]


@dataclass(frozen=True, slots=True)
class Evidence:
    """A store, and what can be read of it under one release and policy."""

    store: Store
    known: list[Generation]
    observed: Rows
    judged: Rows
    judged_by: tuple[str, str]

    @classmethod
    def of(cls, store: Store, judged_by: tuple[str, str], *, deep: bool = False) -> "Evidence":
        """What `judged_by`, a release and a policy, left in a store. With `deep`, every file is checked first."""
        observations, verdicts = tables_of(store)
        rows = Rows(store, observations, deep=deep), Rows(store, verdicts, deep=deep)
        return cls(store, generations(store), *rows, judged_by)

    @property
    def damaged(self) -> list[Damage]:
        """Damage found until now."""
        return self.observed.damaged + self.judged.damaged

    def decisions(self, shards: range, *, scores: bool = False) -> list[dict[str, object]]:
        """The verdicts of some shards."""
        release, policy = self.judged_by
        mine = (pc.field("release") == release) & (pc.field("policy") == policy)
        columns = ["uri", "etag", "outcome", "action", *(["scores"] if scores else [])]
        rows: list[dict[str, object]] = self.judged.read(columns, _within(shards) & mine, shards).to_pylist()
        return rows

    def outcomes(self, shards: range) -> list[tuple[str, str, str]]:
        """(uri, etag, outcome) of the observations of some shards."""
        columns = ["uri", "etag", "outcome"]
        rows = self.observed.read(columns, _within(shards), shards)
        return list(zip(*(rows[name].to_pylist() for name in columns), strict=True))


def _within(shards: range) -> pc.Expression:
    return (pc.field("shard") >= shards.start) & (pc.field("shard") < shards.stop)


def cut(generation: Generation, stride: int) -> Iterator[range]:
    """The shards of a generation, so many at a time."""
    for first in range(generation.first_shard, generation.next_shard, stride):
        yield range(first, min(first + stride, generation.next_shard))
