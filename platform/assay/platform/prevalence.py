"""How much violating content there is, and how much of it was left unflagged, from a score-stratified sample.

Knows one label's strata and answers. Does not know images, stores or reviewers; how rates are learned is in
`rate_curve.py`.

Two intervals are given. The first takes scores for a guide that may be wrong (`rate_curve.py`). The second,
`unassisted`, takes nothing for granted but the draw: the gamma interval for weighted sums of counts (Fay and Feuer,
Statistics in Medicine 16, 1997), made for rare events; with few positives it is wide, often wider than a plain one.
infra/docs/prevalence.md compares them by simulation.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field
from scipy.stats import gamma

from assay.platform.rate_curve import Posterior, Seen, infer
from assay.platform.spec import Spec
from assay.platform.stratification import Part

Doubles = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

STEP = 1.5
"""Each number of labels tried for half the interval is so many times the one before."""
MOST_STEPS = 14
"""Up to 290 times as many labels as there are."""
IMAGINED, IMAGINED_DRAWS = 16, 600
"""Further answers imagined for each number of labels, and draws that each is judged by."""


class PrevalenceSpec(Spec):
    """How intervals are found."""

    confidence: float = Field(0.95, gt=0.5, lt=1, description="of each interval, two-sided")
    draws: int = Field(4000, ge=500, le=100_000, description="draws from what the answers leave possible")
    seed: int = Field(0, ge=0, description="the same seed, the same intervals")


@dataclass(frozen=True, slots=True)
class Answers:
    """One label's strata, and what people said of those drawn. Each of [strata]."""

    parts: tuple[Part, ...]
    images: Counts
    scores: Doubles
    drawn: Counts
    """Images asked about that are still there."""
    present: Counts
    absent: Counts
    unsure: Counts

    def seen(self) -> Seen:
        """Strata and clear answers. Images without one are taken to be like the others of their stratum."""
        return Seen(self.images, self.scores, self.present + self.absent, self.present, self.are(Part.FLAGGED))

    def are(self, *parts: Part) -> npt.NDArray[np.bool_]:
        """Which strata are of these parts."""
        return np.array([part in parts for part in self.parts], np.bool_)

    def with_all_unsure_present(self) -> "Answers":
        """The same, had every unsure image been violating."""
        return replace(self, present=self.present + self.unsure, unsure=np.zeros_like(self.unsure))


class Figure(BaseModel, frozen=True):
    """A figure and its interval."""

    estimate: float
    low: float
    high: float

    @property
    def width(self) -> float:
        """Of the interval."""
        return self.high - self.low

    def share_of(self, whole: int) -> "Figure":
        """The figure as a share of so many."""
        of = max(1, whole)
        return Figure(estimate=self.estimate / of, low=self.low / of, high=self.high / of)


class LabelPrevalence(BaseModel, frozen=True):
    """What is known of one label."""

    images: int
    """Images that the figures are about."""
    passed: int
    """Of them, those that no rule flagged."""
    flagged: int
    """Of them, those that the label's own rule flagged."""
    answers: int
    """Images that people called present or absent."""
    present: int
    unsure: int
    unanswered: int
    left: Figure
    """Violating images that no rule flagged."""
    left_share: Figure
    """The same as a share of `images`."""
    total: Figure
    """Violating images in all."""
    prevalence: Figure
    """The same as a share of `images`."""
    recall: Figure | None
    """Of violating images, if there are any, the share that some rule flagged; None where surely none are."""
    precision: Figure | None
    """Of images that the label's own rule flagged, the share that is violating; None where it flagged none."""
    left_unassisted: Figure
    """Violating images that no rule flagged, whatever scores say."""
    left_if_unsure_violate: Figure | None
    """`left`, had all unsure images been violating; None where nobody was unsure."""
    more_answers_to_halve: int | None = None
    """How many more answers, drawn alike, would make the interval of `left` half as wide; None: not asked for, or it
    has no width."""


def measure(answers: Answers, spec: PrevalenceSpec, *, halving: bool = True) -> LabelPrevalence:
    """What the answers say of a label; without `halving`, not how many more would halve the interval."""
    posterior = infer(answers.seen(), spec.draws, np.random.default_rng(spec.seed))
    tails = _tails(spec.confidence)
    passed, flagged = answers.are(Part.PASSED), answers.are(Part.FLAGGED)
    of = posterior.violating
    total, left, hits = of.sum(axis=1), of[:, passed].sum(axis=1), of[:, flagged].sum(axis=1)
    images, num_flagged = int(answers.images.sum()), int(answers.images[flagged].sum())
    some = total > 0
    figures = {"left": _figure(left, tails), "total": _figure(total, tails)}
    return LabelPrevalence(
        images=images,
        passed=int(answers.images[passed].sum()),
        flagged=num_flagged,
        answers=int((answers.present + answers.absent).sum()),
        present=int(answers.present.sum()),
        unsure=int(answers.unsure.sum()),
        unanswered=int((answers.drawn - answers.present - answers.absent - answers.unsure).sum()),
        left_share=figures["left"].share_of(images),
        prevalence=figures["total"].share_of(images),
        recall=_figure(1 - left[some] / total[some], tails) if some.any() else None,
        precision=_figure(hits / num_flagged, tails) if num_flagged else None,
        left_unassisted=unassisted(answers, passed, spec.confidence),
        left_if_unsure_violate=_left_if_unsure_violate(answers, passed, spec),
        more_answers_to_halve=more_to_halve(answers, posterior, spec) if halving else None,
        **figures,
    )


