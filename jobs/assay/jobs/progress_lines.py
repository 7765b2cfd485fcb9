"""How a run goes, told to a program that follows it from afar: lines of JSON on standard output.

Knows when a line is worth writing. Does not know what is in it (`assay.platform.progress`).
"""

import time
from collections import Counter
from types import TracebackType

from rich.console import Console

from assay.jobs.backlog import Backlog
from assay.jobs.panel import LOG_EVERY_S, Panel
from assay.jobs.plan import PlanFacts
from assay.jobs.work import Receipt
from assay.platform.faults import OK
from assay.platform.progress import Progress
from assay.platform.release import Release

SHARE = 0.01
"""Of the time a run took so far: no line comes sooner after the last one. So a run of a week writes a thousand lines,
not sixty thousand, and whoever follows it can read all of them each time."""


class ProgressLines(Panel):
    """A panel that shows nothing, and writes a line when it is known what there is to do, now and then, and at the end.
    Counts what is committed only."""

    def __init__(self, console: Console) -> None:
        super().__init__(console, show=False)
        self.now = Progress(total=0, began=time.time())
        self.told = self.now
        self.told_at = self.began

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._tell()

    def planned(self, facts: PlanFacts | None, backlog: Backlog, release: Release) -> None:
        """It is known what there is to do."""
        super().planned(facts, backlog, release)
        self.now = self.now.model_copy(update={"total": backlog.rows})
        self._tell()

    def committed(self, receipts: list[Receipt]) -> None:
        """Shards are visible."""
        super().committed(receipts)
        verdicts, outcomes = Counter(self.now.verdicts), Counter(self.now.faults)
        for receipt in receipts:
            verdicts += receipt.actions
            outcomes += receipt.outcomes
        faults = {kind: count for kind, count in sorted(outcomes.items()) if kind != OK}
        told = {"done": self.visible, "verdicts": dict(sorted(verdicts.items())), "faults": faults}
        self.now = self.now.model_copy(update=told)
        quiet_s = time.monotonic() - self.told_at
        if quiet_s >= max(LOG_EVERY_S, SHARE * (time.monotonic() - self.began)):
            self._tell()

    def _tell(self) -> None:
        if self.now != self.told:
            self.told, self.told_at = self.now, time.monotonic()
            print(self.now.line(), flush=True)
