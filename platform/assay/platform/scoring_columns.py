"""The columns of the scoring product: which phrases they are, and how a tile's concept scores are made of them.

Knows the arithmetic of `scoring.py`'s formula, in buffers that are used again: fresh ones cost more than the sums do.
Does not know labels, calibrations or views.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from assay.platform.library import SemanticLibrary
from assay.platform.prompt_vectors import PromptVectors, Role

Embeddings = npt.NDArray[np.float16]  # [n, dim], unit length
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]
Owner = tuple[Role, str]
T = TypeVar("T", np.float32, np.float64)

_PLACED, _RAISED = np.int32(-0x70002000), np.float32(2.0**112)
"""Bits of a float32 that a float16's fall on (0x8FFFE000), and the power of two between their exponents."""


class Grouped:
    """The sum, or the greatest, of each group of columns. Groups may be of any sizes, and share columns; none is empty.

    Goes by rank within the group: first columns, then second ones where there are any, …: a few sweeps over whole
    rows, where `reduceat` would stop at each group. A sum is taken in the group's order.
    """

    def __init__(self, join: np.ufunc, groups: Sequence[Sequence[int]]) -> None:
        assert all(groups), "a valid library has no empty group"
        self._join, self._num = join, len(groups)
        self._steps: list[tuple[Ids, Ids]] = []
        for rank in range(max(map(len, groups))):
            who = [place for place, group in enumerate(groups) if len(group) > rank]
            self._steps.append((np.array(who), np.array([groups[place][rank] for place in who])))

    def __call__(self, table: npt.NDArray[T]) -> npt.NDArray[T]:
        """[n, groups] of [n, columns]."""
        (_, columns), *later = self._steps
        found = table.take(columns, axis=1)
        for who, columns in later:
            part = table.take(columns, axis=1)
            if len(who) == self._num:
                self._join(found, part, out=found)
            else:
                found[:, who] = self._join(found.take(who, axis=1), part)
        return found


@dataclass(frozen=True, slots=True)
class Room:
    """Buffers for a tile of rows."""

    bits: npt.NDArray[np.int32]  # [rows, dim]
    wide: Doubles  # [rows, dim]
    near: Doubles  # [rows, columns]

    def widen(self, tile: Embeddings) -> Doubles:
        """float16 as float64, exactly, a third faster than NumPy does it, number by number. None may be infinite.

        Sign, exponent and fraction go where float32 has them; its exponent is then too low by 112.
        """
        bits, wide = self.bits[: len(tile)], self.wide[: len(tile)]
        np.copyto(bits, tile.view(np.int16))
        np.left_shift(bits, 13, out=bits)
        np.bitwise_and(bits, _PLACED, out=bits)
        single = bits.view(np.float32)
        np.multiply(single, _RAISED, out=single)
        np.copyto(wide, single)
        return wide


