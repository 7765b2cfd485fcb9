"""How far a job is, told from afar: one JSON line in its output, and the same read back from there.

Knows the line. Does not know who writes it (`assay backfill --json-lines`), nor where it is read.
"""

from pydantic import BaseModel, Field, ValidationError

FIELD = "progress"
"""What a line that tells progress has, and no other."""


class Progress(BaseModel, frozen=True):
    """What a job had to do when it began, and what of that is committed: readers of the store see it."""

    total: int = Field(description="images there are to judge in this job; those judged before are not counted")
    done: int = Field(0, description="of those, the ones whose verdict can be read")
    verdicts: dict[str, int] = Field({}, description="of those, by action: pass, review, block")
    faults: dict[str, int] = Field({}, description="of those, the ones with a fault, by its kind")
    began: float = Field(description="when the command began, in seconds since the epoch")

    def line(self) -> str:
        """The progress as one line of JSON."""
        return f'{{"{FIELD}": {self.model_dump_json()}}}'


class _Line(BaseModel):
    progress: Progress


def last_progress(lines: list[str]) -> Progress | None:
    """What the last of the lines that tell progress says; None when none does. Other lines may be anything."""
    for line in reversed(lines):
        if line.startswith(f'{{"{FIELD}"'):
            try:
                return _Line.model_validate_json(line).progress
            except ValidationError:  # half a line: the process was killed as it wrote, or writes it now
                continue
    return None
