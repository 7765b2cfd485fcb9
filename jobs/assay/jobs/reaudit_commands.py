"""`assay reaudit`: between its flags and its exit code.

Knows terminals, signals and JSON output. Does not know how the work is done.
"""

import sys
from typing import Annotated

from rich.console import Console

from assay.jobs.commands import shown_command, stoppable
from assay.jobs.native_log import native_log_aside
from assay.jobs.panel import Panel
from assay.jobs.printed import FLAT, AsJson, AsLines, print_facts, warn_unrecorded
from assay.jobs.progress_lines import ProgressLines
from assay.jobs.reaudit import ReauditFacts, ReauditSpec
from assay.jobs.reaudit import reaudit as run
from assay.platform.errors import AssayError


def reaudit(spec: Annotated[ReauditSpec, FLAT], *, as_json: AsJson = False, as_lines: AsLines = False) -> int:
    """Judge all that a store has observed under another release or policy; no picture is fetched."""
    facts = run_reaudit(spec, as_json, as_lines)
    warn_unrecorded(facts)
    print_facts(facts, as_json or as_lines, "reaudit")
    return 0


def run_reaudit(spec: ReauditSpec, as_json: bool, as_lines: bool = False) -> ReauditFacts:
    """Run a re-audit with the panel and the signals of a terminal."""
    command = shown_command(sys.argv[1:])
    with native_log_aside() as terminal:
        console = Console(file=terminal)
        panel = ProgressLines(console) if as_lines else Panel(console, show=not as_json)
        with panel, stoppable(panel, command) as stop:
            try:
                return run(spec, panel, stop, command)
            except AssayError as error:
                if error.exit_code != 2:
                    panel.tell_command("resume with:", command)
                raise
