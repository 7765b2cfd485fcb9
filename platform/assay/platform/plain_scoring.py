"""The scoring formula as written, for one embedding, in loops: the oracle of `Scorer`.

Knows the formula that `scoring.py` states. Does not know how to be fast.
"""

import numpy as np
import numpy.typing as npt

from assay.platform.library import SemanticLibrary
from assay.platform.prompt_vectors import PromptVectors, Role

Floats = npt.NDArray[np.float32]


def score_plainly(
    library: SemanticLibrary, vectors: PromptVectors, temperature: float, embedding: Floats
) -> dict[str, float]:
    """The formula as written, one embedding, float64, loops: the oracle of `Scorer`."""
    near = vectors.vectors.astype(np.float64) @ embedding.astype(np.float64)
    concepts: dict[str, float] = {}
    for concept, (label, _) in library.concepts.items():
        by_language: dict[str, list[npt.NDArray[np.float64]]] = {}
        against = []
        for row, (role, owner) in enumerate(zip(vectors.roles, vectors.owners, strict=True)):
            if role is Role.PROMPT and owner == concept:
                by_language.setdefault(vectors.languages[row], []).append(vectors.vectors[row].astype(np.float64))
            elif role is Role.BACKGROUND or (role is Role.COUNTER and owner in (concept, label)):
                against.append(temperature * near[row])
        means = [np.mean(rows, axis=0) for rows in by_language.values()]
        sim = max(float(embedding @ (mean / (np.linalg.norm(mean) or 1.0))) for mean in means)
        margin = temperature * sim - float(np.logaddexp.reduce(against))
        concepts[concept] = float(1 / (1 + np.exp(-margin)))
    return {label: max(concepts[concept] for concept in members) for label, members in library.subtrees.items()}
