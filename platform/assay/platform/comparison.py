"""One release against another on the same golden set: differences, pair by pair on the same resamples.

Knows two evaluations. Says what is worse beyond a margin; does not say what to do about it.
"""

import numpy as np
from pydantic import BaseModel, Field

from assay.platform.evaluation import Evaluation, Place
from assay.platform.grading import estimate
from assay.platform.resampling import Spread, z_for_all
from assay.platform.scorecard import LOWER_IS_BETTER, Estimate, figure_kind
from assay.platform.spec import Spec


class ComparisonSpec(Spec):
    """How much worse a figure may be, as a share of 1."""

    average_precision: float = Field(0.02, ge=0, description="margin of average precision")
    roc_auc: float = Field(0.01, ge=0, description="margin of ROC-AUC")
    recall_at_precision: float = Field(0.05, ge=0, description="margin of recall at a precision")
    calibration_error: float = Field(0.02, ge=0, description="margin of calibration error")
    precision: float = Field(0.03, ge=0, description="margin of precision at a threshold")
    recall: float = Field(0.03, ge=0, description="margin of recall at a threshold")
    false_positive_rate: float = Field(0.01, ge=0, description="margin of the false positive rate at a threshold")

    def margin(self, figure: str) -> float | None:
        """The margin of a figure as cards name it; None for what is neither better nor worse."""
        margin: float | None = getattr(self, figure_kind(figure), None)
        return margin


class Difference(BaseModel, frozen=True):
    """A figure of a candidate against that of its reference; `change` is candidate minus reference."""

    label: str
    slice: str
    value: str
    figure: str
    candidate: float
    reference: float
    change: Estimate
    worse: bool


class Comparison(BaseModel, frozen=True):
    """Every figure that both releases have.

    `worse` ones are worse by more than their margin, and not by chance: the z-score of the change is over `z`, which
    holds for all of the figures at once (Bonferroni). Of hundreds of 95 % intervals, some leave out 0 by chance.
    """

    candidate: str
    reference: str
    spec: ComparisonSpec
    z: float
    differences: tuple[Difference, ...]
    only_candidate: tuple[str, ...]  # labels
    only_reference: tuple[str, ...]

    @property
    def worse(self) -> tuple[Difference, ...]:
        """What is worse beyond its margin."""
        return tuple(one for one in self.differences if one.worse)


def compare(candidate: Evaluation, reference: Evaluation, spec: ComparisonSpec, names: tuple[str, str]) -> Comparison:
    """Compare two evaluations of the same images with the same spec; `names` are those of the releases.

    Raises:
        ValueError: the images, or how they were resampled, differ.
    """
    if sorted(candidate.golden.images) != sorted(reference.golden.images) or candidate.spec != reference.spec:
        raise ValueError("not the same images, or not measured the same way")
    pairs = [
        (place, figure, _paired(mine, theirs))
        for place in candidate.places
        for figure, mine in candidate.figures[place].items()
        if isinstance(theirs := reference.figures.get(place, {}).get(figure), Spread) and isinstance(mine, Spread)
    ]
    judged = sum(spec.margin(figure) is not None for _, figure, _ in pairs)
    z = z_for_all(candidate.spec.resampling.confidence, judged)
    ours, others = set(candidate.golden.labels), set(reference.golden.labels)
    return Comparison(
        candidate=names[0],
        reference=names[1],
        spec=spec,
        z=z,
        differences=tuple(
            Difference(
                **place._asdict(),
                figure=figure,
                candidate=_value(candidate, place, figure),
                reference=_value(reference, place, figure),
                change=estimate(change, candidate.spec.resampling.confidence),
                worse=_is_worse(figure, change, spec.margin(figure), z),
            )
            for place, figure, change in pairs
        ),
        only_candidate=tuple(sorted(ours - others)),
        only_reference=tuple(sorted(others - ours)),
    )


def _paired(mine: Spread, theirs: Spread) -> Spread:
    """The change with the same draws on both sides: what both get wrong cancels, and nothing unseen is added."""
    change = mine.plain - theirs.plain
    return Spread(mine.value - theirs.value, change, change, change)


def _value(evaluation: Evaluation, place: Place, figure: str) -> float:
    found = evaluation.figures[place][figure]
    assert isinstance(found, Spread), "only figures that are known are compared"
    return found.value


def _is_worse(figure: str, change: Spread, margin: float | None, z: float) -> bool:
    loss = change.value if figure_kind(figure) in LOWER_IS_BETTER else -change.value
    return margin is not None and loss > margin and loss > z * float(np.std(change.plain))
