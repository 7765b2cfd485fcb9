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

import json
from collections.abc import Iterator, Sequence, Set
from copy import copy
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from assay.platform.calibration import Calibration
from assay.platform.encoder import Encoder
from assay.platform.errors import ReleaseError
from assay.platform.library import SemanticLibrary
from assay.platform.phrases import Phrases

SCORING_VERSION = 1
MAX_TEMPERATURE = 300.0
"""Beyond it exp(-2t) leaves float64. Trained encoders stop at 100."""
TILE = 256
"""Rows scored at once: what keeps intermediate tables in the processor's cache. Does not change scores."""

Embeddings = npt.NDArray[np.float16]  # [n, dim], unit length
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]


class Role(StrEnum):
    """What a phrase does for its owner."""

    PROMPT = "prompt"  # owner: a concept
    COUNTER = "counter"  # owner: a concept or a label
    BACKGROUND = "background"  # owner: nobody


@dataclass(frozen=True, slots=True)
class PromptVectors:
    """A library's phrases with their vectors, in canonical order: one row each in all five."""

    texts: tuple[str, ...]
    languages: tuple[str, ...]
    roles: tuple[Role, ...]
    owners: tuple[str, ...]
    vectors: Floats  # [phrases, dim], unit length

    @classmethod
    def compile(cls, library: SemanticLibrary, encoder: Encoder) -> "PromptVectors":
        """Encode every phrase of a library that is scored.

        A counter-prompt that the background (or the concept's label) says too would weigh twice; it is left out.
        """
        rows = list(_rows("", Role.BACKGROUND, library.background))
        background = {row[0] for row in rows}
        for label_id, label in library.labels.items():
            rows += _rows(label_id, Role.COUNTER, label.counter_prompts, background)
        for concept_id, (label_id, concept) in library.concepts.items():
            said = background | {row[0] for row in _rows("", Role.COUNTER, library.labels[label_id].counter_prompts)}
            rows += _rows(concept_id, Role.PROMPT, concept.prompts)
            rows += _rows(concept_id, Role.COUNTER, concept.counter_prompts, said)
        texts, languages, roles, owners = zip(*rows, strict=True)
        unique = sorted(set(texts))
        place = {text: position for position, text in enumerate(unique)}
        vectors = encoder.encode_texts(unique)[[place[text] for text in texts]]
        return cls(texts, languages, roles, owners, vectors)

    def save(self, path: Path, bound_to: dict[str, str]) -> None:
        """Write to safetensors. `bound_to` says what these vectors were made from."""
        about = {"texts": self.texts, "languages": self.languages, "roles": self.roles, "owners": self.owners}
        # One metadata key: safetensors keeps no order among several, and the file's digest must be stable.
        metadata = {"assay": json.dumps(about | {"bound_to": bound_to}, ensure_ascii=False, sort_keys=True)}
        path.write_bytes(safetensors.numpy.save({"vectors": self.vectors}, metadata=metadata))

    @classmethod
    def load(cls, path: Path) -> tuple["PromptVectors", dict[str, str]]:
        """Read from safetensors; also says what the vectors were made from."""
        try:
            with safetensors.safe_open(str(path), framework="numpy") as file:
                about = json.loads(file.metadata()["assay"])
                vectors: Floats = file.get_tensor("vectors")
        except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
            raise ReleaseError(
                "the prompt vectors cannot be read",
                where=str(path),
                why=str(error),
                fix="build the release again",
            ) from error
        roles = tuple(Role(role) for role in about["roles"])
        found = cls(tuple(about["texts"]), tuple(about["languages"]), roles, tuple(about["owners"]), vectors)
        return found, dict(about["bound_to"])


def _rows(
    owner: str, role: Role, phrases: Phrases, without: Set[str] = frozenset()
) -> list[tuple[str, str, Role, str]]:
    pairs = [(text, language) for language in sorted(phrases) for text in sorted(phrases[language])]
    return [(text, language, role, owner) for text, language in pairs if text not in without]


