"""What `assay calibrate` does between its flags and its exit code.

Knows terminals, tables and JSON output. Does not know how a threshold is found.
"""

from typing import Annotated

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from assay.jobs import calibrate as calibrate_job
from assay.jobs.calibrate import CalibrateFacts, CalibrateSpec
from assay.jobs.printed import FLAT, AsJson, warn_unrecorded


def calibrate(spec: Annotated[CalibrateSpec, FLAT], *, as_json: AsJson = False) -> int:
    """Learn probabilities from confirmed truth, and the thresholds that keep what the release's policies promise."""
    with Progress(console=Console(stderr=True), disable=as_json, transient=True) as bar:
        task = bar.add_task("golden images", total=None)
        facts = calibrate_job.calibrate(spec, lambda done, total: bar.update(task, completed=done, total=total))
    warn_unrecorded(facts)
    if as_json:
        print(facts.model_dump_json())
        return 0
    console = Console()
    console.print(Text(f"release {facts.release} in {facts.directory}", style="bold"))
    console.print(f"{facts.images:,} images of confirmed truth, {facts.missing:,} missing")
    console.print(_curves(facts))
    console.print(_promises(facts))
    return 0


def _curves(facts: CalibrateFacts) -> Table:
    table = Table("label", "score", box=None)
    for label, method in facts.calibrated.items():
        table.add_row(label, f"probability ({method})")
    for label, why in facts.uncalibrated.items():
        table.add_row(label, Text(f"uncalibrated: {why}", style="yellow"))
    return table


def _promises(facts: CalibrateFacts) -> Table:
    table = Table("policy", "label", "action", "promise", "from", "shown for certain", "flagged", box=None)
    for one in facts.promises:
        kept = one.threshold is not None and one.bound is not None
        found = [f"{one.threshold:.3g}", f"{one.bound:.1%}", f"{one.flagged:,}"] if kept else ["—", one.why_not, ""]
        table.add_row(one.policy, one.label, one.action, one.promise, *(Text(said) for said in found))
    return table
