"""The log of a ledger as a Delta Lake table, through delta-rs: readable by anything that reads Delta.

Knows delta-rs, its traps and its errors. Does not know the protocol (`ledger.py`) nor what the rows mean.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import pyarrow as pa
import pyarrow.dataset
import pyarrow.fs
from deltalake import DeltaTable
from deltalake import transaction as delta
from deltalake.exceptions import DeltaError, TableNotFoundError

from assay.jobs.file_table import COLUMNS, PARTITION, FileTable
from assay.jobs.ledger import DataFile, Ledger, NotAcknowledgedError, Transaction
from assay.platform.errors import StorageError, StoreVersionError
from assay.platform.other_clients import arrow_place, delta_place, outlast
from assay.platform.storage import Storage

T = TypeVar("T")

STATISTICS = ("shard", "uri")
"""Columns whose least and greatest value every transaction states. The table must promise no others: delta-rs reads a
column it expects statistics for and finds none as `column >= null`, and a filter on it then drops every row."""

_FACTS = ("path", "size_bytes", "num_records", "min.shard", "max.shard", "min.uri", "max.uri")
"""What delta-rs calls the columns of a `FileTable`."""

_WAYS = (
    "restore _delta_log from a backup; or move the table's folder away, run `assay repair`, and run the same backfill,"
    " which makes it again"
)


class DeltaLog:
    """The log of one table. The snapshot is taken when first needed."""

    def __init__(self, storage: Storage, uri: str, schema: pa.Schema, partition_by: Sequence[str] = ()) -> None:
        self.storage, self.where, self.schema, self.partition_by = storage, uri, schema, list(partition_by)
        self._table: DeltaTable | None = None
        self._options: dict[str, str] = {}
        self._is_absent = False
        """A snapshot of nothing is one, too."""

    def _open(self, version: int | None = None) -> DeltaTable | None:
        """The table as first seen, or None when it does not exist. Credentials that changed since are put in place."""
        if self._is_absent:
            return None
        options = delta_place(self.storage, self.where)[1]
        if self._table is not None and options == self._options:
            return self._table
        version = self._table.version() if self._table is not None else version
        self._table = self._read(lambda: self._load(version))
        self._options, self._is_absent = options, self._table is None
        return self._table

    def _read(self, look: Callable[[], T]) -> T:
        """`look` at the log, as patiently as the storage is: also what a snapshot knows may be read only when asked."""
        try:
            return outlast(self.storage, self.where, look, (DeltaError, OSError))
        except (DeltaError, OSError) as error:
            raise _unreadable(self.where, error) from error

    def _load(self, version: int | None) -> DeltaTable | None:
        path, options = delta_place(self.storage, self.where)
        has_files = False
        while True:
            try:
                table = DeltaTable(path, version=version, storage_options=options)
            except TableNotFoundError:
                if has_files:
                    raise _lost(self.where) from None
                has_files = any(True for _ in self.storage.list(f"{self.where}/data"))
                if has_files:
                    continue  # another driver may just have made the table, and written
                return None
            self._refuse_other_columns(table)
            return table

    def _refuse_other_columns(self, table: DeltaTable) -> None:
        missing = set(self.schema.names) - {field.name for field in table.schema().fields}
        if missing:
            raise StoreVersionError(
                "this table was written by another version of Assay",
                where=self.where,
                why=f"it has no column {', '.join(sorted(missing))}",
                fix="use the Assay that wrote it, or another --store",
            )

    def create(self) -> None:
        """Make the table if it is not there.

        Raises:
            StorageError: it cannot be written.
        """
        if self._open() is not None:
            return
        self._is_absent = False  # look again when asked
        try:
            outlast(self.storage, self.where, self._create, (DeltaError, OSError))
        except (DeltaError, OSError) as error:
            if self._open() is None:  # else the table is there, and only its acknowledgement was lost
                raise StorageError(
                    "cannot make a table", where=self.where, why=str(error), fix="check write access"
                ) from error

    def _create(self) -> None:
        path, options = delta_place(self.storage, self.where)
        DeltaTable.create(
            path,
            self.schema,
            mode="ignore",
            partition_by=self.partition_by or None,
            storage_options=options,
            configuration={"delta.dataSkippingStatsColumns": ",".join(STATISTICS)},
        )

    def version(self) -> int:
        """Version of the snapshot; -1 when there is no table."""
        table = self._open()
        return -1 if table is None else table.version()

    def number(self, app: str) -> int:
        """The last number of an app id in the snapshot; 0 when there is none."""
        return self._read(lambda: self._number(app))

    def _number(self, app: str) -> int:
        table = self._open()
        return 0 if table is None else table.transaction_version(app) or 0

    def files(self) -> list[DataFile]:
        """The snapshot's files; none when there is no table."""
        return list(self.table())

    def table(self) -> FileTable:
        """The same as columns: for questions about millions of files."""
        return self._read(self._columns)

    def _columns(self) -> FileTable:
        table = self._open()
        if table is None:
            return FileTable.none()
        # Not pa.table(): it imports pandas, a second's work, to see whether that is what it was given.
        actions = pa.RecordBatchReader.from_stream(table.get_add_actions(flatten=True)).read_all()
        partition = [f"{PARTITION}{name}" for name in self.partition_by]
        return FileTable(actions.select([*_FACTS, *partition]).rename_columns([*COLUMNS, *partition]))

    def dataset(self) -> pyarrow.dataset.Dataset:
        """The snapshot's rows as an Arrow dataset; an empty one when there is no table."""
        table = self._open()
        if table is None:
            return pyarrow.dataset.dataset(self.schema.empty_table())
        fs, path = arrow_place(self.storage, self.where)
        return table.to_pyarrow_dataset(filesystem=pyarrow.fs.SubTreeFileSystem(path, fs))

    def append(self, transaction: Transaction) -> None:
        """Put a transaction directly after the snapshot.

        Raises:
            NotAcknowledgedError: delta-rs did not say yes, for whatever reason.
        """
        table = self._open()
        assert table is not None, "create() comes first"
        change = not transaction.rearranged
        actions: list[delta.AddAction | delta.RemoveAction] = [_add(file, change) for file in transaction.adds]
        actions += [_remove(file, change) for file in transaction.removes]
        try:
            table.create_write_transaction(
                actions,
                mode="append",
                schema=self.schema,
                partition_by=self.partition_by or None,
                commit_properties=delta.CommitProperties(
                    custom_metadata=dict(transaction.note),
                    max_commit_retries=0,
                    app_transactions=[delta.Transaction(*pair) for pair in transaction.numbers.items()],
                ),
                post_commithook_properties=delta.PostCommitHookProperties(
                    create_checkpoint=True, cleanup_expired_logs=False
                ),
            )
        except (DeltaError, OSError) as error:
            raise NotAcknowledgedError(str(error)) from error

    def note_of(self, version: int) -> Mapping[str, str] | None:
        """The note of the transaction with this version, read from the store; None when there is none.

        Raises:
            StorageError: it is there and cannot be read.
        """
        where = f"{self.where}/_delta_log/{version:020d}.json"
        data = self.storage.read(where)
        if data is None:
            return None
        try:
            told = [json.loads(line) for line in data.splitlines() if line.strip()]
        except ValueError as error:
            raise _unreadable(where, error) from error
        note: dict[str, object] = next((one["commitInfo"] for one in told if "commitInfo" in one), {})
        return {name: value for name, value in note.items() if isinstance(value, str)}

    def checkpoint(self) -> None:
        """Write down the snapshot as a whole, so that readers need no transaction before it.

        Raises:
            StorageError: it cannot be written.
        """
        self._read(self._checkpoint)

    def _checkpoint(self) -> None:
        table = self._open()
        if table is not None:
            table.create_checkpoint()

    def advance(self) -> None:
        """Move the snapshot to the latest version; after its own commit a `DeltaTable` still shows the one before.

        Raises:
            StorageError: the log cannot be read.
        """
        self._is_absent = False
        self._read(self._advance)

    def _advance(self) -> None:
        table = self._open()
        if table is not None:
            table.update_incremental()


