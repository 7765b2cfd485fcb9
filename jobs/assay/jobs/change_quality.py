"""Precision and recall on both sides of a comparison, by what people confirmed of images that both sides judged.

Knows how golden rows find their verdicts, by uri and etag. Does not measure (`assay.platform.evaluation`) nor compare
(`assay.platform.comparison`): the change is taken on the same resamples of the same images.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assay.jobs.change_data import GoldenFacts, Measured
from assay.jobs.pairing import Pairs
from assay.jobs.side import Places, Scores, Side
from assay.platform.comparison import ComparisonSpec, Difference, compare
from assay.platform.errors import GoldenError
from assay.platform.evaluation import Evaluation, Lack, Place, ScoredGolden, evaluate
from assay.platform.golden import GoldenSet
from assay.platform.grading import estimate
from assay.platform.scorecard import Estimate, ScorecardSpec

FIGURES = ("flagged.precision", "flagged.recall", "block.precision", "block.recall")
"""Of what is reviewed or blocked, and of what is blocked."""


@dataclass(frozen=True)
class GoldenChoice:
    """The rows of a golden set that are measured on, and how."""

    path: Path
    split: str
    rows: GoldenSet
    measure: ScorecardSpec
    margin: ComparisonSpec


@dataclass
class GoldenTally:
    """The scores of golden images on both sides, found while all images stream by."""

    choice: GoldenChoice
    _found: dict[tuple[str, str], tuple[Scores, Scores]] = field(default_factory=dict)
    _latest: dict[str, tuple[Scores, Scores]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._uris = pa.array(sorted(set(self.choice.rows.uris)), pa.string())

    def add(self, pairs: Pairs) -> None:
        """Keep what is in the golden set. Images come in order of shards, so the last of a name is the latest."""
        one, other = pairs.before, pairs.after
        is_golden = pc.is_in(one.uris, self._uris).to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(is_golden & one.readable & other.readable)
        if not len(rows):
            return
        one, other = one.take(rows), other.take(rows)
        names = zip(one.uris.to_pylist(), one.etags.to_pylist(), one.scores, other.scores, strict=True)
        for uri, etag, before, after in names:
            self._found[uri, etag] = self._latest[uri] = before, after

    def measure(self, before: Side, after: Side) -> tuple[GoldenFacts, dict[str, tuple[Measured, ...]]]:
        """What it is measured on, and the figures of each label that it speaks of.

        Raises:
            GoldenError: none of its images was judged by both sides.
        """
        golden = self.choice.rows
        images = list(zip(golden.uris, golden.etags, strict=True))
        pairs = [self._found.get(image) if image[1] else self._latest.get(image[0]) for image in images]
        rows = np.array([row for row, pair in enumerate(pairs) if pair is not None], np.int64)
        if not len(rows):
            raise GoldenError(
                "no image of the golden set was judged by both sides",
                where=str(self.choice.path),
                why=f"none of its {len(golden):,} images is in the store, readable, with the same etag",
                fix="name a golden set of this store's images",
            )
        scores = [np.stack([pair[side] for pair in pairs if pair is not None]) for side in (0, 1)]
        one, other = (
            evaluate(_scored(golden, side, mine, rows), self.choice.measure)
            for side, mine in zip((before, after), scores, strict=True)
        )
        labels = dict.fromkeys((*before.labels, *after.labels))
        asked = [label for label in labels if label in golden.labels]
        facts = GoldenFacts(
            golden=str(self.choice.path),
            digest=golden.digest,
            split=self.choice.split,
            images=len(rows),
            missing=len(golden) - len(rows),
            unasked=tuple(label for label in labels if label not in asked),
        )
        return facts, dict(_figures(asked, (one, other), self.choice.margin))


def _scored(golden: GoldenSet, side: Side, scores: Scores, rows: Places) -> ScoredGolden:
    asked = [place for place, label in enumerate(side.labels) if label in golden.labels]
    labels = tuple(side.labels[place] for place in asked)
    review, block = (levels[asked] for levels in side.thresholds)
    return ScoredGolden(
        images=[f"{golden.uris[row]} {golden.etags[row]}" for row in rows],
        labels=labels,
        # As the policy takes what is no number.
        scores=np.nan_to_num(scores[:, asked], nan=1.0),
        truth=golden.truth(labels)[rows],
        weights=golden.weights[rows],
        thresholds={"flagged": np.minimum(review, block), "block": block},
    )


def _figures(
    labels: Sequence[str], sides: tuple[Evaluation, Evaluation], margin: ComparisonSpec
) -> Iterator[tuple[str, tuple[Measured, ...]]]:
    one, other = (_only_decisions(side) for side in sides)
    compared = compare(other, one, margin, ("after", "before"))
    changes = {(change.label, change.figure): change for change in compared.differences}
    for label in labels:
        found = [_measured(label, figure, (one, other), changes.get((label, figure))) for figure in FIGURES]
        yield label, tuple(figure for figure in found if figure is not None)


def _only_decisions(evaluation: Evaluation) -> Evaluation:
    """Only the figures that are told: every other one compared would make it harder to tell a change from chance."""
    figures = {
        place: {name: one for name, one in found.items() if name in FIGURES}
        for place, found in evaluation.figures.items()
    }
    return Evaluation(evaluation.golden, evaluation.spec, evaluation.counts, figures, {})


def _measured(
    label: str, figure: str, sides: tuple[Evaluation, Evaluation], change: Difference | None
) -> Measured | None:
    """None when neither side ever takes the action."""
    both = [side.figures.get(Place(label, "", ""), {}).get(figure) for side in sides]
    if both == [None, None]:
        return None
    lacking = [
        f"{when}: {one.why}" for when, one in zip(("before", "after"), both, strict=True) if isinstance(one, Lack)
    ]
    never = "a side never does this" if None in both else ""
    confidence = sides[0].spec.resampling.confidence
    before, after = (None if one is None else estimate(one, confidence) for one in both)
    return Measured(
        figure=figure,
        before=before,
        after=after,
        change=change.change if change else Estimate(lacks="; ".join(lacking) or never),
        worse=change is not None and change.worse,
    )
