"""Who is told how a run goes: the live panel, a bench, a test.

Knows the moments of a run. Does not know how any of them is shown.
"""

from typing import Protocol

from assay.jobs.backlog import Backlog
from assay.jobs.plan import PlanFacts
from assay.jobs.pools import Cluster, Pools
from assay.jobs.work import Receipt
from assay.platform.release import Release


class Unwatched:
    """Nobody is told: for notebooks, and pipelines that look at the facts when all is done."""

    def listed(self, images: int, size: int) -> None:
        """Nothing."""

    def planned(self, facts: PlanFacts | None, backlog: Backlog, release: Release) -> None:
        """Nothing."""

    def started(self, cluster: Cluster, pools: Pools) -> None:
        """Nothing."""

    def received(self, receipt: Receipt) -> None:
        """Nothing."""

    def committed(self, receipts: list[Receipt]) -> None:
        """Nothing."""

    def noticed(self, what: str) -> None:
        """Nothing."""


class Watcher(Protocol):
    """Is told how a run goes; the live panel is one."""

    def planned(self, facts: PlanFacts | None, backlog: Backlog, release: Release) -> None:
        """It is known what there is to do; a re-audit listed nothing."""

    def started(self, cluster: Cluster, pools: Pools) -> None:
        """The cluster is there."""

    def received(self, receipt: Receipt) -> None:
        """A shard came back."""

    def committed(self, receipts: list[Receipt]) -> None:
        """Shards are visible."""

    def noticed(self, what: str) -> None:
        """Something a person should know happened: waiting, pausing, going on."""

    def listed(self, images: int, size: int) -> None:
        """Listing goes on."""
