"""Rates from answers: what is known is kept, scores that mislead are mended, and what is blind is allowed for."""

import numpy as np
import pytest
from scipy.special import expit, logit

from assay.platform.rate_curve import Posterior, Seen, infer

IMAGES = np.array([900_000, 80_000, 15_000, 4_000, 1_000])
SCORES = np.array([1e-4, 1e-3, 1e-2, 0.1, 0.6])
SOME = np.array([400, 300, 200, 150, 100])


def infered(
    looked_at: "np.ndarray[tuple[int], np.dtype[np.int64]]", rates: object, scores: object = SCORES
) -> Posterior:
    violating = np.rint(looked_at * np.array(rates)).astype(np.int64)
    seen = Seen(IMAGES, np.array(scores, np.float64), looked_at, violating, np.zeros(5, np.bool_))
    return infer(seen, 2_000, np.random.default_rng(0))


def test_strata_seen_in_full_are_known() -> None:
    found = infered(IMAGES, SCORES)
    assert (found.violating == np.rint(IMAGES * SCORES)).all()


@pytest.mark.parametrize("mend", [(0, 1), (2, 1), (-2, 1), (0, 2), (1, 0.5)])
def test_scores_that_are_too_high_or_too_sure_are_mended(mend: tuple[float, float]) -> None:
    told = expit(mend[0] + mend[1] * logit(SCORES))
    total = infered(np.array([8_000, 4_000, 2_000, 800, 400]), SCORES, told).violating.sum(axis=1)
    low, high = np.quantile(total, [0.005, 0.995])
    assert low < (IMAGES * SCORES).sum() < high
    assert high < 4 * (IMAGES * SCORES).sum()


def test_a_stratum_off_the_curve_is_believed_when_many_looked() -> None:
    rates = np.array([5e-3, 1e-3, 1e-2, 0.1, 0.6])  # a nest of violating images where scores are lowest
    found = infered(np.array([20_000, 300, 200, 150, 100]), rates).rates[:, 0]
    assert np.quantile(found, 0.025) < 5e-3 < np.quantile(found, 0.975)


def test_nothing_found_leaves_room() -> None:
    total = infered(SOME, np.zeros(5)).violating.sum(axis=1)
    assert np.quantile(total, 0.025) == 0
    assert np.quantile(total, 0.975) > 50


def test_without_answers_everything_stays_possible() -> None:
    total = infered(np.zeros(5, np.int64), np.zeros(5)).violating.sum(axis=1)
    low, high = np.quantile(total, [0.025, 0.975])
    assert low < 200
    assert high > 20_000


def test_the_same_seed_draws_the_same() -> None:
    assert (infered(SOME, SCORES).violating == infered(SOME, SCORES).violating).all()


def test_draws_come_from_where_the_posterior_is() -> None:
    assert infered(SOME, SCORES).effective > 500


@pytest.mark.parametrize(("looked_at", "violating"), [(5, 6), (2_000_000, 0), (5, -1)])
def test_contradictions_are_refused(looked_at: int, violating: int) -> None:
    counts = [np.array([one, 0, 0, 0, 0]) for one in (looked_at, violating)]
    with pytest.raises(ValueError, match="than there are"):
        Seen(IMAGES, SCORES, counts[0], counts[1], np.zeros(5, np.bool_))
