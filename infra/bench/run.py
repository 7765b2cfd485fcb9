"""One run of the bench: parts in their order, each by itself, so that one which fails is told and the next goes on.

Knows the order of things. Does not know what is measured (`parts.py`), nor how it is shown (`table.py`).
"""

import time
from collections.abc import Callable, Sequence

from infra.bench.bench import Bench
from infra.bench.figure import Result
from infra.bench.parts import PARTS, Part, sides_of
from infra.bench.spec import BenchSpec


def run_parts(names: Sequence[str], spec: BenchSpec, say: Callable[[str], None]) -> dict[str, Result]:
    """Results by part."""
    results: dict[str, Result] = {}
    with Bench(spec, sides_of(names), say) as bench:
        if bench.cores < 2:
            say("one core: everything shares it; ratios stand, targets are of two")
        for name in names:
            began = time.monotonic()
            say(name)
            results[name] = _run(name, PARTS[name], bench)
            say(f"  {name} took {time.monotonic() - began:.0f} s")
    return results


def _run(name: str, part: Part, bench: Bench) -> Result:
    try:
        return part.measure(bench)
    except Exception as error:  # noqa: BLE001  # whatever one part fails of, the table tells and the others go on
        why = f"{type(error).__name__}: {str(error).strip() or 'no reason given'}"
        bench.say(f"  {name} failed: {why}")
        return Result.failed(name, why)
