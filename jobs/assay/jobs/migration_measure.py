"""What a migration would be worth: the sample is drawn and encoded again, a map is learnt, and decisions are compared.

Knows the order of that, and which half of the sample may be used for what. Writes nothing. Does not know what is done
with the answer (`migrate.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import Field

from assay.jobs.decider import ALL_CLEAR, Decider
from assay.jobs.image_embedder import ImageEmbedder
from assay.jobs.judged import find_release, judged_by
from assay.jobs.migration_agreement import Agreement, Cases, Promise, choose_rule, label_errors, measure
from assay.jobs.migration_record import MapFacts, Measured
from assay.jobs.migration_sample import DrawSpec, SampledFacts, Twins, sample_pairs
from assay.jobs.release_choice import RegistryChoice
from assay.jobs.store import Store
from assay.platform.embedding_map import EmbeddingMap, Fit, fit_map
from assay.platform.images import Budget
from assay.platform.scoring import over_views
from assay.registry.place import RegistrySpec

Halves = npt.NDArray[np.float16]
Doubles = npt.NDArray[np.float64]
Tell = Callable[[int, int], None]
"""Told how many images of how many were encoded."""


class MeasureSpec(DrawSpec):
    """How large a sample, drawn how, and what must be promised."""

    agreement: float = Field(
        0.99, gt=0, lt=1, description="share of decisions on mapped embeddings that must be right, at least"
    )
    flagged: float = Field(
        0.95, ge=0, lt=1, description="the same, of images that are flagged; 0 asks nothing of them by themselves"
    )
    least_clear: float = Field(
        0.2, gt=0, le=1, description="share of images that must be clear enough to be mapped; with less it is refused"
    )
    from_release: str | None = Field(
        None,
        description="release whose scores guide the draw: id in the store, or as --release; unset: of the latest run",
    )
    from_policy: str | None = Field(None, description="policy whose thresholds guide the draw; unset: one that judged")
    budget: Budget = Field(Budget(), description="what one image may cost")
    device: str = Field("auto", description="auto, cpu or cuda")
    registry: RegistryChoice = RegistrySpec()


@dataclass(frozen=True, slots=True)
class _Sides:
    """A map, and both halves of the sample as it sees them."""

    fit: Fit
    learnt: Cases
    tested: Cases
    cosines: Doubles  # of views tested


def measure_migration(store: Store, decider: Decider, spec: MeasureSpec, tell: Tell) -> tuple[Measured, EmbeddingMap]:
    """Sample, learn and measure.

    Raises:
        SpecError: nothing was judged, or too few images can be had.
        StorageError, CredentialsError: what fails for every image alike.
    """
    judged = judged_by(store, find_release(store, spec.from_release, spec.registry).release, spec.from_policy)
    embedder = ImageEmbedder(store.storage, decider.release, spec.budget, spec.device)
    pairs, sampled = sample_pairs(store, judged, embedder, spec, tell)
    learn, test = pairs.twins.part(~pairs.is_test), pairs.twins.part(pairs.is_test)
    fit = fit_map(*pairs.looks(test=False), also=learn.groups)
    old, new, _ = pairs.looks(test=True)
    sides = _Sides(
        fit=fit,
        learnt=_cases(decider, learn, fit.apply_without(learn.old, learn.by_old_view())),
        tested=_cases(decider, test, fit.map.apply(test.old)),
        cosines=(fit.map.apply(old).astype(np.float64) * new).sum(axis=1),
    )
    promise = Promise(agreement=spec.agreement, flagged=spec.flagged, clear=spec.least_clear)
    return _measured(decider, sides, promise, sampled), fit.map


def _cases(decider: Decider, twins: Twins, mapped: Halves) -> Cases:
    scorer = decider.scorer
    return Cases(
        mapped=over_views(scorer.score_labels(mapped), twins.old_starts)[0],
        real=over_views(scorer.score_labels(twins.new), twins.new_starts)[0],
        weights=twins.weights,
        groups=twins.groups,
    )


def _measured(decider: Decider, sides: _Sides, promise: Promise, sampled: SampledFacts) -> Measured:
    """The rule is chosen on one half, and what is said of it comes from the other."""
    fit, tested = sides.fit, sides.tested
    rule = choose_rule(decider, sides.learnt, promise)
    clear = None if rule is None else measure(decider, tested, rule, promise.confidence)
    every = measure(decider, tested, ALL_CLEAR, promise.confidence)
    cosine, low = float(sides.cosines.mean()), float(np.quantile(sides.cosines, 0.05))
    return Measured(
        sample=sampled,
        map=MapFacts(kind=fit.kind, penalty=fit.penalty, cosine=cosine, cosine_p05=low),
        promise=promise,
        every=every,
        rule=rule,
        clear=clear,
        labels=label_errors(decider, tested, rule),
        why_not=_why_not(every, clear, promise),
    )


def _why_not(every: Agreement, clear: Agreement | None, promise: Promise) -> str:
    if clear is not None:
        return clear.why_not(promise)
    said = every.why_not(promise)
    return "no images are clear enough for what is asked" + (f"; with every image mapped: {said}" if said else "")
