"""What is kept of one label while verdicts stream by: a histogram, counts, and a small stratified sample.

Knows how a batch of verdicts comes apart into scores and findings without a Python object per row. Does not know files,
thumbnails or pages. Memory does not grow with the number of rows.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Rows = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]

BINS = 50
"""Of a score histogram over 0 to 1."""


class Band(StrEnum):
    """Where in the range of scores a sampled image lies."""

    HIGHEST = "highest"
    ABOVE = "above"
    BELOW = "below"


SAMPLE = {Band.HIGHEST: 8, Band.ABOVE: 4, Band.BELOW: 4}
"""Images kept per label and band."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One image that may get into the gallery. `finding` is null below the threshold."""

    score: float
    uri: str
    etag: str
    action: str
    finding: dict[str, object] | None


@dataclass(frozen=True, slots=True)
class Exploded:
    """A batch's scores or findings, one entry each: the batch's `rows`, and `labels` as places in `names`."""

    rows: Rows
    labels: Rows
    names: list[str]

    def of(self, name: str) -> npt.NDArray[np.bool_]:
        """Which entries are of the label `name`."""
        place = self.names.index(name) if name in self.names else -1
        return np.equal(self.labels, place)


def explode_scores(maps: pa.MapArray) -> tuple[Exploded, Scores]:
    """The entries of `scores` (map from label to float32) of a batch, sliced or not; null rows have none."""
    rows, part = _entries(maps)
    values = maps.items.take(part).to_numpy(zero_copy_only=False).astype(np.float32)
    return _coded(rows, maps.keys.take(part)), values


def explode_findings(lists: pa.ListArray) -> tuple[Exploded, pa.StructArray]:
    """The entries of `findings` of a batch, sliced or not."""
    rows, part = _entries(lists)
    structs = lists.values.take(part)
    return _coded(rows, pc.struct_field(structs, "label")), structs


def _entries(lists: pa.ListArray) -> tuple[Rows, pa.Array]:
    """Each entry's row, and its place among the child values (which know nothing of the parent's slice)."""
    offsets = lists.offsets.to_numpy().astype(np.int64)
    lengths = np.where(pc.is_null(lists).to_numpy(zero_copy_only=False), 0, np.diff(offsets))
    rows = np.repeat(np.arange(len(lists)), lengths)
    starts = np.repeat(offsets[:-1] - (np.cumsum(lengths) - lengths), lengths)
    return rows, pa.array(np.arange(len(rows)) + starts)


def _coded(rows: Rows, names: pa.Array) -> Exploded:
    coded = names.dictionary_encode()
    return Exploded(rows, coded.indices.to_numpy().astype(np.int64), coded.dictionary.to_pylist())


@dataclass(slots=True)
class LabelTally:
    """What is kept of one label. `threshold` is its lowest one; None if no rule names it."""

    threshold: float | None
    scored: int = 0
    histogram: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))  # [BINS]
    actions: Counter[str] = field(default_factory=Counter)
    _kept: dict[Band, list[Candidate]] = field(default_factory=dict)

    def count(self, scores: Scores) -> None:
        """Count scores float32[n]; one that is no number counts as 1, as the policy takes it."""
        sane = np.clip(np.nan_to_num(scores, nan=1.0), 0, 1)
        self.histogram += np.bincount(np.minimum((sane * BINS).astype(np.int64), BINS - 1), minlength=BINS)
        self.scored += len(scores)

    def offer(self, scores: Scores, pick: Callable[[int], Candidate]) -> None:
        """Let a batch's scores float32[n] into the sample; `pick(i)` makes the candidate of the i-th, if
        wanted.
        """
        # Compared as the policy compares: in float32, and a score that is no number is over.
        edge = np.float32(np.inf if self.threshold is None else self.threshold)
        over = ~(scores < edge)
        places = np.arange(len(scores))
        self._merge(Band.HIGHEST, places[over], -scores[over], pick)
        self._merge(Band.ABOVE, places[over], scores[over], pick)
        self._merge(Band.BELOW, places[~over], -scores[~over], pick)

    def _merge(self, band: Band, places: Rows, order: Scores, pick: Callable[[int], Candidate]) -> None:
        """Keep the candidates that come first in `order` (ascending), with ties by uri."""
        # The band above must still be full after losing those that are among the highest.
        room = SAMPLE[band] + (SAMPLE[Band.HIGHEST] if band is Band.ABOVE else 0)
        sign = 1.0 if band is Band.ABOVE else -1.0
        kept = self._kept.setdefault(band, [])
        if len(kept) == room:
            better = order < sign * kept[-1].score
            places, order = places[better], order[better]
        first = np.argsort(order, kind="stable")[:room]
        kept += [pick(int(place)) for place in places[first]]
        kept.sort(key=lambda candidate: (sign * candidate.score, candidate.uri))
        del kept[room:]

    def sample(self) -> list[tuple[Band, Candidate]]:
        """The gallery's images: highest, then nearest above the threshold, then nearest below; none twice."""
        highest = self._kept.get(Band.HIGHEST, [])
        taken = {(candidate.uri, candidate.etag) for candidate in highest}
        above = [one for one in self._kept.get(Band.ABOVE, []) if (one.uri, one.etag) not in taken]
        return [
            *((Band.HIGHEST, candidate) for candidate in highest),
            *((Band.ABOVE, candidate) for candidate in above[: SAMPLE[Band.ABOVE]]),
            *((Band.BELOW, candidate) for candidate in self._kept.get(Band.BELOW, [])),
        ]
