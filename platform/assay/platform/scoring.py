"""Scoring version 1: an embedding against a library's phrases. numpy only.

Knows the formula and how to run it fast and repeatably. Knows no picture, no threshold, no policy.

For an embedding e (unit length, float16) and a temperature t:

    sim(concept)     = max over languages of  e . unit(mean of the concept's prompts in that language)
    against(concept) = logsumexp of  t * (e . n)  over every n in the concept's counter-prompts, its label's
                       counter-prompts and the library's background phrases, in all languages, each phrase once
    score(concept)   = sigmoid(t * sim - against): the concept's softmax share against all that is harmless
    score(label)     = max over concepts of the label and of its child labels: a parent is never below a child
    score(image)     = max over its views

Concepts are not each other's negatives: a picture of a gun and a bottle scores for both. The score is a share. Where a
label is calibrated (`calibration.py`) its share becomes a probability, and a parent is raised to its children's again.

Repeatable: products are exact. An embedding is float16, a multiple of 2**-24; prompts are rounded to such multiples;
so every partial sum of a product of unit vectors is a multiple of 2**-48 below 2, which float64 holds without rounding,
in whatever order a BLAS adds. Then a score does not depend on the batch around it, its size, its order, or the number
of threads. (float32 on tiles of one height was tried and does not do it: OpenBLAS rounds a row by its place in the
tile; 13 % of the products differed in the last bit after a shuffle.)
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from assay.platform.calibration import Calibration
from assay.platform.label_binding import labels_below
from assay.platform.library import SemanticLibrary
from assay.platform.prompt_vectors import PromptVectors, Role
from assay.platform.scoring_columns import Grouped, ScoringColumns, exact, negatives_of, rows_by_owner

SCORING_VERSION = 1
MAX_TEMPERATURE = 300.0
"""Beyond it exp(-2t) leaves float64. Trained encoders stop at 100."""
TILE = 256
"""Rows scored at once: what keeps intermediate tables in the processor's cache. Does not change scores."""

Embeddings = npt.NDArray[np.float16]  # [n, dim], unit length
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scores:
    """Label scores of embeddings, with the concept each came from (its place in `Scorer.concepts`)."""

    labels: Floats  # [n, labels]
    concepts: npt.NDArray[np.int16]  # [n, labels]