@dataclass(frozen=True, slots=True)
class Scores:
    """Label scores of embeddings, with the concept each came from (its place in `Scorer.concepts`)."""

    labels: Floats  # [n, labels]
    concepts: npt.NDArray[np.int16]  # [n, labels]


class Scorer:
    """Scores embeddings for every active label of a library. `labels` and `concepts` name its columns.

    Its scores are raw, unless it is `calibrated`.
    """

    def __init__(self, library: SemanticLibrary, vectors: PromptVectors, temperature: float) -> None:
        self.labels = tuple(library.labels)
        self.concepts = tuple(library.concepts)
        self.phrases = vectors
        self.dim = vectors.vectors.shape[1]
        self._temperature = temperature
        rows = _rows_by_owner(vectors)
        self._own = [rows[Role.PROMPT, concept] for concept in self.concepts]
        anchors, self._anchor_starts = _anchors(vectors, self._own)
        self._num_anchors = len(anchors)
        owners = sorted(owner for role, owner in rows if role is Role.COUNTER)
        parts = [*(rows[Role.COUNTER, owner] for owner in owners), rows[Role.BACKGROUND, ""]]
        self._negative_starts = _starts([len(part) for part in parts])
        # Where each concept's sums stand: its label's, its own (or a column of zeros), and the background's.
        place = {owner: position for position, owner in enumerate([*owners, ""])}
        nothing = len(place)
        sums_of = [
            (place.get(label, nothing), place.get(concept, nothing), place[""])
            for concept, (label, _) in library.concepts.items()
        ]
        self._sums_of = np.array(sums_of, np.int64).T
        self._against = [np.concatenate([parts[at] for at in three if at != nothing]) for three in sums_of]
        self._matrix = _exact(np.concatenate([anchors, vectors.vectors[np.concatenate(parts)]]))
        self._all_phrases = _exact(vectors.vectors)
        column = {concept: position for position, concept in enumerate(self.concepts)}
        members = [[column[concept] for concept in library.subtrees[label]] for label in self.labels]
        self._members = [np.array(ids, np.int64) for ids in members]
        self._calibration: Calibration | None = None
        self._rises = _rises(library)

    def calibrated(self, calibration: Calibration) -> "Scorer":
        """The same scorer, its scores through a calibration."""
        other = copy(self)
        other._calibration = calibration
        return other

    def score(self, embeddings: Embeddings) -> Scores:
        """Score embeddings[n, dim]."""
        found = np.empty((len(embeddings), len(self.labels)), np.float32)
        best = np.empty(found.shape, np.int16)
        for start, tile in _tiles(embeddings):
            stop = start + len(tile)
            scores = self._concept_scores(tile @ self._matrix)
            for column, members in enumerate(self._members):
                part = scores[:, members]
                at = part.argmax(axis=1)
                found[start:stop, column] = part[np.arange(len(part)), at]
                best[start:stop, column] = members[at]
        if self._calibration is None:
            return Scores(found, best)
        scores = self._calibration.apply(found, self.labels)
        self._raise_parents(scores, best)
        return Scores(scores, best)

    def from_raw(self, raw: Floats) -> Floats:
        """Label scores[n, labels] of raw ones."""
        scores = raw.copy() if self._calibration is None else self._calibration.apply(raw, self.labels)
        self._raise_parents(scores, np.zeros(scores.shape, np.int16))
        return scores

    def _raise_parents(self, scores: Floats, concepts: npt.NDArray[np.int16]) -> None:
        """In place: no parent below a child. Raw scores are so by themselves."""
        for child, parent in self._rises:
            higher = scores[:, child] > scores[:, parent]
            scores[higher, parent] = scores[higher, child]
            concepts[higher, parent] = concepts[higher, child]

    def score_concepts(self, embeddings: Embeddings) -> Floats:
        """Score embeddings[n, dim] for every concept, [n, concepts]: what a label's score is the greatest of."""
        parts = [self._concept_scores(tile @ self._matrix) for _, tile in _tiles(embeddings)]
        return np.concatenate([np.empty((0, len(self.concepts)), np.float32), *parts])

    def evidence(self, embeddings: Embeddings, concepts: npt.NDArray[np.int16]) -> tuple[Ids, Ids]:
        """For each embedding and one of its concepts: the nearest phrase for it, and the nearest against it.

        Both are places in `phrases`.
        """
        prompts, counters = np.empty(len(embeddings), np.int64), np.empty(len(embeddings), np.int64)
        for concept in np.unique(concepts):
            asked = np.flatnonzero(concepts == concept)
            wide = embeddings[asked].astype(np.float64)
            for found, phrases in ((prompts, self._own[concept]), (counters, self._against[concept])):
                found[asked] = phrases[(wide @ self._all_phrases[:, phrases]).argmax(axis=1)]
        return prompts, counters

    def _concept_scores(self, near: Doubles) -> Floats:
        # Cosines end at 1, so these lie between exp(-2t) and 1: no overflow, no underflow, no logarithm needed.
        shares = np.exp((near - 1) * self._temperature)
        own = np.maximum.reduceat(shares[:, : self._num_anchors], self._anchor_starts, axis=1)
        sums = np.add.reduceat(shares[:, self._num_anchors :], self._negative_starts, axis=1)
        sums = np.append(sums, np.zeros((len(sums), 1)), axis=1)
        against = sum(np.take(sums, columns, axis=1) for columns in self._sums_of)
        scores: Floats = (own / (own + against)).astype(np.float32)
        return scores


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


