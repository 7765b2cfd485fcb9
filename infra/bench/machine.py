"""When and on what a run was, as `latest.json` tells it beside the figures."""

import platform
import time
from pathlib import Path

from infra.bench.spec import num_cores


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
