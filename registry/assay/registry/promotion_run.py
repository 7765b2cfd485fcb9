"""The MLflow run of a promotion: its checks and the very evidence they were decided on, for people to look at.

Knows what is kept. Does not decide anything.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from assay.registry.evidence import Documents
from assay.registry.promotion_entry import Check
from assay.registry.registry import Registry


def keep_evidence(registry: Registry, checks: Sequence[Check], known: Documents, name: str) -> str:
    """Write the run; its id. It exists before the promotion does: a promotion without evidence cannot be."""
    tags = {"assay.kind": "promote"}
    for check in checks:
        state = "passed" if check.passed else "waived" if check.waived else "failed"
        tags[f"assay.check.{check.name}"] = f"{state}: {check.said}"[:5000]
    run = registry.runs.start_run(name, tags)
    cited = {one.sha256 for check in checks for one in check.evidence}
    with tempfile.TemporaryDirectory() as aside:
        for document in known.all():
            if document.cite("").sha256 in cited:
                (Path(aside) / f"{document.kind}.json").write_bytes(document.content)
        if any(Path(aside).iterdir()):
            registry.runs.upload(run, Path(aside), "evidence")
    registry.runs.log_values(run, {}, {f"passed.{check.name}": float(check.passed) for check in checks})
    registry.runs.end_run(run)
    return run
