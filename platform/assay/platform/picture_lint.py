"""What is unwise in a library, as pictures show it: concepts that do not find their own, prompts that find nothing.

Knows embeddings of pictures whose truth people have confirmed. Does not know where they are from.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import Field

from assay.platform.finding import Finding
from assay.platform.library_text import Kind, LibraryText
from assay.platform.metrics import Ranking
from assay.platform.prompt_vectors import Role
from assay.platform.scoring import Embeddings, Floats, Ids, Scorer
from assay.platform.spec import Spec


class PictureLimits(Spec):
    """From when on a concept counts as weak, and how many pictures it takes to say so."""

    exemplars: float = Field(0.8, description="ROC-AUC of a concept on its exemplars; below it is weak")
    golden: float = Field(0.7, description="ROC-AUC on a golden set of a label's only concept; below it is weak")
    one_of_many: float = Field(0.5, description="the same for one of several concepts, who share the label's pictures")
    images: int = Field(10, ge=1, description="golden pictures on either side, without which nothing is said")


@dataclass(frozen=True, slots=True)
class Pictures:
    """Embeddings of pictures, each of one or more views."""

    embeddings: Embeddings  # [views, dim], unit length
    starts: Ids  # [n]: where each picture's views begin; each has at least one

    def best(self, of_views: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Each picture's greatest over its views, [n, …]."""
        return np.maximum.reduceat(of_views, self.starts, axis=0)


def lint_exemplars(
    text: LibraryText, scorer: Scorer, pictures: Pictures, uris: list[str], limits: PictureLimits | None = None
) -> Iterator[Finding]:
    """Concepts whose scores do not order their exemplars before their counter-examples and other labels' exemplars."""
    limits = limits or PictureLimits()
    place = {uri: row for row, uri in enumerate(uris)}
    scores = pictures.best(scorer.score_concepts(pictures.embeddings)).astype(np.float32)
    for column, concept in enumerate(scorer.concepts):
        positive, negative = ([place[uri] for uri in side if uri in place] for side in _sides(text, concept))
        if not positive or not negative:
            continue
        auc = _auc(scores[:, column], positive, negative)
        if auc < limits.exemplars:
            counts = f"{len(positive)} exemplars against {len(negative)}"
            yield text.finding("weak-on-exemplars", concept, f"concept {concept!r}: ROC-AUC {auc:.2f}, {counts}")


def lint_golden(
    text: LibraryText,
    scorer: Scorer,
    pictures: Pictures,
    truth: npt.NDArray[np.int8],
    limits: PictureLimits | None = None,
) -> Iterator[Finding]:
    """Weak concepts and dead prompts on a golden set; truth[n, labels] in the order of `scorer.labels`."""
    limits = limits or PictureLimits()
    scores = pictures.best(scorer.score_concepts(pictures.embeddings)).astype(np.float32)
    owners = {concept: label for concept, (label, _) in text.library.concepts.items()}
    for column, concept in enumerate(scorer.concepts):
        of_label = truth[:, scorer.labels.index(owners[concept])]
        positive, negative = np.flatnonzero(of_label == 1), np.flatnonzero(of_label == 0)
        siblings = [place for place, other in enumerate(scorer.concepts) if owners[other] == owners[concept]]
        if min(len(positive), len(negative)) >= limits.images:
            auc = _auc(scores[:, column], list(positive), list(negative))
            if auc < (limits.golden if len(siblings) == 1 else limits.one_of_many):
                counts = f"{len(positive)} pictures of label {owners[concept]!r} against {len(negative)}"
                yield text.finding("weak-on-golden", concept, f"concept {concept!r}: ROC-AUC {auc:.2f}, {counts}")
        own = positive[scores[positive][:, siblings].max(axis=1, initial=0) == scores[positive, column]]
        if len(own) >= limits.images:
            yield from _dead_prompts(text, scorer, pictures, concept, own)


def _dead_prompts(
    text: LibraryText, scorer: Scorer, pictures: Pictures, concept: str, own: npt.NDArray[np.int64]
) -> Iterator[Finding]:
    """Prompts that are never the nearest of their concept and language, on the pictures that the concept is best at."""
    phrases = scorer.phrases
    rows_of: dict[str, list[int]] = {}
    for row, key in enumerate(zip(phrases.roles, phrases.owners, strict=True)):
        if key == (Role.PROMPT, concept):
            rows_of.setdefault(phrases.languages[row], []).append(row)
    lines = {(row.owner, row.language, row.text): row.line for row in text.wordings if row.kind is Kind.PROMPT}
    for language, rows in rows_of.items():
        near = pictures.best(pictures.embeddings.astype(np.float32) @ phrases.vectors[rows].T)[own]
        alive = set(near.argmax(axis=1))
        for place, row in enumerate(rows):
            if place not in alive:
                prompt = phrases.texts[row]
                what = f"prompt {prompt!r} of concept {concept!r} is the nearest on none of {len(own)} pictures"
                yield text.finding("dead-prompt", concept, what, lines[concept, language, prompt])


def _sides(text: LibraryText, concept: str) -> tuple[list[str], list[str]]:
    """A concept's exemplars, and what stands against them: its negatives, and the exemplars of unrelated labels."""
    label, body = text.library.concepts[concept]
    family = {label, *(above for above, _ in text.above(label))}
    others = [
        uri
        for owner, other in text.library.concepts.values()
        if owner not in family and not family & {above for above, _ in text.above(owner)}
        for uri in other.exemplars.positive
    ]
    return list(body.exemplars.positive), [*body.exemplars.negative, *others]


def _auc(scores: Floats, positive: list[int], negative: list[int]) -> float:
    chosen = np.array([*positive, *negative])
    is_positive = np.arange(len(chosen)) < len(positive)
    weights = np.ones((1, len(chosen)), np.float32)
    return float(Ranking(scores[chosen], is_positive).figures(weights, ())[1, 0])