def _tails(confidence: float) -> tuple[float, float, float]:
    return (1 - confidence) / 2, 0.5, (1 + confidence) / 2


def _figure(drawn: Doubles | Counts, tails: tuple[float, float, float]) -> Figure:
    low, middle, high = np.quantile(drawn, tails).tolist()
    return Figure(estimate=middle, low=low, high=high)


def _left_if_unsure_violate(answers: Answers, passed: npt.NDArray[np.bool_], spec: PrevalenceSpec) -> Figure | None:
    if not answers.unsure.any():
        return None
    worst = infer(answers.with_all_unsure_present().seen(), spec.draws, np.random.default_rng(spec.seed))
    return _figure(worst.violating[:, passed].sum(axis=1), _tails(spec.confidence))


def unassisted(answers: Answers, among: npt.NDArray[np.bool_], confidence: float) -> Figure:
    """Violating images of some strata, from the draw alone. Images of strata without an answer may all be violating."""
    images, present = answers.images[among].astype(np.float64), answers.present[among].astype(np.float64)
    size = (answers.present + answers.absent)[among].astype(np.float64)
    known = size > 0
    blind = float(images[~known].sum())
    weight = images[known] / size[known]
    unseen = 1 - size[known] / images[known]  # the finite population correction
    found, variance = float((weight * present[known]).sum()), float((weight**2 * unseen * present[known]).sum())
    heaviest = float((weight * np.sqrt(unseen)).max(initial=0.0))
    tail = (1 - confidence) / 2
    low = _gamma(tail, found, variance)
    high = _gamma(1 - tail, found + heaviest, variance + heaviest**2)
    held = min(float(images.sum()), high + blind)
    return Figure(estimate=found, low=max(low, float(present.sum())), high=max(held, found))


def _gamma(part: float, mean: float, variance: float) -> float:
    return float(gamma.ppf(part, mean**2 / variance, scale=variance / mean)) if variance > 0 else mean


def more_to_halve(answers: Answers, posterior: Posterior, spec: PrevalenceSpec) -> int | None:
    """How many more answers, drawn alike, would make the interval of `left` half as wide.

    Further answers are imagined: rates are drawn from what is possible, answers from the rates, and the interval is
    found anew. The number is where the mean width crosses a half. None if the interval has no width.
    """
    imagine = _Imagined(answers.seen(), posterior, answers.are(Part.PASSED), spec)
    half = _figure(posterior.violating[:, imagine.among].sum(axis=1), imagine.tails).width / 2
    if half <= 0:
        return None
    times, width = 1.0, 2 * half
    for _ in range(MOST_STEPS):
        further = imagine.width(times * STEP)
        if further <= half:
            part = math.log(width / half) / math.log(width / max(further, 1e-3 * half))
            return imagine.more(times * STEP**part)
        times, width = times * STEP, further
    return imagine.more(math.inf)


@dataclass(frozen=True, slots=True)
class _Imagined:
    """What further answers might say. Strata that nobody has looked at stay so."""

    seen: Seen
    posterior: Posterior
    among: npt.NDArray[np.bool_]
    spec: PrevalenceSpec

    @property
    def tails(self) -> tuple[float, float, float]:
        return _tails(self.spec.confidence)

    def sizes(self, times: float) -> Counts:
        """Images looked at once there are `times` as many answers: all of a stratum, at most."""
        full = np.where(self.seen.looked_at > 0, self.seen.images, 0)
        found: Counts = np.minimum(full, np.ceil(self.seen.looked_at * min(times, 1e12))).astype(np.int64)
        return found

    def more(self, times: float) -> int:
        return int((self.sizes(times) - self.seen.looked_at).sum())

    def width(self, times: float) -> float:
        """The mean width of the interval with `times` as many answers."""
        generator = np.random.default_rng([self.spec.seed, 1])
        chosen = generator.choice(len(self.posterior.rates), IMAGINED)
        return float(np.mean([self._width(self.posterior.rates[one], times, generator) for one in chosen.tolist()]))

    def _width(self, rates: Doubles, times: float, generator: np.random.Generator) -> float:
        sizes = self.sizes(times)
        violating = self.seen.violating + generator.binomial(sizes - self.seen.looked_at, rates)
        found = infer(replace(self.seen, looked_at=sizes, violating=violating), IMAGINED_DRAWS, generator)
        return _figure(found.violating[:, self.among].sum(axis=1), self.tails).width
