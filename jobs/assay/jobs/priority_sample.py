"""A sample of rows that stream by, of which some are wanted more than others, and what each row of it stands for.

Priority sampling (Duffield, Lund, Thorup: "Priority sampling for estimation of arbitrary subset sums", J. ACM 54(6),
2007). Row i has a share s_i > 0 and a uniform draw u_i of its own; the n rows of least u_i / s_i are kept, and t is
that quotient of the next one. A kept row then stands for max(1, 1 / (s_i t)) rows. For any rows one may ask about, the
sum of these weights is an unbiased estimate of how many they are in all, whatever the shares.

Knows nothing of images' scores. Holds the sample, at most as much again, and the batch at hand.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Image = tuple[str, str]
"""uri and etag."""


def draw(seed: int, images: Sequence[Image]) -> Doubles:
    """A number in (0, 1] for each image, whatever the order of rows, and whichever files they lie in."""
    key = seed.to_bytes(16, "big", signed=True)
    told = (f"{len(uri)} {uri}{etag}".encode() for uri, etag in images)
    bits = b"".join(hashlib.blake2b(one, digest_size=8, key=key).digest() for one in told)
    return (np.frombuffer(bits, ">u8").astype(np.float64) + 1) / 2.0**64


@dataclass(frozen=True, slots=True)
class Sample:
    """The rows kept, and how many rows each stands for."""

    images: list[Image]
    weights: Doubles  # [n]
    population: int
    """Rows that streamed by."""
    edge: float
    """A row was kept if its draw, over its share, is less; infinite when all were."""


class PrioritySample:
    """A sample of at most `size` rows in the making."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed, self.population = size, seed, 0
        self._images: list[Image] = []
        self._ranks, self._shares = np.empty(0), np.empty(0)
        self._edge = np.inf
        """Nothing of a greater rank can be kept any more."""

    def add(self, images: Sequence[Image], shares: Doubles) -> None:
        """Let a batch in; `shares` float64[n], above 0, say how much each is wanted."""
        self.population += len(images)
        ranks = draw(self.seed, images) / shares
        places = np.flatnonzero(ranks <= self._edge)
        self._images += [images[place] for place in places.tolist()]
        self._ranks = np.append(self._ranks, ranks[places])
        self._shares = np.append(self._shares, shares[places])
        if len(self._ranks) > 2 * self.size + 1:
            self._shrink()

    def _shrink(self) -> None:
        """Keep one more than the sample: the rank of that one is what weights are made from."""
        best = np.argsort(self._ranks, kind="stable")[: self.size + 1]
        self._images = [self._images[place] for place in best.tolist()]
        self._ranks, self._shares = self._ranks[best], self._shares[best]
        self._edge = self._ranks[-1] if len(best) > self.size else np.inf

    def end(self) -> Sample:
        """The sample of all that was let in."""
        self._shrink()
        if len(self._images) <= self.size:  # all of them: each stands for itself
            return Sample(self._images, np.ones(len(self._images)), self.population, np.inf)
        weights = np.maximum(1.0, 1.0 / (self._shares[: self.size] * self._edge))
        return Sample(self._images[: self.size], weights, self.population, float(self._edge))
