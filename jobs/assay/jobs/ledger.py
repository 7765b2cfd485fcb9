"""The ledger: which data files a table consists of. Delta Lake through delta-rs.

A data file exists for readers only once a transaction names it. Knows transactions, fencing and file facts; does not
know what the rows mean. Every commit must follow directly on the version this ledger last saw, under one app id whose
number goes up by one: a second driver's commit makes the next one fail instead of mixing in.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.dataset
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, CommitProperties, PostCommitHookProperties, RemoveAction, Transaction

from assay.platform.errors import CommitError, StorageError
from assay.platform.storage import Storage

APP_ID = "assay"

STATISTICS = ("shard", "uri")
"""Columns whose least and greatest value every transaction states. The table must promise no others: delta-rs reads a
column it expects statistics for and finds none as `column >= null`, and a filter on it then drops every row."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """One Parquet file of a table: its path below the table, what it holds, and the partition it belongs to."""

    path: str
    size: int
    rows: int
    first_shard: int
    last_shard: int
    first_uri: str
    last_uri: str
    partition: Mapping[str, str] = field(default_factory=dict)


class DeltaLedger:
    """The ledger of one table."""

    def __init__(self, storage: Storage, uri: str, schema: pa.Schema, partition_by: Sequence[str] = ()) -> None:
        self.storage, self.uri, self.schema, self.partition_by = storage, uri, schema, list(partition_by)
        self._table: DeltaTable | None = None

    def _open(self) -> DeltaTable | None:
        """The table as first seen, or None when it does not exist. Never refreshed behind the committer's back."""
        if self._table is None:
            path, options = self.storage.delta(self.uri)
            try:
                self._table = DeltaTable(path, storage_options=options)
            except TableNotFoundError:
                return None
            except (DeltaError, OSError) as error:
                raise _unreadable(self.uri, error) from error
        return self._table

    def create(self) -> None:
        """Make the table if it is not there."""
        if self._open() is not None:
            return
        path, options = self.storage.delta(self.uri)
        try:
            self._table = DeltaTable.create(
                path,
                self.schema,
                mode="ignore",
                partition_by=self.partition_by or None,
                storage_options=options,
                configuration={"delta.dataSkippingStatsColumns": ",".join(STATISTICS)},
            )
        except (DeltaError, OSError) as error:
            raise StorageError(
                "cannot make a table", where=self.uri, why=str(error), fix="check write access"
            ) from error

    def files(self) -> list[DataFile]:
        """The files the table consists of; none when there is no table."""
        table = self._open()
        if table is None:
            return []
        actions = pa.table(table.get_add_actions(flatten=True))
        return [self._file(row) for row in actions.to_pylist()]

    def _file(self, row: dict[str, object]) -> DataFile:
        partition = {name: str(row[f"partition.{name}"]) for name in self.partition_by}
        counts = [row["size_bytes"], row["num_records"], row["min.shard"], row["max.shard"]]
        size, rows, first, last = (int(str(count)) for count in counts)
        return DataFile(str(row["path"]), size, rows, first, last, str(row["min.uri"]), str(row["max.uri"]), partition)

    def dataset(self) -> pyarrow.dataset.Dataset:
        """The committed rows as an Arrow dataset; an empty one when there is no table."""
        table = self._open()
        if table is None:
            return pyarrow.dataset.dataset(self.schema.empty_table())
        return table.to_pyarrow_dataset(filesystem=self._filesystem())

    def _filesystem(self) -> pyarrow.fs.FileSystem:
        fs, path = self.storage.arrow(self.uri)
        return pyarrow.fs.SubTreeFileSystem(path, fs)

    @property
    def version(self) -> int:
        """The version last seen; -1 when there is no table."""
        table = self._open()
        return -1 if table is None else table.version()

    def commit(
        self, adds: Sequence[DataFile], removes: Sequence[DataFile] = (), note: Mapping[str, str] | None = None
    ) -> int:
        """Make `adds` visible and `removes` invisible in one transaction; returns the new version.

        Raises:
            CommitError: another driver committed since this ledger was opened, or the log cannot be written.
        """
        table = self._open()
        assert table is not None, "create() comes first"
        before, number = table.version(), (table.transaction_version(APP_ID) or 0) + 1
        actions = [_add(file) for file in adds] + [_remove(file) for file in removes]
        try:
            table.create_write_transaction(
                actions,
                mode="append",
                schema=self.schema,
                partition_by=self.partition_by or None,
                commit_properties=CommitProperties(
                    custom_metadata=dict(note or {}),
                    max_commit_retries=0,
                    app_transactions=[Transaction(APP_ID, number)],
                ),
                post_commithook_properties=PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False),
            )
            table.update_incremental()
        except CommitFailedError as error:
            raise _fenced(self.uri, str(error)) from error
        except (DeltaError, OSError) as error:
            raise CommitError(
                "the commit was not accepted", where=self.uri, why=str(error), fix="run the same command again"
            ) from error
        if table.version() != before + 1 or table.transaction_version(APP_ID) != number:
            raise _fenced(self.uri, f"expected version {before + 1}, found {table.version()}")
        return int(table.version())


def _fenced(uri: str, why: str) -> CommitError:
    return CommitError(
        "another driver is writing to this store",
        where=uri,
        why=why,
        fix="stop one of them; what is committed stays, and the same command goes on",
    )


def _unreadable(uri: str, error: Exception) -> StorageError:
    return StorageError(
        "cannot read a table", where=uri, why=str(error), fix="check access; `assay verify` tells what is missing"
    )


def _add(file: DataFile) -> AddAction:
    stats = {
        "numRecords": file.rows,
        "minValues": {"shard": file.first_shard, "uri": file.first_uri},
        "maxValues": {"shard": file.last_shard, "uri": file.last_uri},
        "nullCount": dict.fromkeys(STATISTICS, 0),
    }
    stamp = int(time.time() * 1000)
    return AddAction(file.path, file.size, dict(file.partition), stamp, True, json.dumps(stats))


def _remove(file: DataFile) -> RemoveAction:
    return RemoveAction(file.path, True, int(time.time() * 1000), size=file.size, partition_values=dict(file.partition))
