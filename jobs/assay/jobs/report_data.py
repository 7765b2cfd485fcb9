"""What a report says, written as report.json: of a run, of each label, of faults, and in all.

Knows the fields. Does not know how they are counted (`report.py`) nor shown (`page.py`).
"""

import shlex
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

from assay.jobs.tally import Band


class RunFacts(BaseModel):
    """The run record: what was done, with what, how fast. A run still going has no `finished`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    run: str = ""
    command: str = ""
    source: str = ""
    store: str = ""
    release: str = ""
    policy: str = ""
    started: str | None = None
    finished: str | None = None
    seconds: float | None = None
    images_per_second: float | None = None
    planned: int | None = None
    already_done: int | None = None
    first_commit_s: float | None = None
    versions: dict[str, str] = {}
    host: dict[str, Any] = {}

    @field_validator("command", mode="before")
    @classmethod
    def _joined(cls, command: object) -> object:
        return shlex.join(command) if isinstance(command, list | tuple) else command


class Specimen(BaseModel):
    """One sampled image of a label's gallery, and the phrases that made its score (null below the threshold).

    `view` counts the image's views; `view_kind` and `time_s` say which part or moment of it scored.
    """

    model_config = ConfigDict(frozen=True)

    uri: str
    etag: str
    band: Band
    action: str
    score: float
    concept: str | None = None
    prompt: str | None = None
    counter: str | None = None
    view: int | None = None
    view_kind: str = "whole"
    time_s: float | None = None
    format: str | None = None
    width: int | None = None
    height: int | None = None


class LabelReport(BaseModel):
    """One label. `flagged` are images with action block or review for it, `review` those of them with
    review only.
    """

    model_config = ConfigDict(frozen=True)

    title: str
    flagged: int
    review: int
    block: int
    scored: int
    review_at: float | None
    block_at: float | None
    standing: tuple[str, ...] = ()
    """What score and thresholds stand on: promises, or why there are none."""
    no_evidence: bool
    histogram: tuple[int, ...]
    specimens: tuple[Specimen, ...]


class FaultExample(BaseModel):
    """An object that could not be observed, and what was found."""

    model_config = ConfigDict(frozen=True)

    uri: str
    detail: str = ""


class ReportData(BaseModel):
    """The whole report. planned = pass + review + block (`actions`) + undecided + faults + unseen."""

    model_config = ConfigDict(frozen=True)

    release: str
    policy: str
    images: int
    ok: int
    faults: dict[str, int]
    planned: int
    unseen: int
    undecided: int
    actions: dict[str, int]
    fault_actions: dict[str, int]
    seconds: float | None
    images_per_second: float | None
    labels: dict[str, LabelReport]
    fault_examples: dict[str, tuple[FaultExample, ...]]
    run: RunFacts
