"""How much of a sample each score of each label is worth: more where few images are, and where decisions are made.

Knows score histograms and thresholds. Does not know images, nor how a sample is drawn (`priority_sample.py`).

A label's part of the sample goes in equal pieces to bands of its scores:
- by rank: the images of its highest 0.2 %, from there to 1 %, to 5 %, to 25 % (a rare label's few pictures are there);
- by threshold: the scores within a factor of e, in odds, of each threshold of the policy.
`EVERYWHERE` of the sample goes to all images alike, so that every image can be drawn and none stands for more than
1 / EVERYWHERE times what it would in a sample drawn blindly. An image's share is the sum of all it is given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

TAILS = (0.25, 0.05, 0.01, 0.002)
"""Where bands by rank begin, as parts of all images, from the top."""
EVERYWHERE = 0.2
"""Of the sample: what is drawn without looking at scores."""
CODES = 0x3F80 + 1
"""A score's code is the upper half of its float32's bits: in order of scores, each 0.8 % or less above the one before,
down to 1e-38. Scores of 1 have the last one."""

Codes = npt.NDArray[np.int64]


def codes_of(scores: npt.NDArray[np.float32]) -> Codes:
    """The codes of scores in 0 to 1. What is no number counts as 1, as the policy takes it."""
    sane = np.clip(np.nan_to_num(scores, nan=1.0), 0, 1).astype(np.float32) + np.float32(0)  # -0.0 becomes 0.0
    return (sane.view(np.uint32) >> 16).astype(np.int64)


@dataclass(frozen=True)
class ScoreBands:
    """What an image's score adds to its share: float64[CODES] for each label. Shares of all images sum to 1."""

    everywhere: float
    by_label: Mapping[str, npt.NDArray[np.float64]]

    @classmethod
    def of(
        cls, histograms: Mapping[str, npt.NDArray[np.int64]], thresholds: Mapping[str, Sequence[float]], images: int
    ) -> "ScoreBands":
        """From each label's images by code, int64[CODES], its thresholds, and how many images there are in all."""
        each = (1 - EVERYWHERE) / len(histograms)
        by_label = {label: _rates(counts, thresholds.get(label, ()), each) for label, counts in histograms.items()}
        # What a label cannot use (all its scores are alike) goes to all images.
        used = sum(float(rates @ histograms[label]) for label, rates in by_label.items())
        return cls((1 - used) / images, by_label)

    def add_to(self, shares: npt.NDArray[np.float64], rows: Codes, label: str, codes: Codes) -> None:
        """Add what a label gives to the `rows` that have scores of these codes."""
        shares[rows] += self.by_label[label][codes]


def _rates(counts: npt.NDArray[np.int64], thresholds: Sequence[float], part: float) -> npt.NDArray[np.float64]:
    """`part` of the sample, spread in equal pieces over a label's bands: what one image of each code gets."""
    bands = [band for band in (*_by_rank(counts), *map(_around, thresholds)) if counts[band].any()]
    rates = np.zeros(CODES)
    for band in bands:
        rates[band] += part / len(bands) / counts[band].sum()
    return rates


def _by_rank(counts: npt.NDArray[np.int64]) -> list[slice]:
    """The bands by rank. One that many images with the same score would overfill begins above that score."""
    above = np.cumsum(counts[::-1])[::-1]  # images of a code or a greater one
    edges = [int(np.searchsorted(-above, -tail * counts.sum(), "left")) for tail in TAILS]
    return [slice(low, high) for low, high in zip(edges, [*edges[1:], CODES], strict=True)]


def _around(threshold: float) -> slice:
    odds = threshold / max(1 - threshold, 1e-9)
    ends = np.array([odds / np.e / (1 + odds / np.e), odds * np.e / (1 + odds * np.e)], np.float32)
    low, high = codes_of(ends)
    return slice(int(low), int(high) + 1)
