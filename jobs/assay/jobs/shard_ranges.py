"""Sets of shard numbers, as disjoint ascending ranges: small however many shards there are.

A committed file covers the shards from its first to its last: files are written per shard and compacted only per
complete segment. So what is done, and what is left, are few ranges, and set algebra costs by the range, not by the
shard. Knows numbers, nothing else.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence, Set
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Numbers: TypeAlias = npt.NDArray[np.int64]


class Covering(Protocol):
    """What covers shards: a data file."""

    @property
    def first_shard(self) -> int:
        """The first one."""

    @property
    def last_shard(self) -> int:
        """The last one, inclusive."""


class ShardRanges(Set[int]):
    """An immutable set of shard numbers: the ranges from `starts` to `stops`, inclusive, ascending, none touching.

    It is a `Set` like any other, and equal to one with the same numbers.
    """

    __slots__ = ("_starts", "_stops", "starts", "stops")

    def __init__(self, starts: Sequence[int] | Numbers = (), stops: Sequence[int] | Numbers = ()) -> None:
        self.starts, self.stops = np.array(starts, np.int64), np.array(stops, np.int64)  # int64[ranges]
        for ends in (self.starts, self.stops):
            ends.setflags(write=False)
        # Of these, bisect takes Python's own numbers, much faster than NumPy's.
        self._starts, self._stops = self.starts.data, self.stops.data

    @classmethod
    def covering(cls, firsts: Numbers, lasts: Numbers) -> "ShardRanges":
        """The shards of ranges in any order, which may overlap: int64[n] each; those that end before they begin are
        empty."""
        real = firsts <= lasts
        order = np.argsort(firsts[real], kind="stable")
        firsts, lasts = firsts[real][order], np.maximum.accumulate(lasts[real][order])
        if not len(firsts):
            return cls()
        gaps = firsts[1:] > lasts[:-1] + 1
        return cls(firsts[np.concatenate([[True], gaps])], lasts[np.concatenate([gaps, [True]])])

    @classmethod
    def of(cls, files: Iterable[Covering]) -> "ShardRanges":
        """The shards that `files` cover."""
        ends = np.array([(file.first_shard, file.last_shard) for file in files], np.int64).reshape(-1, 2)
        return cls.covering(ends[:, 0], ends[:, 1])

    @classmethod
    def between(cls, pairs: Iterable[tuple[int, int]]) -> "ShardRanges":
        """The shards of pairs of first and last."""
        ends = np.array([*pairs], np.int64).reshape(-1, 2)
        return cls.covering(ends[:, 0], ends[:, 1])

    @classmethod
    def of_numbers(cls, numbers: Iterable[int]) -> "ShardRanges":
        """These shards."""
        if isinstance(numbers, ShardRanges):
            return numbers
        if isinstance(numbers, range) and numbers.step == 1:
            return cls.between([(numbers.start, numbers.stop - 1)])
        each = np.fromiter(numbers, np.int64)
        return cls.covering(each, each)

    def __contains__(self, shard: object) -> bool:
        if not isinstance(shard, int):
            return False
        index = bisect_right(self._starts, shard) - 1
        return index >= 0 and shard <= self._stops[index]

    def __len__(self) -> int:
        return int((self.stops - self.starts).sum()) + len(self.starts)

    def __iter__(self) -> Iterator[int]:
        for start, stop in zip(self._starts, self._stops, strict=True):
            yield from range(start, stop + 1)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ShardRanges):
            return np.array_equal(self.starts, other.starts) and np.array_equal(self.stops, other.stops)
        return super().__eq__(other)

    __hash__ = None  # type: ignore[assignment]  # as for every Set that compares by value

    def __or__(self, other: Iterable[int]) -> "ShardRanges":  # type: ignore[override]  # of numbers only
        one = ShardRanges.of_numbers(other)
        return ShardRanges.covering(np.concatenate([self.starts, one.starts]), np.concatenate([self.stops, one.stops]))

    def __and__(self, other: Iterable[int]) -> "ShardRanges":
        one = ShardRanges.of_numbers(other)
        # Each of our ranges meets the other's from `first` to before `last`: one entry for each such pair.
        first = np.searchsorted(one.stops, self.starts, "left")
        last = np.searchsorted(one.starts, self.stops, "right")
        meets = np.maximum(last - first, 0)
        mine = np.repeat(np.arange(len(self.starts)), meets)
        theirs = np.arange(meets.sum()) - np.repeat(np.cumsum(meets) - meets, meets) + np.repeat(first, meets)
        return ShardRanges(
            np.maximum(self.starts[mine], one.starts[theirs]), np.minimum(self.stops[mine], one.stops[theirs])
        )

    def __sub__(self, other: Iterable[int]) -> "ShardRanges":
        one = ShardRanges.of_numbers(other)
        if not len(self.starts):
            return self
        ends = self.starts[:1] - 1, self.stops[-1:] + 1
        gaps = np.concatenate([ends[0], one.stops]) + 1, np.concatenate([one.starts, ends[1]]) - 1
        gaps = np.maximum(gaps[0], self.starts[0]), np.minimum(gaps[1], self.stops[-1])
        return self & ShardRanges.covering(*gaps)

    __ror__ = __or__
    __rand__ = __and__

    def __rsub__(self, other: Iterable[int]) -> "ShardRanges":
        return ShardRanges.of_numbers(other) - self

    def meets(self, first: int, last: int) -> bool:
        """Whether one of the shards from `first` to `last` is in it."""
        index = bisect_left(self._stops, first)
        return index < len(self._starts) and self._starts[index] <= last

    def has_each(self, shards: Numbers) -> npt.NDArray[np.bool_]:
        """Which of `shards`, int64[n], are in it."""
        return self.num_in(shards, shards) > 0

    def num_in(self, firsts: Numbers, lasts: Numbers) -> Numbers:
        """How many shards of each range, int64[n], are in it."""
        return self._before(lasts + 1) - self._before(firsts)

    def _before(self, shards: Numbers) -> Numbers:
        """How many shards in it are less than each of `shards`."""
        if not len(self.starts):
            return np.zeros(len(shards), np.int64)
        sizes = self.stops - self.starts + 1
        sums = np.concatenate([[0], np.cumsum(sizes)])
        index = np.searchsorted(self.starts, shards, "left")
        last = np.maximum(index - 1, 0)
        return np.where(index > 0, sums[last] + np.minimum(shards - self.starts[last], sizes[last]), 0)

    def __repr__(self) -> str:
        pairs = ", ".join(f"{start}-{stop}" for start, stop in zip(self._starts[:8], self._stops[:8], strict=True))
        return f"ShardRanges({pairs}{', …' if len(self.starts) > 8 else ''})"
