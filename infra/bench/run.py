"""One run of the bench: parts in their order, each by itself, so that one which fails is told and the next goes on.

Knows the order of things. Does not know what is measured (`parts.py`), nor how it is shown (`table.py`).
"""

import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from infra.bench.bench import Bench
from infra.bench.figure import Result
from infra.bench.parts import PARTS, Part, sides_of
from infra.bench.spec import BenchSpec, num_cores


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


def machine() -> dict[str, str]:
    """When and on what a run was."""
    told = Path("/proc/cpuinfo")
    models = (
        [line.partition(":")[2].strip() for line in told.read_text().splitlines() if "model name" in line]
        if (told.is_file())
        else []
    )
    name = models[0] if models else platform.processor() or platform.machine()
    return {"measured": time.strftime("%Y-%m-%d", time.gmtime()), "machine": f"{num_cores()} cores, {name}"}
