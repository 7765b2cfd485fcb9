"""How many images of each stratum are violating, learned from those that people looked at.

Knows strata as numbers of images, and that rates follow scores more or less. Does not know labels, nor what the counts
are used for (`prevalence.py`).

A hierarchical beta-binomial model. Stratum h has N_h images of mean score s_h; people saw n_h, and k_h were violating:

    k_h ~ Binomial(n_h, p_h),   p_h ~ Beta with mean m_h and about 1 / sqrt(v) of relative scatter
    m_h = f + (1 - f) expit(a + b logit(s_h)),   f: a blind share of all violating images, wherever they score

- a, b mend scores that are too high, too low, over- or underconfident; they are learned from the answers.
- v is how far a stratum may be off the curve; it is learned, too, so a curve that does not fit pulls at nothing.
- f: violating images that the scores are blind to, as many among the lowest as among the highest. Labels say little of
  them where they are rare; that they are at most some tenths of all is the one thing that is assumed (`BLIND`).

Given the four, rates are independent and known in closed form; the four are found by adaptive importance sampling from
a Student's t. Images that nobody saw are then drawn from the rates, so that a stratum seen in full is known exactly.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betaln, expit, logit

Doubles = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

SHIFT, SLOPE, LIKENESS, BLIND = (0.0, 3.0), (np.log(0.8), 0.7), (np.log(15.0), 1.0), (logit(0.06), 1.0)
"""Mean and standard deviation beforehand of a, of log b, of log v, and of the blind share in logits. Scores may be off
by a factor of exp(6) in odds, and rather overconfident than not; one stratum by a quarter of its rate (by 10 to 70 %);
of all violating images 6 % (1 to 32 %) are blind. Chosen by simulation: infra/docs/prevalence.md."""
MEANS, SPREADS = np.array([SHIFT, SLOPE, LIKENESS, BLIND]).T
LOOSE = 1.0
"""v of strata whose rates hardly lean on the curve."""
LEAST = 1e-12
SPREAD_DEGREES = 6
"""Of freedom, of the t-distribution that draws come from: wider than the posterior, so that no weight is great."""
ROUNDS, SCOUTS = 12, 500
"""Rounds at most, and draws in each, until draws come from where the posterior is."""
ENOUGH = 0.4
"""Of a round's draws: the effective number from which on the posterior counts as found."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Strata: images in each, mean scores, and how many were looked at and found violating. Each of [strata]."""

    images: Counts
    scores: Doubles
    looked_at: Counts
    violating: Counts
    loose: npt.NDArray[np.bool_]
    """Strata that enough people look at: the curve is learned from them, and their own rates hardly lean on it."""

    def __post_init__(self) -> None:
        if not ((self.violating <= self.looked_at) & (self.looked_at <= self.images) & (self.violating >= 0)).all():
            raise ValueError("more were found than looked at, or more looked at than there are")


@dataclass(frozen=True, slots=True)
class Posterior:
    """What the answers leave possible, each with the same weight."""

    rates: Doubles  # [draws, strata]
    violating: Counts  # [draws, strata]: images, seen and unseen
    effective: float
    """Draws of equal weight that say as much as the weighted ones did."""


def infer(seen: Seen, draws: int, generator: np.random.Generator) -> Posterior:
    """Draw from what the answers leave possible."""
    centre, root = _find(seen, generator)
    points, weights = _weighted(seen, centre, root, draws, generator)
    # Systematic resampling: less chance than drawing each by itself.
    places = np.searchsorted(np.cumsum(weights), (np.arange(draws) + generator.random()) / draws)
    alpha, beta = _shapes(points[np.minimum(places, draws - 1)], seen)
    rates = generator.beta(alpha + seen.violating, beta + seen.looked_at - seen.violating)
    unseen = generator.binomial(seen.images - seen.looked_at, rates)
    return Posterior(rates, seen.violating + unseen, _effective(weights))


def _find(seen: Seen, generator: np.random.Generator) -> tuple[Doubles, Doubles]:
    """Where the posterior of the four is: its mean, and a root of its covariance, somewhat widened."""
    centre, root = MEANS, np.diag(SPREADS)
    for _ in range(ROUNDS):
        points, weights = _weighted(seen, centre, root, SCOUTS, generator)
        effective = _effective(weights)
        if effective < 40:  # far off: what few draws say is taken for a direction, not for the whole
            weights = np.sqrt(weights)
            weights /= weights.sum()
        centre = weights @ points
        apart = points - centre
        root = np.linalg.cholesky(1.3 * apart.T @ (apart * weights[:, None]) + 1e-3 * np.eye(len(MEANS)))
        if effective > ENOUGH * SCOUTS:
            break
    return centre, root


def _weighted(
    seen: Seen, centre: Doubles, root: Doubles, count: int, generator: np.random.Generator
) -> tuple[Doubles, Doubles]:
    """Draws of the four, [count, 4], and their weights, which sum to 1."""
    scale = np.sqrt(generator.chisquare(SPREAD_DEGREES, (count, 1)) / SPREAD_DEGREES)
    steps = generator.standard_normal((count, len(MEANS))) / scale
    points = centre + steps @ root.T
    drawn_as = (SPREAD_DEGREES + len(MEANS)) / 2 * np.log1p((steps**2).sum(axis=1) / SPREAD_DEGREES)
    logs = _log_posterior(points, seen) + drawn_as
    weights = np.exp(logs - logs.max())
    return points, weights / weights.sum()


def _effective(weights: Doubles) -> float:
    return float(1 / (weights**2).sum())


def _log_posterior(points: Doubles, seen: Seen) -> Doubles:
    alpha, beta = _shapes(points, seen)
    said = betaln(alpha + seen.violating, beta + seen.looked_at - seen.violating) - betaln(alpha, beta)
    before = (((points - MEANS) / SPREADS) ** 2).sum(axis=1) / 2
    found: Doubles = said.sum(axis=1) - before
    return found


def _shapes(points: Doubles, seen: Seen) -> tuple[Doubles, Doubles]:
    """Alpha and beta of each stratum's rate, [points, strata].

    The smaller one of them is v: so the scatter is relative to the rate, or to its complement where that is smaller.
    With alpha + beta fixed instead, a low rate would have next to no chance but of being zero.
    """
    shift, slope, likeness, blind = (column[:, None] for column in points.T)
    visible = expit(shift + np.exp(slope) * logit(np.clip(seen.scores, LEAST, 1 - 1e-9)))
    share = expit(np.minimum(blind, 3.0))
    prevalence = visible @ (seen.images / seen.images.sum())
    floor = np.minimum(prevalence[:, None] * share / (1 - share), 0.5)
    mean = np.clip(floor + (1 - floor) * visible, LEAST, 1 - 1e-9)
    odds, scale = mean / (1 - mean), np.where(seen.loose, LOOSE, np.exp(likeness))
    return scale * np.maximum(1, odds), scale * np.maximum(1, 1 / odds)
