"""Promises: what a threshold is to keep, the operating points that keep it, and those of a whole release.

Knows what may be promised and what stands behind an operating point. Does not know how one is found
(`operating_point.py`), nor what is done with a score above it (`policy.py`).
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from assay.platform.library import Slug
from assay.platform.measured_file import MeasuredFile

Share = Annotated[float, Field(gt=0, lt=1)]
Threshold = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
CHANGED = "the label's phrases, its encoder or its calibration have changed since"


class Target(BaseModel, frozen=True, extra="forbid"):
    """What a threshold is to promise of the population that a golden set stands for: one of three things."""

    precision: Share | None = None
    """Of the images flagged, at least this share has the label."""
    recall: Share | None = None
    """Of the images that have the label, at least this share is flagged."""
    reviews_per_day: Annotated[int, Field(gt=0)] | None = None
    """At most so many images are flagged of `images_per_day`."""
    images_per_day: Annotated[int, Field(gt=0)] | None = None
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    otherwise: Threshold = 0.5
    """What sends to review as long as the promise cannot be made."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(value is not None for value in (self.precision, self.recall, self.reviews_per_day)) != 1:
            raise ValueError("a target needs one of precision, recall and reviews_per_day")
        if (self.reviews_per_day is None) != (self.images_per_day is None):
            raise ValueError("reviews_per_day and images_per_day go together")
        return self

    @property
    def kind(self) -> Literal["precision", "recall", "reviews"]:
        """What is promised."""
        return "precision" if self.precision else "recall" if self.recall else "reviews"

    @property
    def bound(self) -> float:
        """The share promised: at least this of precision and recall, at most this of images for review."""
        if self.reviews_per_day and self.images_per_day:
            return self.reviews_per_day / self.images_per_day
        return self.precision or self.recall or 0.0

    def __str__(self) -> str:
        sure = f"at {self.confidence:.0%} confidence"
        if self.kind == "reviews":
            return f"at most {self.reviews_per_day:,} of {self.images_per_day:,} images a day {sure}"
        return f"{self.kind} at least {self.bound:.1%} {sure}"


class OperatingPoint(BaseModel, frozen=True, extra="forbid"):
    """A threshold and what stands behind it; `estimate` is the share promised as the golden set has it."""

    threshold: Threshold
    target: Target
    estimate: float
    bound: float
    """What is certain, with the target's confidence."""
    images: int
    positives: int
    flagged: int
    slices: tuple[str, ...] = ()
    """Slices, as name=value, in each of which the promise holds by itself."""
    golden: str
    bound_to: str
    """Digest of all that the label's score depends on, its calibration too."""

    def keeps(self, target: Target) -> bool:
        """Whether this is the promise asked for; what sends to review until then does not matter."""
        return self.target.model_copy(update={"otherwise": target.otherwise}) == target


class LabelPoints(BaseModel, frozen=True, extra="forbid"):
    """One label's operating points under one policy; `why_…` says why one that was asked for is not there."""

    review: OperatingPoint | None = None
    block: OperatingPoint | None = None
    why_no_review: str = ""
    why_no_block: str = ""

    def held(self, bound_to: str | None) -> "LabelPoints":
        """What of it still holds for a label bound so."""
        lost = [one for one in ("review", "block") if (at := getattr(self, one)) and at.bound_to != bound_to]
        return self.model_copy(update=dict.fromkeys(lost) | {f"why_no_{one}": CHANGED for one in lost})


class OperatingPoints(MeasuredFile, frozen=True):
    """The operating points of a release, by policy and label."""

    assay_operating_points: Literal[1] = 1
    policies: dict[Slug, dict[Slug, LabelPoints]] = Field(default_factory=dict)

    def of(self, policy: str) -> Mapping[str, LabelPoints]:
        """The operating points of one policy, by label."""
        return self.policies.get(policy, {})

    def strangers(self, bindings: Mapping[str, str]) -> list[str]:
        """Labels whose operating points were made for something else."""
        found = {
            label
            for labels in self.policies.values()
            for label, points in labels.items()
            if points.held(bindings.get(label)) != points
        }
        return sorted(found)

    def valid(self, bindings: Mapping[str, str]) -> "OperatingPoints":
        """What still holds for labels bound as given; the rest says that it was lost."""
        return OperatingPoints(
            policies={
                policy: {label: points.held(bindings.get(label)) for label, points in labels.items()}
                for policy, labels in self.policies.items()
            }
        )
