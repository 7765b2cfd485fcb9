"""What `assay golden build`, `import` and `export` do between their flags and their exit codes.

Knows terminals and JSON output. Does not know how samples are drawn (`golden_sample.py`) nor read
(`golden_exchange.py`).
"""

from typing import Annotated

from rich.console import Console

from assay.jobs.golden_exchange import ExportSpec, ImportSpec, export_reviews, import_reviews
from assay.jobs.golden_sample import SampleSpec, build_sample
from assay.jobs.printed import FLAT, AsJson, print_facts


def build(spec: Annotated[SampleSpec, FLAT], *, as_json: AsJson = False) -> int:
    """Draw images from a judged store for people to label: more where scores are high or near a threshold."""
    with Console(stderr=True, quiet=as_json).status("reading verdicts") as status:
        facts = build_sample(spec, lambda rows: status.update(f"{rows:,} verdicts read, in two passes"))
    print_facts(facts, as_json, "golden build")
    return 0


def import_golden(spec: Annotated[ImportSpec, FLAT], *, as_json: AsJson = False) -> int:
    """Check golden rows or review decisions in CSV or JSON Lines, and write them as Parquet."""
    print_facts(import_reviews(spec), as_json, "golden import")
    return 0


def export_golden(spec: Annotated[ExportSpec, FLAT], *, as_json: AsJson = False) -> int:
    """Write a golden set as CSV or JSON Lines, every row and column of it."""
    print_facts(export_reviews(spec), as_json, "golden export")
    return 0
