"""What `assay evaluate` does between its flags and its exit code.

Knows terminals and JSON output. Does not know how a release is measured (`evaluate.py`).
"""

from typing import Annotated

from rich.console import Console
from rich.table import Table
from rich.text import Text

from assay.jobs.evaluate import EvaluateFacts, EvaluateSpec, evaluate_release
from assay.jobs.printed import FLAT, AsJson, warn_unrecorded
from assay.platform.comparison import Comparison
from assay.platform.scorecard import Gap, LabelCard, Scorecard

COLUMNS = (
    ("AP", "average_precision"),
    ("review\nprecision", "review.precision"),
    ("review\nrecall", "review.recall"),
    ("block\nprecision", "block.precision"),
    ("block\nrecall", "block.recall"),
    ("calibr.\nerror", "calibration_error"),
)
"""What a terminal has room for; JSON and the page have everything."""
WORSE = 3
MAX_TOLD = 20


def evaluate(spec: Annotated[EvaluateSpec, FLAT], *, as_json: AsJson = False) -> int:
    """Measure a release on a golden set: per label and slice, with intervals.

    With --against, exit 3 when the release is worse than the other one by more than a margin, and not by chance.
    """
    console = Console(stderr=True, quiet=as_json)
    with console.status("reading") as status:
        found = evaluate_release(spec, status.update)
    warn_unrecorded(found.facts)
    if as_json:
        print(found.facts.model_dump_json())
    else:
        _print(found.facts, Console())
    return WORSE if found.facts.comparison and found.facts.comparison.worse else 0


def _print(facts: EvaluateFacts, console: Console) -> None:
    card = facts.scorecard
    golden = f"{card.images:,} images of golden set {card.subject.golden[:12]}"
    console.print(Text(f"{card.subject.release}, policy {card.subject.policy}, on {golden}", style="bold"))
    console.print(_label_table(card))
    for gap in card.named_gaps[:MAX_TOLD]:
        console.print(Text(f"gap: {_describe_gap(gap)}"))
    if len(card.named_gaps) > MAX_TOLD:
        console.print(f"and {len(card.named_gaps) - MAX_TOLD:,} gaps more; --json and --html have them all")
    if facts.comparison is not None:
        _print_comparison(facts.comparison, console)


def _label_table(card: Scorecard) -> Table:
    table = Table("label", "pos.", *(title for title, _ in COLUMNS), box=None)
    table.columns[0].overflow = "fold"
    for label in card.labels:
        cells = [_cell(label, figure) for _, figure in COLUMNS]
        table.add_row(label.label, f"{label.overall.positives:,}", *cells)
    return table


def _cell(label: LabelCard, figure: str) -> Text:
    one = label.overall.figures.get(figure)
    if one is None or one.value is None:
        return Text("never" if one is None else "too few", style="dim")
    interval = "-".join(f"{limit or 0:.2f}".removeprefix("0") for limit in (one.low, one.high))
    return Text.assemble(f"{one.value:.2f}\n", (interval, "dim"))


def _describe_gap(gap: Gap) -> str:
    """A gap as a sentence."""
    rate = gap.rate.replace("_", " ")
    low, high = (100 * (limit or 0) for limit in (gap.difference.low, gap.difference.high))
    return (
        f"{gap.label}, {gap.action}: {rate} {gap.rates[0]:.1%} for {gap.slice} {gap.value}, "
        f"{gap.rates[1]:.1%} for {gap.other}; {low:.1f} to {high:.1f} points more"
    )


def _print_comparison(comparison: Comparison, console: Console) -> None:
    for one in comparison.worse:
        part = f" ({one.slice} {one.value})" if one.slice else ""
        change = f"{one.reference:.3f} -> {one.candidate:.3f}"
        console.print(Text(f"worse: {one.label}{part}: {one.figure} {change}", style="bold red"))
    if not comparison.worse:
        counted = f"{len(comparison.differences):,} figures compared"
        console.print(Text(f"not worse than {comparison.reference} beyond a margin; {counted}"))
