"""`assay replay`: between its flags and its exit code.

Knows how a verdict's path is shown to people. Does not know how it is found.
"""

from collections.abc import Iterable
from typing import Annotated

from rich.console import Console
from rich.table import Table
from rich.text import Text

from assay.jobs.printed import FLAT, AsJson, warn_unrecorded
from assay.jobs.replay import LabelPath, PhrasePath, ReplayFacts, ReplaySpec
from assay.jobs.replay import replay as make_again

SHOWN = 5
"""Labels told of a replay, beside those that are flagged."""
DIFFERING = 20
"""Differences told at most."""


def replay(spec: Annotated[ReplaySpec, FLAT], *, as_json: AsJson = False) -> int:
    """Make a verdict again from its stored row and its release, and show its whole path; exit 5 when it is another."""
    facts = make_again(spec)
    warn_unrecorded(facts)
    if as_json:
        print(facts.model_dump_json())
    else:
        _show(facts, Console())
    return 0 if facts.is_exact else 5


def _show(facts: ReplayFacts, console: Console) -> None:
    told = f"{facts.exact:,} of {facts.replayed:,} verdicts are the same to the last bit"
    console.print(Text(f"replay: {facts.release}, {facts.policy}", style="bold"))
    if facts.uri:
        console.print(Text(f"{facts.uri}  etag {facts.etag}"))
        console.print(Text(f"{facts.outcome}: {facts.action}; views: {', '.join(facts.views) or 'none'}"))
        told = "the verdict is the same to the last bit" if facts.is_exact else "the verdict is another"
    shown = [path for path in facts.labels if path.action != "pass"]
    shown += [path for path in facts.labels if path.action == "pass"][: max(0, SHOWN - len(shown))]
    for path in shown:
        console.print(_table(path))
    if facts.golden:
        told += f"; {facts.missing:,} images of golden set {facts.golden[:12]} have none here"
    console.print(Text(told, style="green" if facts.is_exact else "bold red"))
    for what in facts.differing[:DIFFERING]:
        console.print(Text(f"  {what}"))


def _table(path: LabelPath) -> Table:
    table = Table(title=Text(f"{path.label}: {path.action}"), title_justify="left", show_header=False)
    edges = [f"{name} from {at:.4f}" for name, at in (("review", path.review_at), ("block", path.block_at)) if at]
    rows = {
        "concept": f"{path.concept}, view {path.view}",
        "prompts": _told(path.prompts),
        "against": _told(path.counters),
        "margin": f"similarity {path.similarity:.4f}; log of all against {path.against:.3f}; margin {path.margin:.3f}",
        "score": f"raw {path.raw:.6f}, calibrated {path.score:.6f}",
        "threshold": "; ".join(edges) or "none: this label is not judged",
        "stands on": "\n".join(path.standing),
    }
    for name, value in rows.items():
        table.add_row(name, Text(value))
    return table


def _told(phrases: Iterable[PhrasePath]) -> str:
    return "; ".join(f"{one.text} ({one.language}) {one.cosine:.3f}" for one in phrases)
