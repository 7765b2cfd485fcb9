"""One run of a backfill: its counts, its clock, and the record the store keeps of it.

Knows what there is to say of a run. Does not know how the work is done, nor who listens.
"""

import platform
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

from assay.jobs.backlog import Backlog
from assay.jobs.generation import Generation
from assay.jobs.plan import PlanFacts
from assay.jobs.pools import Cluster
from assay.jobs.recorded import RecordedFacts
from assay.jobs.release_choice import origins_of
from assay.jobs.store import now
from assay.jobs.work import Receipt, Task
from assay.platform.faults import OK
from assay.platform.release import Release
from assay.platform.spec import Spec
from assay.registry.resolving import Resolved

_VERSIONED = ("assay", "ray", "torch", "open-clip-torch", "pillow", "deltalake")
"""Packages a run depends on most."""
SECRET_KEYS = {"access_key", "secret_key", "session_token"}
"""Fields of a storage spec that are written nowhere."""


class BackfillFacts(RecordedFacts, frozen=True):
    """What a run did. At its end planned == already_done + ok + faulted, counted in the store's manifests."""

    planned: int
    ok: int
    faulted: int
    already_done: int
    seconds: float
    images_per_second: float
    run: str
    release: str
    policy: str
    listed: int
    """Objects of this run's listing."""
    retried: int
    judged: int
    """Images judged from stored embeddings, without fetching."""
    fetched: int
    fetched_bytes: int
    first_commit_s: float | None
    faults: dict[str, int]
    actions: dict[str, int]
    flagged: dict[str, int]
    store: str
    source: str
    state: str

    @property
    def fault_rate(self) -> float:
        """Share of this run's images that ended with a fault."""
        return self.faulted / max(1, self.ok + self.faulted)


@dataclass(slots=True)
class Run:
    """One run under way."""

    name: str
    spec: Spec
    """What it was started with."""
    store: str
    source: str
    chosen: Resolved
    policy: str
    listing: PlanFacts | None
    """None for a re-audit, which lists nothing."""
    backlog: Backlog
    began: float
    known: list[Generation] = field(default_factory=list)
    """The store's generations when the backlog was told."""
    planned: int = 0
    command: str = ""
    started: str = field(default_factory=now)
    first_commit_s: float | None = None
    working: float | None = None
    outcomes: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    flagged: Counter[str] = field(default_factory=Counter)
    retried: int = 0
    judged: int = 0
    carried: int = 0
    fetched: int = 0
    fetched_bytes: int = 0
    cluster: Cluster | None = None

    @property
    def release(self) -> Release:
        """The release that judges, all along."""
        return self.chosen.release

    @property
    def partition(self) -> dict[str, str]:
        """Where this run's verdicts belong."""
        return {"release": self.release.id, "policy": self.policy}

    def note_arrival(self, receipt: Receipt) -> None:
        """A receipt came; with the first one it is known when work began (actors take a while to start)."""
        if self.working is None:
            self.working = time.monotonic() - sum(receipt.seconds.values())

    def count(self, receipts: list[Receipt]) -> None:
        """Add committed receipts to the tally."""
        if receipts and self.first_commit_s is None:
            self.first_commit_s = round(time.monotonic() - self.began, 2)
        for receipt in receipts:
            self.actions += receipt.actions
            self.flagged += receipt.flagged
            self.carried += receipt.carried
            self.fetched += receipt.fetched
            self.fetched_bytes += receipt.fetched_bytes
            if receipt.task is Task.OBSERVE:
                self.outcomes += receipt.outcomes
            elif receipt.task is Task.RETRY:
                self.retried += receipt.fetched
            else:
                self.judged += receipt.rows

    def facts(self, state: str) -> BackfillFacts:
        """What there is to say of the run now."""
        seconds = time.monotonic() - self.began
        worked = time.monotonic() - (self.working or self.began)
        return BackfillFacts(
            planned=self.planned,
            ok=self.outcomes[OK],
            faulted=self.outcomes.total() - self.outcomes[OK],
            already_done=self.backlog.rows_done,
            seconds=round(seconds, 2),
            images_per_second=round((self.fetched or self.judged) / worked, 2),
            run=self.name,
            release=self.release.id,
            policy=self.policy,
            listed=self.listing.images if self.listing else 0,
            retried=self.retried,
            judged=self.judged,
            fetched=self.fetched,
            fetched_bytes=self.fetched_bytes,
            first_commit_s=self.first_commit_s,
            faults={kind: count for kind, count in sorted(self.outcomes.items()) if kind != OK},
            actions=dict(sorted(self.actions.items())),
            flagged=dict(sorted(self.flagged.items())),
            store=self.store,
            source=self.source,
            state=state,
            origins=origins_of(release=self.chosen),
        )

    def record(self, state: str) -> dict[str, Any]:
        """The run record: facts, spec (no secrets), versions and host."""
        return self.facts(state).model_dump(exclude={"recorded", "not_recorded"}) | {
            "command": self.command,
            "started": self.started,
            "written": now(),
            "finished": None if state == "running" else now(),
            "spec": self.spec.model_dump(
                mode="json", exclude={"storage": SECRET_KEYS, "registry": {"password": True, "storage": SECRET_KEYS}}
            ),
            "host": {} if self.cluster is None else asdict(self.cluster),
            "versions": {"python": platform.python_version(), **{name: version(name) for name in _VERSIONED}},
        }
