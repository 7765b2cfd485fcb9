"""The live panel: how a backfill goes, told to a terminal (or, line by line, to a log).

Knows how a run is shown. Does not know how it works.
"""

import time
from collections import Counter
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from assay.jobs.backlog import Backlog
from assay.jobs.plan import PlanFacts
from assay.jobs.pools import Cluster, Pools
from assay.jobs.work import Receipt
from assay.platform.faults import OK
from assay.platform.release import Release

LOG_EVERY_S = 10.0
"""Seconds between lines when the output is no terminal."""


class Panel:
    """Shows a run on `console`; use as a context. Quiet when `show` is false."""

    def __init__(self, console: Console, *, show: bool = True) -> None:
        self.console, self.show = console, show
        columns: list[str | ProgressColumn] = [
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("images  eta"),
            TimeRemainingColumn(),
        ]
        self.progress = Progress(*columns, console=console, expand=True)
        self.bar = self.progress.add_task("listing", total=None)
        self.outcomes: Counter[str] = Counter()
        self.actions: Counter[str] = Counter()
        self.flagged: Counter[str] = Counter()
        self.began = self.spoke = time.monotonic()
        self.working: float | None = None
        self.commits = self.visible = 0
        self.live = Live(console=console, refresh_per_second=4, transient=True, get_renderable=self._render)

    def __enter__(self) -> "Panel":
        if self.show and self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def say(self, line: str) -> None:
        """One line above the panel."""
        if self.show:
            self.console.print(line, highlight=False, soft_wrap=True)

    def tell_command(self, why: str, command: str) -> None:
        """A command to copy, as it is typed; told even when the panel is quiet."""
        self.console.print(f"{why}\n  {command}", markup=False, highlight=False, soft_wrap=True)

    def listed(self, images: int, size: int) -> None:
        """Listing goes on."""
        self.progress.update(self.bar, completed=images, description=f"listing, {size / 1e6:,.0f} MB")

    def planned(self, facts: PlanFacts | None, backlog: Backlog, release: Release) -> None:
        """It is known what there is to do; a re-audit listed nothing."""
        listed = f"{facts.images:,} images, {facts.bytes / 1e6:,.1f} MB, {facts.new_images:,} new; " if facts else ""
        self.say(
            f"[bold]plan[/] {listed}{backlog.rows_done:,} observed before, {backlog.shards:,} shards to do; "
            f"release {release.id}"
        )
        self.progress.update(self.bar, completed=0, total=backlog.rows, description="starting Ray")

    def started(self, cluster: Cluster, pools: Pools) -> None:
        """The cluster is there."""
        up = time.monotonic() - self.began
        self.say(
            f"[bold]ray[/] {cluster.cpus:g} CPUs, {cluster.gpus:g} GPUs, {cluster.nodes} nodes; "
            f"{pools.told} (up after {up:.1f} s)"
        )
        self.progress.update(self.bar, description="starting actors")

    def received(self, receipt: Receipt) -> None:
        """A shard came back."""
        if self.working is None:  # actors take a while to start; the rate is that of the work
            self.working = time.monotonic() - sum(receipt.seconds.values())
        self.outcomes += receipt.outcomes
        self.actions += receipt.actions
        self.flagged += receipt.flagged
        self.progress.update(self.bar, advance=receipt.rows, description="auditing")
        if not self.console.is_terminal and time.monotonic() - self.spoke > LOG_EVERY_S:
            self.spoke = time.monotonic()
            self.say(self._line())

    def committed(self, receipts: list[Receipt]) -> None:
        """Shards are visible."""
        self.commits += 1
        self.visible += sum(receipt.rows for receipt in receipts)
        if self.commits == 1:
            waited = time.monotonic() - self.began
            self.say(f"[bold]commit[/] the first {self.visible:,} verdicts are readable after {waited:.1f} s")

    def noticed(self, what: str) -> None:
        """Something a person should know happened."""
        self.say(escape(what))

    def _line(self) -> str:
        seen = self.outcomes.total()
        rate = seen / max(1e-9, time.monotonic() - (self.working or self.began))
        faults = seen - self.outcomes[OK]
        return (
            f"{seen:,} images  {rate:,.1f}/s  review {self.actions['review']:,}  block {self.actions['block']:,}  "
            f"faults {faults:,}  committed {self.visible:,}"
        )

    def _render(self) -> Group:
        top = ", ".join(f"{label} {count:,}" for label, count in self.flagged.most_common(5))
        return Group(self.progress, Text(self._line()), Text(f"flagged: {top or '-'}", style="dim"))
