"""An erasure, step by step.

Knows the order of the steps and why each can be cut off and repeated. Does not know how rows leave files
(`redaction.py`), how logs are cut (`history.py`), how an erasure is remembered (`forgotten.py`), how reports are found
(`report_trace.py`), nor who asked for it (`forget.py`).

The order makes it safe to kill, and to repeat:

    intent            from now on nobody plans, verifies or works on this store, only finishes this
    bar               a generation without images: a planner that read the manifests before loses its place
    remember          digests of all that will go, while all of it is there
    reports           files that name it
    verdicts          first, so that no verdict ever stands without its observation
    observations
    manifests
    leftovers         files nobody names: replaced ones, orphans, half-written ones
    history           of both logs
    records           of runs and drivers that name it
    audit             one line without the content
    close             the intent, which held the name until now, is removed
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from assay.jobs import forgotten as memory
from assay.jobs.extent import Extent
from assay.jobs.forgotten import Counts, Erasure, Intent, Key
from assay.jobs.generation import Generation, generation_file, generations, publish
from assay.jobs.history import cut_history
from assay.jobs.lease import Lease
from assay.jobs.redaction import Redactor, planned_keys, redact_generation
from assay.jobs.report_trace import remove_reports, traces_of
from assay.jobs.store import INTENT, Store, now

PURPOSE = "assay forget"
"""What an erasure says of itself: to the lease, and as the source of the generation that bars others."""

_SWEPT = ("manifests", "observations", "verdicts")


def finish_erasure(store: Store, tell: Callable[[str], None] = lambda _line: None) -> Erasure | None:
    """Finish the erasure that was cut off, if there is one; its audit line.

    Raises:
        FencedError: another driver has the store: it may be at it.
    """
    if not store.is_half_erased():
        return None
    tell("an erasure was cut off: finishing it first")
    with store.hold(PURPOSE, tell, erasing=True) as lease:
        intent = memory.intent_of(store)
        return None if intent is None else carry_out(store, lease, intent)


@dataclass(slots=True)
class Census:
    """What a store knows of an extent. `images` are keyed digests of (uri, etag), with those of their uris."""

    images: dict[bytes, bytes] = field(default_factory=dict)
    planned: int = 0
    observations: int = 0
    verdicts: int = 0
    files: int = 0

    @classmethod
    def of(cls, store: Store, extent: Extent, key: Key) -> "Census":
        """Count, by reading the rows.

        Raises:
            StorageError, ManifestError: a file cannot be read.
        """
        census = cls()
        for keys in planned_keys(store, generations(store), extent):
            census.planned += census._add(keys, key)
        for keys in Redactor.of_observations(store, extent).meant():
            census.observations += census._add(keys, key)
            census.files += 1
        for keys in Redactor.of_verdicts(store, extent).meant():
            census.verdicts += census._add(keys, key)
            census.files += 1
        return census

    def _add(self, keys: list[tuple[str, str]], key: Key) -> int:
        self.images.update((key.digest(uri, etag), key.digest(uri)) for uri, etag in keys)
        return len(keys)

    def counts(self) -> Counts:
        """The counts alone."""
        return Counts(
            images=len(self.images),
            planned=self.planned,
            observations=self.observations,
            verdicts=self.verdicts,
            files=self.files,
        )


@dataclass(slots=True)
class _Work:
    """An erasure being carried out."""

    store: Store
    lease: Lease
    intent: Intent
    reports_removed: int = 0
    out_of_reach: list[str] = field(default_factory=list)


def carry_out(store: Store, lease: Lease, intent: Intent) -> Erasure:
    """Take every step; also those taken before, as far as there is something left to do.

    Raises:
        FencedError: another driver has the store.
        StorageError: something cannot be read or written; the intent stays, and with it the duty.
    """
    work = _Work(store, lease, intent)
    for step in STEPS:
        lease.beat()
        step(work)
    return _audit_line(work)


def _bar(work: _Work) -> None:
    """Take the next generation's number, without images. Plans publish under the number they read last."""
    store, mark = work.store, f"{PURPOSE} {work.intent.name}"
    while True:
        known = generations(store)
        if any(generation.source == mark for generation in known):
            return
        if publish(store, Generation.empty(known, mark)):
            return


