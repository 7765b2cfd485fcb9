"""What `assay diff` says, printed with --json and written beside its page: of a store, of each policy, of each label.

Knows the fields. Does not know how they are counted (`change_tally.py`) nor shown (`change_page.py`).
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, computed_field

from assay.jobs.recorded import RecordedFacts
from assay.platform.library_diff import LibraryDiff
from assay.platform.policy import ACTIONS, Action
from assay.platform.scorecard import Estimate

Row = tuple[int, int, int]


class Direction(StrEnum):
    """How a label's decision of an image changed."""

    FLAGGED = "newly flagged"  # passed before
    CLEARED = "newly cleared"  # passes now
    ESCALATED = "escalated"  # from review to block
    EASED = "eased"  # from block to review


class Moves(BaseModel, frozen=True):
    """Images by what was done with them (rows) and what is done now (columns): pass, review, block."""

    counts: tuple[Row, Row, Row]

    @property
    def total(self) -> int:
        """All of them."""
        return sum(map(sum, self.counts))

    def of(self, before: Action, after: Action) -> int:
        """Those that moved from one action to another, or stayed."""
        return self.counts[ACTIONS.index(before)][ACTIONS.index(after)]

    def before(self, action: Action) -> int:
        """Those that had an action."""
        return sum(self.counts[ACTIONS.index(action)])

    def after(self, action: Action) -> int:
        """Those that have it now."""
        return sum(row[ACTIONS.index(action)] for row in self.counts)

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated properties
    @property
    def newly_flagged(self) -> int:
        """Passed before, and do not now."""
        return self.before(Action.PASS) - self.of(Action.PASS, Action.PASS)

    @computed_field  # type: ignore[prop-decorator]  # as above
    @property
    def newly_cleared(self) -> int:
        """Pass now, and did not before."""
        return self.after(Action.PASS) - self.of(Action.PASS, Action.PASS)

    @computed_field  # type: ignore[prop-decorator]  # as above
    @property
    def to_review(self) -> int:
        """Are reviewed now, and were not before."""
        return self.after(Action.REVIEW) - self.of(Action.REVIEW, Action.REVIEW)

    @computed_field  # type: ignore[prop-decorator]  # as above
    @property
    def from_review(self) -> int:
        """Were reviewed before, and are not now."""
        return self.before(Action.REVIEW) - self.of(Action.REVIEW, Action.REVIEW)

    @computed_field  # type: ignore[prop-decorator]  # as above
    @property
    def escalated(self) -> int:
        """Were reviewed before, and are blocked now."""
        return self.of(Action.REVIEW, Action.BLOCK)

    @computed_field  # type: ignore[prop-decorator]  # as above
    @property
    def eased(self) -> int:
        """Were blocked before, and are reviewed now."""
        return self.of(Action.BLOCK, Action.REVIEW)

    @property
    def moved(self) -> int:
        """Those with another action."""
        return self.total - sum(self.of(action, action) for action in ACTIONS)


class Phrase(BaseModel, frozen=True):
    """What made a label's score of an image on one side: the concept, the phrase nearest to the image, the one that
    speaks most against it, and the view that scored."""

    concept: str
    prompt: str
    counter: str
    view: int


class Changed(BaseModel, frozen=True):
    """One sampled image whose decision for a label changed. Scores are null on a side without the label; phrases too,
    or when the store has no embedding of the image."""

    uri: str
    etag: str
    direction: Direction
    before: Action
    after: Action
    score_before: float | None
    score_after: float | None
    phrase_before: Phrase | None = None
    phrase_after: Phrase | None = None
    view_kind: str = "whole"
    time_s: float | None = None


class Shift(BaseModel, frozen=True):
    """How a label's scores moved, over the images that both sides could score."""

    images: int
    quantiles: dict[str, float]
    """Of the score after less the score before, to 0.001; the first and last are exact."""
    density: tuple[tuple[int, ...], ...]
    """Images by score before (rows) and after (columns), each cut into equal parts of 0 to 1."""


