"""What scores are worth: bands by rank and around thresholds get what they should, and shares sum to one."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.jobs.score_bands import CODES, EVERYWHERE, TAILS, ScoreBands, codes_of

SCORES = np.geomspace(1e-6, 0.9, 5_000).astype(np.float32)


def given_to(
    scores: np.ndarray[tuple[int], np.dtype[np.float32]], *thresholds: float
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """What each of some scores of a label gets, over what all images get."""
    counts = np.bincount(codes_of(scores), minlength=CODES)
    return ScoreBands.of({"x": counts}, {"x": thresholds}, len(scores)).by_label["x"][codes_of(scores)]


def test_each_band_by_rank_gets_the_same() -> None:
    shares, part = given_to(SCORES), (1 - EVERYWHERE) / len(TAILS)
    ends = [round(len(SCORES) * (1 - tail)) for tail in (*TAILS, 0)]
    assert shares[: ends[0]].sum() == pytest.approx(0, abs=0.01)
    for low, high in pairwise(ends):
        assert shares[low:high].sum() == pytest.approx(part, rel=0.4)  # a code holds some three images
    assert shares.sum() == pytest.approx(1 - EVERYWHERE)


def test_a_policys_thresholds_get_more() -> None:
    plain, guided = given_to(SCORES), given_to(SCORES, 0.01)
    near, far = np.abs(SCORES - 0.01) < 0.005, SCORES < 0.001
    assert (plain[near] == 0).all()
    assert (guided[near] > 0).all()
    assert (guided[far] == 0).all()
    assert given_to(SCORES, 0.01, 1.0).sum() == pytest.approx(1 - EVERYWHERE)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.lists(st.floats(0, 1, width=32), min_size=9, max_size=9), min_size=1, max_size=4),
    st.lists(st.floats(0, 1, exclude_min=True), max_size=2),
)
def test_shares_sum_to_one(scores: list[list[float]], thresholds: list[float]) -> None:
    codes = codes_of(np.array(scores, np.float32))
    counts = {str(label): np.bincount(row, minlength=CODES) for label, row in enumerate(codes)}
    bands = ScoreBands.of(counts, {"0": thresholds}, 9)
    shares = np.full(9, bands.everywhere)
    for label, row in enumerate(codes):
        bands.add_to(shares, np.arange(9), str(label), row)
    assert shares.sum() == pytest.approx(1)
    assert shares.min() >= EVERYWHERE / 9 * (1 - 1e-9)


def test_codes_keep_the_order_of_scores() -> None:
    scores = np.sort(np.random.default_rng(0).random(10_000).astype(np.float32) ** 8)
    codes = codes_of(np.concatenate([[-0.0, 0.0], scores, [1.0, np.nan]]).astype(np.float32))
    assert (np.diff(codes) >= 0).all()
    assert (codes[0], codes[1], codes[-2], codes[-1]) == (0, 0, CODES - 1, CODES - 1)


def test_scores_that_are_all_alike_are_drawn_blindly() -> None:
    histogram = np.zeros(CODES, np.int64)
    histogram[100] = 50
    bands = ScoreBands.of({"x": histogram}, {}, 50)
    assert bands.everywhere == pytest.approx(1 / 50)
    assert not bands.by_label["x"].any()
