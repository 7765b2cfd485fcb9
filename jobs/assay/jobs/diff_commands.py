"""What `assay diff` does between its flags and its exit code.

Knows terminals and JSON output. Does not know how two releases are compared (`diff.py`).
"""

from typing import Annotated

from rich.console import Console
from rich.table import Table
from rich.text import Text

from assay.jobs import diff as diff_job
from assay.jobs.change_data import DiffFacts, PolicyChange
from assay.jobs.diff import DiffSpec
from assay.jobs.printed import FLAT, AsJson, warn_unrecorded
from assay.platform.policy import ACTIONS

OVER_BUDGET = 3
MAX_LABELS = 20
"""Of each policy; JSON and the page have all."""


def diff(spec: Annotated[DiffSpec, FLAT], *, as_json: AsJson = False) -> int:
    """Say what another release decides otherwise, over all that a store holds; exit 3 when it is over a budget."""
    console = Console(stderr=True, quiet=as_json)
    with console.status("reading") as status:
        facts = diff_job.diff(spec, status.update)
    warn_unrecorded(facts)
    if as_json:
        print(facts.model_dump_json())
    else:
        _print(facts, Console())
    return OVER_BUDGET if facts.overruns else 0


def _print(facts: DiffFacts, console: Console) -> None:
    console.print(Text(f"{facts.before} -> {facts.after}", style="bold"))
    for one in facts.half:
        told = f"{one.judged:,} of {one.observed:,} images; finish it with: {one.finish}"
        console.print(Text(f"partial: {one.release}, policy {one.policy}, judged {told}", style="yellow"))
    if facts.identical:
        console.print("both sides are the same: nothing can differ")
    if facts.library.rescored:
        console.print(Text(f"scored anew: {', '.join(facts.library.rescored)}"))
    for change in facts.policies:
        _print_policy(change, console)
    for name in facts.not_compared:
        console.print(Text(f"not compared: policy {name}", style="dim"))
    for over in facts.overruns:
        of = f" of {over.label}" if over.label else ""
        console.print(Text(f"over budget: policy {over.policy}, {over.budget}{of}: {over.said}", style="bold red"))
    if facts.html:
        console.print(Text(f"written: {facts.html}, {facts.json_file}"))


def _print_policy(change: PolicyChange, console: Console) -> None:
    name = change.before if change.before == change.after else f"{change.before} -> {change.after}"
    console.print(Text(f"policy {name}: {change.images:,} images on both sides", style="bold"))
    if change.only_before or change.only_after:
        console.print(f"on one side only: {change.only_before:,} before, {change.only_after:,} after")
    matrix = Table("before \\ after", *ACTIONS, box=None)
    for old in ACTIONS:
        matrix.add_row(old, *(f"{change.moves.of(old, new):,}" for new in ACTIONS))
    console.print(matrix)
    load = change.load
    if not load.before.lacks:
        per = "a day" if load.is_daily else f"per {load.images:,} images"
        sides = " -> ".join(
            f"{one.value:,.1f} ({one.low:,.1f} to {one.high:,.1f})" for one in (load.before, load.after)
        )
        console.print(f"reviews {per}: {sides}")
    _print_labels(change, console)


def _print_labels(change: PolicyChange, console: Console) -> None:
    moved = [label for label in change.labels if label.moves.moved]
    if not moved:
        console.print("no decision of any label changed")
        return
    table = Table("label", "why", "newly\nflagged", "newly\ncleared", "escalated", "eased", box=None)
    for label in moved[:MAX_LABELS]:
        why = ", ".join(label.causes) or label.presence
        moves = label.moves
        counts = (moves.newly_flagged, moves.newly_cleared, moves.escalated, moves.eased)
        table.add_row(Text(label.label), why, *(f"{count:,}" for count in counts))
    console.print(table)
    if len(moved) > MAX_LABELS:
        console.print(f"and {len(moved) - MAX_LABELS:,} labels more; --json and --html have them all")
    for label in moved:
        for one in label.measured:
            if one.worse and one.before and one.after:
                told = f"{one.before.value:.3f} -> {one.after.value:.3f}"
                console.print(Text(f"worse: {label.label}: {one.figure} {told}", style="bold red"))
