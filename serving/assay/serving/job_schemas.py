"""What is said of jobs over HTTP: what may be asked for, and what is told.

Knows fields and their bounds. Does not know commands, nor the cluster they run on.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from assay.serving.job_places import PlaceRef

Pattern = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\[{\x00-\x1f][^\x00-\x1f]*$")]
"""Of names. The command line would read one that begins with a bracket as JSON."""
PolicyName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
ReleaseRef = Annotated[
    str, StringConstraints(max_length=128, pattern=r"^models:/[a-z][a-z0-9_-]*-release(?:@[a-z]+|/[0-9]{1,9})$")
]


class JobKind(StrEnum):
    """What a job does."""

    BACKFILL = "backfill"
    REAUDIT = "reaudit"


class JobState(StrEnum):
    """Where a job stands. What an ended one committed stays, however it ended."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"


class _Asked(BaseModel):
    """What every job is asked for with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: PlaceRef = Field(description="where verdicts are kept")
    release: ReleaseRef | None = Field(
        None,
        description="models:/NAME-release/VERSION or …@ALIAS, which is pinned at once; unset: the one the service has",
        examples=["models:/assay-release/4"],
    )
    policy: PolicyName | None = Field(
        None, description="policy of the release; unset: the key's, or the release's default"
    )


class BackfillRequest(_Asked):
    """Observe and judge every image of a source that the store does not know."""

    kind: Literal[JobKind.BACKFILL]
    source: PlaceRef = Field(description="where the images are")
    include: tuple[Pattern, ...] = Field((), max_length=32, description="only names that match one of these patterns")
    exclude: tuple[Pattern, ...] = Field((), max_length=32, description="leave out names that match one of these")
    packed: bool = Field(False, description="open .tar and .parquet files, and judge the images in them")
    retry_faults: bool = Field(False, description="fetch images again whose fault may have passed")
    max_fault_rate: float | None = Field(
        None, ge=0, le=1, description="`failed` when a greater share of images has a fault; unset: 0.01"
    )


class ReauditRequest(_Asked):
    """Judge all that a store has observed under another release or policy; no image is fetched."""

    kind: Literal[JobKind.REAUDIT]


JobRequest = Annotated[BackfillRequest | ReauditRequest, Field(discriminator="kind")]


class JobProgress(BaseModel):
    """What a job had to do when it began, and what of that can be read in the store."""

    total: int = Field(description="images to judge; those that were judged before are not counted")
    done: int = Field(description="of those, the ones whose verdict can be read")
    verdicts: dict[str, int] = Field(description="of those, by action: pass, review, block")
    faults: dict[str, int] = Field(description="of those, the ones with a fault, by its kind")


class JobDocument(BaseModel):
    """A job as it is now."""

    id: str
    kind: JobKind
    state: JobState
    source: PlaceRef | None = Field(None, description="of a backfill")
    store: PlaceRef
    release: str = Field(description="the release that judges; it does not change while the job runs")
    policy: str | None = Field(None, description="unset: the release's default")
    submitted_at: datetime
    started_at: datetime | None = Field(None, description="when its command began; told as `progress` is")
    ended_at: datetime | None = None
    progress: JobProgress | None = Field(
        None, description="not in lists, nor before it is known what there is to do, nor when its node is gone"
    )
    message: str | None = Field(None, description="why it failed")
    fix: str | None = Field(None, description="what to do about it")
    exit_code: int | None = Field(None, description="of the command, once it ended; see the command line's manual")


class JobList(BaseModel):
    """A tenant's jobs, the newest first."""

    jobs: list[JobDocument]
