"""Golden sets with known properties: scores of positives and negatives are normal, `distance` apart, put through a
sigmoid that makes them true probabilities.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from assay.platform.evaluation import ScoredGolden


def simulate(
    count: int,
    prevalences: Mapping[str, float],
    *,
    distance: float = 3.0,
    seed: int = 0,
    slices: Mapping[str, tuple[str, ...]] | None = None,
) -> ScoredGolden:
    """`count` images; the thresholds are 0.3 (review) and 0.7 (block)."""
    rng = np.random.default_rng(seed)
    columns = [simulate_label(count, prevalence, distance, rng) for prevalence in prevalences.values()]
    return ScoredGolden(
        images=[f"file:///images/{number:06d}.jpg" for number in range(count)],
        labels=tuple(prevalences),
        scores=np.stack([scores for scores, _ in columns], axis=1),
        truth=np.stack([positive for _, positive in columns], axis=1).astype(np.int8),
        weights=np.ones(count),
        thresholds={
            action: np.full(len(prevalences), level, np.float32) for action, level in (("review", 0.3), ("block", 0.7))
        },
        slices={name: rng.choice(np.array(values), count) for name, values in (slices or {}).items()},
        siblings=tuple(zip(list(prevalences)[:-1], list(prevalences)[1:], strict=True)),
    )


def simulate_label(
    count: int, prevalence: float, distance: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Calibrated scores, and the truth."""
    positive = rng.random(count) < prevalence
    raw = rng.normal(size=count) + distance * positive
    odds = np.exp(distance * raw - distance**2 / 2) * prevalence / (1 - prevalence)
    return (odds / (1 + odds)).astype(np.float32), positive
