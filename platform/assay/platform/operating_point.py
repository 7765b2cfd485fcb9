"""Operating points: thresholds that keep a promise, chosen from confirmed truth.

Knows how a threshold is found that keeps a promise with the confidence asked for, and when there is too little data to
promise anything. Does not know policies, nor how scores are made.

A threshold is chosen among many, so a bound that holds for each by itself would not hold for the chosen one. They are
tried in a fixed order, from the one that keeps the promise most easily, and the first that cannot be shown to keep it
ends the search (fixed-sequence testing; Angelopoulos, Bates, Candes et al., Learn then Test, 2021): the chance that the
promise is broken is then at most 1 - confidence in all. The order depends on scores only, never on the truth.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from assay.platform.confidence import effective_size, lower_bound, upper_bound
from assay.platform.promise import Target

STEP = 1.02
"""Each threshold tried flags so many times as many images as the one before."""
CHAINS = ((1.0, 0.2), (3.0, 0.8))
"""Where searches for precision begin, in multiples of the fewest images that could prove it, and the share of the error
each may spend: at the very top a single mistake ends a search, further down a promise is easier to prove. Of seven
ways tried on simulated labels (100 to 1,600 positives) this one left least recall unused."""

Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Evidence:
    """One label's golden images: scores[n], whether each has the label, and how many images each stands for."""

    scores: Doubles
    present: Bools
    weights: Doubles

    def part(self, rows: Bools) -> "Evidence":
        """Some of the images."""
        return Evidence(self.scores[rows], self.present[rows], self.weights[rows])


@dataclass(frozen=True, slots=True)
class Choice:
    """A threshold that keeps a promise."""

    threshold: float
    estimate: float
    bound: float
    flagged: int


def choose(evidence: Evidence, target: Target, slices: Mapping[str, Bools] | None = None) -> Choice | str:
    """The most useful threshold that keeps the promise, or why there is none.

    The lowest for precision and reviews, the highest for recall. With `slices`, the promise is kept in each by itself,
    too.
    """
    found = _choose(evidence, target)
    if isinstance(found, str):
        return found
    threshold = found.threshold
    for name, rows in (slices or {}).items():
        within = _choose(evidence.part(rows), target)
        if isinstance(within, str):
            return f"in {name}: {within}"
        worse = max if target.kind != "recall" else min
        threshold = worse(threshold, within.threshold)
    return found if threshold == found.threshold else _at(evidence, target, threshold)


def _choose(evidence: Evidence, target: Target) -> Choice | str:
    lack = _lack(evidence, target)
    if lack:
        return lack
    table = _Table(evidence)
    places = table.kept_recall(target) if target.kind == "recall" else table.kept_from_the_top(target)
    if not len(places):
        return f"no threshold keeps it: {table.best(target)}"
    return _at(evidence, target, float(table.thresholds[places[-1]]))


def _lack(evidence: Evidence, target: Target) -> str:
    """What is too little of the data to promise anything; empty if nothing is."""
    needed = fewest(target)
    positives = int(evidence.present.sum())
    if target.kind == "reviews":
        return "" if len(evidence.scores) >= needed else f"{len(evidence.scores)} images; at least {needed} are needed"
    return "" if positives >= needed else f"{positives} images have the label; at least {needed} are needed"


def fewest(target: Target) -> int:
    """The fewest images that could prove a promise, if not one of them spoke against it."""
    spent = 1 - target.confidence
    if target.kind == "precision":
        spent *= CHAINS[0][1]
    share = 1 - target.bound if target.kind == "reviews" else target.bound
    return math.ceil(math.log(spent) / math.log(share))


