"""Calibration: a label's raw score to the probability that the label is present, learned from confirmed truth.

Knows how a curve is fitted, and how it is applied: strictly increasing, so that no two images change places. Does not
know thresholds (`operating_point.py`), nor where truth comes from (`golden.py`).

With much data the curve is isotonic regression, centred (Oron and Flournoy, 2017): pool adjacent violators, then
straight lines between the centres of the pools, so that it rises everywhere. With little it is Platt's (1999): a
logistic curve over the logit of the raw score, towards Platt's softened targets. With less, there is none: the label
stays uncalibrated, its score is the raw one, and it can send an image to review but never block it.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from assay.platform.label_binding import labels_below
from assay.platform.library import SemanticLibrary, Slug
from assay.platform.measured_file import MeasuredFile

ISOTONIC_FROM, PLATT_FROM = 200, 20
"""Images that have the label, and as many that have not, from which on each kind of curve is fitted."""
CHANGED = "its phrases or its encoder have changed since"
LEAST = 2.0**-30
"""Raw scores this near to 0 and 1 are moved here before their logit is taken."""

Doubles = npt.NDArray[np.float64]
Scores = npt.NDArray[np.float32]


class IsotonicCurve(BaseModel, frozen=True, extra="forbid"):
    """Straight lines between knots; both coordinates rise strictly from 0 to 1."""

    method: Literal["isotonic"] = "isotonic"
    raw: tuple[float, ...]
    score: tuple[float, ...]

    def __call__(self, raw: Doubles) -> Doubles:
        """Scores of raw scores."""
        return np.interp(raw, self.raw, self.score)


class PlattCurve(BaseModel, frozen=True, extra="forbid"):
    """sigmoid(slope * logit(raw) + offset)."""

    method: Literal["platt"] = "platt"
    slope: float = Field(gt=0)
    offset: float

    def __call__(self, raw: Doubles) -> Doubles:
        """Scores of raw scores."""
        found: Doubles = 1 / (1 + np.exp(-(self.slope * _logit(raw) + self.offset)))
        return found


class LabelCalibration(BaseModel, frozen=True, extra="forbid"):
    """One label's curve, what it was learned from, and what it is bound to."""

    curve: Annotated[IsotonicCurve | PlattCurve, Field(discriminator="method")]
    positives: int
    negatives: int
    golden: str
    """Digest of the golden set."""
    bound_to: str
    """As `label_binding.py` has it."""


class Calibration(MeasuredFile, frozen=True):
    """The curves of a release. `uncalibrated` says why a label has none."""

    assay_calibration: Literal[1] = 1
    labels: dict[Slug, LabelCalibration] = Field(default_factory=dict)
    uncalibrated: dict[Slug, str] = Field(default_factory=dict)

    def apply(self, raw: Scores, labels: Sequence[str]) -> Scores:
        """Scores[n, labels] of raw scores; those of labels without a curve stay."""
        found = raw.copy()
        for column, label in enumerate(labels):
            if label in self.labels:
                found[:, column] = self.labels[label].curve(raw[:, column].astype(np.float64))
        return found

    def valid(self, bindings: Mapping[str, str]) -> "Calibration":
        """What of it still holds for labels bound as given; why the rest does not is told in `uncalibrated`."""
        held = {label: one for label, one in self.labels.items() if bindings.get(label) == one.bound_to}
        lost = {label: CHANGED for label in self.labels if label in bindings and label not in held}
        told = {label: why for label, why in self.uncalibrated.items() if label in bindings}
        return Calibration(labels=held, uncalibrated=told | lost)

    def point_bindings(self, bindings: Mapping[str, str], library: SemanticLibrary) -> dict[str, str]:
        """What each label's scores depend on: raw scores as bound, and the curves of it and of the labels below it."""
        return {label: self._digest(bound, labels_below(library, label)) for label, bound in bindings.items()}

    def _digest(self, binding: str, labels: Collection[str]) -> str:
        curves = {label: self.labels[label].curve.model_dump(mode="json") for label in labels if label in self.labels}
        return hashlib.sha256(json.dumps([binding, curves], sort_keys=True).encode()).hexdigest()


def fit_curve(raw: Doubles, present: npt.NDArray[np.bool_], weights: Doubles) -> IsotonicCurve | PlattCurve | str:
    """The curve of a label from raw scores[n] of images with known truth, or why there is none."""
    positives, negatives = int(present.sum()), int((~present).sum())
    if min(positives, negatives) < PLATT_FROM:
        return f"{positives} images have it and {negatives} have not; {PLATT_FROM} of each are needed"
    if min(positives, negatives) < ISOTONIC_FROM:
        return _fit_platt(raw, present, weights)
    return _fit_isotonic(raw, present, weights)


def _fit_platt(raw: Doubles, present: npt.NDArray[np.bool_], weights: Doubles) -> PlattCurve | str:
    from scipy.optimize import minimize  # 0.3 s, for those who calibrate

    positive, negative = float(weights[present].sum()), float(weights[~present].sum())
    scale = len(weights) / (positive + negative)  # softened by the number of images, whatever they stand for
    target = np.where(present, 1 - 1 / (positive * scale + 2), 1 / (negative * scale + 2))
    logit = _logit(raw)

    def loss(line: Doubles) -> tuple[float, Doubles]:
        margin = line[0] * logit + line[1]
        residual = weights * (1 / (1 + np.exp(-margin)) - target)
        value = float((weights * (np.logaddexp(0, margin) - target * margin)).sum())
        return value, np.array([(residual * logit).sum(), residual.sum()])

    slope, offset = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B").x
    if slope <= 0:
        return "its scores do not rank: images without it score as high as those with it"
    return PlattCurve(slope=float(slope), offset=float(offset))


def _fit_isotonic(raw: Doubles, present: npt.NDArray[np.bool_], weights: Doubles) -> IsotonicCurve | str:
    from scipy.optimize import isotonic_regression

    places, at = np.unique(raw, return_inverse=True)
    weight = np.bincount(at, weights)
    share = np.bincount(at, weights * present) / weight
    fit = isotonic_regression(share, weights=weight)
    if len(fit.blocks) < 3:
        return "its scores do not rank: images without it score as high as those with it"
    first = fit.blocks[:-1]
    mass = np.add.reduceat(weight, first)
    centre = np.add.reduceat(weight * places, first) / mass
    height = np.add.reduceat(weight * share, first) / mass
    return _rising(centre, height, np.add.reduceat(np.bincount(at), first))


def _rising(centre: Doubles, height: Doubles, count: npt.NDArray[np.int64]) -> IsotonicCurve:
    """Knots from (0, 0) to (1, 1). A pool of images that all lack the label is not proof that none has it."""
    height = height.copy()
    height[0] = max(height[0], min(0.5 / (count[0] + 1), height[1] / 2))
    height[-1] = min(height[-1], max(1 - 0.5 / (count[-1] + 1), (1 + height[-2]) / 2))
    inside = (centre > 0) & (centre < 1)
    raw = (0.0, *map(float, centre[inside]), 1.0)
    return IsotonicCurve(raw=raw, score=(0.0, *map(float, height[inside]), 1.0))


def _logit(raw: Doubles) -> Doubles:
    held = np.clip(raw, LEAST, 1 - LEAST)
    found: Doubles = np.log(held) - np.log1p(-held)
    return found
