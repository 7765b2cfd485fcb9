"""What `assay prevalence sample` and `estimate` do between their flags and their exit codes.

Knows terminals, tables and JSON output. Does not know how images are drawn (`prevalence_sample.py`) nor what is learned
from answers (`prevalence.py`).
"""

from collections.abc import Iterator
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
    table = Table("label", "figure", "estimate", "from", "to", box=None)
    for label, one in facts.labels.items():
        doubt = f", {one.unsure:,} unsure" if one.unsure else ""
        table.add_row(Text(label, style="bold"), f"{one.answers:,} answers{doubt}")
        for name, figure, is_share in _figures(one):
            table.add_row("", name, *(_shown(value, is_share) for value in (figure.estimate, figure.low, figure.high)))
        if one.more_answers_to_halve is not None:
            table.add_row("", "answers that would halve left unflagged", f"{one.more_answers_to_halve:,} more")
    return table


def _figures(one: LabelPrevalence) -> Iterator[tuple[str, Figure, bool]]:
    """Each figure with its name, and whether it is a share."""
    yield "left unflagged", one.left, False
    yield "- of all images", one.left_share, True
    if one.left_if_unsure_violate:
        yield "- if all unsure are violating", one.left_if_unsure_violate, False
    yield "- assuming nothing of scores", one.left_unassisted, False
    yield "violating in all", one.total, False
    if one.recall:
        yield "recall of the policy", one.recall, True
    if one.precision:
        yield "precision of what it flags", one.precision, True


def _shown(value: float, is_share: bool) -> str:
    return f"{value:.3%}" if is_share else f"{value:,.0f}"
