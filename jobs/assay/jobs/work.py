"""One shard's work on its way through the pipeline, and the receipt that comes back.

Knows what is asked of a shard and what is told of it, and how both cross process borders as one Arrow row. Does not
know how the work is done (`stages.py`) nor when it is committed (`committer.py`).
"""

from collections import Counter
from enum import StrEnum

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from assay.platform import errors
from assay.platform.errors import AssayError
from assay.platform.rows import ImageRef


class Task(StrEnum):
    """What is to be done with a shard."""

    OBSERVE = "observe"
    """Fetch, decode, encode and judge every image."""
    JUDGE = "judge"
    """Judge what is stored already; no image is fetched."""
    RETRY = "retry"
    """Fetch some images again and replace their rows."""


class Work(BaseModel):
    """One shard's work. `refs` are the images to fetch; `rows` is what the shard holds in all."""

    model_config = ConfigDict(frozen=True)

    shard: int
    task: Task
    rows: int
    refs: tuple[ImageRef, ...] = ()
    observed: str = ""
    """Path, below the observations table, of the file that holds the shard now (JUDGE, RETRY)."""

    def row(self) -> pa.Table:
        """The work as one row: one row is one block is one shard."""
        return pa.table({"shard": [self.shard], "work": [self.model_dump_json()]})


class WrittenFile(BaseModel):
    """A data file that no transaction names yet."""

    model_config = ConfigDict(frozen=True)

    path: str
    size: int
    first_uri: str
    last_uri: str


class Failure(BaseModel):
    """An error of the whole job, found by a worker, on its way to the driver as data."""

    model_config = ConfigDict(frozen=True)

    kind: str
    what: str
    where: str = ""
    why: str = ""
    fix: str = ""

    @classmethod
    def of(cls, error: AssayError) -> "Failure":
        """Pack an error."""
        return cls(kind=type(error).__name__, what=error.what, where=error.where, why=error.why, fix=error.fix)

    def error(self) -> AssayError:
        """Unpack it."""
        kind: type[AssayError] = getattr(errors, self.kind, AssayError)
        return kind(self.what, where=self.where, why=self.why, fix=self.fix)


class Receipt(BaseModel):
    """What a worker did with a shard. Nothing it names is visible before the driver commits it."""

    model_config = ConfigDict(frozen=True)

    shard: int
    task: Task
    rows: int
    observed: WrittenFile | None = None
    judged: WrittenFile | None = None
    outcomes: Counter[str] = Field(default_factory=Counter)
    actions: Counter[str] = Field(default_factory=Counter)
    flagged: Counter[str] = Field(default_factory=Counter)
    """Images by label with a finding."""
    fetched: int = 0
    fetched_bytes: int = 0
    seconds: dict[str, float] = Field(default_factory=dict)
    """Time spent by step: look (fetch and decode), encode, judge, write."""
    worker: dict[str, str] = Field(default_factory=dict)
    """Where it was done: node, process, GPUs."""
    failure: Failure | None = None

    def row(self) -> pa.Table:
        """The receipt as one row."""
        return pa.table({"shard": [self.shard], "receipt": [self.model_dump_json()]})
