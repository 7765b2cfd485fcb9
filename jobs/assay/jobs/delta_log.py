"""The log of a ledger as a Delta Lake table: readable by anything that reads Delta, and here by delta-rs.

Knows delta-rs, its traps and its errors. Does not know the protocol (`ledger.py`), the bytes of an entry
(`delta_entry.py`), nor what the rows mean.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import pyarrow as pa
import pyarrow.dataset
import pyarrow.fs
from deltalake import DeltaTable
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import DeltaError, TableNotFoundError

from assay.jobs.delta_entry import STATISTICS, entry_name, read_note, write_entry, write_first_entry
from assay.jobs.file_table import COLUMNS, PARTITION, FileTable
from assay.jobs.ledger import DataFile, Ledger, NotAcknowledgedError, Transaction
from assay.platform.errors import StorageError, StoreVersionError
from assay.platform.other_clients import arrow_place, delta_place, outlast
from assay.platform.storage import Storage

T = TypeVar("T")

CHECKPOINT_EVERY = 100
"""Entries after which the table is written down as a whole, so that nobody needs to read more of them."""

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
        """What delta-rs has read: the snapshot, or one that is some entries of our own behind it."""
        self._version = -1
        """Version of the snapshot, once there is a table."""
        self._changes, self._is_behind = False, False
        """Whether our last entry names files; whether any does that delta-rs has not read."""
        self._options: dict[str, str] = {}
        self._is_absent = False
        """A snapshot of nothing is one, too."""

    def _open(self) -> DeltaTable | None:
        """The table as delta-rs read it last, or None when it does not exist. Credentials that changed since are put in
        place."""
        if self._is_absent:
            return None
        options = delta_place(self.storage, self.where)[1]
        if self._table is None or options != self._options:
            wanted = self._version if self._table is not None else None
            self._keep(self._read(lambda: self._load(wanted)), options)
        return self._table

    def _files(self) -> DeltaTable | None:
        """The table with the snapshot's files."""
        if self._open() is not None and self._is_behind:
            self._read(self._catch_up)
        return self._table

    def _keep(self, table: DeltaTable | None, options: dict[str, str]) -> None:
        self._table, self._options, self._is_absent = table, options, table is None
        self._version, self._is_behind = -1 if table is None else table.version(), False

    def _catch_up(self) -> None:
        """Read our own last entries, and nothing that another driver may have put after them."""
        assert self._table is not None, "there is a snapshot"
        if self._table.version() < self._version:
            self._table.update_incremental()
        if self._table.version() > self._version:
            self._table = self._load(self._version)
        self._is_behind = False

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
        schema = DeltaSchema.from_arrow(self.schema).to_json()
        entry = write_first_entry(schema, self.partition_by, {"delta.dataSkippingStatsColumns": ",".join(STATISTICS)})
        self.storage.write(self._entry(0), entry, if_absent=True)  # or somebody else did, just now
        self._is_absent = False  # look again when asked

    def version(self) -> int:
        """Version of the snapshot; -1 when there is no table."""
        return -1 if self._open() is None else self._version

    def number(self, app: str) -> int:
        """The last number of an app id in the snapshot; 0 when there is none."""
        return self._read(lambda: self._number(app))

    def _number(self, app: str) -> int:
        if self.version() <= 0:
            return 0  # the first entry makes the table and counts nothing
        self._catch_up()
        assert self._table is not None, "it has a version"
        return self._table.transaction_version(app) or 0

    def files(self) -> list[DataFile]:
        """The snapshot's files; none when there is no table."""
        return list(self.table())

    def table(self) -> FileTable:
        """The same as columns: for questions about millions of files."""
        return self._read(self._columns)

    def _columns(self) -> FileTable:
        table = self._files()
        if table is None:
            return FileTable.none()
        # Not pa.table(): it imports pandas, a second's work, to see whether that is what it was given.
        actions = pa.RecordBatchReader.from_stream(table.get_add_actions(flatten=True)).read_all()
        partition = [f"{PARTITION}{name}" for name in self.partition_by]
        return FileTable(actions.select([*_FACTS, *partition]).rename_columns([*COLUMNS, *partition]))

    def dataset(self) -> pyarrow.dataset.Dataset:
        """The snapshot's rows as an Arrow dataset; an empty one when there is no table."""
        table = self._files()
        if table is None:
            return pyarrow.dataset.dataset(self.schema.empty_table())
        fs, path = arrow_place(self.storage, self.where)
        return table.to_pyarrow_dataset(filesystem=pyarrow.fs.SubTreeFileSystem(path, fs))

    def append(self, transaction: Transaction) -> None:
        """Put a transaction directly after the snapshot.

        Raises:
            NotAcknowledgedError: something stands there, or the store did not say yes.
        """
        assert self.version() >= 0, "create() comes first"
        self._changes = bool(transaction.adds or transaction.removes)
        try:
            stored = self.storage.write(self._entry(self._version + 1), write_entry(transaction), if_absent=True)
        except StorageError as error:
            raise NotAcknowledgedError(str(error)) from error
        if not stored:
            raise NotAcknowledgedError("another entry stands there")

    def step(self) -> None:
        """Move the snapshot over the next entry, which is ours. Now and then, write down the table as a whole.

        Raises:
            StorageError: that could not be done; the entry stands.
        """
        self._version += 1
        self._is_behind |= self._changes
        if self._version % CHECKPOINT_EVERY == 0:
            self.checkpoint()

    def note_of(self, version: int) -> Mapping[str, str] | None:
        """The note of the transaction with this version, read from the store; None when there is none.

        Raises:
            StorageError: it is there and cannot be read.
        """
        where = self._entry(version)
        data = self.storage.read(where)
        try:
            return None if data is None else read_note(data)
        except ValueError as error:
            raise _unreadable(where, error) from error

    def _entry(self, version: int) -> str:
        return f"{self.where}/{entry_name(version)}"

    def checkpoint(self) -> None:
        """Write down the snapshot as a whole, so that readers need no transaction before it.

        Raises:
            StorageError: it cannot be written.
        """
        self._read(self._checkpoint)

    def _checkpoint(self) -> None:
        if self._open() is not None:
            self._catch_up()
        if self._table is not None:
            self._table.create_checkpoint()

    def advance(self) -> None:
        """Move the snapshot to the latest version; after its own commit a `DeltaTable` still shows the one before.

        Raises:
            StorageError: the log cannot be read.
        """
        self._is_absent = False
        self._read(self._advance)

    def _advance(self) -> None:
        is_new = self._table is None  # then it is read now, up to the latest
        table = self._open()
        if table is not None and not is_new:
            table.update_incremental()
            self._version, self._is_behind = table.version(), False


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
