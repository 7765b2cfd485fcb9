"""One line of the promotion log: who moved which alias from where to where, on what evidence, and what was waived.

Knows the fields. Does not know where the log lies (`promotion_log.py`), nor what makes a check pass (`gate.py`).
"""

import hashlib
from typing import Literal

from pydantic import BaseModel, Field

Alias = Literal["champion", "challenger"]
CHAMPION: Alias = "champion"
FORMER = 50
"""Earlier champions that an entry remembers, to roll back to."""


class Side(BaseModel, frozen=True, extra="forbid"):
    """A registered release, as the log pins it."""

    version: int
    release: str
    """Its id, as verdicts carry it."""
    digest: str

    @property
    def shown(self) -> str:
        """As people name it."""
        return f"version {self.version} ({self.release})"


class Evidence(BaseModel, frozen=True, extra="forbid"):
    """What a check was decided on."""

    kind: str
    sha256: str
    """Of the document that the gate read; it is kept with the promotion's run."""
    run: str
    """MLflow run that measured it; empty for a file."""
    said: str
    """What it was measured on, in words."""


class Check(BaseModel, frozen=True, extra="forbid"):
    """One check of the gate."""

    name: str
    passed: bool
    said: str
    waived: str = ""
    """Why it need not pass, in the words of who promoted."""
    evidence: tuple[Evidence, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether it stands in nobody's way."""
        return self.passed or bool(self.waived)


class Entry(BaseModel, frozen=True, extra="forbid"):
    """One entry. It holds all that follows from the log up to it, so that the last one is enough to know."""

    assay_promotion: Literal[1] = 1
    number: int = Field(ge=1)
    at: str
    """UTC."""
    by: str
    action: Literal["promote", "rollback"]
    alias: Alias
    before: Side | None
    after: Side
    reason: str
    checks: tuple[Check, ...]
    run: str
    """MLflow run of the promotion, with the evidence; empty where it has none."""
    aliases: dict[Alias, Side]
    """Where every alias points from now on."""
    former: tuple[Side, ...]
    """Champions before this one, latest first: what a rollback goes back to."""
    previous: str
    """sha256 of the entry before; empty for the first."""
    nonce: str
    """Makes an entry nobody else's, so that a store that answers late is understood."""

    def content(self) -> bytes:
        """As it is written."""
        return (self.model_dump_json(indent=1) + "\n").encode()

    @property
    def sha256(self) -> str:
        """What the next entry calls `previous`."""
        return hashlib.sha256(self.content()).hexdigest()

    @property
    def pinned(self) -> dict[int, Side]:
        """Every version that it names and somebody may still ask for: the aliases' and the earlier champions'."""
        return {side.version: side for side in (*self.former, *self.aliases.values())}

    @property
    def waived(self) -> tuple[Check, ...]:
        """Checks that did not pass and were let go."""
        return tuple(check for check in self.checks if not check.passed and check.waived)
