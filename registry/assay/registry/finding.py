"""One thing that doctor looked at.

Knows how it is told, and what would mend it. Does not know what is looked at.
"""

from collections.abc import Callable
from typing import Self

from pydantic import BaseModel, Field

from assay.platform.errors import AssayError


class Finding(BaseModel, frozen=True):
    """What was looked at, whether it is well, and how to mend it."""

    name: str
    well: bool
    said: str
    fix: str = ""
    mended: bool = False
    mend: Callable[[], object] | None = Field(None, exclude=True, repr=False)
    """Mends it, if that can be done without asking; whether it did is found out by looking again."""

    @classmethod
    def of(cls, name: str, error: AssayError, mend: Callable[[], object] | None = None) -> Self:
        """An error, as what was found."""
        where = f" ({error.where})" if error.where else ""
        return cls(name=name, well=False, said=f"{error.what}{where}: {error.why}", fix=error.fix, mend=mend)

    @property
    def ill(self) -> bool:
        """Whether somebody must do something."""
        return not (self.well or self.mended)
