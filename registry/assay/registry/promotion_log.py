"""The promotion log: numbered entries beside the registry, each written once, each naming the one before by its hash.

The log is the truth and MLflow's aliases follow it: an alias is last-writer-wins and keeps no history. Knows entries
and conditional writes. Does not know MLflow, nor what may be promoted.
"""

import re
from collections.abc import Iterator

from pydantic import ValidationError

from assay.platform.errors import ConflictError, RegistryError
from assay.platform.storage import Storage
from assay.registry.promotion_entry import Entry

_NAME = re.compile(r"(\d{8})\.json")
MARK = "delivered"


class PromotionLog:
    """The log in one folder of a disk or bucket. Many may read and write it at once."""

    def __init__(self, storage: Storage, uri: str) -> None:
        self._storage, self.uri = storage, uri.rstrip("/")

    def numbers(self) -> list[int]:
        """Numbers of all entries, in order."""
        named = (_NAME.fullmatch(one.name) for one in self._storage.list(self.uri))
        return sorted(int(match[1]) for match in named if match)

    def last(self) -> Entry | None:
        """The newest entry; None when there is none.

        Raises:
            RegistryError: it cannot be understood.
        """
        numbers = self.numbers()
        return self.read(numbers[-1]) if numbers else None

    def read(self, number: int) -> Entry:
        """One entry.

        Raises:
            RegistryError: it is not there, or is not an entry of this number.
        """
        place = self._place(number)
        content = self._storage.read(place)
        if content is None:
            raise RegistryError("an entry of the promotion log is gone", where=place, why="no such object", fix=_MEND)
        try:
            entry = Entry.model_validate_json(content)
        except ValidationError as error:
            why = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:3])
            raise RegistryError(
                "an entry of the promotion log is not understood", where=place, why=why, fix=_MEND
            ) from error
        if entry.number != number or entry.content() != content:
            why = f"it says number {entry.number}, and was not written like this"
            raise RegistryError("an entry of the promotion log was changed", where=place, why=why, fix=_MEND)
        return entry

    def entries(self) -> Iterator[Entry]:
        """All entries, oldest first; each is held against the one before.

        Raises:
            RegistryError: one is gone, changed, or does not follow.
        """
        previous = ""
        for place, number in enumerate(self.numbers(), start=1):
            if number != place:
                self.read(place)  # says which is gone
            entry = self.read(number)
            if entry.previous != previous:
                why = f"entry {number - 1} has sha256 {previous[:12]}, this one follows {entry.previous[:12]}"
                where = self._place(number)
                raise RegistryError("the promotion log was changed", where=where, why=why, fix=_MEND)
            previous = entry.sha256
            yield entry

    def append(self, entry: Entry) -> None:
        """Write the next entry, if nobody else did.

        Raises:
            ConflictError: somebody did.
        """
        place = self._place(entry.number)
        if self._storage.write(place, entry.content(), if_absent=True):
            return
        other = self.read(entry.number)
        raise ConflictError(
            f"somebody else was first: {other.by} set {other.alias} to {other.after.shown}",
            where=place,
            why=f"entry {other.number}, {other.action} at {other.at}",
            fix="look at `assay release log`, then decide again",
        )

    def delivered(self) -> int | None:
        """Number of the entry up to which who listens was told; None when nobody ever listened."""
        return max(
            (int(one.name) for one in self._storage.list(f"{self.uri}/{MARK}") if one.name.isdigit()), default=None
        )

    def mark_delivered(self, number: int) -> None:
        """Say that who listens was told of all entries up to this one."""
        self._storage.write(f"{self.uri}/{MARK}/{number:08d}", b"")

    def _place(self, number: int) -> str:
        return f"{self.uri}/{number:08d}.json"


_MEND = "do not write here by hand; restore the object from a backup or an older version of it"
