"""Which images people should look at, so that what was missed is known as narrowly as their number allows.

Knows one label's images by score: how many there are, and what the policy did with them. Does not know truth, images,
nor how rates are learned from the answers (`rate_curve.py`).

Images are parted by what was done with them (`Part`), and each part is cut by score into strata, so that within one
the rate of violating images varies little. A part's images to draw go
- by N sqrt(s (1 - s)), flattened: where the calibrated score says that truth is least certain (Neyman, J. R. Stat. Soc.
  97, 1934), for scores may be wrong by an order of magnitude, and what is missed lies where they are low;
- to all strata alike, so that none is blind;
- to all images alike.
A score guides the draw and nothing else: a wrong one makes intervals wider, it does not make them wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy.special import expit, ndtri

Doubles = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class Part(StrEnum):
    """What was done with an image, as seen from one label."""

    PASSED = "passed"
    """No rule of the policy flagged it."""
    FLAGGED = "flagged"
    """The label's own rule flagged it."""
    ELSEWHERE = "elsewhere"
    """Only other labels' rules flagged it."""


PIECES = {Part.PASSED: 12, Part.FLAGGED: 4, Part.ELSEWHERE: 2}
"""Strata of each part."""
BUDGET = {Part.PASSED: 0.80, Part.FLAGGED: 0.15, Part.ELSEWHERE: 0.05}
"""Of the images to draw; the share of a part without images goes to the others."""
EVERYWHERE, EQUAL, FLATTENED = 0.15, 0.20, 0.4
"""Of a part's images to draw: what is drawn from all alike, what strata get alike; the exponent of s (1 - s) for the
rest (Neyman's is 0.5). Chosen by simulation: infra/docs/prevalence.md."""


@dataclass(frozen=True, slots=True)
class Stratum:
    """Images of one part whose scores lie between two others' of the part."""

    part: Part
    start: int
    """Its first place in the order of scores; it ends where the next of its part begins."""
    images: int
    score: float
    """Their mean score."""


def stratify(counts: Mapping[Part, Counts], scores: Doubles) -> tuple[Stratum, ...]:
    """Cut each part's images, int64[places] by rising score, into strata; `scores` float64[places]. None is empty."""
    return tuple(one for part in Part if part in counts for one in _strata(part, counts[part], scores))


def _strata(part: Part, counts: Counts, scores: Doubles) -> list[Stratum]:
    held = np.flatnonzero(counts)
    if not len(held):
        return []
    images, score = counts[held].astype(np.float64), scores[held]
    spread = images * np.sqrt(score * (1 - score))
    mass = 0.7 * _shared(spread) + 0.3 * _shared(np.sqrt(spread * images))
    pieces = np.minimum(((np.cumsum(mass) - mass / 2) * PIECES[part]).astype(np.int64), PIECES[part] - 1)
    _, first = np.unique(pieces, return_index=True)
    sizes, sums = np.add.reduceat(images, first), np.add.reduceat(images * score, first)
    starts = held[first]
    starts[0] = 0  # an image of a score nobody had at the draw has a stratum, too
    found = zip(starts.tolist(), sizes.tolist(), (sums / sizes).tolist(), strict=True)
    return [Stratum(part, start, int(size), mean) for start, size, mean in found]


def _shared(weights: Doubles) -> Doubles:
    total = weights.sum()
    return weights / total if total > 0 else np.full(len(weights), 1 / len(weights))


def allocate(strata: tuple[Stratum, ...], size: int) -> Doubles:
    """How many images of each stratum to draw, so that they are `size` together (or all there are), float64[strata]."""
    images = np.array([one.images for one in strata], np.float64)
    wanted = np.zeros(len(strata))
    for part, budget in BUDGET.items():
        mine = np.array([one.part is part for one in strata])
        if mine.any():
            wanted[mine] = budget * _within(images[mine], np.array([one.score for one in strata])[mine])
    return _filled(images, wanted, size)


def _within(images: Doubles, score: Doubles) -> Doubles:
    guided = _shared(images * (score * (1 - score)) ** FLATTENED)
    return EVERYWHERE * _shared(images) + EQUAL / len(images) + (1 - EVERYWHERE - EQUAL) * guided


def _filled(images: Doubles, wanted: Doubles, size: int) -> Doubles:
    """Shares of `size` by `wanted`; what a stratum cannot give is asked of the others."""
    found, full = np.zeros(len(images)), np.zeros(len(images), np.bool_)
    while not full.all():
        left = max(0.0, size - images[full].sum())
        found = np.where(full, images, left * wanted / wanted[~full].sum())
        over = ~full & (found >= images)
        if not over.any():
            return found
        full |= over
    return images


def scores_by_rank(counts: Counts) -> Doubles:
    """Stand-ins for scores that are no probabilities, float64[places] by rising score: only their order is used.

    A score's middle rank among all images as a normal deviate z, as exp(2 z - 7) in odds: the image in the middle has
    odds of 1 : 1,100, one in the highest thousandth 1 : 2.
    """
    total = max(1, int(counts.sum()))
    rank = (np.cumsum(counts) - counts / 2) / total
    found: Doubles = expit(2 * ndtri(np.clip(rank, 0.25 / total, 1 - 0.25 / total)) - 7)
    return found