class ScoringColumns:
    """The matrix of some concepts' phrases, and the sums that make their scores.

    Columns: one for each concept and language (the unit mean of its prompts there), then the phrases against, by owner.
    """

    def __init__(
        self, anchors: Sequence[Floats], negatives: Sequence[Floats], sums_of: Sequence[Sequence[int]]
    ) -> None:
        """`anchors[concept]`: [languages, dim]; `negatives[owner]`: [phrases, dim]; `sums_of[concept]`: the owners
        whose phrases stand against it, in the order in which they are added."""
        self._matrix = exact(np.concatenate([*anchors, *negatives]))
        starts = _starts([len(part) for part in (*anchors, *negatives)]).tolist()
        stops = [*starts[1:], self._matrix.shape[1]]
        places = [range(start, stop) for start, stop in zip(starts, stops, strict=True)]
        self._anchors, self._negatives = places[: len(anchors)], places[len(anchors) :]
        self._num_anchors = self._negatives[0].start
        self._negative_starts = np.array([one.start for one in self._negatives]) - self._num_anchors
        self._sums_of = sums_of
        self._own, self._against = Grouped(np.maximum, self._anchors), Grouped(np.add, sums_of)

    @classmethod
    def of(cls, library: SemanticLibrary, vectors: PromptVectors, concepts: Sequence[str]) -> "ScoringColumns":
        """The columns of some concepts of a library."""
        rows = rows_by_owner(vectors)
        wanted = {owner for concept in concepts for owner in negatives_of(library, concept) if owner in rows}
        owners = sorted(wanted, key=lambda owner: (owner[0] is Role.BACKGROUND, owner))
        place = {owner: position for position, owner in enumerate(owners)}
        return cls(
            [_anchors(vectors, rows[Role.PROMPT, concept]) for concept in concepts],
            [vectors.vectors[rows[owner]] for owner in owners],
            [[place[owner] for owner in negatives_of(library, concept) if owner in place] for concept in concepts],
        )

    def room(self, rows: int) -> Room:
        """Buffers for tiles of up to so many rows."""
        dim, columns = self._matrix.shape
        return Room(np.empty((rows, dim), np.int32), np.empty((rows, dim)), np.empty((rows, columns)))

    def score(self, tile: Embeddings, temperature: float, room: Room) -> Floats:
        """Scores[rows, concepts] of embeddings[rows, dim]."""
        near = room.near[: len(tile)]
        np.matmul(room.widen(tile), self._matrix, out=near)
        # Cosines end at 1, so these lie between exp(-2t) and 1: no overflow, no underflow, no logarithm needed.
        np.subtract(near, 1, out=near)
        np.multiply(near, temperature, out=near)
        np.exp(near, out=near)
        own = self._own(near[:, : self._num_anchors])
        against = self._against(np.add.reduceat(near[:, self._num_anchors :], self._negative_starts, axis=1))
        np.add(own, against, out=against)
        np.divide(own, against, out=against)
        return against.astype(np.float32)

    def fingerprint(self, concept: int) -> str:
        """A sha256 of all numbers that a concept's score is made of, given by its place."""
        digest = hashlib.sha256()
        for columns in (self._anchors[concept], *(self._negatives[owner] for owner in self._sums_of[concept])):
            digest.update(f"{len(columns)} ".encode() + self._matrix[:, columns].tobytes())
        return digest.hexdigest()


def negatives_of(library: SemanticLibrary, concept: str) -> tuple[Owner, Owner, Owner]:
    """Whose phrases stand against a concept, in the order in which they are added; it may be that they have none."""
    label, _ = library.concepts[concept]
    return (Role.COUNTER, label), (Role.COUNTER, concept), (Role.BACKGROUND, "")


def rows_by_owner(vectors: PromptVectors) -> dict[Owner, Ids]:
    """The places of each owner's phrases."""
    rows: dict[Owner, list[int]] = {}
    for row, key in enumerate(zip(vectors.roles, vectors.owners, strict=True)):
        rows.setdefault(key, []).append(row)
    return {key: np.array(places, np.int64) for key, places in rows.items()}


def exact(vectors: Floats) -> Doubles:
    """Vectors as columns, rounded so that their products with embeddings are exact; see `scoring.py`."""
    return np.ascontiguousarray(np.rint(vectors.astype(np.float64).T * 2**24) / 2**24)


def _anchors(vectors: PromptVectors, own: Ids) -> Floats:
    """One unit vector for each language of a concept's prompts."""
    found = []
    languages = [vectors.languages[row] for row in own]
    for language in sorted(set(languages)):
        rows = [row for row, said in zip(own, languages, strict=True) if said == language]
        mean = vectors.vectors[rows].astype(np.float64).mean(axis=0)
        found.append((mean / (np.linalg.norm(mean) or 1.0)).astype(np.float32))
    return np.stack(found)


def _starts(lengths: Sequence[int]) -> Ids:
    assert all(lengths), "`reduceat` misreads an empty segment; a valid library has none"
    return np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
