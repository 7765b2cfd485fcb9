"""What `assay registry doctor` and `assay release copy` do between their flags and their exit codes.

Knows terminals and JSON output. Does not know what is looked at (`assay.registry.examination`), nor how a release is
copied.
"""

from typing import Annotated

from rich.console import Console
from rich.table import Table
from rich.text import Text

from assay.jobs.printed import FLAT, AsJson
from assay.registry.copying import CopySpec, copy_release
from assay.registry.examination import Examined, ExamineSpec, examine

ILL = 5
_DOCTOR = ExamineSpec()


def doctor(spec: Annotated[ExamineSpec, FLAT] = _DOCTOR, *, as_json: AsJson = False) -> int:
    """Say what is amiss in a registry; --mend mends what needs nobody's decision. Exit 5 when something is left."""
    console = Console(stderr=True, quiet=as_json)
    with console.status("asking the registry"):
        facts = examine(spec, lambda line: console.print(Text(line, style="dim")))
    if as_json:
        print(facts.model_dump_json())
    else:
        Console().print(_findings(facts))
    return ILL if facts.ill else 0


def _findings(facts: Examined) -> Table:
    table = Table("", "what", "found", "how to mend", box=None)
    for one in facts.findings:
        mark = Text("ok", "green") if one.well else Text("mended", "yellow") if one.mended else Text("bad", "bold red")
        table.add_row(mark, Text(one.name), Text(one.said), Text(one.fix if one.ill else ""))
    return table


def copy(spec: Annotated[CopySpec, FLAT], *, as_json: AsJson = False) -> int:
    """Copy a registered release and its evidence to another registry, or another environment; it is promoted there."""
    console = Console(stderr=True, quiet=as_json)
    with console.status("asking the registries"):
        facts = copy_release(spec, lambda line: console.print(Text(line, style="dim")))
    if as_json:
        print(facts.model_dump_json())
        return 0
    new = sum(one.is_new for one in facts.evidence)
    console = Console()
    console.print(Text(f"{facts.release} is {facts.uri} of {facts.registry}", style="bold green"))
    console.print(f"{len(facts.evidence):,} runs of evidence, {new:,} of them copied now")
    console.print(Text(f"next, there: assay release promote {facts.version}"))
    return 0