def _rises(library: SemanticLibrary) -> list[tuple[int, int]]:
    """Columns of each child label and its parent, deepest first: what a parent passes on is whole."""
    labels = list(library.labels)
    chains = {label: _chain(label, library) for label in labels}
    deepest_first = sorted(labels, key=lambda label: -len(chains[label]))
    return [(labels.index(label), labels.index(chains[label][1])) for label in deepest_first if len(chains[label]) > 1]


def _chain(label: str, library: SemanticLibrary) -> list[str]:
    """A label and the labels above it that are scored."""
    chain = [label]
    while (above := library.labels[chain[-1]].parent) is not None and above in library.labels:
        chain.append(above)
    return chain


def _tiles(embeddings: Embeddings) -> Iterator[tuple[int, Doubles]]:
    assert embeddings.dtype == np.float16, "products are exact for float16 only"
    for start in range(0, len(embeddings), TILE):
        yield start, embeddings[start : start + TILE].astype(np.float64)


def _exact(vectors: Floats) -> Doubles:
    """Vectors as columns, rounded so that their products with embeddings are exact; see the module."""
    return np.ascontiguousarray(np.rint(vectors.astype(np.float64).T * 2**24) / 2**24)


def _rows_by_owner(vectors: PromptVectors) -> dict[tuple[Role, str], Ids]:
    rows: dict[tuple[Role, str], list[int]] = {}
    for row, key in enumerate(zip(vectors.roles, vectors.owners, strict=True)):
        rows.setdefault(key, []).append(row)
    return {key: np.array(places, np.int64) for key, places in rows.items()}


def _anchors(vectors: PromptVectors, own: Sequence[Ids]) -> tuple[Floats, Ids]:
    """One unit vector per concept and language, concepts in order; and where each concept's begin."""
    anchors, lengths = [], []
    for ids in own:
        languages = [vectors.languages[row] for row in ids]
        for language in sorted(set(languages)):
            rows = [row for row, said in zip(ids, languages, strict=True) if said == language]
            mean = vectors.vectors[rows].astype(np.float64).mean(axis=0)
            anchors.append((mean / (np.linalg.norm(mean) or 1.0)).astype(np.float32))
        lengths.append(len(set(languages)))
    return np.stack(anchors), _starts(lengths)


def _starts(lengths: Sequence[int]) -> Ids:
    assert all(lengths), "`reduceat` misreads an empty segment; a valid library has none"
    return np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
