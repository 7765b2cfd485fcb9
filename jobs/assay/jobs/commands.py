"""What each command does between its flags and its exit code: read a Spec, call one function, print.

Knows terminals, JSON output and signals. Does not know how the work is done.
"""

import json
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

from rich.console import Console

from assay.jobs import backfill as backfill_job
from assay.jobs import compact as compact_job
from assay.jobs import demo as demo_job
from assay.jobs import doctor as doctor_job
from assay.jobs import forget as forget_job
from assay.jobs import plan as plan_job
from assay.jobs import repair as repair_job
from assay.jobs import reporting as report_job
from assay.jobs import status as status_job
from assay.jobs import vacuum as vacuum_job
from assay.jobs import verify as verify_job
from assay.jobs.backfill import BackfillSpec
from assay.jobs.compact import CompactSpec
from assay.jobs.demo import DemoSpec
from assay.jobs.doctor import DoctorSpec
from assay.jobs.ending import end_at_once
from assay.jobs.forget import ForgetSpec
from assay.jobs.native_log import native_log_aside
from assay.jobs.panel import Panel
from assay.jobs.plan import PlanSpec
from assay.jobs.printed import FLAT, AsJson, AsLines, print_facts, warn_unrecorded
from assay.jobs.progress_lines import ProgressLines
from assay.jobs.repair import RepairSpec
from assay.jobs.reporting import ReportSpec
from assay.jobs.run import BackfillFacts
from assay.jobs.status import StatusSpec
from assay.jobs.store import PlacesSpec, Store
from assay.jobs.vacuum import VacuumSpec
from assay.jobs.verify import VerifySpec
from assay.platform.errors import AssayError
from assay.platform.storage import Storage

_DEMO, _DOCTOR = DemoSpec(), DoctorSpec()
_KEYS = ("access-key", "secret-key", "session-token")
_SECRETS = (
    *(f"--{of}storage.{key}" for of in ("", "registry.") for key in _KEYS),
    "--registry.password",
    "--webhook.secret",
)


class PlanCommand(PlanSpec, PlacesSpec):
    """What `assay plan` takes."""


def shown_command(arguments: list[str]) -> str:
    """The command as typed, with secrets left out: it is printed and recorded."""
    shown: list[str] = []
    for one in arguments:
        name, mark, _ = one.partition("=")
        hidden = shown and shown[-1] in _SECRETS
        shown.append("***" if hidden else f"{name}=***" if mark and name in _SECRETS else one)
    return shlex.join(["assay", *shown])