class Scorer:
    """Scores embeddings for active labels of a library, all of them unless some are named. `labels` and `concepts` name
    its columns.

    Its scores are raw, unless it is `calibrated`.
    """

    def __init__(
        self, library: SemanticLibrary, vectors: PromptVectors, temperature: float, labels: Sequence[str] | None = None
    ) -> None:
        self.labels = tuple(library.labels if labels is None else labels)
        needed = {concept for label in self.labels for concept in library.subtrees[label]}
        self.concepts = tuple(concept for concept in library.concepts if concept in needed)
        self.phrases = vectors
        self.dim = vectors.vectors.shape[1]
        self._library, self._temperature = library, temperature
        rows = rows_by_owner(vectors)
        self._own = [rows[Role.PROMPT, concept] for concept in self.concepts]
        self._columns = ScoringColumns.of(library, vectors, self.concepts)
        self._phrase_rows = np.ascontiguousarray(exact(vectors.vectors).T)
        self._against = [
            np.concatenate(
                [rows[role, owner] for role, owner in negatives_of(library, concept) if (role, owner) in rows]
            )
            for concept in self.concepts
        ]
        column = {concept: position for position, concept in enumerate(self.concepts)}
        self._members = [np.array([column[one] for one in library.subtrees[label]], np.int64) for label in self.labels]
        self._best = Grouped(np.maximum, [members.tolist() for members in self._members])
        self._calibration: Calibration | None = None
        self._rises = _rises(library, self.labels)

    def calibrated(self, calibration: Calibration) -> "Scorer":
        """The same scorer, its scores through a calibration."""
        other = copy(self)
        other._calibration = calibration
        return other

    def narrowed(self, labels: Collection[str]) -> "Scorer":
        """A scorer of some labels, and of all labels below them, whose scores are the same to the last bit."""
        wanted = set().union(*(labels_below(self._library, label) for label in labels))
        kept = [label for label in self.labels if label in wanted]
        other = Scorer(self._library, self.phrases, self._temperature, kept)
        other._calibration = self._calibration
        return other

    def score(self, embeddings: Embeddings) -> Scores:
        """Score embeddings[n, dim], and say which concept made each score."""
        found = np.empty((len(embeddings), len(self.labels)), np.float32)
        best = np.empty(found.shape, np.int16)
        for rows, scores in self._by_tile(embeddings):
            for column, members in enumerate(self._members):
                part = scores[:, members]
                at = part.argmax(axis=1)
                found[rows, column] = part[np.arange(len(part)), at]
                best[rows, column] = members[at]
        if self._calibration is None:
            return Scores(found, best)
        scores = self._calibration.apply(found, self.labels)
        self._raise_parents(scores, best)
        return Scores(scores, best)

    def score_labels(self, embeddings: Embeddings) -> Floats:
        """The same scores, float32[n, labels], in half the time or less: most images are never asked which concept."""
        found = np.empty((len(embeddings), len(self.labels)), np.float32)
        for rows, scores in self._by_tile(embeddings):
            found[rows] = self._best(scores)
        return self.from_raw(found)

    def from_raw(self, raw: Floats) -> Floats:
        """Label scores[n, labels] of raw ones."""
        if self._calibration is None:  # they rise by themselves
            return raw
        scores = self._calibration.apply(raw, self.labels)
        self._raise_parents(scores, None)
        return scores

    def _raise_parents(self, scores: Floats, concepts: npt.NDArray[np.int16] | None) -> None:
        """In place: no parent below a child. Raw scores are so by themselves."""
        for child, parent in self._rises:
            higher = scores[:, child] > scores[:, parent]
            scores[higher, parent] = scores[higher, child]
            if concepts is not None:
                concepts[higher, parent] = concepts[higher, child]

    def score_concepts(self, embeddings: Embeddings) -> Floats:
        """Score embeddings[n, dim] for every concept, [n, concepts]: what a label's score is the greatest of."""
        found = np.empty((len(embeddings), len(self.concepts)), np.float32)
        for rows, scores in self._by_tile(embeddings):
            found[rows] = scores
        return found

    def evidence(self, embeddings: Embeddings, concepts: npt.NDArray[np.int16]) -> tuple[Ids, Ids]:
        """For each embedding and one of its concepts: the nearest phrase for it, and the nearest against it.

        Both are places in `phrases`.
        """
        prompts, counters = np.empty(len(embeddings), np.int64), np.empty(len(embeddings), np.int64)
        for concept in np.unique(concepts):
            asked = np.flatnonzero(concepts == concept)
            wide = embeddings[asked].astype(np.float64)
            for found, phrases in ((prompts, self._own[concept]), (counters, self._against[concept])):
                found[asked] = phrases[(wide @ self._phrase_rows[phrases].T).argmax(axis=1)]
        return prompts, counters

    def fingerprints(self) -> dict[str, str]:
        """A sha256 for each label, of every number that its scores are made of: labels of two scorers that have the
        same one have the same scores, to the last bit."""
        of = {concept: self._columns.fingerprint(place) for place, concept in enumerate(self.concepts)}
        curves = self._calibration.labels if self._calibration else {}
        found: dict[str, str] = {}
        for label in self.labels:
            below = sorted(labels_below(self._library, label))
            made_of = {
                "version": SCORING_VERSION,
                "temperature": self._temperature,
                "concepts": sorted(of[concept] for concept in self._library.subtrees[label]),
                "curve": curves[label].curve.model_dump(mode="json") if label in curves else None,
                "below": sorted(found[one] for one in below if one in found),
            }
            found[label] = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
        return found

    def _by_tile(self, embeddings: Embeddings) -> Iterator[tuple[slice, Floats]]:
        """Concept scores of some rows at a time; each is overwritten by the next."""
        assert embeddings.dtype == np.float16, "products are exact for float16 only"
        room = self._columns.room(min(TILE, len(embeddings)))
        for start in range(0, len(embeddings), TILE):
            tile = embeddings[start : start + TILE]
            yield slice(start, start + len(tile)), self._columns.score(tile, self._temperature, room)


def over_views(scores: Floats, starts: Ids) -> tuple[Floats, Ids]:
    """Each image's greatest score per label, and the first of its views that has it; `starts` is where they begin."""
    if not len(starts):
        return np.empty((0, scores.shape[1]), np.float32), np.empty((0, scores.shape[1]), np.int64)
    best = np.maximum.reduceat(scores, starts, axis=0)
    counts = np.diff(np.append(starts, len(scores)))
    within = np.arange(len(scores)) - np.repeat(starts, counts)
    is_best = scores == np.repeat(best, counts, axis=0)
    view = np.minimum.reduceat(np.where(is_best, within[:, None], len(scores)), starts, axis=0)
    return best, view


def _rises(library: SemanticLibrary, labels: Sequence[str]) -> list[tuple[int, int]]:
    """Columns of each child label and its parent, deepest first: what a parent passes on is whole."""
    chains = {label: _chain(label, library) for label in labels}
    deepest_first = sorted(labels, key=lambda label: -len(chains[label]))
    pairs = [(label, chains[label][1]) for label in deepest_first if len(chains[label]) > 1]
    return [(labels.index(child), labels.index(parent)) for child, parent in pairs if parent in chains]


def _chain(label: str, library: SemanticLibrary) -> list[str]:
    """A label and the labels above it that are scored."""
    chain = [label]
    while (above := library.labels[chain[-1]].parent) is not None and above in library.labels:
        chain.append(above)
    return chain
