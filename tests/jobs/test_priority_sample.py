"""Samples in which some rows are wanted more than others: what they say of all rows is right, and within its error."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.jobs.priority_sample import PrioritySample, Sample, draw
from assay.jobs.score_bands import CODES, EVERYWHERE, ScoreBands, codes_of

POPULATION, SIZE, SEEDS = 4_000, 250, 200
IMAGES = [(f"s3://b/{number:05d}", "e") for number in range(POPULATION)]


def sampled(shares: npt.NDArray[np.float64], seed: int, size: int = SIZE, batch: int = 512) -> Sample:
    sample = PrioritySample(size, seed)
    for start in range(0, len(shares), batch):
        sample.add(IMAGES[start : start + batch][: len(shares) - start], shares[start : start + batch])
    return sample.end()


@pytest.fixture(scope="module")
def scores() -> npt.NDArray[np.float32]:
    """[images, 2]: two labels that are mostly near 0; what is over about 0.5 is rare."""
    return np.random.default_rng(3).beta([0.2, 0.4], [6, 9], (POPULATION, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def truth(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """[images]: whether the first label is really there: the likelier the higher its score; of about 2 %."""
    return np.random.default_rng(4).random(POPULATION) < scores[:, 0] ** 1.5


def shares_of(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    codes = codes_of(scores)
    counts = {str(label): np.bincount(codes[:, label], minlength=CODES) for label in range(2)}
    bands = ScoreBands.of(counts, {"0": [0.3, 0.6]}, POPULATION)
    shares = np.full(POPULATION, bands.everywhere)
    for label in range(2):
        bands.add_to(shares, np.arange(POPULATION), str(label), codes[:, label])
    return shares


def test_weighted_totals_estimate_the_population_within_their_error(
    scores: npt.NDArray[np.float32], truth: npt.NDArray[np.bool_]
) -> None:
    shares, place = shares_of(scores), {image: row for row, image in enumerate(IMAGES)}
    assert shares.sum() == pytest.approx(1)
    estimates, covered, positives = [], [], []
    for seed in range(SEEDS):
        sample = sampled(shares, seed)
        rows = np.array([place[image] for image in sample.images])
        # All images, those with the label, and those without it that a threshold of 0.3 would flag.
        asked = np.stack([np.ones(SIZE), truth[rows], (scores[rows, 0] >= 0.3) & ~truth[rows]])
        estimate = asked @ sample.weights
        error = np.sqrt(asked @ (sample.weights * (sample.weights - 1)))
        expected = np.array([POPULATION, truth.sum(), ((scores[:, 0] >= 0.3) & ~truth).sum()])
        estimates.append(estimate)
        covered.append(np.abs(estimate - expected) <= 1.96 * error)
        positives.append(asked[1].sum())
    spread = np.std(estimates, axis=0) / np.sqrt(SEEDS)
    assert (np.abs(np.mean(estimates, axis=0) - expected) <= 4 * spread).all(), (np.mean(estimates, axis=0), expected)
    # Pictures with the label among low scores are few and stand for many each: the normal interval, symmetric, is too
    # narrow for them in one case of five.
    assert (np.mean(covered, axis=0) >= [0.9, 0.75, 0.9]).all(), np.mean(covered, axis=0)
    blindly = SIZE * truth.mean()
    assert np.mean(positives) > 4 * blindly, (np.mean(positives), blindly)


@pytest.mark.parametrize("growth", [1.0, 1.05])
def test_small_samples_are_not_biased_either(growth: float) -> None:
    """With five of forty, weights made from the rank of the fifth and not of the sixth would be a quarter too great."""
    shares = np.power(growth, np.arange(40)).astype(np.float64)
    totals = [sampled(shares, seed, size=5).weights.sum() for seed in range(1500)]
    assert abs(np.mean(totals) - 40) <= 4 * np.std(totals) / np.sqrt(len(totals))


def test_no_image_stands_for_too_many(scores: npt.NDArray[np.float32]) -> None:
    greatest = [sampled(shares_of(scores), seed).weights.max() for seed in range(20)]
    assert max(greatest) <= 1.2 / EVERYWHERE * POPULATION / SIZE


def test_order_and_batches_do_not_matter(scores: npt.NDArray[np.float32]) -> None:
    shares = shares_of(scores)
    one = sampled(shares, 5)
    order = np.random.default_rng(0).permutation(POPULATION)
    other = PrioritySample(SIZE, 5)
    for rows in np.array_split(order, 37):
        other.add([IMAGES[row] for row in rows], shares[rows])
    assert (other.end().images, other.end().weights.tolist()) == (one.images, one.weights.tolist())
    assert sampled(shares, 6).images != one.images


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 60), st.integers(1, 40), st.integers(-5, 5))
def test_as_many_as_asked_for_or_all(count: int, size: int, seed: int) -> None:
    sample = sampled(np.full(count, 1.0 / max(count, 1)), seed, size, batch=7)
    assert len(sample.images) == len(set(sample.images)) == min(count, size)
    assert sample.population == count
    assert (sample.weights >= 1).all()
    if count <= size:
        assert (sample.weights == 1).all()


def test_draws_are_even_and_belong_to_the_image() -> None:
    drawn = draw(1, IMAGES)
    assert ((drawn > 0) & (drawn <= 1)).all()
    assert abs(drawn.mean() - 0.5) < 0.02
    assert (draw(1, IMAGES[::-1]) == drawn[::-1]).all()
    assert (draw(2, IMAGES) != drawn).all()
    assert draw(1, [("ab", "c")]) != draw(1, [("a", "bc")])
