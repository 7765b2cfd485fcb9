"""How well scores part the images that show a thing from those that do not, for many weightings at once.

Knows scores, truth and weights of one label. Knows no threshold, and nothing of where weights come from. Definitions
are those of scikit-learn with `sample_weight`, the oracle in the tests; there each weighting is a call of its own.
"""

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Weights = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

BLOCK = 2**18
"""Weights worked on at once: what keeps intermediate tables in the processor's cache. Does not change figures."""


class Ranking:
    """Images in the order of their scores, greatest first. Those of one score stand or fall together.

    All figures change only where a score has a positive image. `_edges` are the counts of images before and after each
    such score; `_begins` and `_ends` are places in it.
    """

    def __init__(self, scores: npt.NDArray[np.float32], positive: Mask) -> None:
        self._order = np.argsort(-scores, kind="stable")
        in_order = positive[self._order]
        self._positive_order = self._order[in_order]
        fresh = np.append(True, np.diff(scores[self._order]) != 0)
        starts = np.flatnonzero(fresh)
        group = np.cumsum(fresh) - 1
        mine = np.unique(group[in_order])
        begins, ends = starts[mine], np.append(starts, len(scores))[mine + 1]
        counts = np.bincount(group[in_order], minlength=len(starts))[mine]
        self._positive_ends = np.cumsum(counts)
        self._edges = np.unique(np.concatenate([[0, len(scores)], begins, ends]))
        self._begins, self._ends = np.searchsorted(self._edges, begins), np.searchsorted(self._edges, ends)

    def figures(self, weights: Weights, precisions: tuple[float, ...]) -> Doubles:
        """Figures for weights [b, n], as [2 + precisions, b]; there must be positive and negative images.

        - average precision: the sum over scores, greatest first, of (recall gained) x (precision so far)
        - ROC-AUC: how often a positive image is scored above a negative one; half of it for equal scores
        - for each of `precisions`: the greatest recall of any threshold that has at least this precision; 0 if none has
        """
        height = max(1, BLOCK // weights.shape[1])
        blocks = [self._block(weights[at : at + height], precisions) for at in range(0, len(weights), height)]
        return np.concatenate(blocks, axis=1)

    def _block(self, weights: Weights, precisions: tuple[float, ...]) -> Doubles:
        above = _running(np.add.reduceat(weights[:, self._order], self._edges[:-1], axis=1))  # [b, edges]
        hits = _running(weights[:, self._positive_order])[:, self._positive_ends]  # [b, places], as all below
        flagged = above[:, self._ends]
        gained = np.diff(hits, axis=1, prepend=0)
        precision = hits / flagged
        false_before = above[:, self._begins] - (hits - gained)
        false_after = flagged - hits
        positives = hits[:, -1]
        negatives = above[:, -1] - positives
        average_precision = (gained * precision).sum(axis=1) / positives
        beaten = (gained * (false_before + false_after)).sum(axis=1) / (2 * positives * negatives)
        recalls = [np.where(precision >= wanted, hits, 0).max(axis=1) / positives for wanted in precisions]
        return np.stack([average_precision, 1 - beaten, *recalls])


class Reliability:
    """Whether scores mean what they say: of images scored 0.3, three in ten should be positive.

    Images in the order of their scores are cut into `bins` of equal weight (by the weights given here, whatever they
    are resampled to); images of one score stay together, in the bin in which the middle of their weight lies.
    """

    def __init__(self, scores: npt.NDArray[np.float32], positive: Mask, weights: Doubles, bins: int) -> None:
        _, place = np.unique(scores, return_inverse=True)
        mass = np.bincount(place, weights)
        middle = (np.cumsum(mass) - mass / 2) / mass.sum()
        self.bins = np.minimum((middle * bins).astype(np.int64), bins - 1)[place]  # [n]
        self._in_bin = np.equal.outer(self.bins, np.arange(bins))  # [n, bins]
        self._scores, self._positive, self._weights = scores.astype(np.float64), positive, weights

    def excess(self, weights: Weights) -> Doubles:
        """For weights [b, n], [b, bins]: how far each bin's mean score is over its share positive, times its weight."""
        over = (self._scores - self._positive)[:, None] * self._in_bin  # [n, bins]
        summed = (weights @ over.astype(weights.dtype)).astype(np.float64)
        excess: Doubles = summed / weights.sum(axis=1, dtype=np.float64)[:, None]
        return excess

    def error(self, weights: Weights) -> Doubles:
        """Calibration error [b] for weights [b, n]: over bins, by weight, the mean of |mean score - share positive|."""
        error: Doubles = np.abs(self.excess(weights)).sum(axis=1)
        return error

    def points(self) -> tuple[Doubles, Doubles, Doubles]:
        """Mean score, share positive and weight of each bin that has images."""
        mass = self._weights @ self._in_bin
        some = mass > 0
        scores = (self._weights * self._scores) @ self._in_bin
        positives = (self._weights * self._positive) @ self._in_bin
        return scores[some] / mass[some], positives[some] / mass[some], mass[some]


def _running(weights: Weights) -> Doubles:
    """Sums of the first 0, 1, ... columns. In float64: what is above the last of many images is a small difference."""
    sums = np.zeros((weights.shape[0], weights.shape[1] + 1))
    np.cumsum(weights, axis=1, dtype=np.float64, out=sums[:, 1:])
    return sums
