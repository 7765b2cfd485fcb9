"""A budget is kept or named; one that nobody can tell about is not kept."""

import pytest

from assay.jobs.change import predict_load, share_of
from assay.jobs.change_budget import BudgetSpec, find_overruns
from assay.jobs.change_data import Faults, LabelChange, Measured, Moves, PolicyChange
from assay.platform.policy import Action
from assay.platform.scorecard import Estimate

MOVES = Moves(counts=((880, 20, 10), (5, 60, 5), (0, 0, 20)))
NOTHING = Moves(counts=((0, 0, 0), (0, 0, 0), (0, 0, 0)))


def measured(figure: str, change: Estimate, *, worse: bool) -> Measured:
    return Measured(figure=figure, before=Estimate(value=0.9), after=Estimate(value=0.8), change=change, worse=worse)


def label(*figures: Measured) -> LabelChange:
    none = Estimate(lacks="no image")
    return LabelChange(
        label="weapons",
        presence="both",
        causes=("text",),
        calibrated=(True, True),
        thresholds=({}, {}),
        standing=((), ()),
        rule=("", ""),
        no_evidence=False,
        moves=NOTHING,
        newly_flagged=none,
        newly_cleared=none,
        shift=None,
        sample=(),
        measured=figures,
    )


def change(moves: Moves = MOVES, *labels: LabelChange) -> PolicyChange:
    return PolicyChange(
        before="strict",
        after="strict",
        images=moves.total,
        only_before=0,
        only_after=0,
        faults=Faults(both=0, only_before=0, only_after=0),
        on_fault=(Action.REVIEW, Action.REVIEW),
        moves=moves,
        newly_flagged=share_of(moves.newly_flagged, moves.total, 0.95),
        newly_cleared=share_of(moves.newly_cleared, moves.total, 0.95),
        blocks=(share_of(0, moves.total, 0.95), share_of(0, moves.total, 0.95)),
        load=predict_load(moves, 50_000, 0.95),
        labels=labels,
    )


@pytest.mark.parametrize(
    ("name", "kept", "over", "said"),
    [
        ("newly_flagged", 0.03, 0.029, "30 of 1,000 images (3.00%), 2.90% allowed"),
        ("newly_cleared", 0.005, 0.0, "5 of 1,000 images (0.50%), 0.00% allowed"),
        ("blocks", 0.035, 0.03, "35 of 1,000 images (3.50%), 3.00% allowed"),
        ("reviews_per_day", 4000, 3999, "4,000 reviews a day, 3,999 allowed"),
    ],
)
def test_shares_are_held_against_what_is_allowed(name: str, kept: float, over: float, said: str) -> None:
    assert not [*find_overruns(BudgetSpec.model_validate({name: kept}), change())]
    (found,) = find_overruns(BudgetSpec.model_validate({name: over}), change())
    assert (found.policy, found.budget, found.allowed, found.said) == ("strict", name, over, said)
    assert (found.found or 0) > found.allowed


def test_without_images_no_share_is_over() -> None:
    budget = BudgetSpec(newly_flagged=0, newly_cleared=0, blocks=0, reviews_per_day=0)
    assert not [*find_overruns(budget, change(NOTHING))]


def test_losses_are_named_by_label() -> None:
    lost = measured("flagged.recall", Estimate(value=-0.1, low=-0.15, high=-0.05), worse=True)
    kept = measured("flagged.precision", Estimate(value=-0.1, low=-0.3, high=0.1), worse=False)
    budget = BudgetSpec(recall_drop=0.02, precision_drop=0.02)
    (found,) = find_overruns(budget, change(MOVES, label(lost, kept)))
    assert (found.budget, found.label, found.found) == ("recall_drop", "weapons", 0.1)
    assert found.said == "flagged.recall 0.900 -> 0.800, a loss of 0.020 allowed"
    assert not [*find_overruns(BudgetSpec(precision_drop=0.02), change(MOVES, label(lost, kept)))]
    assert budget.margin.recall == 0.02


def test_what_nobody_can_tell_is_not_kept() -> None:
    unknown = measured("flagged.recall", Estimate(lacks="3 positive images, 10 needed"), worse=False)
    (found,) = find_overruns(BudgetSpec(recall_drop=0.02), change(MOVES, label(unknown)))
    assert (found.found, found.label) == (None, "")
    assert "nobody knows whether it is kept" in found.said


def test_a_change_of_reviews_is_bounded_on_the_safe_side() -> None:
    """Its interval holds the truth at least as often as it says, in simulated pairs of decisions."""
    import numpy as np

    rng, share, held = np.random.default_rng(0), np.array([0.9, 0.04, 0.02, 0.04]), 0
    for _ in range(400):
        stay, come, go, both = rng.multinomial(2000, share)
        moves = Moves(counts=((stay, come, 0), (go, both, 0), (0, 0, 0)))
        found = predict_load(moves, None, 0.95).change
        held += (found.low or 0) <= 1000 * (share[1] - share[2]) <= (found.high or 0)
    assert held >= 0.95 * 400
