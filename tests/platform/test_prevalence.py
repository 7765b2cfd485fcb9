"""Intervals of prevalence over simulated corpora hold the truth, and are half as wide as a plain sample's where scores
tell; what few answers say is honestly wide. infra/docs/prevalence.md reports what these worlds show by setting.
"""

from dataclasses import replace

import numpy as np
import pytest

from assay.platform.prevalence import Answers, measure, unassisted
from assay.platform.stratification import Part
from tests.platform.prevalence_trials import FAST, PLAIN, coverage, sum_ratio, trials
from tests.platform.simulated_corpora import World, draw_world, make_corpus, sample


def least(found: dict[str, float], *names: str) -> float:
    return min(found[name] for name in names or ("left", "total", "recall", "unassisted"))


def test_intervals_hold_the_truth_in_500_corpora_however_good_scores_are() -> None:
    found = coverage(trials(4711))
    assert least(found) >= 0.93, found
    assert found["precision"] >= 0.90, found


def test_intervals_are_half_as_wide_as_a_plain_samples_in_500_corpora_where_scores_tell() -> None:
    some = trials(4711, 0.9)
    found = coverage(some)
    assert least(found) >= 0.93, found
    assert np.mean([one.ratio for one in some]) <= 0.5
    assert sum_ratio(some) <= 0.5


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (replace(PLAIN, blind=0.25), 0.90),
        (replace(PLAIN, cluster=0.15), 0.85),
        (replace(PLAIN, ranked=True), 0.92),
        (replace(PLAIN, labels=50), 0.95),
    ],
)
def test_worlds_that_break_the_assumptions(change: World, left: float) -> None:
    """What scores are blind to, a nest of violating images at one low score, scores that only rank, few answers."""
    found = coverage(trials(4711, count=100, change=change))
    assert found["left"] >= left, found
    assert found["unassisted"] >= 0.93, found


def test_so_many_more_answers_halve_the_interval() -> None:
    before = after = 0.0
    for number in range(10):
        generator = np.random.default_rng([11, number])
        corpus = make_corpus(replace(draw_world(generator), labels=600), generator)
        sampled = sample(corpus, 600, generator)
        found = measure(sampled.answers, FAST)
        assert found.more_answers_to_halve is not None
        further = sampled.with_more(found.more_answers_to_halve, generator)
        before += found.left.width
        after += measure(further.answers, FAST, halving=False).left.width
    assert 0.35 < after / before < 0.65


def answers(present: list[int], absent: list[int], unsure: int = 0, images: int = 100_000) -> Answers:
    said = np.array(present), np.array(absent), np.array([0, unsure, 0])
    return Answers(
        parts=(Part.PASSED, Part.PASSED, Part.FLAGGED),
        images=np.array([images, images // 10, images // 100]),
        scores=np.array([0.001, 0.02, 0.5]),
        drawn=said[0] + said[1] + said[2] + 1,
        present=said[0],
        absent=said[1],
        unsure=said[2],
    )


def test_counts_of_answers_are_told() -> None:
    found = measure(answers([0, 2, 30], [300, 150, 20], unsure=5), FAST, halving=False)
    assert (found.answers, found.present, found.unsure, found.unanswered) == (502, 32, 5, 3)
    assert (found.images, found.passed, found.flagged) == (111_000, 110_000, 1_000)
    assert found.left_share.high == found.left.high / found.images
    assert found.precision is not None
    assert found.precision.low < 0.6 < found.precision.high


def test_unsure_is_neither_and_what_if_is_told() -> None:
    without = measure(answers([0, 2, 30], [300, 150, 20]), FAST, halving=False)
    found = measure(answers([0, 2, 30], [300, 150, 20], unsure=8), FAST, halving=False)
    assert without.left_if_unsure_violate is None
    assert found.left == without.left
    assert found.left_if_unsure_violate is not None
    assert found.left_if_unsure_violate.estimate > 2 * found.left.estimate


def test_too_few_answers_are_honestly_wide() -> None:
    found = measure(answers([0, 0, 1], [3, 2, 1]), FAST)
    assert found.left.low < 200
    assert found.left.high > 2_000
    assert found.left_unassisted.high > 60_000
    assert found.more_answers_to_halve


def test_nobody_looked_at_the_largest_stratum() -> None:
    found = measure(answers([0, 2, 30], [0, 150, 20]), FAST, halving=False)
    assert found.left_unassisted.high >= 100_000
    assert found.left.high < 100_000


@pytest.mark.parametrize("all_present", [True, False])
def test_one_class_only(all_present: bool) -> None:
    seen, none = [400, 200, 50], [0, 0, 0]
    found = measure(answers(seen, none) if all_present else answers(none, seen), FAST, halving=False)
    if all_present:
        assert found.left.high > 109_000
        assert found.left.low > 100_000
    else:
        assert found.left.low == 0
        assert found.left_unassisted.low == 0
        assert 20 < found.left.high < found.left_unassisted.high
        assert found.precision is not None
        assert found.precision.low < 0.01


def test_a_census_leaves_nothing_open() -> None:
    found = measure(answers([5, 20, 8], [995, 80, 2], images=1_000), FAST)
    for figure, truth in ((found.left, 25), (found.total, 33), (found.left_unassisted, 25)):
        assert (figure.estimate, figure.low, figure.high) == (truth, truth, truth)
    assert found.more_answers_to_halve is None


def test_strata_emptied_since_weigh_nothing() -> None:
    some = answers([0, 2, 30], [300, 150, 20])
    nothing = np.zeros(1, np.int64)
    with_empty = Answers(
        parts=(*some.parts, Part.ELSEWHERE),
        images=np.append(some.images, nothing),
        scores=np.append(some.scores, 0.3),
        drawn=np.append(some.drawn, nothing),
        present=np.append(some.present, nothing),
        absent=np.append(some.absent, nothing),
        unsure=np.append(some.unsure, nothing),
    )
    one, other = (measure(each, FAST, halving=False) for each in (some, with_empty))
    assert (one.images, one.left_unassisted) == (other.images, other.left_unassisted)
    assert other.left.high == pytest.approx(one.left.high, rel=0.3)


def test_nothing_is_flagged() -> None:
    some = replace(answers([0, 2, 1], [300, 150, 20]), parts=(Part.PASSED,) * 3)
    found = measure(some, FAST, halving=False)
    assert found.precision is None
    assert found.left == found.total


def test_the_gamma_interval_is_that_of_fay_and_feuer() -> None:
    """One stratum of equal weights: Poisson's exact interval (Garwood 1936), 3 seen: 0.619 to 8.767."""
    images, size, present = np.array([10**9]), np.array([10**4]), np.array([3])
    one = Answers((Part.PASSED,), images, np.array([0.1]), size, present, size - present, np.array([0]))
    found = unassisted(one, np.array([True]), 0.95)
    assert found.estimate == 300_000
    assert found.low / 1e5 == pytest.approx(0.6187, abs=1e-3)
    assert found.high / 1e5 == pytest.approx(8.7673, abs=1e-3)
