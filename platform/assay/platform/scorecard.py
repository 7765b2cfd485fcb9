"""The scorecard: measured quality of a release on a golden set, as it is written down.

Knows the fields and what each figure means. Does not know how figures are measured (`evaluation.py`).
"""

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, Field

from assay.platform.resampling import ResamplingSpec
from assay.platform.spec import Spec

FIGURES = {
    "average_precision": "mean precision over all recalls (step-wise, as scikit-learn's average_precision_score)",
    "roc_auc": "how often a positive image is scored above a negative one",
    "recall_at_precision": "the greatest recall of any threshold with at least this precision",
    "calibration_error": "mean distance of score and share of positives, over bins of equal weight",
    "precision": "of the images at or over the threshold, the share that is positive",
    "recall": "of the positive images, the share at or over the threshold",
    "false_positive_rate": "of the negative images, the share at or over the threshold",
    "flagged_share": "of all images, those of unknown truth included, the share at or over the threshold",
}
"""What each figure means. Names on a card have more to them: `recall_at_precision_0.9`, `review.recall`."""

LOWER_IS_BETTER = ("calibration_error", "false_positive_rate")
"""The other figures are better when higher; a flagged share is neither."""

ErrorRate = Literal["false_positive_rate", "false_negative_rate"]
ERROR_RATES: tuple[ErrorRate, ...] = get_args(ErrorRate)


def figure_kind(name: str) -> str:
    """The key in FIGURES of a figure as cards name it."""
    return "recall_at_precision" if name.startswith("recall_at_precision") else name.rpartition(".")[2]


Precision = Annotated[float, Field(gt=0, lt=1)]


class ScorecardSpec(Spec):
    """What is measured, and what is too little to measure."""

    resampling: ResamplingSpec = Field(ResamplingSpec(), description="how intervals are found")
    precisions: tuple[Precision, ...] = Field((0.90, 0.98), description="recall is told at these precisions")
    bins: int = Field(10, ge=2, le=100, description="bins of equal weight of the calibration error")
    least: int = Field(
        10,
        ge=1,
        description="images of each kind a figure needs; with 10 of 10, a share is at least 0.69 (95 % interval)",
    )
    gap: float = Field(0.05, gt=0, lt=1, description="a gap between slices over this, not by chance, is named")


class Estimate(BaseModel, frozen=True):
    """A figure with its interval, or why there is none. Values are shares of 1 (differences: -1 to 1)."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    lacks: str = ""

    @property
    def is_known(self) -> bool:
        """Whether there was enough data."""
        return not self.lacks


class Quality(BaseModel, frozen=True):
    """One label on some images: all of them (`slice` is ""), or those of one value of a slice."""

    slice: str
    value: str
    images: int  # all of them
    positives: int
    negatives: int  # the rest is unsure, or was not asked
    figures: dict[str, Estimate]


class LabelCard(BaseModel, frozen=True):
    """One label. An action that it never asks for has no threshold."""

    label: str
    thresholds: dict[str, float]
    overall: Quality
    slices: tuple[Quality, ...]


class Confusion(BaseModel, frozen=True):
    """Of the images that show `label` and not its sibling, the share that is flagged for the sibling."""

    label: str
    sibling: str
    action: str
    images: int
    share: Estimate


class Gap(BaseModel, frozen=True):
    """How much higher an error rate is for one value of a slice than for another.

    `named` if it is over `ScorecardSpec.gap` and its interval leaves out 0. Of hundreds of such intervals some do so by
    chance; `sure` gaps leave out 0 for all gaps of the card at once (Bonferroni, by z-score).
    """

    label: str
    action: str
    rate: ErrorRate
    slice: str
    value: str  # the one with the higher rate
    other: str
    rates: tuple[float, float]  # of value and other
    difference: Estimate
    named: bool
    sure: bool


class Subject(BaseModel, frozen=True):
    """What was measured, and on what."""

    release: str
    policy: str
    golden: str  # digest of the golden set
    missing: int = 0  # of its images, those that could not be scored
    unasked: tuple[str, ...] = ()  # labels of the release of which the golden set says nothing


class Scorecard(BaseModel, frozen=True):
    """Quality of one release under one policy on one golden set. It names no image, so it may be kept for ever."""

    assay_scorecard: Literal[1] = 1
    subject: Subject
    images: int
    population: float  # images that these stand for: the sum of weights
    spec: ScorecardSpec
    labels: tuple[LabelCard, ...]
    confusions: tuple[Confusion, ...]
    gaps: tuple[Gap, ...]  # every pair of values with enough data, widest first

    @property
    def named_gaps(self) -> tuple[Gap, ...]:
        """The gaps people must see."""
        return tuple(gap for gap in self.gaps if gap.named)
