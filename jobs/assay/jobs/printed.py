"""How commands print what they found: one JSON object, or a table for people.

Knows facts as fields and values. Does not know what they are of.
"""

import sys
from collections.abc import Iterator
from typing import Annotated

from cyclopts import Parameter
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from assay.jobs.recorded import RecordedFacts
from assay.jobs.release_choice import ChosenFacts

FLAT = Parameter(name="*")
"""A Spec's fields are flags of their own."""
AsJson = Annotated[bool, Parameter(name="--json", help="print one JSON object, nothing else, on stdout")]
AsLines = Annotated[
    bool,
    Parameter(
        name="--json-lines", help="print how it goes, too: JSON objects on stdout, one a line, the last as --json"
    ),
]


def warn_unrecorded(facts: RecordedFacts) -> None:
    """Say, also beside JSON, that a finished job could not be recorded."""
    if facts.not_recorded:
        print(f"not recorded: {facts.not_recorded}", file=sys.stderr)


def print_facts(facts: BaseModel, as_json: bool, title: str) -> None:
    """Print facts on stdout."""
    if as_json:
        print(facts.model_dump_json())
        return
    table = Table(show_header=False, box=None)
    for name, value in _told(facts):
        shown = ", ".join(f"{k} {v:,}" for k, v in value.items()) if isinstance(value, dict) else value
        shown = "\n".join(map(str, shown)) if isinstance(shown, tuple) else shown
        is_count = isinstance(shown, int | float) and not isinstance(shown, bool)
        # As text, not markup: paths are data, and may have brackets.
        table.add_row(name, Text(f"{shown:,}" if is_count else str(shown)))
    console = Console()
    console.print(Text(title, style="bold"))
    console.print(table)


def _told(facts: BaseModel) -> Iterator[tuple[str, object]]:
    """Facts by name. Of what has to do with a registry only what there is."""
    yield from facts.model_dump(exclude={"origins", "recorded", "not_recorded"}).items()
    if isinstance(facts, ChosenFacts):
        for name, origin in facts.origins.items():
            yield f"{name} asked for", f"{origin.asked}: version {origin.version} in {origin.registry}"
    if isinstance(facts, RecordedFacts) and facts.recorded:
        yield "recorded", facts.recorded
