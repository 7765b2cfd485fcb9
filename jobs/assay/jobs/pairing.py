"""Two sides of a comparison, image by image: both are read once, in step, whatever files their rows lie in.

Knows that shards never shift, so that an image is in the same shard on both sides. Does not know what is compared.
Memory: a batch or a shard of each side, whichever is more.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assay.jobs.side import Places, Rows, Side
from assay.platform.errors import ConservationError

AT_LEAST = 16_384
"""Rows of a side that are compared together, if it has as many: small files would each cost as much as a large one."""
END = np.iinfo(np.int64).max
"""Beyond any shard."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """The images of some shards: those that both sides judged, row for row, and those of one side only."""

    before: Rows
    after: Rows
    only_before: Rows
    only_after: Rows


def pair_up(before: Side, after: Side) -> Iterator[Pairs]:
    """All images of both sides, each once, in order of shards; within a shard as the files of `before` have them.

    Raises:
        StorageError: a committed file cannot be read.
        ConservationError: a side has an image twice.
    """
    feeds = _Feed(before), _Feed(after)
    limit = -1
    while limit < END:
        limit = min(feed.whole_until() for feed in feeds)
        one, other = (feed.take(limit) for feed in feeds)
        if len(one) or len(other):
            yield _matched(one, other, before.store.shown)


class _Feed:
    """The rows of one side, held until all of a shard are there."""

    def __init__(self, side: Side) -> None:
        self._coming = side.rows()
        self._held = Rows.none(len(side.labels))
        self._is_done = False

    def whole_until(self) -> int:
        """The last shard of which all rows are held; there is one, unless nothing is left."""
        parts, count = [self._held], len(self._held)
        first = int(self._held.shards[0]) if count else END
        last = int(self._held.shards[-1]) if count else END
        while not self._is_done and (count < AT_LEAST or first == last):
            rows = next(self._coming, None)
            if rows is None:
                self._is_done = True
                break
            parts.append(rows)
            first, last = min(first, int(rows.shards[0])), int(rows.shards[-1])
            count += len(rows)
        self._held = Rows.joined(parts)
        return END if self._is_done else last - 1

    def take(self, limit: int) -> Rows:
        """The rows of shards up to `limit`; they are held no more."""
        stop = int(np.searchsorted(self._held.shards, limit, "right"))
        taken, self._held = self._held.part(0, stop), self._held.part(stop, len(self._held))
        return taken


def _matched(one: Rows, other: Rows, where: str) -> Pairs:
    if one.uris.equals(other.uris) and one.etags.equals(other.etags):
        return Pairs(one, other, one.part(0, 0), other.part(0, 0))
    mine, theirs = _numbered(one, other)
    for side in (mine, theirs):
        if len(np.unique(side)) < len(side):
            raise ConservationError(
                "an image is judged twice", where=where, why="by one release and policy", fix="run `assay verify`"
            )
    _, here, there = np.intersect1d(mine, theirs, assume_unique=True, return_indices=True)
    order = np.argsort(here)
    here, there = here[order], there[order]
    alone = [np.setdiff1d(np.arange(len(side)), both) for side, both in ((one, here), (other, there))]
    return Pairs(one.take(here), other.take(there), one.take(alone[0]), other.take(alone[1]))


def _numbered(one: Rows, other: Rows) -> tuple[Places, Places]:
    """A number for each image of both, the same for the same."""
    codes = []
    for mine, theirs in ((one.uris, other.uris), (one.etags, other.etags)):
        coded = pc.dictionary_encode(pa.concat_arrays([mine, theirs]))
        codes.append((coded.indices.to_numpy().astype(np.int64), len(coded.dictionary)))
    (uris, _), (etags, num_etags) = codes
    numbers = uris * max(1, num_etags) + etags
    return numbers[: len(one)], numbers[len(one) :]
