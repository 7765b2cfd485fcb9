"""What a release's policies decide by scores, and which scores are *clear*: far from every threshold.

Knows thresholds in log odds, where a label's error is much the same everywhere. Does not know how a score came about,
nor how far it may be off (`migration_agreement.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from assay.platform.policy import Policy
from assay.platform.promise import LabelPoints
from assay.platform.release import Release
from assay.platform.scoring import Scorer

LOG_ODDS_OF = (1e-9, 1 - 1e-7)
"""Scores beyond count as these."""

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ranks = npt.NDArray[np.uint8]


class ClearRule(BaseModel):
    """Which images are clear."""

    model_config = ConfigDict(frozen=True)

    multiple: float
    bands: dict[str, float]
    """By label, in log odds; only labels that a policy has a threshold for."""
    passes_only: bool
    """Whether an image that any policy flags is never clear."""


ALL_CLEAR = ClearRule(multiple=0.0, bands={}, passes_only=False)
"""Every image, however near a threshold."""


@dataclass(frozen=True)
class Decider:
    """A release's scores, and what some of its policies decide by them."""

    release: Release
    policies: tuple[Policy, ...]
    points: tuple[dict[str, LabelPoints], ...]

    @classmethod
    def of(cls, release: Release, policies: Sequence[str]) -> "Decider":
        """For policies of a release, by name.

        Raises:
            PolicyError: it has no such policy.
        """
        found = tuple(release.policy(name) for name in policies)
        points = release.operating_points()
        return cls(release, found, tuple(dict(points.of(one.name)) for one in found))

    @cached_property
    def scorer(self) -> Scorer:
        """The release's scorer."""
        return self.release.scorer()

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label that is scored."""
        return self.scorer.labels

    def actions(self, scores: Floats) -> Ranks:
        """The rank of each policy's action for images' scores[images, labels]: uint8[policies, images]."""
        ranks = [
            policy.decide(scores, self.labels, points).max(axis=1, initial=0)
            for policy, points in zip(self.policies, self.points, strict=True)
        ]
        return np.stack(ranks)

    @cached_property
    def edges(self) -> dict[str, Doubles]:
        """The thresholds of all policies, in log odds, of each label that has some."""
        both = [
            policy.thresholds(self.labels, points) for policy, points in zip(self.policies, self.points, strict=True)
        ]
        all_edges = np.stack([edges for pair in both for edges in pair])  # [2 * policies, labels]
        columns = [np.unique(column[np.isfinite(column)]) for column in all_edges.T]
        return {label: log_odds(column) for label, column in zip(self.labels, columns, strict=True) if len(column)}

    def is_clear(self, scores: Floats, rule: ClearRule) -> Bools:
        """Which images, by their scores[images, labels], are clear: bool[images]. A score that is no number is not."""
        clear = np.ones(len(scores), np.bool_)
        odds = log_odds(scores)
        for label, band in rule.bands.items():
            distance = np.abs(odds[:, self.labels.index(label), None] - self.edges[label]).min(axis=1)
            clear &= distance > band
        return clear & ~self.actions(scores).any(axis=0) if rule.passes_only else clear


def log_odds(scores: npt.NDArray[np.floating]) -> Doubles:
    """Log odds of scores in 0 to 1: there, a label's error is much the same everywhere."""
    inside = np.clip(scores.astype(np.float64), *LOG_ODDS_OF)
    found: Doubles = np.log(inside) - np.log1p(-inside)
    return found
