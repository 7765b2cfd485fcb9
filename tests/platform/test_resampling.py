"""Intervals: those of known methods where there are such, the same for any order of rows, and honest at the edges."""

import numpy as np
import pytest
from scipy.stats import beta, gamma

from assay.platform.resampling import ResamplingSpec, Sample, Spread, draw_weights

MANY = ResamplingSpec(resamples=20_000)


def share(inside: int, outside: int, weights: np.ndarray | None = None) -> Spread:
    count = inside + outside
    images = [str(number) for number in range(count)]
    sample = Sample.of(np.ones(count) if weights is None else weights, draw_weights(images, MANY))
    mask = np.arange(count) < inside
    return sample.share(mask, ~mask, mask, ~mask)


@pytest.mark.parametrize(("inside", "outside"), [(10, 0), (0, 30), (1, 40), (12, 8), (90, 10)])
def test_a_share_of_equal_weights_has_the_interval_of_clopper_and_pearson(inside: int, outside: int) -> None:
    low, high = share(inside, outside).limits(0.95)
    assert low == pytest.approx(beta.ppf(0.025, inside, outside + 1) if inside else 0, abs=0.01)
    assert high == pytest.approx(beta.ppf(0.975, inside + 1, outside) if outside else 1, abs=0.01)


def test_a_rare_share_of_unequal_weights_has_that_of_fay_and_feuer() -> None:
    """Their interval is of a sum of weighted counts; the share of something rare is that over the whole."""
    rng = np.random.default_rng(0)
    weights = np.concatenate([rng.uniform(1, 4, 12), np.ones(1000)])
    mine, whole = weights[:12], weights.sum()
    mean, variance, top = mine.sum(), (mine**2).sum(), mine.max()
    low, high = share(12, 1000, weights).limits(0.95)
    assert low * whole == pytest.approx(gamma.ppf(0.025, mean**2 / variance, scale=variance / mean), rel=0.05)
    wide = variance + top**2
    assert high * whole == pytest.approx(
        gamma.ppf(0.975, (mean + top) ** 2 / wide, scale=wide / (mean + top)), rel=0.05
    )


def test_nothing_seen_is_not_nothing_there() -> None:
    assert share(10, 0).value == 1
    assert share(10, 0).limits(0.95)[0] < 0.75
    assert share(0, 10).limits(0.95)[1] > 0.25


def test_one_heavy_image_makes_a_wide_interval() -> None:
    weights = np.append(np.ones(49), 200.0)
    low, high = share(49, 1, weights).limits(0.95)
    assert low < 0.1
    assert high > 0.8


def test_draws_belong_to_images_not_to_rows() -> None:
    spec = ResamplingSpec(resamples=100)
    images = [f"image-{number}" for number in (3, 1, 2)]
    draws = draw_weights(images, spec)
    again = draw_weights(images[::-1], spec)
    np.testing.assert_array_equal(draws[:, :3], again[:, 2::-1])
    np.testing.assert_array_equal(draws[:, 3:], again[:, 3:])
    assert not np.array_equal(draws, draw_weights(images, ResamplingSpec(resamples=100, seed=1)))


def test_an_image_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        draw_weights(["a", "a"], ResamplingSpec())


def test_a_difference_takes_the_worst_of_both() -> None:
    one, other = share(18, 2), share(30, 10)
    low, high = one.minus(other).limits(0.95)
    assert low < one.value - other.value < high
    turned = other.complement().minus(one.complement())
    np.testing.assert_allclose(turned.limits(0.95), (low, high), atol=1e-12)
