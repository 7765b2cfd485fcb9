import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from assay.platform.confidence import effective_size, lower_bound, upper_bound


def one(value: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([value], np.float64)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.integers(1, 2000), st.floats(0, 1), st.sampled_from([0.9, 0.95, 0.99]))
def test_bounds_are_clopper_and_pearson_s(size: int, share: float, confidence: float) -> None:
    hits = round(share * size)
    low = lower_bound(one(hits / size), one(size), confidence)[0]
    high = upper_bound(one(hits / size), one(size), confidence)[0]
    exact = binomtest(hits, size).proportion_ci(2 * confidence - 1, "exact")  # two-sided, each end with our error
    assert low == pytest.approx(exact.low, abs=1e-9)
    assert high == pytest.approx(exact.high, abs=1e-9)


def test_an_empty_sample_says_nothing() -> None:
    assert lower_bound(one(0.0), one(0), 0.95)[0] == 0
    assert upper_bound(one(0.0), one(0), 0.95)[0] == 1


@settings(derandomize=True, max_examples=50)
@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=50))
def test_weights_never_make_a_sample_larger(weights: list[float]) -> None:
    found = np.array(weights)
    size = effective_size(one(found.sum()), one((found**2).sum()))[0]
    assert 1 - 1e-9 <= size <= len(weights) + 1e-9
    same = effective_size(one(7.0 * len(weights)), one(49.0 * len(weights)))[0]
    assert same == pytest.approx(len(weights))
