"""What this machine remembers of a registry for when it does not answer: only what never changes.

Knows where the promotion log lies and which digest a version has. Does not remember who is champion: that changes.
"""

import contextlib
import hashlib
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ValidationError

from assay.platform.disk import write_file
from assay.platform.errors import StorageError
from assay.registry.place import Place
from assay.registry.promotion_entry import Side


class Known(BaseModel, frozen=True):
    """Facts of one environment of a registry."""

    file: Path
    log: str = ""
    versions: dict[int, Side] = {}

    @classmethod
    def of(cls, place: Place, name: str) -> Self:
        """What is remembered of it; nothing, when the file is not there or not understood."""
        at = place.cache / "known" / f"{hashlib.sha256(f'{place.uri} {name}'.encode()).hexdigest()[:16]}.json"
        with contextlib.suppress(OSError, ValidationError):
            found = cls.model_validate_json(at.read_bytes())
            if found.file == at:
                return found
        return cls(file=at)

    def remember(self, *, side: Side | None = None, log: str = "") -> None:
        """Add a fact. Of two processes that do so at once one may forget: it is asked again then."""
        versions = {**self.versions, side.version: side} if side is not None else self.versions
        new = self.model_copy(update={"versions": versions, "log": log or self.log})
        if new == self:
            return
        with contextlib.suppress(StorageError):  # a full or closed disk: the registry is asked the next time, too
            write_file(self.file, new.model_dump_json().encode(), if_absent=False)
