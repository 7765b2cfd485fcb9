"""What is promised of mapped decisions holds, and cannot be got by luck, by passing everything, or by copies."""

import numpy as np
import numpy.typing as npt
import pytest

from assay.jobs.decider import ALL_CLEAR, ClearRule, Decider, log_odds
from assay.jobs.migration_agreement import Cases, Promise, choose_rule, label_errors, measure, rules
from assay.platform.errors import PolicyError
from assay.platform.policy import ACTIONS
from tests.jobs.colour_releases import colour_release

PROMISE = Promise(agreement=0.97, flagged=0.9, clear=0.2)
REVIEW = ACTIONS.index(ACTIONS[1])
Doubles = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def decider(tmp_path_factory: pytest.TempPathFactory) -> Decider:
    """Of `plain` (red 0.3 and 0.7, blue 0.3) and `firm` (red 0.7, blue 0.3)."""
    return Decider.of(colour_release(tmp_path_factory.mktemp("colours")), ("plain", "firm"))


def population(count: int, off: float, rng: np.random.Generator, middle: float = -1.5) -> Cases:
    """Images whose mapped scores are off by so much, in log odds."""
    real = rng.normal(middle, 2, (count, 2))
    mapped = real + rng.normal(0, off, real.shape)
    return Cases(as_scores(mapped), as_scores(real), np.ones(count), np.arange(count))


def as_scores(odds: Doubles) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = (1 / (1 + np.exp(-odds))).astype(np.float32)
    return found


def part(cases: Cases, rows: npt.NDArray[np.int64], weights: Doubles | None = None) -> Cases:
    """Some of the images."""
    own = cases.weights[rows] if weights is None else weights
    return Cases(cases.mapped[rows], cases.real[rows], own, cases.groups[rows])


def test_clear_is_far_from_every_threshold_of_every_policy(decider: Decider) -> None:
    assert {label: np.round(1 / (1 + np.exp(-edges)), 3).tolist() for label, edges in decider.edges.items()} == {
        "blue_things": [0.3],
        "red_things": [0.3, 0.7],
    }
    rule = ClearRule(multiple=1, bands={"blue_things": 0.5, "red_things": 1.0}, passes_only=False)
    blue, red = decider.labels.index("blue_things"), decider.labels.index("red_things")
    scores = np.full((6, 2), 0.01, np.float32)
    scores[1, blue], scores[2, blue], scores[3, red], scores[4, red] = 0.35, 0.45, 0.5, 0.95
    scores[5, red] = np.nan
    assert decider.is_clear(scores, rule).tolist() == [True, False, True, False, True, False]
    passes = rule.model_copy(update={"passes_only": True})
    assert decider.is_clear(scores, passes).tolist() == [True, False, False, False, False, False]
    assert decider.is_clear(scores, ALL_CLEAR).all()


def test_a_threshold_is_never_clear(decider: Decider) -> None:
    rule = rules(decider, population(10, 0.0, np.random.default_rng(0)))[0]
    assert rule.multiple == 0
    assert not decider.is_clear(np.full((1, 2), 0.3, np.float32), rule).any()


def test_shares_are_of_what_they_say(decider: Decider) -> None:
    """Four images: right and passed, a lost flag, a wrong flag, a flag that is right."""
    real, mapped = np.full((4, 2), 0.01, np.float32), np.full((4, 2), 0.01, np.float32)
    real[[1, 3], 0], mapped[[2, 3], 0] = 0.9, 0.9
    cases = Cases(mapped, real, np.array([4.0, 1.0, 2.0, 3.0]), np.arange(4))
    found = measure(decider, cases, ALL_CLEAR, 0.95)
    assert found.clear == 1
    for one in found.policies:
        assert one.agreement.share == pytest.approx(0.7)
        assert one.kept.share == pytest.approx(0.75)
        assert one.right is not None
        assert one.right.share == pytest.approx(0.6)
        assert (one.agreement.images, one.kept.images, one.right.images) == (4, 2, 2)
    passing = measure(decider, cases, ClearRule(multiple=0, bands={}, passes_only=True), 0.95)
    assert passing.clear == pytest.approx(0.5)
    assert passing.policies[0].right is None
    assert passing.policies[0].kept.share == pytest.approx(0.75)  # the flag that is not clear is not lost


