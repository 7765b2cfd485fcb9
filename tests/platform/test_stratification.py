"""Strata and allocations: nothing is lost, nothing is blind, and labels go where truth is uncertain."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.platform.stratification import BUDGET, PIECES, Part, allocate, scores_by_rank, stratify

SCORES = np.linspace(0.001, 0.999, 40)
COUNTS = st.lists(st.integers(0, 100_000), min_size=40, max_size=40).map(np.array)


@given(COUNTS, COUNTS, st.integers(10, 50_000))
def test_strata_hold_every_image_once_and_none_is_blind(
    passed: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    flagged: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    size: int,
) -> None:
    counts = {Part.PASSED: passed, Part.FLAGGED: flagged}
    strata = stratify(counts, SCORES)
    for part, mine in counts.items():
        some = [one for one in strata if one.part is part]
        assert sum(one.images for one in some) == mine.sum()
        assert [one.start for one in some] == sorted({one.start for one in some})
        assert len(some) <= PIECES[part]
        edges = [*(one.start for one in some), len(SCORES)]
        for one, end in zip(some, edges[1:], strict=True):
            assert one.images == mine[one.start : end].sum() > 0
    if strata:
        images, drawn = np.array([one.images for one in strata]), allocate(strata, size)
        assert (drawn > 0).all()
        assert (drawn <= images).all()
        assert drawn.sum() == pytest.approx(min(size, images.sum()))


def test_what_is_missed_gets_most_and_the_uncertain_more_than_the_sure() -> None:
    counts = np.full(40, 10_000)
    strata = stratify({Part.PASSED: counts * (SCORES < 0.5), Part.FLAGGED: counts * (SCORES >= 0.5)}, SCORES)
    drawn = allocate(strata, 1_000)
    passed = np.array([one.part is Part.PASSED for one in strata])
    assert drawn[passed].sum() / 1_000 == pytest.approx(
        BUDGET[Part.PASSED] / (BUDGET[Part.PASSED] + BUDGET[Part.FLAGGED])
    )
    rates = (drawn / [one.images for one in strata])[passed]
    assert rates[-1] > 2 * rates[0]


def test_a_greater_sample_takes_no_stratum_less() -> None:
    counts = np.geomspace(1_000_000, 1, 40).astype(np.int64)
    strata = stratify({Part.PASSED: counts}, SCORES)
    sizes = [allocate(strata, size) for size in (100, 300, 1_000, 3_000, 10_000_000)]
    assert (np.diff(sizes, axis=0) >= -1e-9).all()
    assert sizes[-1].tolist() == [one.images for one in strata]


@pytest.mark.parametrize("scores", [np.zeros(1), np.ones(1), np.full(1, 0.3)])
def test_scores_that_are_all_alike_are_one_stratum(scores: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> None:
    (only,) = stratify({Part.PASSED: np.array([500]), Part.FLAGGED: np.array([0])}, scores)
    assert (only.images, only.start, only.score) == (500, 0, scores[0])
    assert allocate((only,), 50) == pytest.approx(50)


def test_no_images_no_strata() -> None:
    assert stratify({Part.PASSED: np.zeros(3, np.int64)}, np.array([0.1, 0.2, 0.3])) == ()


@given(COUNTS)
def test_stand_ins_keep_the_order_of_scores(counts: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> None:
    found = scores_by_rank(counts)
    assert (np.diff(found) >= 0).all()
    assert ((found > 0) & (found < 1)).all()
