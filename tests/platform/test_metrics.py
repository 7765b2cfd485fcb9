"""Ranking figures and calibration error, against scikit-learn and against the definition in loops."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from assay.platform.metrics import Ranking, Reliability

CASES = [(seed, decimals) for seed in range(6) for decimals in (1, 2, 7)]
"""Few decimals make many ties."""


def case(seed: int, decimals: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    positive = rng.random(150) < 0.2
    scores = np.round(np.clip(rng.normal(0.3, 0.2, 150) + 0.3 * positive, 0, 1), decimals).astype(np.float32)
    return scores, positive, rng.choice([0.5, 1.0, 7.0], (4, 150))


@pytest.mark.parametrize(("seed", "decimals"), CASES)
def test_ranking_figures_are_those_of_scikit_learn(seed: int, decimals: int) -> None:
    scores, positive, weights = case(seed, decimals)
    found = Ranking(scores, positive).figures(weights, (0.5, 0.9))
    for column, row in enumerate(weights):
        precision, recall, _ = precision_recall_curve(positive, scores, sample_weight=row)
        expected = [
            average_precision_score(positive, scores, sample_weight=row),
            roc_auc_score(positive, scores, sample_weight=row),
            recall[precision >= 0.5].max(),
            recall[precision >= 0.9].max(),
        ]
        np.testing.assert_allclose(found[:, column], expected, atol=1e-12)


def test_auc_is_the_share_of_pairs_in_order() -> None:
    scores, positive, weights = case(3, 1)
    pairs = won = 0.0
    for mine, weight in zip(scores[positive], weights[0][positive], strict=True):
        for theirs, other in zip(scores[~positive], weights[0][~positive], strict=True):
            pairs += weight * other
            won += weight * other * (1.0 if mine > theirs else 0.5 if mine == theirs else 0.0)
    assert Ranking(scores, positive).figures(weights[:1], ())[1, 0] == pytest.approx(won / pairs, abs=1e-12)


def test_perfect_and_hopeless_rankings() -> None:
    positive = np.arange(10) < 4
    scores = np.linspace(1, 0, 10).astype(np.float32)
    assert Ranking(scores, positive).figures(np.ones((1, 10)), (0.98,)).ravel().tolist() == [1, 1, 1]
    assert Ranking(-scores, positive).figures(np.ones((1, 10)), (0.98,)).ravel().tolist()[1:] == [0, 0]
    assert Ranking(np.ones(10, np.float32), positive).figures(np.ones((1, 10)), (0.98,)).ravel().tolist() == [
        0.4,
        0.5,
        0,
    ]


def test_calibration_error_is_its_definition() -> None:
    scores, positive, weights = case(1, 2)
    [weight] = weights[:1]
    reliability = Reliability(scores, positive, weight, 10)
    error = 0.0
    for number in range(10):
        mine = reliability.bins == number
        error += abs(float((weight[mine] * (scores[mine].astype(np.float64) - positive[mine])).sum())) / weight.sum()
    assert reliability.error(weight[None])[0] == pytest.approx(error, abs=1e-12)
    means, shares, mass = reliability.points()
    assert float((np.abs(means - shares) * mass).sum() / mass.sum()) == pytest.approx(error, abs=1e-12)


def test_bins_have_equal_weight_and_part_no_ties() -> None:
    scores, positive, _ = case(2, 7)
    assert np.bincount(Reliability(scores, positive, np.ones(150), 10).bins).tolist() == [15] * 10
    scores, positive, weights = case(2, 1)
    bins = Reliability(scores, positive, weights[0], 10).bins
    assert all(len(set(bins[scores == score])) == 1 for score in scores)
