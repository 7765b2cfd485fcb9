"""Measuring a release on a golden set: from scores and truth to figures, each with what resampling makes of it.

Knows plain arrays. Knows no file, no release, no policy; thresholds come as numbers. A scorecard is made of what is
measured here (`grading.py`), and two releases are compared by it (`comparison.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from assay.platform.metrics import Ranking, Reliability
from assay.platform.resampling import Mask, Sample, Spread, draw_weights
from assay.platform.scorecard import ScorecardSpec

Scores = npt.NDArray[np.float32]
Truth = npt.NDArray[np.int8]


@dataclass(frozen=True)
class ScoredGolden:
    """Images that were scored by a release and judged by people, row for row.

    `siblings` are pairs of labels that should not be taken for one another.
    """

    images: Sequence[str]  # [n] unique names
    labels: tuple[str, ...]
    scores: Scores  # [n, labels]
    truth: Truth  # [n, labels]: 1 present, 0 absent, -1 not known
    weights: npt.NDArray[np.float64]  # [n], over 0: images of the population that each stands for
    thresholds: Mapping[str, Scores]  # action -> [labels]; inf: never
    slices: Mapping[str, npt.NDArray[np.str_]] = field(default_factory=dict)  # name -> [n]; "" where not said
    siblings: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        shape = (len(self.images), len(self.labels))
        lengths = {len(self.images), len(self.weights), *(len(values) for values in self.slices.values())}
        if self.scores.shape != shape or self.truth.shape != shape or len(lengths) > 1:
            raise ValueError(f"scores {self.scores.shape}, truth {self.truth.shape}, rows {sorted(lengths)}")
        if not np.isfinite(self.scores).all():
            raise ValueError("a score is not a number")
        if not (np.isfinite(self.weights) & (self.weights > 0)).all():
            raise ValueError("a weight is not a number over 0")
        if not np.isin(self.truth, (-1, 0, 1)).all():
            raise ValueError("truth is 1, 0 or -1")

    def part(self, mask: Mask) -> "ScoredGolden":
        """Some of the rows."""
        return ScoredGolden(
            images=[image for image, kept in zip(self.images, mask, strict=True) if kept],
            labels=self.labels,
            scores=self.scores[mask],
            truth=self.truth[mask],
            weights=self.weights[mask],
            thresholds=self.thresholds,
            slices={name: values[mask] for name, values in self.slices.items()},
            siblings=self.siblings,
        )

    def groups(self) -> Iterator[tuple[str, str, Mask]]:
        """Every set of images that is measured on its own: all of them, and those of each value of each slice."""
        yield "", "", np.ones(len(self.images), np.bool_)
        for name, values in sorted(self.slices.items()):
            for value in np.unique(values[values != ""]):
                yield name, str(value), values == value


class Place(NamedTuple):
    """What a figure is of. `slice` and `value` are "" for all images."""

    label: str
    slice: str
    value: str


@dataclass(frozen=True, slots=True)
class Lack:
    """Why a figure is not told."""

    why: str


Figures = dict[str, Spread | Lack]


@dataclass(frozen=True)
class Evaluation:
    """Everything measured of one release: figures by place, and sibling confusion by (label, sibling, action)."""

    golden: ScoredGolden
    spec: ScorecardSpec
    counts: dict[Place, tuple[int, int, int]]  # images, positives, negatives
    figures: dict[Place, Figures]
    confusions: dict[tuple[str, str, str], tuple[int, Spread | Lack]]

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """Where was measured, label by label, all images first."""
        return tuple(self.figures)


def evaluate(golden: ScoredGolden, spec: ScorecardSpec) -> Evaluation:
    """Measure every label on all images and on each slice.

    Raises:
        ValueError: two rows are of one image.
    """
    draws = draw_weights(golden.images, spec.resampling)
    everything = Sample.of(golden.weights, draws)
    counts: dict[Place, tuple[int, int, int]] = {}
    figures: dict[Place, Figures] = {}
    for name, value, mask in golden.groups():
        sample = everything.part(mask)
        for column, label in enumerate(golden.labels):
            place, truth = Place(label, name, value), golden.truth[mask, column]
            counts[place] = len(truth), int((truth == 1).sum()), int((truth == 0).sum())
            thresholds = {action: float(levels[column]) for action, levels in golden.thresholds.items()}
            measured = _Measured(golden.scores[mask, column], truth, sample, spec)
            figures[place] = measured.ranking() | measured.calibration() | measured.decisions(thresholds)
    return Evaluation(golden, spec, counts, figures, _confusions(golden, everything, spec.least))


@dataclass(frozen=True, slots=True)
class _Measured:
    """One label on one set of images."""

    scores: Scores  # [n]
    truth: Truth  # [n]
    sample: Sample
    spec: ScorecardSpec

    def ranking(self) -> Figures:
        """Figures that need no threshold."""
        names = ["average_precision", "roc_auc", *(f"recall_at_precision_{p:g}" for p in self.spec.precisions)]
        # A precision of 0.98 needs 50 images: one in fewer is already more than 2 %.
        needs = [1, 1, *(round(1 / (1 - precision)) for precision in self.spec.precisions)]
        lacks = [self._lack(positives=max(self.spec.least, need), negatives=self.spec.least) for need in needs]
        if all(lacks):
            return dict(zip(names, (lack for lack in lacks if lack), strict=True))
        spreads = self._rank_spreads()
        return {name: lack or spread for name, lack, spread in zip(names, lacks, spreads, strict=True)}

    def _rank_spreads(self) -> list[Spread]:
        known = self.truth >= 0
        scores, positive, sample = self.scores[known], self.truth[known] == 1, self.sample.part(known)
        plain = Ranking(scores, positive)
        [*values] = plain.figures(sample.weights[None], self.spec.precisions)[:, 0]
        draws = plain.figures(sample.resampled, self.spec.precisions)
        low, high = (self._with_unseen(scores, positive, sample, sign) for sign in (1, -1))
        return [Spread(float(value), *three) for value, *three in zip(values, draws, low, high, strict=True)]

    def _with_unseen(self, scores: Scores, positive: Mask, sample: Sample, sign: int) -> npt.NDArray[np.float64]:
        """Resampled figures with two images nobody saw in the worst places (`sign` 1), or in the best (-1)."""
        top = sample.heaviest(scores >= scores[positive].max())
        edge = np.array([np.inf, -np.inf], np.float32) * -sign
        wide = Ranking(np.append(scores, edge), np.append(positive, [True, False]))
        heavy = np.array([sample.weights.max(), top][::sign], np.float32)
        weights = np.concatenate([sample.resampled, sample.unseen * heavy], axis=1)
        return wide.figures(weights, self.spec.precisions)

    def calibration(self) -> Figures:
        """How far scores are from probabilities.

        Noise in a bin adds to the error and never takes from it. So the lower limit is less by all noise of all bins
        (the triangle inequality), the upper limit has it twice; and both have an unseen image, wholly misjudged.
        """
        bins = self.spec.bins
        lack = self._lack(positives=self.spec.least, negatives=self.spec.least, known=self.spec.least * bins)
        if lack:
            return {"calibration_error": lack}
        known = self.truth >= 0
        sample = self.sample.part(known)
        reliability = Reliability(self.scores[known], self.truth[known] == 1, sample.weights, bins)
        seen, resampled = reliability.excess(sample.weights[None]), reliability.excess(sample.resampled)
        value, draws = float(np.abs(seen).sum()), np.abs(resampled).sum(axis=1)
        noise = np.abs(resampled - seen).sum(axis=1)
        low, high = (sample.unseen * (sample.weights.max() / sample.weights.sum())).astype(np.float64).T
        return {"calibration_error": Spread(value, draws, np.maximum(value - noise - low, 0), draws + high)}

    def decisions(self, thresholds: Mapping[str, float]) -> Figures:
        """Figures of each action's threshold; an action never asked for has none."""
        found: Figures = {}
        for action, threshold in thresholds.items():
            if np.isfinite(threshold):
                # Compared as the policy compares: in float32, at the threshold is over it.
                flagged = self.scores >= np.float32(threshold)
                found |= {f"{action}.{name}": figure for name, figure in self._decision(flagged).items()}
        return found

    def _decision(self, flagged: Mask) -> Figures:
        present, absent = self.truth == 1, self.truth == 0
        share, passed = self.sample.share, ~flagged
        least = self.spec.least
        lacks = {
            "precision": _lack(least, "flagged images of known truth", flagged & (present | absent)),
            "recall": _lack(least, "positive images", present),
            "false_positive_rate": _lack(least, "negative images", absent),
            "flagged_share": _lack(least, "images", flagged | passed),
        }
        shares = {
            "precision": (flagged & present, flagged & absent, flagged, flagged),
            "recall": (flagged & present, passed & present, flagged, passed),
            "false_positive_rate": (flagged & absent, passed & absent, flagged, passed),
            "flagged_share": (flagged, passed, flagged, passed),
        }
        return {name: lacks[name] or share(*masks) for name, masks in shares.items()}

    def _lack(self, positives: int, negatives: int, known: int = 0) -> Lack | None:
        return (
            _lack(positives, "positive images", self.truth == 1)
            or _lack(negatives, "negative images", self.truth == 0)
            or _lack(known, "images of known truth", self.truth >= 0)
        )


def _lack(needed: int, kind: str, mask: Mask) -> Lack | None:
    count = int(mask.sum())
    return None if count >= needed else Lack(f"{count or 'no'} {kind}, {needed} needed")


def _confusions(
    golden: ScoredGolden, sample: Sample, least: int
) -> dict[tuple[str, str, str], tuple[int, Spread | Lack]]:
    """For each ordered pair of siblings: on images of the one and not the other, how often the other is flagged."""
    column = {label: place for place, label in enumerate(golden.labels)}
    both_ways = {*golden.siblings, *((there, here) for here, there in golden.siblings)}
    found: dict[tuple[str, str, str], tuple[int, Spread | Lack]] = {}
    for label, sibling in sorted(both_ways):
        asked = (golden.truth[:, column[label]] == 1) & (golden.truth[:, column[sibling]] == 0)
        lack = _lack(least, "images of the one and not the other", asked)
        for action, thresholds in golden.thresholds.items():
            threshold = thresholds[column[sibling]]
            if np.isfinite(threshold):
                flagged = golden.scores[:, column[sibling]] >= threshold
                share = lack or sample.share(asked & flagged, asked & ~flagged, asked & flagged, asked & ~flagged)
                found[label, sibling, action] = int(asked.sum()), share
    return found
