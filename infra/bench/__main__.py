"""`make bench`, and parts of it: `make bench ONLY=R2,R6`.

Reads ONLY and BENCH (JSON over `BenchSpec`, for trying the bench at small sizes) from the environment, runs the parts,
prints the table and writes `latest.json`; trials at other sizes write `build/bench-trial.json`.
"""

import os
import sys
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console

from infra.bench.machine import machine
from infra.bench.parts import PARTS, choose
from infra.bench.run import run_parts
from infra.bench.spec import BenchSpec
from infra.bench.table import as_table, merge

LATEST = Path(__file__).parent / "latest.json"
TRIAL = Path("build/bench-trial.json")


def main() -> int:
    """Measure, print and write."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    try:
        names = choose(os.environ.get("ONLY", ""))
        spec = BenchSpec.model_validate_json(os.environ.get("BENCH") or "{}")
    except (ValueError, ValidationError) as error:
        console.print(f"bench: {error}", markup=False)
        return 2
    results = run_parts(names, spec, lambda what: console.print(what, markup=False))
    console.print(as_table(results))
    out = LATEST if spec == BenchSpec() else TRIAL
    out.parent.mkdir(exist_ok=True)
    merge(out, results, list(PARTS), machine())
    return 0


if __name__ == "__main__":
    sys.exit(main())