class _Table:
    """The thresholds to try, those that flag fewest images first, and what each flags."""

    def __init__(self, evidence: Evidence) -> None:
        order = np.argsort(-evidence.scores, kind="stable")
        scores, weights = evidence.scores[order], evidence.weights[order]
        present = evidence.present[order]
        ends = np.flatnonzero(np.append(scores[1:] < scores[:-1], True))  # images of one score are flagged together
        ends = ends[scores[ends] > 0]
        ends = ends[_thinned(ends + 1)]
        self.thresholds = scores[ends]
        self.flagged = ends + 1
        self.mass, self.squares = np.cumsum(weights)[ends], np.cumsum(weights**2)[ends]
        self.hits, self.hit_squares = np.cumsum(weights * present)[ends], np.cumsum(weights**2 * present)[ends]
        self.all_hits, self.all_hit_squares = (weights * present).sum(), (weights**2 * present).sum()
        self.all_mass, self.all_squares = weights.sum(), (weights**2).sum()

    def kept_from_the_top(self, target: Target) -> npt.NDArray[np.int64]:
        """Places of thresholds shown to keep a promise that fewer flagged images make easier."""
        if target.kind == "reviews":
            return _run(self._few_enough(target), 0)
        size = effective_size(self.mass, self.squares)
        share = self.hits / self.mass
        found = np.empty(0, np.int64)
        for times, part in CHAINS:
            spent = (1 - target.confidence) * part
            start = int(np.searchsorted(size, times * math.log(spent) / math.log(target.bound) * (1 - 1e-9)))
            kept = lower_bound(share, size, 1 - spent) >= target.bound
            run = _run(kept, start)
            found = run if len(run) and (not len(found) or run[-1] > found[-1]) else found
        return found

    def _few_enough(self, target: Target) -> Bools:
        size = effective_size(np.array([self.all_mass]), np.array([self.all_squares]))
        return upper_bound(self.mass / self.all_mass, size, target.confidence) <= target.bound

    def kept_recall(self, target: Target) -> npt.NDArray[np.int64]:
        """Places of thresholds shown to keep a recall, the lowest threshold first."""
        size = effective_size(np.array([self.all_hits]), np.array([self.all_hit_squares]))
        kept = lower_bound(self.hits / self.all_hits, size, target.confidence) >= target.bound
        last = len(kept) - 1
        return last - _run(kept[::-1], 0)

    def best(self, target: Target) -> str:
        """How near it came, for people."""
        if target.kind == "recall":
            return f"all images together reach {self.hits[-1] / self.all_hits:.1%}"
        if target.kind == "reviews":
            return f"the strictest threshold flags {self.mass[0] / self.all_mass:.2%} of the images"
        size = effective_size(self.mass, self.squares)
        spent = (1 - target.confidence) * CHAINS[0][1]
        bound = lower_bound(self.hits / self.mass, size, 1 - spent)
        at = int(bound.argmax())
        return f"the best shows {bound[at]:.1%}, with {self.flagged[at]:,} images flagged"


def _thinned(counts: npt.NDArray[np.int64]) -> Bools:
    """Which of rising counts to keep, so that each is about STEP times the one before."""
    bins = np.floor(np.log(counts) / math.log(STEP)).astype(np.int64)
    return np.append(bins[1:] != bins[:-1], True)


def _run(kept: Bools, start: int) -> npt.NDArray[np.int64]:
    """Places from `start` on, up to the first that is not kept."""
    failed = np.flatnonzero(~kept[start:])
    return np.arange(start, start + (failed[0] if len(failed) else len(kept) - start))


def _at(evidence: Evidence, target: Target, threshold: float) -> Choice:
    """What a threshold does on the golden set."""
    flagged = evidence.scores >= threshold
    hit, mass = evidence.weights * evidence.present, evidence.weights
    of, among = {
        "precision": (hit[flagged], mass[flagged]),
        "recall": (hit[flagged], mass[evidence.present]),
        "reviews": (mass[flagged], mass),
    }[target.kind]
    share = np.array([of.sum() / among.sum()])
    size = effective_size(np.array([among.sum()]), np.array([(among**2).sum()]))
    bound = (upper_bound if target.kind == "reviews" else lower_bound)(share, size, target.confidence)
    return Choice(threshold, float(share[0]), float(bound[0]), int(flagged.sum()))