@contextmanager
def stoppable(panel: Panel, command: str) -> Iterator[threading.Event]:
    """A Ctrl-C (or SIGTERM) that stops after a commit; the next one stops at once."""
    stop = threading.Event()

    def asked(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            panel.tell_command("stopped at once; resume with:", command)
            end_at_once(4)
        stop.set()
        panel.tell_command("stopping after a commit; once more stops at once. Resume with:", command)

    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def plan(spec: Annotated[PlanCommand, FLAT], *, as_json: AsJson = False) -> int:
    """List a source once and write down what is new: images, bytes, shards, already done."""
    store = Store.attach(Storage(spec.storage), spec.store)
    with Panel(Console(stderr=True), show=not as_json) as panel:
        facts = plan_job.plan(store, spec.source, spec, panel.listed)
    print_facts(facts, as_json, "plan")
    return 0


def backfill(spec: Annotated[BackfillSpec, FLAT], *, as_json: AsJson = False, as_lines: AsLines = False) -> int:
    """Observe and judge every image of a source. Run the same command again to resume, or to catch up."""
    facts = run_backfill(spec, as_json, as_lines)
    warn_unrecorded(facts)
    print_facts(facts, as_json or as_lines, "backfill")
    return _judged(facts, spec)


def run_backfill(spec: BackfillSpec, as_json: bool, as_lines: bool = False) -> BackfillFacts:
    """Run a backfill with the panel and the signals of a terminal."""
    command = shown_command(sys.argv[1:])
    with native_log_aside() as terminal:
        console = Console(file=terminal)
        panel = ProgressLines(console) if as_lines else Panel(console, show=not as_json)
        with panel, stoppable(panel, command) as stop:
            try:
                return backfill_job.backfill(spec, panel, stop, command)
            except AssayError as error:
                if error.exit_code != 2:
                    panel.tell_command("resume with:", command)
                raise


def _judged(facts: BackfillFacts, spec: BackfillSpec) -> int:
    if facts.fault_rate <= spec.max_fault_rate:
        return 0
    print(
        f"faults: {facts.faulted} of {facts.ok + facts.faulted} images ({facts.fault_rate:.2%}), "
        f"more than --max-fault-rate {spec.max_fault_rate:.2%}",
        file=sys.stderr,
    )
    return 3


def status(spec: Annotated[StatusSpec, FLAT], *, as_json: AsJson = False) -> int:
    """Tell how far a store is."""
    print_facts(status_job.status(spec), as_json, "status")
    return 0


def verify(spec: Annotated[VerifySpec, FLAT], *, as_json: AsJson = False) -> int:
    """Prove from the rows that nothing is missing or doubled, and print the digest; exit 5 when something is."""
    facts = verify_job.verify(spec)
    print_facts(facts, as_json, "verify")
    if facts.damaged:
        print(_mend(spec.store), file=sys.stderr)
    return 0 if facts.sound else 5


def _mend(store: str) -> str:
    return f"fix: run `{shlex.join(['assay', 'repair', store])}`, then the same backfill again"


def _tell(line: str) -> None:
    print(line, file=sys.stderr)


def compact(spec: Annotated[CompactSpec, FLAT], *, as_json: AsJson = False) -> int:
    """Make one file of the many small ones of every complete segment of shards; readers see no difference."""
    print_facts(compact_job.compact(spec, _tell), as_json, "compact")
    return 0


def vacuum(spec: Annotated[VacuumSpec, FLAT], *, as_json: AsJson = False) -> int:
    """Delete what lies in a store and nobody names: files of killed workers and of before a compaction or a retry."""
    print_facts(vacuum_job.vacuum(spec, _tell), as_json, "vacuum" + (" (dry run: nothing was deleted)" * spec.dry_run))
    return 0


def repair(spec: Annotated[RepairSpec, FLAT], *, as_json: AsJson = False) -> int:
    """Unname committed files that are gone or damaged, so that the same backfill makes them again."""
    facts = repair_job.repair(spec, _tell)
    print_facts(facts, as_json, "repair" + (" (dry run: nothing was changed)" * spec.dry_run))
    if facts.damaged and spec.dry_run:
        print(_mend(spec.store), file=sys.stderr)
        return 5
    if facts.damaged:
        releases = ", ".join(facts.releases) or "the release it was made with"
        print(f"next: run the backfill again, with each of: {releases}", file=sys.stderr)
    return 0


def report(spec: Annotated[ReportSpec, FLAT], *, as_json: AsJson = False) -> int:
    """Write the HTML report of a store, and its figures as JSON beside it."""
    facts = report_job.report(spec)
    print_facts(facts, as_json, "report")
    return 0


def forget(spec: Annotated[ForgetSpec, FLAT], *, as_json: AsJson = False) -> int:
    """Erase what a store knows of a uri or prefix, for good; reports that are out of reach are listed."""
    facts = forget_job.forget(spec, lambda line: print(line, file=sys.stderr))
    print_facts(facts, as_json, "forget" + (" (dry run: nothing was erased)" if spec.dry_run else ""))
    for report in facts.reports_out_of_reach:
        print(f"out of reach, remove it yourself: {report}", file=sys.stderr)
    return 0


def demo(spec: Annotated[DemoSpec, FLAT] = _DEMO, *, as_json: AsJson = False) -> int:
    """Compose a bucket of scenes and photographs on local disk and run the whole job on it."""
    # Imported here: `reaudit_commands` takes its signals from this module.
    from assay.jobs.reaudit_commands import run_reaudit

    demo_job.demo(spec, run_backfill, run_reaudit, Console(stderr=True), as_json=as_json)
    return 0


def doctor(spec: Annotated[DoctorSpec, FLAT] = _DOCTOR, *, as_json: AsJson = False) -> int:
    """Check Ray, CPU and GPU, storage and encoder; exit 5 when something is wrong."""
    findings = doctor_job.examine(spec)
    if as_json:
        print(json.dumps([finding.model_dump() for finding in findings]))
    else:
        Console().print(doctor_job.table(findings))
    return 0 if all(finding.well for finding in findings) else 5
