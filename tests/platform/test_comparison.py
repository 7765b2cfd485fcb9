"""Two releases on the same images: what is worse is found, what is noise is not."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from assay.platform.comparison import Comparison, ComparisonSpec, compare
from assay.platform.evaluation import Evaluation, ScoredGolden, evaluate
from assay.platform.resampling import ResamplingSpec
from assay.platform.scorecard import FIGURES, ScorecardSpec
from tests.platform.simulated_golden import simulate

QUICK = ScorecardSpec(resampling=ResamplingSpec(resamples=200))
STYLES = {"style": ("photo", "drawing")}


@cache
def golden() -> ScoredGolden:
    return simulate(1500, {"weapons": 0.2, "nudity": 0.2}, slices=STYLES, seed=2)


@cache
def measured() -> Evaluation:
    return evaluate(golden(), QUICK)


def compared(candidate: ScoredGolden, reference: ScoredGolden) -> Comparison:
    mine, theirs = (measured() if one is golden() else evaluate(one, QUICK) for one in (candidate, reference))
    return compare(mine, theirs, ComparisonSpec(), ("new", "old"))


def test_a_release_is_not_worse_than_itself() -> None:
    same = compared(golden(), golden())
    assert same.worse == ()
    assert {one.change.value for one in same.differences} == {0}
    assert len(same.differences) == 2 * 3 * 13


def test_noise_is_not_worse() -> None:
    rng = np.random.default_rng(0)
    shaken = golden()
    noise = np.clip(shaken.scores + rng.normal(0, 0.01, shaken.scores.shape), 0, 1)
    assert compared(replace(shaken, scores=noise.astype(np.float32)), shaken).worse == ()


def test_a_label_that_was_spoilt_is_named_and_no_other() -> None:
    spoilt = golden()
    scores = spoilt.scores.copy()
    missed = np.flatnonzero((spoilt.truth[:, 0] == 1) & (spoilt.slices["style"] == "photo"))
    scores[missed[::3], 0] = 0.01
    found = compared(replace(spoilt, scores=scores), spoilt)
    assert {one.label for one in found.worse} == {"weapons"}
    assert {one.value for one in found.worse} == {"", "photo"}
    recall = next(one for one in found.worse if one.figure == "review.recall" and one.value == "photo")
    assert recall.change.value == pytest.approx(recall.candidate - recall.reference)
    assert recall.change.high is not None
    assert recall.change.high < -ComparisonSpec().recall
    assert compared(spoilt, replace(spoilt, scores=scores)).worse == ()  # better is not worse


def test_paired_differences_are_surer_than_two_intervals() -> None:
    shaken = golden()
    scores = shaken.scores.copy()
    scores[::50] *= np.float32(0.9)
    found = compared(replace(shaken, scores=scores), shaken)
    one = next(
        one for one in found.differences if (one.label, one.slice, one.figure) == ("weapons", "", "review.recall")
    )
    assert one.change.high is not None
    assert one.change.low is not None
    assert one.change.high - one.change.low < 0.02


def test_labels_of_one_release_are_told() -> None:
    both = golden()
    one = ScoredGolden(
        both.images,
        ("weapons",),
        both.scores[:, :1],
        both.truth[:, :1],
        both.weights,
        {"review": both.thresholds["review"][:1]},
    )
    found = compared(one, both)
    assert (found.only_candidate, found.only_reference) == ((), ("nudity",))
    assert {place.label for place in found.differences} == {"weapons"}


def test_other_images_are_refused() -> None:
    mine = golden()
    with pytest.raises(ValueError, match="same images"):
        compared(mine.part(np.arange(1500) < 1499), mine)


def test_every_figure_but_the_flagged_share_has_a_margin() -> None:
    spec = ComparisonSpec()
    assert {name for name in FIGURES if spec.margin(name) is None} == {"flagged_share"}
    assert spec.margin("recall_at_precision_0.98") == spec.recall_at_precision
    assert spec.margin("review.recall") == spec.recall
    assert Comparison.model_validate_json(compared(mine := golden(), mine).model_dump_json()).worse == ()
