"""The card: gaps that are there are named, those of chance are not, and nothing is lost in JSON."""

from dataclasses import replace

import numpy as np

from assay.platform.evaluation import evaluate
from assay.platform.grading import grade
from assay.platform.resampling import ResamplingSpec
from assay.platform.scorecard import Scorecard, ScorecardSpec
from tests.platform.simulated_golden import simulate

QUICK = ScorecardSpec(resampling=ResamplingSpec(resamples=200))
STYLES = {"style": ("photo", "drawing", "screenshot")}


def card_of(*, biased: bool = False, count: int = 3000) -> Scorecard:
    """One in five drawings that show nothing is scored as if it did, if `biased`."""
    golden = simulate(count, {"weapons": 0.2, "nudity": 0.1}, slices=STYLES, seed=5)
    scores = golden.scores.copy()
    harmless = np.flatnonzero((golden.slices["style"] == "drawing") & (golden.truth[:, 0] == 0))
    if biased:
        scores[harmless[::5], 0] = 0.6
    return grade(evaluate(replace(golden, scores=scores), QUICK), "starter-1", "strict", "abc")


def test_a_planted_gap_is_named() -> None:
    named = card_of(biased=True).named_gaps
    assert {(gap.label, gap.action, gap.rate, gap.value) for gap in named} == {
        ("weapons", "review", "false_positive_rate", "drawing")
    }
    assert {gap.other for gap in named} == {"photo", "screenshot"}
    assert all(gap.sure for gap in named)
    assert all(gap.difference.low is not None and gap.difference.low > 0.05 for gap in named)
    assert all(abs(gap.rates[0] - gap.rates[1] - (gap.difference.value or 0)) < 1e-9 for gap in named)


def test_a_fair_set_has_no_named_gap() -> None:
    card = card_of()
    assert card.named_gaps == ()
    # 2 labels x 2 actions x 2 rates x 3 pairs of styles: each is looked at.
    assert len(card.gaps) == 24


def test_a_gap_of_few_images_is_not_named() -> None:
    """The same bias in 150 images: 40 drawings cannot show it."""
    card = card_of(biased=True, count=150)
    widest = next(gap for gap in card.gaps if gap.rate == "false_positive_rate" and gap.value == "drawing")
    assert widest.difference.low is not None
    assert widest.difference.low < 0.05


def test_the_card_survives_json() -> None:
    card = card_of(count=300)
    text = card.model_dump_json()
    assert Scorecard.model_validate_json(text) == card
    assert "NaN" not in text
    assert "Infinity" not in text


def test_the_card_counts_what_there_is() -> None:
    card = card_of(count=600)
    weapons = card.labels[0]
    assert (weapons.label, weapons.overall.images) == ("weapons", 600)
    assert weapons.overall.positives + weapons.overall.negatives == 600
    assert [(one.slice, one.value) for one in weapons.slices] == [("style", value) for value in sorted(STYLES["style"])]
    assert sum(one.images for one in weapons.slices) == 600
    assert weapons.thresholds == {"review": np.float32(0.3), "block": np.float32(0.7)}
    assert {(one.label, one.sibling) for one in card.confusions} == {("nudity", "weapons"), ("weapons", "nudity")}


def test_an_interval_holds_its_figure() -> None:
    for label in card_of(count=300).labels:
        for quality in (label.overall, *label.slices):
            for one in quality.figures.values():
                assert one.lacks or (one.value is not None and one.low is not None and one.high is not None)
                assert one.value is None or (one.low or 0) <= one.value <= (one.high or 0)
