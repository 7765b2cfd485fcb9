"""What the bench found, for people (a table) and for programs (`latest.json`).

Knows how a result is shown, and that a run of some parts leaves the others' results as they were.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from rich.table import Table

from infra.bench.figure import Figure, Result


def as_table(results: Mapping[str, Result]) -> Table:
    """A row for each figure, with its spread, its target and what bounds it."""
    table = Table(title="Assay beside bare loops and the alternatives")
    for name, style in (("part", "bold"), ("figure", ""), ("value", "bold"), ("low to high", "dim"), ("target", "")):
        table.add_column(name, style=style, justify="left" if name in ("part", "figure") else "right")
    table.add_column("bound by, or why there is no value")
    for part, result in results.items():
        table.add_row(part, result.title, *_cells(result.figure), result.figure.why or result.bound_by)
        for name, figure in result.more.items():
            table.add_row("", name, *_cells(figure), figure.why)
    return table


def _cells(figure: Figure) -> tuple[str, str, str]:
    sign = "≥" if figure.goal == "at least" else "≤"
    target = "" if figure.target is None else f"{sign} {figure.target:g}"
    if figure.value is None:
        return "none", "", target
    colour = {True: "green", False: "red", None: "default"}[figure.is_met]
    spread = "" if figure.low == figure.high else f"{figure.low:g} to {figure.high:g}"
    return f"[{colour}]{figure.value:g}[/]", spread, target


def merge(path: Path, results: Mapping[str, Result], order: list[str], stamp: Mapping[str, str]) -> None:
    """Write the results into the file; parts that were not run keep what the file has of them. `stamp` says when and
    on what these were measured."""
    rows = json.loads(path.read_text()) if path.is_file() else {}
    rows |= {name: {**result.row(), **stamp} for name, result in results.items()}
    sorted_rows = {name: rows[name] for name in [*order, *sorted(set(rows) - set(order))] if name in rows}
    path.write_text(json.dumps(sorted_rows, indent=1, ensure_ascii=False) + "\n")