class DeltaLedger(Ledger):
    """A ledger over a Delta table, whose rows can be read."""

    log: DeltaLog

    def __init__(self, storage: Storage, uri: str, schema: pa.Schema, partition_by: Sequence[str] = ()) -> None:
        super().__init__(DeltaLog(storage, uri, schema, partition_by))

    def table(self) -> FileTable:
        """The files the table consists of, as columns."""
        return self.log.table()

    def dataset(self) -> pyarrow.dataset.Dataset:
        """The committed rows as an Arrow dataset; an empty one when there is no table."""
        return self.log.dataset()


def _unreadable(uri: str, error: Exception) -> StorageError:
    return StorageError(
        "cannot read a table's log",
        where=uri,
        why=str(error).partition("\n")[0],  # what follows are frames of delta-rs
        fix=f"check access; if the log is damaged, {_WAYS}",
    )


def _lost(uri: str) -> StorageError:
    return StorageError(
        "a table has data files and no log",
        where=uri,
        why="_delta_log is missing or empty",
        fix=_WAYS,
    )


def _add(file: DataFile, change: bool) -> delta.AddAction:
    stats = {
        "numRecords": file.rows,
        "minValues": {"shard": file.first_shard, "uri": file.first_uri},
        "maxValues": {"shard": file.last_shard, "uri": file.last_uri},
        "nullCount": dict.fromkeys(STATISTICS, 0),
    }
    stamp = int(time.time() * 1000)
    return delta.AddAction(file.path, file.size, dict(file.partition), stamp, change, json.dumps(stats))


def _remove(file: DataFile, change: bool) -> delta.RemoveAction:
    stamp = int(time.time() * 1000)
    return delta.RemoveAction(file.path, change, stamp, size=file.size, partition_values=dict(file.partition))
