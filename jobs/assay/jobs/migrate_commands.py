"""What `assay migrate` does between its flags and its exit code.

Knows terminals, tables and JSON output. Does not know how a store is migrated (`migrate.py`).
"""

from typing import Annotated

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from assay.jobs import migrate as migrate_job
from assay.jobs.migrate import MigrateFacts, MigrateSpec
from assay.jobs.migration_agreement import Agreement, Share
from assay.jobs.printed import FLAT, AsJson
from assay.jobs.reencode_price import ReencodePrice
from assay.platform.errors import Interrupted

REFUSED = 3


def migrate(spec: Annotated[MigrateSpec, FLAT], *, as_json: AsJson = False) -> int:
    """Make a new store for a release with another encoder: map what is certain, schedule the rest for encoding.

    The old store is only read. Exit 3 when too little can be promised of mapped embeddings; then nothing is written.
    Run the same command again to go on after an interruption.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=as_json, transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        try:
            facts = migrate_job.migrate(spec, tell)
        except KeyboardInterrupt as stop:
            what, fix = "stopped as asked", "the same command goes on from here"
            raise Interrupted(what, where=spec.new_store or spec.store, why="Ctrl-C", fix=fix) from stop
    if as_json:
        print(facts.model_dump_json())
    else:
        _print(facts, Console())
    return REFUSED if facts.state == "refused" else 0


def _print(facts: MigrateFacts, console: Console) -> None:
    styles = {"refused": "bold red", "measured": "bold", "migrated": "bold green"}
    console.print(Text(f"{facts.state}: {facts.store} to release {facts.pair.release}", style=styles[facts.state]))
    sample, found = facts.measured.sample, facts.measured.map
    console.print(
        f"{sample.encoded:,} of {sample.drawn:,} images drawn were encoded again, {sample.learnt_from:,} to learn "
        f"from, {sample.tested_on:,} to test on; a {found.kind} brings them to a cosine of {found.cosine:.4f} (one in "
        f"twenty below {found.cosine_p05:.4f})"
    )
    console.print(_agreements(facts))
    console.print(_labels(facts))
    console.print(_prices(facts))
    if facts.carried is not None:
        done = facts.carried
        console.print(
            f"{done.shards:,} shards written: {done.mapped:,} images mapped, {done.stale:,} to be encoded, "
            f"{done.faults:,} with a fault as before; {done.already_done:,} shards were done"
        )
    for note in facts.notes:
        console.print(Text(f"note: {note}", style="dim"))
    if facts.measured.why_not:
        console.print(Text(f"why not: {facts.measured.why_not}", style="red"))
    console.print(Text(f"next: {facts.next}"), soft_wrap=True)


def _agreements(facts: MigrateFacts) -> Table:
    table = Table("mapped", "policy", "agreement", "flagged kept", "flags right", box=None)
    rows: list[tuple[str, Agreement]] = [("every image", facts.measured.every)]
    if facts.measured.clear is not None:
        rows.append((f"{facts.measured.clear.clear:.1%} that are clear", facts.measured.clear))
    for named, agreement in rows:
        for one in agreement.policies:
            table.add_row(named, one.policy, _share(one.agreement), _share(one.kept), _share(one.right))
    return table


def _share(share: Share | None) -> Text:
    if share is None or not share.images:
        return Text("no such image", style="dim")
    return Text.assemble(f"{share.share:.2%} ", (f"at least {share.low:.2%} of {share.images:,}", "dim"))


def _labels(facts: MigrateFacts) -> Table:
    table = Table("label", "score off by", "9 in 10", "99 in 100", "band (log odds)", box=None)
    for one in facts.measured.labels:
        band = "" if one.band is None else f"{one.band:.3g}"
        table.add_row(one.label, f"{one.median:.3f}", f"{one.p90:.3f}", f"{one.p99:.3f}", band)
    return table


def _prices(facts: MigrateFacts) -> Table:
    table = Table("to encode", "images", "GB", "GETs", "hours here", "dollars", box=None)
    for named, price in (("everything", facts.price), ("the rest", facts.rest)):
        hours = "" if price.hours is None else f"{price.hours:,.2f}"
        gigabytes = f"{price.bytes / 1e9:,.2f}"
        table.add_row(named, f"{price.images:,}", gigabytes, f"{price.requests:,}", hours, _dollars(price))
    return table


def _dollars(price: ReencodePrice) -> str:
    known = [one for one in (price.dollars_time, price.dollars_requests) if one is not None]
    return f"{sum(known):,.2f}" if known else "say --price.hour, --price.million-gets"
