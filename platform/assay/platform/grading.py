"""The scorecard of an evaluation: intervals around figures, confusion of siblings, and gaps between slices.

Knows how measured figures become a card. Does not measure (`evaluation.py`).
"""

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np

from assay.platform.evaluation import Evaluation, Figures, Lack, Place
from assay.platform.resampling import Spread, z_for_all
from assay.platform.scorecard import (
    ERROR_RATES,
    Confusion,
    ErrorRate,
    Estimate,
    Gap,
    LabelCard,
    Quality,
    Scorecard,
)


def grade(evaluation: Evaluation, release: str, policy: str, golden: str, missing: tuple[str, ...] = ()) -> Scorecard:
    """The scorecard; `golden` is the golden set's digest, `missing` what of it could not be scored."""
    confidence = evaluation.spec.resampling.confidence
    return Scorecard(
        release=release,
        policy=policy,
        golden=golden,
        images=len(evaluation.golden.images),
        population=float(evaluation.golden.weights.sum()),
        missing=missing,
        spec=evaluation.spec,
        labels=tuple(_label_card(evaluation, label) for label in evaluation.golden.labels),
        confusions=tuple(
            Confusion(label=label, sibling=sibling, action=action, images=images, share=estimate(share, confidence))
            for (label, sibling, action), (images, share) in evaluation.confusions.items()
        ),
        gaps=tuple(_gaps(evaluation)),
    )


def estimate(figure: Spread | Lack, confidence: float) -> Estimate:
    """A figure with its interval, or why there is none."""
    if isinstance(figure, Lack):
        return Estimate(lacks=figure.why)
    low, high = figure.limits(confidence)
    return Estimate(value=figure.value, low=low, high=high)


def _label_card(evaluation: Evaluation, label: str) -> LabelCard:
    golden = evaluation.golden
    column = golden.labels.index(label)
    overall, *slices = [_quality(evaluation, place) for place in evaluation.places if place.label == label]
    thresholds = {action: float(levels[column]) for action, levels in golden.thresholds.items()}
    set_ones = {action: level for action, level in thresholds.items() if level != float("inf")}
    return LabelCard(label=label, thresholds=set_ones, overall=overall, slices=tuple(slices))


def _quality(evaluation: Evaluation, place: Place) -> Quality:
    confidence = evaluation.spec.resampling.confidence
    images, positives, negatives = evaluation.counts[place]
    return Quality(
        slice=place.slice,
        value=place.value,
        images=images,
        positives=positives,
        negatives=negatives,
        figures={name: estimate(figure, confidence) for name, figure in evaluation.figures[place].items()},
    )


def _gaps(evaluation: Evaluation) -> list[Gap]:
    """Every pair of values of a slice with enough data for an error rate, per label and action, widest first."""
    pairs = [
        pair
        for here, there in combinations(evaluation.places, 2)
        if here.slice and (here.label, here.slice) == (there.label, there.slice)
        for action in evaluation.golden.thresholds
        for pair in _pairs(evaluation, here, there, action)
    ]
    z = z_for_all(evaluation.spec.resampling.confidence, len(pairs))
    return sorted((_gap(evaluation, pair, z) for pair in pairs), key=lambda gap: -(gap.difference.value or 0))


class _Pair(NamedTuple):
    """An error rate for two values of a slice, the higher one first."""

    action: str
    rate: ErrorRate
    high: Place
    low: Place
    rates: tuple[Spread, Spread]


def _pairs(evaluation: Evaluation, here: Place, there: Place, action: str) -> Iterator[_Pair]:
    for rate in ERROR_RATES:
        one, other = (_error_rate(evaluation.figures[place], action, rate) for place in (here, there))
        if one is not None and other is not None:
            turned = one.value < other.value
            places = (there, here) if turned else (here, there)
            yield _Pair(action, rate, *places, (other, one) if turned else (one, other))


def _error_rate(figures: Figures, action: str, rate: ErrorRate) -> Spread | None:
    """None when there is too little data or no threshold."""
    name = "recall" if rate == "false_negative_rate" else rate
    found = figures.get(f"{action}.{name}")
    if not isinstance(found, Spread):
        return None
    return found.complement() if name == "recall" else found


def _gap(evaluation: Evaluation, pair: _Pair, z: float) -> Gap:
    most, least = pair.rates
    spread = most.minus(least)
    difference = estimate(spread, evaluation.spec.resampling.confidence)
    is_named = spread.value > evaluation.spec.gap and (difference.low or 0) > 0
    return Gap(
        label=pair.high.label,
        action=pair.action,
        rate=pair.rate,
        slice=pair.high.slice,
        value=pair.high.value,
        other=pair.low.value,
        rates=(most.value, least.value),
        difference=difference,
        named=is_named,
        sure=is_named and spread.value > z * float(np.std(spread.low)),
    )
