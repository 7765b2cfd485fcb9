"""One policy of two releases: one pass over what both decided, and all that is told of it.

Knows how counts become shares, loads and labels. Does not know which policies are compared (`change_sides.py`), nor
budgets and pages.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from assay.jobs.change_data import Changed, GoldenFacts, LabelChange, Load, Measured, Moves, PolicyChange
from assay.jobs.change_quality import GoldenChoice, GoldenTally
from assay.jobs.change_sample import describe_sample
from assay.jobs.change_tally import ChangeTally, moves_from
from assay.jobs.change_text import TextChange, tell_rule
from assay.jobs.pairing import pair_up
from assay.jobs.side import Side
from assay.jobs.standing import standing
from assay.platform.confidence import lower_bound, upper_bound
from assay.platform.errors import ConservationError
from assay.platform.policy import Action
from assay.platform.scorecard import Estimate
from assay.platform.scoring import Scorer

PER = 1_000
"""Images that reviews are told for when nobody says how many come in a day."""


@dataclass(frozen=True)
class Question:
    """What is asked of every policy."""

    text: TextChange
    scorers: tuple[Scorer, Scorer]
    golden: GoldenChoice | None
    images_per_day: int | None
    confidence: float
    samples: int
    seed: int


def compare_sides(
    before: Side, after: Side, question: Question, tell: Callable[[int], None] = lambda _images: None
) -> PolicyChange:
    """Read both sides once, and say what changed. `tell` is told how many images were compared.

    Raises:
        StorageError: committed rows cannot be read.
        GoldenError: none of the golden set's images was judged by both sides.
        ConservationError: the images counted are not the images judged.
    """
    tally, golden = _read_once(before, after, question, tell)
    sample = describe_sample(tally, before.store, question.scorers)
    measured: tuple[GoldenFacts | None, Mapping[str, tuple[Measured, ...]]]
    measured = (None, {}) if golden is None else golden.measure(before, after)
    moves, confidence = moves_from(tally.moves), question.confidence
    return PolicyChange(
        before=before.judged.policy.name,
        after=after.judged.policy.name,
        images=moves.total,
        only_before=tally.only[0],
        only_after=tally.only[1],
        faults=tally.fault_counts(),
        on_fault=(before.judged.policy.on_fault, after.judged.policy.on_fault),
        moves=moves,
        newly_flagged=share_of(moves.newly_flagged, moves.total, confidence),
        newly_cleared=share_of(moves.newly_cleared, moves.total, confidence),
        blocks=(
            share_of(moves.before(Action.BLOCK), moves.total, confidence),
            share_of(moves.after(Action.BLOCK), moves.total, confidence),
        ),
        load=predict_load(moves, question.images_per_day, confidence),
        labels=_labels(tally, question, sample, measured[1]),
        golden=measured[0],
    )


def _read_once(
    before: Side, after: Side, question: Question, tell: Callable[[int], None]
) -> tuple[ChangeTally, GoldenTally | None]:
    tally = ChangeTally(before, after, question.samples, question.seed)
    golden = GoldenTally(question.golden) if question.golden else None
    for pairs in pair_up(before, after):
        tally.add(pairs)
        if golden is not None:
            golden.add(pairs)
        tell(int(tally.moves.sum()))
    _conserve(tally)
    return tally, golden


def _conserve(tally: ChangeTally) -> None:
    """Every verdict of either side was counted once."""
    both = int(tally.moves.sum())
    for side, only in zip((tally.before, tally.after), tally.only, strict=True):
        committed = side.files.num_rows()
        if both + only != committed:
            raise ConservationError(
                "the images compared are not the images judged",
                where=f"{side.store.shown}, release {side.judged.release.id}, policy {side.judged.policy.name}",
                why=f"{both + only:,} read, {committed:,} committed",
                fix="run `assay verify`",
            )


def _labels(
    tally: ChangeTally,
    question: Question,
    sample: Mapping[str, tuple[Changed, ...]],
    measured: Mapping[str, tuple[Measured, ...]],
) -> tuple[LabelChange, ...]:
    """All labels, those with most images moved first."""
    thresholds = [side.judged.thresholds() for side in (tally.before, tally.after)]
    stands = [standing(side.judged.release, side.judged.policy) for side in (tally.before, tally.after)]
    found = []
    for label in tally.labels:
        has = [label in side.labels for side in (tally.before, tally.after)]
        moves = tally.moves_of(label)
        one, other = (levels.get(label, {}) for levels in thresholds)
        found.append(
            LabelChange(
                label=label,
                presence="both" if all(has) else "gone" if has[0] else "new",
                causes=(*question.text.causes(label), *(["thresholds"] if one != other else [])) if all(has) else (),
                calibrated=question.text.calibrated(label),
                thresholds=(one, other),
                standing=(stands[0].get(label, ()), stands[1].get(label, ())),
                rule=(
                    tell_rule(tally.before.judged.policy, label) if has[0] else "",
                    tell_rule(tally.after.judged.policy, label) if has[1] else "",
                ),
                no_evidence=label in tally.secret,
                moves=moves,
                newly_flagged=share_of(moves.newly_flagged, moves.total, question.confidence),
                newly_cleared=share_of(moves.newly_cleared, moves.total, question.confidence),
                shift=tally.shift_of(label),
                sample=sample[label],
                measured=measured.get(label, ()),
            )
        )
    return tuple(sorted(found, key=lambda one: (-one.moves.moved, one.label)))


def share_of(count: int, total: int, confidence: float) -> Estimate:
    """A share of the images, with the exact interval for more images like these (Clopper and Pearson)."""
    if not total:
        return Estimate(lacks="no image")
    low, high = _bounds(count, total, (1 - confidence) / 2)
    return Estimate(value=count / total, low=low, high=high)


def predict_load(moves: Moves, images_per_day: int | None, confidence: float) -> Load:
    """Reviews among a day's images (or among a thousand), before and after, and their change."""
    images, total = images_per_day or PER, moves.total
    if not total:
        none = Estimate(lacks="no image")
        return Load(images=images, is_daily=images_per_day is not None, before=none, after=none, change=none)
    sides = (moves.before(Action.REVIEW), moves.after(Action.REVIEW))
    before, after = (_times(share_of(count, total, confidence), images) for count in sides)
    # What comes and what goes are bounded each by itself, at half the error: together they hold, whatever they share.
    error = (1 - confidence) / 4
    (come_low, come_high), (go_low, go_high) = (
        _bounds(count, total, error) for count in (moves.to_review, moves.from_review)
    )
    change = Estimate(value=(sides[1] - sides[0]) / total, low=come_low - go_high, high=come_high - go_low)
    return Load(
        images=images, is_daily=images_per_day is not None, before=before, after=after, change=_times(change, images)
    )


def _bounds(count: int, total: int, error: float) -> tuple[float, float]:
    """The least and the greatest share that are compatible with so many, each with this error."""
    share, size = np.array([count / total]), np.array([float(total)])
    return float(lower_bound(share, size, 1 - error)[0]), float(upper_bound(share, size, 1 - error)[0])


def _times(share: Estimate, images: int) -> Estimate:
    low, value, high = (None if one is None else one * images for one in (share.low, share.value, share.high))
    return Estimate(value=value, low=low, high=high, lacks=share.lacks)
