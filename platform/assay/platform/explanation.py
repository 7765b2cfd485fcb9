"""How a label's score came about for one embedding: the concept, its phrases and those against it, step by step.

Knows the formula that `scoring.py` states, and says each of its numbers. Does not decide anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from assay.platform.library import SemanticLibrary
from assay.platform.prompt_vectors import PromptVectors, Role
from assay.platform.scoring_columns import negatives_of, rows_by_owner

Embedding = npt.NDArray[np.float16]  # [dim], unit length


@dataclass(frozen=True, slots=True)
class Phrase:
    """One phrase, and its cosine to the embedding."""

    text: str
    language: str
    cosine: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """One concept's score of one embedding. margin = temperature * similarity - against; raw = sigmoid(margin)."""

    concept: str
    similarity: float
    """Cosine to the nearest language's mean of the concept's prompts."""
    against: float
    """Log of the sum over all phrases against it."""
    margin: float
    raw: float
    prompts: tuple[Phrase, ...]
    """The concept's prompts, nearest first."""
    counters: tuple[Phrase, ...]
    """The phrases against it, nearest first."""


def explain(
    library: SemanticLibrary, vectors: PromptVectors, temperature: float, concept: str, embedding: Embedding
) -> Explanation:
    """Say how a concept's raw score of an embedding comes about."""
    wide = embedding.astype(np.float64)
    rows = rows_by_owner(vectors)
    own = rows[Role.PROMPT, concept]
    means = _means(vectors, own)
    similarity = max(float(wide @ mean) for mean in means.values())
    others = np.concatenate([rows[owner] for owner in negatives_of(library, concept) if owner in rows])
    against = float(np.logaddexp.reduce(temperature * (vectors.vectors[others].astype(np.float64) @ wide)))
    margin = temperature * similarity - against
    return Explanation(
        concept=concept,
        similarity=similarity,
        against=against,
        margin=margin,
        raw=float(1 / (1 + np.exp(-margin))),
        prompts=_phrases(vectors, own, wide),
        counters=_phrases(vectors, others, wide),
    )


def _means(vectors: PromptVectors, rows: npt.NDArray[np.int64]) -> Mapping[str, npt.NDArray[np.float64]]:
    found = {}
    for language in sorted({vectors.languages[row] for row in rows}):
        said = [row for row in rows if vectors.languages[row] == language]
        mean = vectors.vectors[said].astype(np.float64).mean(axis=0)
        found[language] = mean / (np.linalg.norm(mean) or 1.0)
    return found


def _phrases(vectors: PromptVectors, rows: npt.NDArray[np.int64], wide: npt.NDArray[np.float64]) -> tuple[Phrase, ...]:
    cosines = vectors.vectors[rows].astype(np.float64) @ wide
    order = np.argsort(-cosines, kind="stable")
    return tuple(Phrase(vectors.texts[rows[at]], vectors.languages[rows[at]], float(cosines[at])) for at in order)