def _remember(work: _Work) -> None:
    if memory.remembered(work.store, work.intent.name) is None:
        census = Census.of(work.store, work.intent.extent, Key.of(work.store))
        memory.remember(work.store, work.intent.name, census.images, census.counts())


def _remove_reports(work: _Work) -> None:
    found = list(traces_of(work.store, memory.forgotten_uris(work.store, work.intent.name)))
    for where, trace in found:
        removed, missed = remove_reports([trace])
        work.reports_removed += removed
        work.out_of_reach += missed
        if not missed:
            work.store.storage.remove(where)


def _redact_verdicts(work: _Work) -> None:
    Redactor.of_verdicts(work.store, work.intent.extent).redact(_note(work))


def _redact_observations(work: _Work) -> None:
    Redactor.of_observations(work.store, work.intent.extent).redact(_note(work))


def _note(work: _Work) -> dict[str, str]:
    return {"assay.forget": work.intent.name}


def _redact_manifests(work: _Work) -> None:
    for generation in generations(work.store):
        left = redact_generation(work.store, generation, work.intent.extent, work.intent.name)
        if left != generation:
            where = generation_file(work.store, generation)
            work.lease.beat()  # nothing fences this write
            work.store.storage.write(where, left.model_dump_json(indent=1).encode())


def _remove_leftovers(work: _Work) -> None:
    """Remove what nobody names. Listed first, then made sure that the store is still ours: what a driver after us
    writes is not in the list."""
    store = work.store
    named = {f"manifests/{one.folder}/{part.name}" for one in generations(store) for part in one.parts}
    for table in ("observations", "verdicts"):
        ledger = store.observations if table == "observations" else store.verdicts
        named |= {f"{table}/{file.path}" for file in ledger.files()}
    found = [f"{folder}/{file.name}" for folder in _SWEPT for file in store.storage.list(store.path(folder))]
    work.lease.beat()
    for name in found:
        if name not in named and "/_delta_log/" not in name and not name.endswith("/generation.json"):
            store.storage.remove(store.path(name))


def _cut_histories(work: _Work) -> None:
    for ledger in (work.store.verdicts, work.store.observations):
        cut_history(ledger.log, work.lease.beat)


def _clean_records(work: _Work) -> None:
    """Take the name out of what runs and drivers said of themselves; what killed writers left aside goes whole."""
    work.lease.beat()
    own = f"lease/epoch-{work.lease.epoch:010d}.json"
    for folder in ("runs", "lease", memory.FOLDER, "reports"):
        for file in list(work.store.storage.list(work.store.path(folder))):
            name = f"{folder}/{file.name}"
            if name.endswith(".tmp") and own not in name:
                work.store.storage.remove(work.store.path(name))
            elif folder in {"runs", "lease"} and name.endswith(".json") and name != own:
                _clean(work, name)


def _clean(work: _Work, name: str) -> None:
    where = work.store.path(name)
    told = json.loads(work.store.storage.read(where) or b"null")
    kept = work.intent.extent.hide(told)
    if kept != told:
        work.store.storage.write(where, json.dumps(kept, indent=1).encode())


def _audit(work: _Work) -> None:
    memory.write_audit(work.store, _audit_line(work))


def _audit_line(work: _Work) -> Erasure:
    intent = work.intent
    counts = memory.remembered(work.store, intent.name)
    assert counts is not None, "remembered before"
    return Erasure(
        name=intent.name,
        since=intent.since,
        until=now(),
        by=intent.by,
        reason=intent.reason,
        kind=intent.extent.kind,
        place=Key.of(work.store).digest(intent.typed).hex(),
        counts=counts,
        reports_removed=work.reports_removed,
        reports_out_of_reach=tuple(work.out_of_reach),
    )


def _close(work: _Work) -> None:
    work.store.storage.remove(work.store.path(*INTENT))


STEPS: tuple[Callable[[_Work], None], ...] = (
    _bar,
    _remember,
    _remove_reports,
    _redact_verdicts,
    _redact_observations,
    _redact_manifests,
    _remove_leftovers,
    _cut_histories,
    _clean_records,
    _audit,
    _close,
)
"""In this order; each can be cut off and repeated."""
