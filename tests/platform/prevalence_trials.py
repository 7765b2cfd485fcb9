"""Prevalence over many simulated corpora: what the tests hold, and, by setting, the tables of infra/docs/prevalence.md:

python -m tests.platform.prevalence_trials
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from assay.platform.prevalence import Figure, LabelPrevalence, PrevalenceSpec, measure
from tests.platform.simulated_corpora import Corpus, World, draw_world, make_corpus, sample, uniform_width

CORPORA = 500
FAST = PrevalenceSpec(draws=1_000)


@dataclass(frozen=True)
class Trial:
    """One corpus, its sample, and what was made of it."""

    world: World
    corpus: Corpus
    found: LabelPrevalence
    uniform: float
    """Width of a plain sample's exact interval for what was left, for as many people's answers."""

    @property
    def ratio(self) -> float:
        return self.found.left.width / self.uniform

    def holds(self) -> dict[str, bool]:
        """Whether each interval holds the truth."""
        corpus, found = self.corpus, self.found
        pairs: dict[str, tuple[Figure | None, float]] = {
            "left": (found.left, corpus.left),
            "total": (found.total, corpus.total),
            "recall": (found.recall, corpus.recall),
            "precision": (found.precision, corpus.precision),
            "unassisted": (found.left_unassisted, corpus.left),
        }
        return {name: one is None or one.low - 1e-9 <= true <= one.high + 1e-9 for name, (one, true) in pairs.items()}


@cache
def trials(seed: int, least_auc: float = 0.7, count: int = CORPORA, change: World | None = None) -> tuple[Trial, ...]:
    """Corpora of all kinds, of an AUC of `least_auc` to 0.99; of `change`, what differs from `PLAIN` holds for all."""
    held = {} if change is None else {name: new for name, new in vars(change).items() if new != vars(PLAIN)[name]}
    found = []
    for number in range(count):
        generator = np.random.default_rng([seed, number])
        world = replace(draw_world(generator), auc=generator.uniform(least_auc, 0.99))
        found.append(_trial(replace(world, **held), generator))
    return tuple(found)


PLAIN = World(prevalence=0.0, auc=0.0, labels=0)


def _trial(world: World, generator: np.random.Generator) -> Trial:
    corpus = make_corpus(world, generator)
    answers = sample(corpus, world.labels, generator).answers
    found = measure(answers, FAST, halving=False)
    return Trial(world, corpus, found, uniform_width(corpus, corpus.left, found.answers, generator))


def coverage(some: Sequence[Trial]) -> dict[str, float]:
    """How often each interval holds the truth."""
    held = [one.holds() for one in some]
    return {name: float(np.mean([one[name] for one in held])) for name in held[0]}


def sum_ratio(some: Sequence[Trial]) -> float:
    """The mean width over a plain sample's mean width."""
    return sum(one.found.left.width for one in some) / sum(one.uniform for one in some)


def _row(name: str, some: Sequence[Trial]) -> str:
    held, ratios = coverage(some), [one.ratio for one in some]
    shown = [f"{held[one]:.1%}" for one in ("left", "total", "recall", "precision", "unassisted")]
    plain = np.mean([one.found.left_unassisted.width / one.uniform for one in some])
    figures = [f"{np.mean(ratios):.2f}", f"{np.median(ratios):.2f}", f"{sum_ratio(some):.2f}", f"{plain:.2f}"]
    return " | ".join(["", name, str(len(some)), *shown, *figures, ""]).strip()


def _tell() -> None:
    some = [one for seed in (1, 2, 3) for one in trials(seed)]
    print(_row("all", some))
    settings: dict[str, Callable[[Trial], str]] = {
        "AUC": lambda one: next(f"up to {edge}" for edge in (0.8, 0.9, 0.95, 0.99) if one.world.auc <= edge),
        "prevalence": lambda one: next(
            name
            for edge, name in ((5e-4, "1e-4 to 5e-4"), (2e-3, "to 2e-3"), (1, "to 1e-2"))
            if one.world.prevalence < edge
        ),
        "answers": lambda one: str(one.world.labels),
        "scores": lambda one: {0.5: "underconfident", 1.0: "well calibrated", 2.0: "overconfident"}[
            one.world.confidence
        ],
        "shifted": lambda one: "no" if one.world.shift == 0 else "yes",
        "blind": lambda one: str(one.world.blind),
        "shape": lambda one: one.world.shape,
    }
    for name, setting in settings.items():
        for value in sorted({setting(one) for one in some}):
            print(_row(f"{name}: {value}", [one for one in some if setting(one) == value]))
    worlds = {
        "AUC 0.9 to 0.99": trials(1, 0.9),
        "scores only rank": trials(1, change=replace(PLAIN, ranked=True)),
        "a quarter blind": trials(1, change=replace(PLAIN, blind=0.25)),
        "a nest of 15 % at one low score": trials(1, change=replace(PLAIN, cluster=0.15)),
        "AUC 0.6": trials(1, change=replace(PLAIN, auc=0.6)),
        "50 answers": trials(1, change=replace(PLAIN, labels=50)),
        "20,000 images": trials(1, change=replace(PLAIN, images=20_000)),
    }
    for name, found in worlds.items():
        print(_row(name, found))


if __name__ == "__main__":
    _tell()
