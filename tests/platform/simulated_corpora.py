"""Corpora with known truth for tests of prevalence: images by score, violating or not, and what a sample of them says.

Scores are counted in `PLACES`, which is exact for scores so rounded; no image is an object, so a million cost a
millisecond.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit, ndtri
from scipy.stats import gumbel_l, norm

from assay.platform.confidence import lower_bound, upper_bound
from assay.platform.prevalence import Answers
from assay.platform.stratification import Part, allocate, scores_by_rank, stratify

Counts = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Shape = Literal["normal", "heavy", "skewed"]

PLACES = 600
IMAGES = 1_000_000
MOST_FLAGGED = 0.05
"""Of all images; no threshold is so low that it flags more."""


@dataclass(frozen=True)
class World:
    """How one corpus is made: what varies between corpora."""

    prevalence: float
    auc: float
    labels: int
    """Images that people look at."""
    confidence: float = 1.0
    """Logits of scores are so many times the true ones: above 1 is overconfident."""
    shift: float = 0.0
    """What is added to logits of scores."""
    recall: float = 0.6
    """Of violating images, those over the threshold."""
    blind: float = 0.0
    """Of violating images, those that score as all others do."""
    cluster: float = 0.0
    """Of violating images, those that have one low score."""
    shape: Shape = "normal"
    """Of the scores of violating images."""
    ranked: bool = False
    """Scores are no probabilities: only their order is used."""
    images: int = IMAGES


def draw_world(generator: np.random.Generator) -> World:
    """One of all."""
    return World(
        prevalence=10 ** generator.uniform(-4, -2),
        auc=generator.uniform(0.7, 0.99),
        labels=int(generator.choice([300, 1000, 3000])),
        confidence=float(generator.choice([0.5, 1, 2])),
        shift=float(generator.choice([0, 1]) * generator.normal(0, 1.5)),
        recall=generator.uniform(0.3, 0.9),
        blind=float(generator.choice([0, 0.1])),
        shape=generator.choice(["normal", "heavy", "skewed"]),
    )


@dataclass(frozen=True)
class Corpus:
    """Images by place of score: int64[PLACES] each."""

    violating: Counts
    others: Counts
    scores: Doubles
    flagged: npt.NDArray[np.bool_]

    @property
    def images(self) -> int:
        return int((self.violating + self.others).sum())

    @property
    def left(self) -> int:
        """Violating images that were not flagged."""
        return int(self.violating[~self.flagged].sum())

    @property
    def total(self) -> int:
        return int(self.violating.sum())

    @property
    def recall(self) -> float:
        return 1 - self.left / max(1, self.total)

    @property
    def precision(self) -> float:
        return float(self.violating[self.flagged].sum() / max(1, (self.violating + self.others)[self.flagged].sum()))


def make_corpus(world: World, generator: np.random.Generator) -> Corpus:
    distance = float(np.sqrt(2) * ndtri(world.auc))
    edges = np.linspace(-6, 6 + distance, PLACES + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    everyone = _parts(norm.cdf(edges))
    seen = _parts(_cdf(edges - distance, world.shape))
    group = _parts(norm.cdf(edges, generator.uniform(-2, 1), 0.05))
    among = (1 - world.blind - world.cluster) * seen + world.blind * everyone + world.cluster * group
    count = generator.binomial(world.images, world.prevalence)
    violating = generator.multinomial(count, among)
    others = generator.multinomial(world.images - count, everyone)
    true = distance * middle - distance**2 / 2 + logit(world.prevalence)
    scores = np.clip(expit(world.confidence * true + world.shift), 1e-9, 1 - 1e-6)
    flagged = np.cumsum(among[::-1])[::-1] <= world.recall
    flagged &= np.cumsum(everyone[::-1])[::-1] <= MOST_FLAGGED
    return Corpus(violating, others, scores_by_rank(violating + others) if world.ranked else scores, flagged)


def _cdf(at: Doubles, shape: Shape) -> Doubles:
    if shape == "heavy":
        return np.asarray((norm.cdf(at / 0.7) + norm.cdf(at / 1.5)) / 2)
    return np.asarray(gumbel_l.cdf(at, 0.45, 0.78) if shape == "skewed" else norm.cdf(at))


def _parts(cumulated: Doubles) -> Doubles:
    parts = np.diff(cumulated)
    return np.asarray(parts / parts.sum())


@dataclass(frozen=True)
class Sampled:
    """A stratified sample's answers, and each stratum's violating images."""

    answers: Answers
    violating: Counts

    def with_more(self, more: int, generator: np.random.Generator) -> "Sampled":
        """So many more answers, drawn alike."""
        now = self.answers.present + self.answers.absent
        sizes = np.minimum(self.answers.images, np.ceil(now * (1 + more / now.sum()))).astype(np.int64)
        unseen = self.violating - self.answers.present
        found = generator.hypergeometric(unseen, self.answers.images - now - unseen, sizes - now)
        present = self.answers.present + found
        return replace(self, answers=replace(self.answers, drawn=sizes, present=present, absent=sizes - present))


def sample(corpus: Corpus, size: int, generator: np.random.Generator) -> Sampled:
    """What people say of a score-stratified sample."""
    counts = corpus.violating + corpus.others
    parts = {Part.PASSED: counts * ~corpus.flagged, Part.FLAGGED: counts * corpus.flagged}
    strata = stratify(parts, corpus.scores)
    images = np.array([one.images for one in strata])
    violating = np.zeros(len(strata), np.int64)
    for part in parts:
        mine = [place for place, one in enumerate(strata) if one.part is part]
        if mine:
            here = corpus.violating * (corpus.flagged if part is Part.FLAGGED else ~corpus.flagged)
            violating[mine] = np.add.reduceat(here, [strata[place].start for place in mine])
    drawn = np.maximum(1, np.floor(allocate(strata, size))).astype(np.int64)
    present = generator.hypergeometric(violating, images - violating, drawn)
    answers = Answers(
        parts=tuple(one.part for one in strata),
        images=images,
        scores=np.array([one.score for one in strata]),
        drawn=drawn,
        present=present,
        absent=drawn - present,
        unsure=np.zeros_like(drawn),
    )
    return Sampled(answers, violating)


def uniform_width(corpus: Corpus, of: int, size: int, generator: np.random.Generator) -> float:
    """Of the exact interval (Clopper and Pearson) for `of` images, from a plain sample of so many."""
    hits = generator.hypergeometric(of, corpus.images - of, size)
    share, looked_at = np.array([hits / size]), np.array([float(size)])
    width = upper_bound(share, looked_at, 0.975) - lower_bound(share, looked_at, 0.975)
    return float(width[0]) * corpus.images
