"""What `assay prevalence sample` and `estimate` do between their flags and their exit codes.

Knows terminals, tables and JSON output. Does not know how images are drawn (`prevalence_sample.py`) nor what is learned
from answers (`prevalence.py`).
"""

from typing import Annotated

from rich.console import Console
from rich.table import Table
from rich.text import Text

from assay.jobs.prevalence import EstimateSpec, PrevalenceFacts, estimate_prevalence
from assay.jobs.prevalence_sample import PrevalenceSampleFacts, PrevalenceSampleSpec, sample_prevalence
from assay.jobs.printed import FLAT, AsJson
from assay.platform.prevalence import Figure, LabelPrevalence


def sample(spec: Annotated[PrevalenceSampleSpec, FLAT], *, as_json: AsJson = False) -> int:
    """Draw images from a judged store that tell, once people have looked at them, what was left unflagged."""
    with Console(stderr=True, quiet=as_json).status("reading verdicts") as status:
        facts = sample_prevalence(spec, lambda rows: status.update(f"{rows:,} verdicts read, in two passes"))
    if as_json:
        print(facts.model_dump_json())
        return 0
    console = Console()
    console.print(Text(f"{facts.images:,} images of {facts.population:,}, in {facts.golden}", style="bold"))
    console.print(f"release {facts.release}, policy {facts.policy}, draw {facts.draw}")
    if facts.answered:
        console.print(f"{facts.answered:,} of them keep what was said before")
    console.print(_drawn(facts))
    return 0


def _drawn(facts: PrevalenceSampleFacts) -> Table:
    table = Table("label", "images to look at", "strata", "unflagged", "flagged", "scores", box=None)
    for label, one in facts.labels.items():
        counts = (f"{round(one.expected):,}", str(one.strata), f"{one.passed:,}", f"{one.flagged:,}")
        table.add_row(label, *counts, "probabilities" if one.is_calibrated else "only a ranking")
    return table


def estimate(spec: Annotated[EstimateSpec, FLAT], *, as_json: AsJson = False) -> int:
    """Tell from people's answers how much violating content there is, and how much was left unflagged."""
    with Console(stderr=True, quiet=as_json).status("reading verdicts") as status:
        facts = estimate_prevalence(spec, status.update)
    if as_json:
        print(facts.model_dump_json())
        return 0
    console = Console()
    console.print(Text(f"{facts.population:,} images, as {facts.policy} of {facts.release} judged them", style="bold"))
    console.print(f"{facts.confidence:.0%} intervals; draw {facts.draw}")
    console.print(_estimates(facts))
    for note in facts.notes:
        console.print(Text(note, style="yellow"))
    return 0


def _estimates(facts: PrevalenceFacts) -> Table:
    names = ("label", "answers", "left unflagged", "of all images", "violating in all", "recall", "precision")
    table = Table(*names, "assuming nothing of scores", "to halve it", box=None)
    for label, one in facts.labels.items():
        table.add_row(label, *_cells(one))
    return table


def _cells(one: LabelPrevalence) -> list[str]:
    answers = f"{one.answers:,}" + (f", {one.unsure:,} unsure" if one.unsure else "")
    left = _counts(one.left)
    if one.left_if_unsure_violate:
        left += f"\nif unsure is violating: {_counts(one.left_if_unsure_violate)}"
    more = "—" if one.more_answers_to_halve is None else f"{one.more_answers_to_halve:,} more"
    shares = [_share(one.left_share), _counts(one.total), _share(one.recall), _share(one.precision)]
    return [answers, left, *shares, _counts(one.left_unassisted), more]


def _counts(figure: Figure) -> str:
    return f"{figure.estimate:,.0f} ({figure.low:,.0f} to {figure.high:,.0f})"


def _share(figure: Figure | None) -> str:
    return "—" if figure is None else f"{figure.estimate:.3%} ({figure.low:.3%} to {figure.high:.3%})"
