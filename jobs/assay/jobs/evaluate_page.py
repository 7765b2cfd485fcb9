"""The scorecard as one HTML file that loads nothing, with the report's look.

Knows how a scorecard reads and looks. Does not know how it was measured. Names of labels and slices were written by
strangers: everything is escaped.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from assay.jobs.evaluate import EvaluateFacts
from assay.jobs.evaluate_plots import Scored, plot_precision, plot_reliability, plot_truth
from assay.jobs.template import Filters, format_count, load_template
from assay.platform.evaluation import Evaluation
from assay.platform.scorecard import FIGURES, Estimate, LabelCard, Quality, Scorecard, figure_kind

OPEN_LABELS = 3
"""Labels open at first; the others open with a click."""
COLUMNS = (
    "average_precision",
    "roc_auc",
    "review.precision",
    "review.recall",
    "block.precision",
    "block.recall",
    "calibration_error",
)
"""Of the first table, if any label has the figure."""
TITLES = {"average_precision": "average precision", "roc_auc": "ROC-AUC"}
MAX_ROWS = 50
"""Rows of a table that could have thousands."""


@dataclass(frozen=True, slots=True)
class Section:
    """One label: its card, its plots, and its figures as rows with one cell for each set of images."""

    anchor: str
    card: LabelCard
    plots: tuple[Markup, ...]
    rows: tuple[tuple[str, str, tuple[Estimate | None, ...]], ...]  # (figure, meaning, cells)
    is_open: bool

    @property
    def columns(self) -> tuple[Quality, ...]:
        """All images, then those of each value of each slice."""
        return (self.card.overall, *self.card.slices)


def render_scorecard(facts: EvaluateFacts, evaluation: Evaluation) -> str:
    """The page, UTF-8 text; some 25 KB for each label."""
    card, comparison = facts.scorecard, facts.comparison
    filters: Filters = {"count": format_count, "figure": title_of, "share": format_share, "points": format_points}
    known = {name for label in card.labels for name in label.overall.figures}
    confused = sorted(card.confusions, key=lambda one: -(one.share.value or 0))
    return load_template("scorecard.html.j2", filters).render(
        card=card,
        comparison=comparison,
        columns=[name for name in COLUMNS if name in known],
        sections=list(_sections(card, evaluation)),
        confused=[one for one in confused if one.share.value][:MAX_ROWS],
        confusions_known=sum(one.share.is_known for one in card.confusions),
        by_chance=round(len(card.gaps) * (1 - card.spec.resampling.confidence) / 2),
        meanings=FIGURES,
        max_rows=MAX_ROWS,
    )


def title_of(figure: str) -> str:
    """A figure's name as people read it."""
    if figure.startswith("recall_at_precision_"):
        return f"recall at precision {figure.rpartition('_')[2]}"
    action, _, name = figure.rpartition(".")
    return f"{action} {TITLES.get(name, name.replace('_', ' '))}".strip()


def format_share(value: float | None) -> str:
    """A share of 1. Cut, not rounded: 0.9996 is not 1."""
    return "" if value is None else f"{math.floor(value * 1000 + 1e-9) / 1000:.3f}"


def format_points(value: float | None) -> str:
    """A difference of shares in percentage points."""
    return f"{100 * (value or 0):+.1f}"


def _sections(card: Scorecard, evaluation: Evaluation) -> Iterator[Section]:
    for number, label in enumerate(card.labels):
        qualities = (label.overall, *label.slices)
        rows = tuple(
            (name, FIGURES[figure_kind(name)], tuple(quality.figures.get(name) for quality in qualities))
            for name in label.overall.figures
        )
        plots = _plots(label, evaluation, card.spec.bins)
        yield Section(f"label-{number}", label, plots, rows, number < OPEN_LABELS)


def _plots(card: LabelCard, evaluation: Evaluation, bins: int) -> tuple[Markup, ...]:
    """None without both positive and negative images: there is nothing to see."""
    if not (card.overall.positives and card.overall.negatives):
        return ()
    golden = evaluation.golden
    column = golden.labels.index(card.label)
    known = golden.truth[:, column] >= 0
    label = Scored(
        name=card.label,
        scores=golden.scores[known, column],
        positive=golden.truth[known, column] == 1,
        weights=golden.weights[known],
        thresholds=card.thresholds,
    )
    return plot_precision(label), plot_reliability(label, bins), plot_truth(label)
