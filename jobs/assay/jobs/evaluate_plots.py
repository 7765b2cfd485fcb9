"""The plots of a scorecard: precision over recall, reliability, and scores by truth; as SVG to stand in a page.

Knows matplotlib, which no other module does. Colours and fonts are the page's own, so that plots follow light and dark.
"""

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import RcKeyType

from assay.platform.metrics import Reliability

SIZE = (3.3, 2.5)
"""Inches of 72 units; the page scales it."""
COLOURS = {"ink": "#010101", "soft": "#020202", "line": "#030303", "bar": "#040404", "accent": "#050505"}
"""Stand-ins for the page's colours, each replaced by its variable."""
MAX_POINTS = 400
"""Of a curve: more are not seen."""
BINS = 25
STYLE: dict[RcKeyType, Any] = {
    "svg.fonttype": "none",  # text stays text
    "font.size": 8,
    "text.color": COLOURS["ink"],
    "axes.edgecolor": COLOURS["line"],
    "axes.labelcolor": COLOURS["soft"],
    "xtick.color": COLOURS["soft"],
    "ytick.color": COLOURS["soft"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Scored:
    """One label's images of known truth, with its thresholds."""

    name: str
    scores: npt.NDArray[np.float32]  # [n]
    positive: npt.NDArray[np.bool_]  # [n]
    weights: npt.NDArray[np.float64]  # [n]
    thresholds: Mapping[str, float]  # by action; those that are set


def plot_precision(label: Scored) -> Markup:
    """Precision over recall, with a dot at each threshold."""
    order = np.argsort(-label.scores, kind="stable")
    scores, weights = label.scores[order], label.weights[order]
    hits, flagged = np.cumsum(weights * label.positive[order]), np.cumsum(weights)
    ends = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # of equal scores all or none are flagged
    recall, precision = hits[ends] / hits[-1], hits[ends] / flagged[ends]

    def draw(axes: Axes) -> None:
        axes.plot(*_thin(recall, precision), color=COLOURS["bar"], drawstyle="steps-pre")
        for action, threshold in label.thresholds.items():
            at = np.flatnonzero(scores[ends] >= np.float32(threshold))
            if len(at):
                fill = COLOURS["accent"] if action == "block" else "none"
                axes.plot(recall[at[-1]], precision[at[-1]], "o", ms=5, mec=COLOURS["accent"], mfc=fill, label=action)
        _frame(axes, "recall", "precision")
        if label.thresholds:
            axes.legend(loc="lower left", handletextpad=0.2)

    return _svg(draw, f"Precision over recall, {label.name}")


def plot_reliability(label: Scored, bins: int) -> Markup:
    """The share of positive images over the mean score, bin by bin of equal weight; the diagonal is what should be."""
    scores, shares, _ = Reliability(label.scores, label.positive, label.weights, bins).points()

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=COLOURS["line"], lw=1)
        axes.plot(scores, shares, "o-", ms=3.5, color=COLOURS["accent"], mfc=COLOURS["accent"])
        _frame(axes, "mean score", "share positive")

    return _svg(draw, f"Share of positive images over mean score, {label.name}")


def plot_truth(label: Scored) -> Markup:
    """Histograms of scores of positive and of negative images, each scaled to its own highest bar."""

    def draw(axes: Axes) -> None:
        for mask, sign, colour in ((label.positive, 1, COLOURS["accent"]), (~label.positive, -1, COLOURS["bar"])):
            counts, edges = np.histogram(label.scores[mask], BINS, (0, 1), weights=label.weights[mask])
            axes.stairs(sign * counts / (counts.max() or 1), edges, fill=True, color=colour, lw=0)
        for action, threshold in label.thresholds.items():
            axes.axvline(threshold, color=COLOURS["ink"], lw=0.8, ls="-" if action == "block" else "--")
        axes.axhline(0, color=COLOURS["line"], lw=0.8)
        axes.set(xlim=(0, 1), ylim=(-1.05, 1.05), xlabel="score", yticks=[-0.5, 0.5])
        axes.set_yticklabels(["negative", "positive"], rotation=90, va="center")
        axes.tick_params(axis="y", length=0)

    return _svg(draw, f"Scores of positive and negative images, {label.name}")


def _frame(axes: Axes, x: str, y: str) -> None:
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.05), xlabel=x, ylabel=y)
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])


def _thin(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Points of a curve that rises in x, few enough to draw."""
    kept = np.unique(np.linspace(0, len(x) - 1, MAX_POINTS).astype(np.int64))
    return x[kept], y[kept]


def _svg(draw: Callable[[Axes], None], title: str) -> Markup:
    """What `draw` draws, as an SVG element without ids, links or fonts of its own that could clash with the page's."""
    out = io.StringIO()
    # The salt makes ids of clips and markers, which are told by them, differ between the plots of a page.
    with rc_context({**STYLE, "svg.hashsalt": title}):
        figure = Figure(SIZE, layout="constrained")  # not pyplot, which keeps figures and picks a display
        draw(figure.add_subplot())
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = out.getvalue()
    text = re.sub(r"<(metadata|style).*?</\1>|<!--.*?-->", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r' id="([^"]*)"', lambda one: one[0] if f"#{one[1]}" in text else "", text)
    text = re.sub(r"\s*\n\s*", " ", text)
    text = re.sub(r"font-family: [^;\"]*; ", "", text)
    for name, stand_in in COLOURS.items():
        text = text.replace(stand_in, f"var(--{name})")
    head = f'<svg class="chart" role="img" aria-label="{escape(title)}" '
    text = re.sub(r"<svg [^>]*?(viewBox=\"[^\"]*\")[^>]*>", lambda found: f"{head}{found[1]}>", text, count=1)
    return Markup(text)  # noqa: S704  # ours; the one word that is not, the label, is escaped