class Measured(BaseModel, frozen=True):
    """A figure of a label on the golden set, on both sides; the change is taken image by image.

    Null on a side that never takes the action, or does not have the label.
    """

    figure: str
    before: Estimate | None
    after: Estimate | None
    change: Estimate
    worse: bool
    """By more than the budget, and not by chance."""


class LabelChange(BaseModel, frozen=True):
    """One label under one policy."""

    label: str
    presence: Literal["both", "new", "gone"]
    causes: tuple[str, ...]
    """Why its decisions can differ: text, calibration, thresholds. Nothing can, if there is none."""
    calibrated: tuple[bool, bool]
    """Whether its score is a probability, before and after; else it is a raw one."""
    thresholds: tuple[dict[str, float], dict[str, float]]
    standing: tuple[tuple[str, ...], tuple[str, ...]]
    """What these stand on, before and after."""
    rule: tuple[str, str]
    """What the policy asks of it, before and after."""
    no_evidence: bool
    moves: Moves
    """Of the images that both sides could score. A label that a side does not have passes every image there."""
    newly_flagged: Estimate
    newly_cleared: Estimate
    """Shares of these images; intervals are for more such images."""
    shift: Shift | None
    sample: tuple[Changed, ...]
    measured: tuple[Measured, ...] = ()


class Load(BaseModel, frozen=True):
    """Reviews to be expected among `images` more images like these: a day's, or a thousand."""

    images: int
    is_daily: bool
    before: Estimate
    after: Estimate
    change: Estimate


class Faults(BaseModel, frozen=True):
    """Images that could not be read, on both sides or on one: they have an action and no scores."""

    both: int
    only_before: int
    only_after: int


class GoldenFacts(BaseModel, frozen=True):
    """The golden set that precision and recall are measured on."""

    golden: str
    digest: str
    split: str
    images: int
    """That both sides have scored."""
    missing: int
    """That a side has not, or could not read."""
    unasked: tuple[str, ...]
    """Labels of which it says nothing."""


class PolicyChange(BaseModel, frozen=True):
    """One policy of each release: what it decides now, against what it decided before."""

    before: str
    after: str
    images: int
    """Judged by both sides."""
    only_before: int
    only_after: int
    """Judged by one side, and in no other figure."""
    faults: Faults
    on_fault: tuple[Action, Action]
    moves: Moves
    newly_flagged: Estimate
    newly_cleared: Estimate
    blocks: tuple[Estimate, Estimate]
    load: Load
    labels: tuple[LabelChange, ...]
    golden: GoldenFacts | None = None


class Overrun(BaseModel, frozen=True):
    """One budget that is not kept."""

    policy: str
    budget: str
    label: str = ""
    allowed: float
    found: float | None
    """Null when it cannot be told whether it is kept, which counts as not kept."""
    said: str


class Half(BaseModel, frozen=True):
    """A side that has not judged all that was observed."""

    side: Literal["from", "to"]
    release: str
    policy: str
    judged: int
    observed: int
    finish: str
    """The command that judges the rest."""


class DiffFacts(RecordedFacts, frozen=True):
    """The whole comparison."""

    store: str
    source: str
    """Of the latest run."""
    written: str
    before: str
    after: str
    observed: int
    """Images that the store has looked at."""
    identical: bool
    """Release and policies are the same on both sides, so nothing can differ."""
    library: LibraryDiff
    policies: tuple[PolicyChange, ...]
    not_compared: tuple[str, ...]
    """Policies that only one of the releases judged under, and which."""
    half: tuple[Half, ...]
    """Sides that are not whole; the comparison is of what both have judged."""
    confidence: float
    overruns: tuple[Overrun, ...]
    html: str | None = None
    json_file: str | None = None

    def samples(self) -> Iterator[Changed]:
        """All sampled images."""
        yield from (one for change in self.policies for label in change.labels for one in label.sample)
