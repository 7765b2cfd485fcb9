"""The comparison as one HTML file that loads nothing: the page one attaches to a change request.

Knows how a comparison reads and looks. Does not know how it was found. Object keys, labels and phrases were written by
strangers: everything is escaped, nothing of theirs becomes markup, and only harmless schemes become links.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from assay.jobs.change_data import Changed, DiffFacts, Direction, LabelChange, Measured, PolicyChange, Shift
from assay.jobs.change_quality import FIGURES
from assay.jobs.change_tally import GRID
from assay.jobs.gallery import Gallery, Picture
from assay.jobs.page import Card, make_card, make_visible
from assay.jobs.template import Filters, format_count, format_score, load_template
from assay.platform.policy import ACTIONS
from assay.platform.scorecard import Estimate

OPEN_LABELS = 3
"""Of each policy, open at first; the others open with a click."""
MAX_ROWS = 200
"""Changes of a library that are listed; JSON has all."""
LEVELS = 5
"""Shades of a density."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A density for inline SVG: a path of cells for each shade, in a box of GRID x GRID, and lines at thresholds."""

    shades: tuple[tuple[int, str], ...]
    marks: tuple[tuple[str, str], ...]  # (action, path)


@dataclass(frozen=True, slots=True)
class Section:
    """One label of one policy."""

    anchor: str
    label: LabelChange
    plot: Plot | None
    groups: tuple[tuple[Direction, int, tuple[Card[Changed], ...]], ...]  # with how many images there are in all
    is_open: bool


@dataclass(frozen=True, slots=True)
class Part:
    """One policy, its labels by what there is to say of them."""

    anchor: str
    change: PolicyChange
    sections: tuple[Section, ...]
    untouched: tuple[str, ...]
    """Labels of which nothing changed that could change a decision, and none did."""
    measured: tuple[tuple[str, tuple[Measured | None, ...]], ...]


def render_change(facts: DiffFacts, gallery: Gallery) -> str:
    """The page, UTF-8 text below 10 MB for a gallery made with the default limits."""
    filters: Filters = {
        "count": format_count,
        "score": format_score,
        "percent": format_percent,
        "points": format_points,
        "interval": format_interval,
        "load": lambda value: f"{value:,.1f}",
        "visible": make_visible,
        "figure": lambda name: name.replace(".", " "),
    }
    return load_template("change.html.j2", filters).render(
        facts=facts,
        parts=[_part(number, change, facts, gallery) for number, change in enumerate(facts.policies)],
        grid=GRID,
        actions=ACTIONS,
        figures=FIGURES,
        max_rows=MAX_ROWS,
        raw=sorted({one.label for change in facts.policies for one in change.labels if is_raw(one)}),
    )


def pictures_of(facts: DiffFacts) -> Iterator[list[Picture]]:
    """What thumbnails are wanted of, label by label."""
    for change in facts.policies:
        for label in change.labels:
            yield list(map(_picture_of, label.sample))


def is_raw(label: LabelChange) -> bool:
    """Whether a side's score of it is no probability."""
    sides = {"both": (0, 1), "new": (1,), "gone": (0,)}[label.presence]
    return not all(label.calibrated[side] for side in sides)


def format_percent(value: float | None) -> str:
    """A share of 1."""
    if value is None:
        return ""
    return "< 0.01 %" if 0 < value < 0.0001 else f"{100 * value:.2f} %"


def format_points(value: float | None) -> str:
    """A difference of shares in percentage points."""
    return f"{100 * (value or 0):+.1f}"


def format_interval(one: Estimate, times: float = 100.0, digits: int = 2) -> str:
    """The limits of an estimate."""
    low, high = (f"{times * (limit or 0):,.{digits}f}" for limit in (one.low, one.high))
    return f"{low} to {high}"


def plot_density(shift: Shift, label: LabelChange) -> Plot:
    """Shades of log(1 + count): the few images that moved are seen beside a million that did not."""
    peak = max(map(max, shift.density))
    paths: dict[int, str] = {}
    for x, column in enumerate(shift.density):
        for y, count in enumerate(column):
            if count:
                shade = max(1, math.ceil(LEVELS * math.log1p(count) / math.log1p(peak)))
                paths[shade] = paths.get(shade, "") + f"M{x} {GRID - 1 - y}h1v1h-1z"
    before, after = label.thresholds
    marks = [(action, f"M{at * GRID:.2f} 0V{GRID}") for action, at in before.items()]
    marks += [(action, f"M0 {GRID - at * GRID:.2f}H{GRID}") for action, at in after.items()]
    return Plot(tuple(sorted(paths.items())), tuple(marks))


def _part(number: int, change: PolicyChange, facts: DiffFacts, gallery: Gallery) -> Part:
    told = [label for label in change.labels if label.causes or label.moves.moved or label.presence != "both"]
    measured = [(label.label, {one.figure: one for one in label.measured}) for label in change.labels if label.measured]
    return Part(
        anchor=f"policy-{number}",
        change=change,
        sections=tuple(_section(f"label-{number}-{at}", at, one, facts, gallery) for at, one in enumerate(told)),
        untouched=tuple(label.label for label in change.labels if label not in told),
        measured=tuple((label, tuple(found.get(figure) for figure in FIGURES)) for label, found in measured),
    )


def _section(anchor: str, place: int, label: LabelChange, facts: DiffFacts, gallery: Gallery) -> Section:
    moves = label.moves
    counts = {
        Direction.FLAGGED: moves.newly_flagged,
        Direction.CLEARED: moves.newly_cleared,
        Direction.ESCALATED: moves.escalated,
        Direction.EASED: moves.eased,
    }
    groups = tuple(
        (direction, count, tuple(_cards([one for one in label.sample if one.direction is direction], facts, gallery)))
        for direction, count in counts.items()
        if count
    )
    plot = plot_density(label.shift, label) if label.shift else None
    return Section(anchor, label, plot, groups, place < OPEN_LABELS and moves.moved > 0)


def _cards(sample: Sequence[Changed], facts: DiffFacts, gallery: Gallery) -> Iterator[Card[Changed]]:
    for one in sample:
        yield make_card(one, _picture_of(one), facts.source, gallery)


def _picture_of(one: Changed) -> Picture:
    return one.uri, one.etag, one.view_kind, one.time_s
