"""How far a share seen in a sample can be from the truth: exact binomial bounds, also for weighted samples.

Knows shares and samples. Does not know what is counted.

Clopper and Pearson, Biometrika 26 (1934): the bounds hold with at least the confidence asked for, however small the
sample. A weighted sample counts as so many plain ones as tell equally much (Kish's effective size, (sum w)^2 / sum
w^2); then the bounds are approximate.
"""

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv

Floats = npt.NDArray[np.float64]


def lower_bound(share: Floats, size: Floats, confidence: float) -> Floats:
    """The least true share that is compatible with `share` of `size` (one-sided). 0 for an empty sample."""
    hits = share * size
    with np.errstate(invalid="ignore"):
        found = betaincinv(hits, size - hits + 1, 1 - confidence)
    return np.where((hits <= 0) | (size <= 0), 0.0, np.nan_to_num(found))


def upper_bound(share: Floats, size: Floats, confidence: float) -> Floats:
    """The greatest true share that is compatible with `share` of `size` (one-sided). 1 for an empty sample."""
    found: Floats = 1 - lower_bound(1 - share, size, confidence)
    return found


def effective_size(weights_sum: Floats, squares_sum: Floats) -> Floats:
    """Kish's effective sample size, of sums of weights and of their squares; 0 for an empty sample."""
    return np.divide(weights_sum**2, squares_sum, out=np.zeros_like(weights_sum), where=squares_sum > 0)