def test_what_is_promised_holds(decider: Decider) -> None:
    """Of 100 samples of one population, the bound told is above the truth in at most one of twenty."""
    rng = np.random.default_rng(1)
    whole = population(30_000, 0.4, rng)
    shares = rng.uniform(0.2, 1, len(whole.mapped))  # drawn more or less often, and weighted so
    odds, broken, kept = shares / shares.sum(), 0, 0
    for _ in range(100):
        rows = rng.choice(len(odds), 1600, p=odds)
        weights = 1 / shares[rows]
        learnt, tested = part(whole, rows[:800], weights[:800]), part(whole, rows[800:], weights[800:])
        rule = choose_rule(decider, learnt, PROMISE)
        assert rule is not None
        found = measure(decider, tested, rule, 0.95)
        truth = min(one.agreement.share for one in measure(decider, whole, rule, 0.95).policies)
        broken += found.low > truth
        kept += not found.why_not(PROMISE)
    assert broken <= 5
    assert kept >= 70, "a choice with more confidence is likely to pass"


def test_bands_leave_out_what_is_near(decider: Decider) -> None:
    rng = np.random.default_rng(2)
    learnt, tested = population(3000, 0.6, rng), population(3000, 0.6, rng)
    assert measure(decider, tested, ALL_CLEAR, 0.95).why_not(PROMISE)
    rule = choose_rule(decider, learnt, PROMISE)
    assert rule is not None
    assert rule.multiple > 0
    found = measure(decider, tested, rule, 0.95)
    assert not found.why_not(PROMISE)
    assert 0.3 < found.clear < 0.95


def test_passing_everything_agrees_and_is_refused(decider: Decider) -> None:
    """One image in a hundred is flagged, and the map knows nothing: 99 % agree by themselves."""
    rng = np.random.default_rng(3)
    real = np.full((6000, 2), 0.01, np.float32)
    real[:60, 0] = 0.9
    mapped = np.full((6000, 2), 0.012, np.float32) + rng.normal(0, 0.001, (6000, 2)).astype(np.float32)
    cases = Cases(mapped, real, np.ones(6000), np.arange(6000))
    asked = Promise(agreement=0.98, flagged=0.9, clear=0.2)
    every = measure(decider, cases, ALL_CLEAR, 0.95)
    assert every.low > 0.98
    assert choose_rule(decider, cases, asked) is None
    assert "flagged images kept 0.0%" in every.why_not(asked)
    assert choose_rule(decider, cases, asked.model_copy(update={"flagged": 0.0})) is not None  # as asked


def test_a_store_without_a_flag_proves_nothing_of_flags(decider: Decider) -> None:
    calm = np.full((2000, 2), 0.01, np.float32)
    cases = Cases(calm, calm, np.ones(2000), np.arange(2000))
    found = measure(decider, cases, ALL_CLEAR, 0.95)
    assert "the sample has no such image" in found.why_not(PROMISE)
    assert choose_rule(decider, cases, PROMISE) is None


def test_flags_too_few_to_be_proved_right_are_encoded_again(decider: Decider) -> None:
    """Everything agrees, but of the clear flags of `firm` too few are seen: only passes are mapped."""
    rng = np.random.default_rng(4)
    real = np.full((3000, 2), 0.01, np.float32)
    real[:400, 0] = 0.9
    mapped = real.copy()
    mapped[:385, 0] = rng.uniform(0.25, 0.32, 385)  # most flags come out near the threshold
    rule = choose_rule(decider, Cases(mapped, real, np.ones(3000), np.arange(3000)), PROMISE)
    assert rule is not None
    assert rule.passes_only
    assert rule.bands["blue_things"] > 0


def test_copies_are_no_witnesses(decider: Decider) -> None:
    rng = np.random.default_rng(5)
    one = population(100, 0.0, rng)
    ten = part(one, np.tile(np.arange(100), 10))
    low = [measure(decider, cases, ALL_CLEAR, 0.95).low for cases in (one, ten)]
    assert low[0] == pytest.approx(low[1])
    assert low[0] == pytest.approx(0.05 ** (1 / 100))


def test_a_label_tells_how_far_it_is_off(decider: Decider) -> None:
    rng = np.random.default_rng(6)
    cases = population(4000, 0.3, rng)
    rule = rules(decider, cases)[4]
    errors = {one.label: one for one in label_errors(decider, cases, rule)}
    assert set(errors) == set(decider.labels)
    for one in errors.values():
        assert 0 < one.median < one.p90 < one.p99 < 0.5
        assert one.band == pytest.approx(0.3 * 1.645, rel=0.1)  # what nine in ten are within
        assert all(0.9 < share < 1 for share in one.same.values())


def test_scores_at_the_ends_have_log_odds() -> None:
    assert np.isfinite(log_odds(np.array([0.0, 1.0, 1e-30], np.float32))).all()
    assert np.isnan(log_odds(np.array([np.nan], np.float32))).all()


def test_a_policy_that_is_not_there_is_refused(decider: Decider) -> None:
    with pytest.raises(PolicyError, match="no policy"):
        Decider.of(decider.release, ("plain", "nobody"))
