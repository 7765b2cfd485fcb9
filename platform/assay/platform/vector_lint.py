"""What is unwise in a library's words to one encoder: phrases that are the same to it, and concepts that moved.

Knows the words' vectors. Sees no picture (`picture_lint.py`).
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import numpy.typing as npt
from pydantic import Field

from assay.platform.encoder import Encoder
from assay.platform.finding import Finding
from assay.platform.homonyms import decided
from assay.platform.library_text import Kind, LibraryText
from assay.platform.prompt_vectors import PromptVectors, Role
from assay.platform.spec import Spec

Vector = npt.NDArray[np.float64]  # [dim], unit length
Anchors = dict[tuple[str, str], Vector]
"""The mean of a concept's prompts in one language, by (concept, language)."""

_KINDS = {Role.PROMPT: Kind.PROMPT, Role.COUNTER: Kind.COUNTER, Role.BACKGROUND: Kind.BACKGROUND}


class VectorLimits(Spec):
    """Cosines from which on two things count as the same. Encoders differ: their texts lie closer or wider."""

    redundant: float = Field(0.98, description="two prompts of one concept")
    collision: float = Field(0.95, description="two concepts of different labels")
    counter: float = Field(0.95, description="a counter-prompt and its concept")
    moved: float = Field(0.95, description="a concept and what it was; below it has moved")
    homonym: float = Field(0.02, description="how much nearer a phrase must be to its meaning than to the other")


def lint_vectors(
    text: LibraryText, vectors: PromptVectors, encoder: Encoder, limits: VectorLimits | None = None
) -> Iterator[Finding]:
    """Everything that the vectors of a library's phrases show, in no order. `vectors`: compiled of this library."""
    limits = limits or VectorLimits()
    lines = {(row.owner, row.kind, row.language, row.text): row.line for row in text.wordings}
    reader = _Reader(text, vectors, lines)
    anchors = anchors_of(vectors)
    yield from reader.redundant(limits.redundant)
    yield from reader.near_counters(anchors, limits.counter)
    yield from reader.homonyms(encoder, limits.homonym)
    yield from _collisions(text, anchors, limits.collision)


def lint_drift(
    text: LibraryText, vectors: PromptVectors, older: PromptVectors, limits: VectorLimits | None = None
) -> Iterator[Finding]:
    """Concepts that moved since an older snapshot, both compiled by one encoder."""
    limits = limits or VectorLimits()
    before = anchors_of(older)
    for (concept, language), now in anchors_of(vectors).items():
        then = before.get((concept, language))
        if then is not None and (near := float(now @ then)) < limits.moved:
            what = f"concept {concept!r} ({language}) moved: cosine {near:.2f} to the older snapshot"
            yield text.finding("anchor-moved", concept, what, text.line(concept, "prompts", language))


def anchors_of(vectors: PromptVectors) -> Anchors:
    """Each concept's place in each of its languages, as scoring takes it."""
    rows: dict[tuple[str, str], list[int]] = {}
    for row, (role, owner, language) in enumerate(zip(vectors.roles, vectors.owners, vectors.languages, strict=True)):
        if role is Role.PROMPT:
            rows.setdefault((owner, language), []).append(row)
    means = {key: vectors.vectors[some].astype(np.float64).mean(axis=0) for key, some in rows.items()}
    return {key: mean / (np.linalg.norm(mean) or 1.0) for key, mean in means.items()}


def _collisions(text: LibraryText, anchors: Anchors, limit: float) -> Iterator[Finding]:
    label_of = {concept: label for concept, (label, _) in text.library.concepts.items()}
    for (one, language), (other, spoken) in combinations(sorted(anchors), 2):
        labels = {label_of[one], label_of[other]}
        # A label above takes the score of one below in any case: within a family nothing is confused.
        related = any(above in labels for label in labels for above, _ in text.above(label))
        if language != spoken or len(labels) == 1 or related:
            continue
        if (near := float(anchors[one, language] @ anchors[other, language])) > limit:
            both = f"{one!r} of {label_of[one]!r} and {other!r} of {label_of[other]!r}"
            what = f"concepts {both} ({language}): cosine {near:.2f}"
            yield text.finding("sibling-collision", other, what)


class _Reader:
    """The phrases of a library with their vectors and lines."""

    def __init__(self, text: LibraryText, vectors: PromptVectors, lines: dict[tuple[str, Kind, str, str], int]) -> None:
        self._text, self._vectors = text, vectors
        self._wide = vectors.vectors.astype(np.float64)
        keys = zip(vectors.owners, vectors.roles, vectors.languages, vectors.texts, strict=True)
        self._lines = [lines[owner, _KINDS[role], language, text] for owner, role, language, text in keys]

    def redundant(self, limit: float) -> Iterator[Finding]:
        """Prompts of one concept and language that are the same."""
        for concept in self._text.library.concepts:
            rows = self._rows(Role.PROMPT, concept)
            for one, other in combinations(rows, 2):
                near = float(self._wide[one] @ self._wide[other])
                if self._vectors.languages[one] == self._vectors.languages[other] and near > limit:
                    told = f"{self._vectors.texts[one]!r} and {self._vectors.texts[other]!r}"
                    what = f"prompts {told} of concept {concept!r}: cosine {near:.3f}"
                    yield self._text.finding("redundant-prompt", concept, what, self._lines[other])

    def near_counters(self, anchors: Anchors, limit: float) -> Iterator[Finding]:
        """Counter-prompts that are the concept they stand against."""
        for concept, (label, _) in self._text.library.concepts.items():
            mine = {language: anchor for (owner, language), anchor in anchors.items() if owner == concept}
            for row in [*self._rows(Role.COUNTER, concept), *self._rows(Role.COUNTER, label)]:
                near = max(float(self._wide[row] @ anchor) for anchor in mine.values())
                if near > limit:
                    what = f"counter-prompt {self._vectors.texts[row]!r} and concept {concept!r}: cosine {near:.2f}"
                    yield self._text.finding("near-counter", concept, what, self._lines[row])

    def homonyms(self, encoder: Encoder, margin: float) -> Iterator[Finding]:
        """Phrases that say which meaning of a word is meant, and are not nearer to it."""
        for row, role in enumerate(self._vectors.roles):
            if role is Role.BACKGROUND:
                continue
            text, owner = self._vectors.texts[row], self._vectors.owners[row]
            for meant, other in decided(self._vectors.languages[row], text):
                yes, no = encoder.encode_texts([meant.phrase, other.phrase]).astype(np.float64) @ self._wide[row]
                if yes - no < margin:
                    what = f"{text!r}: cosine {yes:.2f} to {meant.phrase!r}, {no:.2f} to {other.phrase!r}"
                    yield self._text.finding("homonym-undecided", owner, what, self._lines[row])

    def _rows(self, role: Role, owner: str) -> list[int]:
        pairs = zip(self._vectors.roles, self._vectors.owners, strict=True)
        return [row for row, pair in enumerate(pairs) if pair == (role, owner)]
