"""The ledger: which data files a table consists of, and the protocol by which one driver at a time changes that.

A data file exists for readers only once a transaction names it. Knows fencing and lost acknowledgements; does not know
how a log is stored (`delta_log.py`) nor what the rows mean.

The protocol. A driver loads the log once and never looks again behind its own back: each of its transactions takes the
version after the last one it saw, under one app id whose number goes up by one, so a transaction of anyone else in
between makes it fail. Before it reads, it *fences* the table with the epoch of its lease: from then on no transaction
of an earlier driver can follow, and none of a driver with a lower epoch ever will. A transaction whose acknowledgement
is lost is recognised by the id it carries.
"""

import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from assay.platform.errors import CommitError, FencedError

APP = "assay"
"""App id of all transactions; its number counts them."""
APP_EPOCH = "assay.epoch"
"""App id whose number is the epoch of the lease that fenced the table last."""
COMMIT_ID = "assay.commit"
"""Key of a transaction's note under which its own id stands."""
TRIES = 5
"""Times a transaction is sent that is known not to be stored."""


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


@dataclass(frozen=True, slots=True)
class Transaction:
    """What one commit does. `rearranged` says that the same rows lie in other files now."""

    adds: Sequence[DataFile]
    removes: Sequence[DataFile]
    note: Mapping[str, str]
    numbers: Mapping[str, int]
    rearranged: bool = False


class NotAcknowledgedError(Exception):
    """An append ended without a yes: the log may hold the transaction or not. Never leaves the ledger."""


class Log(Protocol):
    """An append-only sequence of transactions, and a snapshot of it that moves only when told to."""

    @property
    def where(self) -> str:
        """The table, for messages."""

    def create(self) -> None:
        """Make the table if it is not there, and take a snapshot."""

    def version(self) -> int:
        """Version of the snapshot; -1 when there is no table."""

    def number(self, app: str) -> int:
        """The last number of an app id in the snapshot; 0 when there is none."""

    def files(self) -> list[DataFile]:
        """The snapshot's files."""

    def append(self, transaction: Transaction) -> None:
        """Put a transaction directly after the snapshot, if nothing stands there. The snapshot stays.

        Raises:
            NotAcknowledgedError: refused, or not known to have arrived.
        """

    def note_of(self, version: int) -> Mapping[str, str] | None:
        """The note of the transaction with this version, read afresh; None when there is none."""

    def step(self) -> None:
        """Move the snapshot over the one transaction after it, which is known to be ours."""

    def advance(self) -> None:
        """Move the snapshot to the latest version."""


class Ledger:
    """One table's files, as one driver sees and changes them."""

    def __init__(self, log: Log, pause: Callable[[float], None] = time.sleep) -> None:
        self.log, self._pause = log, pause
        self._last: tuple[int, int] | None = None
        """The version of our last transaction, and its number: asking the log reads all of it since a checkpoint."""

    @property
    def uri(self) -> str:
        """The table's uri."""
        return self.log.where

    @property
    def version(self) -> int:
        """The version last seen; -1 when there is no table."""
        return self.log.version()

    def create(self) -> None:
        """Make the table if it is not there."""
        self.log.create()

    def files(self) -> list[DataFile]:
        """The files the table consists of; none when there is no table."""
        return self.log.files()

    def fence(self, epoch: int) -> None:
        """Shut out every driver whose lease has a lower epoch, and see all that was committed until now.

        Raises:
            FencedError: a driver with this epoch or a higher one has fenced the table.
        """
        for _ in range(TRIES):
            self.log.advance()
            fenced = self.log.number(APP_EPOCH)
            if fenced >= epoch:
                raise _fenced(self.uri, f"epoch {fenced} has fenced this table, ours is {epoch}")
            try:
                self._append(Transaction([], [], {"assay.epoch": str(epoch)}, {APP_EPOCH: epoch}))
            except FencedError:
                continue  # a last transaction of an earlier driver came first: look at what it did, and fence again
            return
        raise _fenced(self.uri, f"{TRIES} transactions came before our fence")

    def commit(
        self,
        adds: Sequence[DataFile],
        removes: Sequence[DataFile] = (),
        note: Mapping[str, str] | None = None,
        *,
        rearranged: bool = False,
    ) -> int:
        """Make `adds` visible and `removes` invisible in one transaction; returns the new version.

        Raises:
            FencedError: another driver committed since this ledger was opened or fenced.
            CommitError: the log cannot be written.
        """
        return self._append(Transaction(adds, removes, note or {}, {}, rearranged))

    def _append(self, asked: Transaction) -> int:
        wanted, name = self.log.version() + 1, uuid.uuid4().hex
        number = self._last[1] if self._last and self._last[0] == wanted - 1 else self.log.number(APP)
        numbers = {**asked.numbers, APP: number + 1}
        note = {**asked.note, COMMIT_ID: name}
        transaction = Transaction(asked.adds, asked.removes, note, numbers, asked.rearranged)
        for attempt in range(TRIES):
            why = self._send(transaction, wanted)
            if not why:
                break
            self._pause(random.uniform(0, 0.2 * 2**attempt))  # noqa: S311  # jitter, not a secret
        else:
            raise CommitError(
                "the commit was not accepted",
                where=self.uri,
                why=f"version {wanted} is still not there after {TRIES} tries: {why}",
                fix="check write access and space; the same command goes on",
            )
        # Also when the store said yes: one that stopped honouring conditions would say it to two drivers.
        if (self.log.note_of(wanted) or {}).get(COMMIT_ID) != name:
            raise _fenced(self.uri, f"version {wanted} is not ours, though the store said so")
        self._last = wanted, numbers[APP]
        self.log.step()
        return wanted

    def _send(self, transaction: Transaction, wanted: int) -> str:
        """Append once; when the answer is no or lost, the log itself says what happened. Why it is not stored, or
        nothing."""
        try:
            self.log.append(transaction)
        except NotAcknowledgedError as error:
            found = self.log.note_of(wanted)
            if found is None:
                return str(error) or "no answer"
            if found.get(COMMIT_ID) != transaction.note[COMMIT_ID]:
                raise _fenced(self.uri, f"version {wanted} is another driver's ({error})") from error
        return ""


def _fenced(uri: str, why: str) -> FencedError:
    return FencedError(
        "another driver is writing to this store",
        where=uri,
        why=why,
        fix="stop one of them; what is committed stays, and the same command goes on",
    )
