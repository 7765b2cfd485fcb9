"""The protocol's surroundings in memory: object storage and logs whose every call can be watched, lost or cut short."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from assay.jobs.ledger import DataFile, Log, NotAcknowledgedError, Transaction

Around = Callable[[str], None]
"""Called before and after every call to storage with what it is; it may raise, or hand over to somebody else."""


def unwatched(_call: str) -> None:
    """Nobody watches."""


@dataclass
class MemoryObjects:
    """A bucket: `contents` is what all share, `around` is one client's."""

    contents: dict[str, bytes] = field(default_factory=dict)
    around: Around = unwatched

    def read(self, uri: str) -> bytes | None:
        self.around("before read")
        found = self.contents.get(uri)
        self.around("after read")
        return found

    def write(self, uri: str, data: bytes, *, if_absent: bool = False) -> bool:
        self.around("before write")
        stored = not (if_absent and uri in self.contents)
        if stored:
            self.contents[uri] = data
        self.around("after write")
        return stored


class MemoryLog:
    """A log in memory. `table` is what all drivers share; the snapshot is this one's."""

    def __init__(self, table: list[Transaction], around: Around = unwatched, where: str = "memory") -> None:
        self.table, self.around, self.where, self._seen = table, around, where, 0

    def create(self) -> None:
        self.around("before create")
        if not self.table:
            self.table.append(Transaction([], [], {}, {}))
        self.advance()

    def version(self) -> int:
        self._look()
        return self._seen - 1

    def _look(self) -> None:
        if not self._seen:
            self._seen = len(self.table)

    def number(self, app: str) -> int:
        self._look()
        return next((one.numbers[app] for one in reversed(self.table[: self._seen]) if app in one.numbers), 0)

    def files(self) -> list[DataFile]:
        self._look()
        known: dict[str, DataFile] = {}
        for one in self.table[: self._seen]:
            for file in one.removes:
                known.pop(file.path, None)
            known |= {file.path: file for file in one.adds}
        return list(known.values())

    def append(self, transaction: Transaction) -> None:
        self.around("before append")
        if len(self.table) != self._seen:
            raise NotAcknowledgedError("something stands there")
        self.table.append(transaction)
        self.around("after append")

    def note_of(self, version: int) -> Mapping[str, str] | None:
        self.around("before note")
        return self.table[version].note if version < len(self.table) else None

    def step(self) -> None:
        self._seen += 1

    def advance(self) -> None:
        self.around("before advance")
        self._seen = len(self.table)
        self.around("after advance")


class LossyLog:
    """A log whose appends, as told, do not arrive, or arrive and are never acknowledged."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.plan: list[str] = []
        """For each append to come: "lost" on the way there, "unacknowledged", or "" when all goes well."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def append(self, transaction: Transaction) -> None:
        fate = self.plan.pop(0) if self.plan else ""
        if fate == "lost":
            raise NotAcknowledgedError("connection reset on the way there")
        self._log.append(transaction)
        if fate == "unacknowledged":
            raise NotAcknowledgedError("connection reset on the way back")
