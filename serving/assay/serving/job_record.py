"""A job as it is kept, and as it is told: what the job server knows of it, and the note we left beside it.

Knows what is in the note, and what of a job its tenant is shown. Does not know where jobs run.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ValidationError

from assay.platform.progress import Progress, last_progress
from assay.registry.resolving import is_registered
from assay.serving.job_ending import INTERRUPTED, Ending, read_ending
from assay.serving.job_places import PlaceRef
from assay.serving.job_schemas import JobDocument, JobKind, JobProgress, JobState

_FIELD = "assay"
"""Of a job's metadata, the one that is ours."""


class Note(BaseModel, frozen=True):
    """What is written beside a job. Who may look at the cluster can read it: so there is no secret in it."""

    tenant: str
    key: str
    """The name of the key that asked."""
    digest: str
    """Of the request, as it was asked."""
    kind: JobKind
    source: PlaceRef | None
    store: PlaceRef
    release: str
    policy: str | None

    def metadata(self) -> dict[str, str]:
        """The note as it is kept."""
        return {_FIELD: self.model_dump_json()}

    @classmethod
    def read(cls, metadata: dict[str, str] | None) -> "Note | None":
        """The note beside a job; None beside one that is none of ours."""
        try:
            return cls.model_validate_json((metadata or {}).get(_FIELD, ""))
        except ValidationError:
            return None


@dataclass(frozen=True, slots=True)
class Record:
    """What the job server knows of a job. Times are milliseconds since the epoch."""

    id: str
    state: JobState
    submitted_ms: int
    ended_ms: int | None
    exit_code: int | None
    note: Note

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state not in {JobState.PENDING, JobState.RUNNING}

    def document(self, output: list[str] | None) -> JobDocument:
        """The job as its tenant is shown it; `output` is what it has written, None when that is not known."""
        note, progress, ending = self.note, None, Ending("", "")
        if output is not None:
            progress = last_progress(output)
            ending = read_ending(output, self.exit_code) if self.state is JobState.FAILED else ending
        return JobDocument(
            id=self.id,
            kind=note.kind,
            # The command's own word for it: it was told to end by somebody else than us.
            state=JobState.STOPPED if self.exit_code == INTERRUPTED else self.state,
            source=note.source,
            store=note.store,
            release=note.release if is_registered(note.release) else Path(note.release).name,
            policy=note.policy,
            submitted_at=_time(self.submitted_ms),
            started_at=None if progress is None else _time(progress.began * 1000),
            ended_at=None if self.ended_ms is None else _time(self.ended_ms),
            progress=_shown(progress),
            message=ending.message or None,
            fix=ending.fix or None,
            exit_code=self.exit_code,
        )


def _shown(progress: Progress | None) -> JobProgress | None:
    return None if progress is None else JobProgress(**progress.model_dump(exclude={"began"}))


def _time(milliseconds: float) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
