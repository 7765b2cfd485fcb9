"""One shard's work on its way through the pipeline, and the receipt that comes back.

Knows what is asked of a shard and what is told of it, and how both cross process borders as one Arrow row. Does not
know how the work is done (`stages.py`) nor when it is committed (`committer.py`).
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
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


def digest_of_keys(keys: Iterable[tuple[str, str]]) -> str:
    """A digest of a shard's images, each given as (uri, etag), in whatever order."""
    parts = [part.encode("utf-8") for key in sorted(keys) for part in key]
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).hexdigest()


class Work(BaseModel):
    """One shard's work, or that of a span of shards to be judged from what is stored. `refs` are the images to fetch;
    `rows` and `keys` speak of all it holds."""

    model_config = ConfigDict(frozen=True)

    shard: int
    """The first one, by which it is known."""
    last_shard: int = -1
    """The last one; left out: the first."""
    task: Task
    rows: int
    keys: str = ""
    """Digest of the shard's images (`digest_of_keys`); of a span there is none."""
    refs: tuple[ImageRef, ...] = ()
    observed: tuple[str, ...] = ()
    """Paths, below the observations table, of the files that hold the shards now (JUDGE, RETRY), in their order."""
    carried: tuple[str, ...] = ()
    """Likewise, below the verdicts table, of files with scores that may be carried over (JUDGE)."""

    @property
    def shards(self) -> range:
        """All its shards."""
        return range(self.shard, max(self.shard, self.last_shard) + 1)

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
    last_shard: int = -1
    task: Task
    rows: int
    keys: str = ""
    """Digest of the images in the verdicts written; of a span there is none."""
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
    carried: int = 0
    """Rows of which scores were carried over from another release."""
    notes: tuple[str, ...] = ()
    """What a person should be told of the worker, once."""
    failure: Failure | None = None

    @property
    def shards(self) -> range:
        """All shards it speaks of."""
        return range(self.shard, max(self.shard, self.last_shard) + 1)

    def row(self) -> pa.Table:
        """The receipt as one row."""
        return pa.table({"shard": [self.shard], "receipt": [self.model_dump_json()]})
