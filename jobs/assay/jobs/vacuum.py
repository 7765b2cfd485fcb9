"""Vacuum: what a store keeps and nobody names is deleted.

Knows which objects are nobody's, and since when. Does not know what they hold; it reads none.

Why nothing that is needed can go. Vacuum is the driver while it runs: it holds the lease, and both tables are fenced
with its epoch. So no earlier driver, dead, paused or cut off, can ever commit the files its workers wrote: as far as
writers are concerned, every file that was written before the vacuum began and that no table names then is garbage,
however young. Files of later drivers (the lease may be lost while a vacuum sleeps) are younger than its beginning, and
those are never touched. The beginning is read off an object written for that, so only the clock of the store counts.
The age rule is for readers: one that opened an old version of a table, before a compaction or a retry, may read files
that the current version does not name any more. Names are listed first and the tables are asked afterwards.

Planners hold no lease. A folder of manifest parts without its `generation.json` may be of one that still lists. When
all its parts are old it is closed: that generation is published as an empty one, which only one of the two can do (put
if absent), and only then its parts are nobody's.
"""

import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from pydantic import BaseModel, ConfigDict, Field

from assay.jobs.compact import tables_of
from assay.jobs.generation import Generation, generations, publish, refuse_unplanned
from assay.jobs.lease import Lease
from assay.jobs.store import Store
from assay.platform.errors import SpecError, StorageError
from assay.platform.spec import Spec
from assay.platform.storage import Storage, StorageSpec
from assay.platform.stored import StoredFile

LEAST_AGE_S = 3600.0
"""Seconds for which a file is kept that some reader may still want."""
AT_ONCE = 16
"""Objects deleted at a time."""
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_AGE = r"^\d+[smhd]$|^0$"
_PROBE = re.compile(r"^probe-[0-9a-f]{32}$")
# Files written aside and not yet named: ours (`platform.disk`), and those of delta-rs.
_ASIDE = re.compile(r"(^|/)\.[^/]+\.\d+\.[0-9a-f]{8}\.tmp$|^(observations|verdicts)/_delta_log/[^/]+#\d+$")
_PART = re.compile(r"^manifests/(?P<folder>generation-\d{6,})/(?P<name>[^/]+\.parquet)$")


class VacuumSpec(Spec):
    """Which store, and what is old enough."""

    store: str = Field(kw_only=False, description="the store")
    older_than: str = Field(
        "7d", pattern=_AGE, description="age of what is deleted, at least: 90m, 12h, 7d; an hour at least"
    )
    no_reader_is_left: bool = Field(
        False, description="nobody reads an older version of the tables, so --older-than may be less than an hour"
    )
    dry_run: bool = Field(False, description="tell what would go, and change nothing")
    storage: StorageSpec = Field(StorageSpec(), description="object storage")

    @property
    def age_s(self) -> float:
        """`older_than` in seconds."""
        digits = self.older_than.rstrip("smhd")
        return float(digits) * _SECONDS[self.older_than[len(digits) :]]


class VacuumFacts(BaseModel):
    """What was deleted, or with `--dry-run` would be."""

    model_config = ConfigDict(frozen=True)

    data_files: int
    """Data files that no table names."""
    manifest_parts: int
    """Parts that no generation names."""
    leftovers: int
    """Probes, and files that were written aside and never named."""
    bytes: int
    spared: int
    """Data files that no table names, too young to go."""
    dry_run: bool


def vacuum(spec: VacuumSpec, tell: Callable[[str], None] = lambda _line: None) -> VacuumFacts:
    """Delete what nobody names and is old enough.

    Raises:
        SpecError: no store, or an age that only `no_reader_is_left` allows.
        FencedError: another driver has the store.
    """
    if spec.age_s < LEAST_AGE_S and not spec.no_reader_is_left:
        raise SpecError(
            "too young to be deleted",
            where=f"--older-than {spec.older_than}",
            why="a reader that began before the last commit may still read files that no table names any more",
            fix="give an hour at least, or say --no-reader-is-left",
        )
    store = Store.open(Storage(spec.storage), spec.store)
    generations(store)  # unreadable manifests are told before anything is written
    if spec.dry_run:
        return _sweep(store, spec, None)
    with store.hold("assay vacuum", tell) as lease:
        return _sweep(store, spec, lease)


def _sweep(store: Store, spec: VacuumSpec, lease: Lease | None) -> VacuumFacts:
    """Find what is nobody's and, under the lease, delete it."""
    refuse_unplanned(store, generations(store))
    before = _store_time(store) - spec.age_s
    listed = list(store.storage.list(store.uri))
    abandoned = _abandoned(generations(store), listed, before)
    if lease is not None:
        abandoned = [one for one in abandoned if publish(store, one)]
    unnamed = _unnamed_data(store, listed)
    data = _old(unnamed, before)
    parts = _old(_unnamed_parts([*generations(store), *abandoned], listed), before)
    leftovers = _old((one for one in listed if _PROBE.search(one.name) or _ASIDE.search(one.name)), before)
    gone = [*data, *parts, *leftovers]
    if lease is not None:
        _delete(store, gone, lease)
    return VacuumFacts(
        data_files=len(data),
        manifest_parts=len(parts),
        leftovers=len(leftovers),
        bytes=sum(one.size for one in gone),
        spared=len(unnamed) - len(data),
        dry_run=spec.dry_run,
    )


def _store_time(store: Store) -> float:
    """The time by the clock of the store: when an object that was written just now was written."""
    where = store.path(f"probe-{uuid.uuid4().hex}")
    store.storage.write(where, b"what time is it")
    found = store.storage.modified(where)
    store.storage.remove(where)
    if found is None:
        raise StorageError(
            "the store does not show what was just written",
            where=where,
            why="no such object",
            fix="use a store whose reads follow its writes",
        )
    return found


def _old(files: Iterable[StoredFile], before: float) -> list[StoredFile]:
    """Strictly older: some stores tell times to the second, and what was written in this one stays."""
    return [one for one in files if one.modified < before]


def _unnamed_data(store: Store, listed: list[StoredFile]) -> list[StoredFile]:
    """Data files that the latest version of their table does not name."""
    found: list[StoredFile] = []
    for table in tables_of(store):
        table.ledger.log.advance()
        stem = f"{table.layout.table}/"
        named = {f"{stem}{file.path}" for file in table.ledger.files()}
        found += [one for one in listed if one.name.startswith(f"{stem}data/") and one.name not in named]
    return [one for one in found if not _ASIDE.search(one.name)]


def _unnamed_parts(known: list[Generation], listed: list[StoredFile]) -> list[StoredFile]:
    """Parts in the folder of a published generation that it does not name: nobody can publish it again."""
    named = {one.folder: {part.name for part in one.parts} for one in known}
    found = []
    for one in listed:
        part = _PART.search(one.name)
        if part and part["folder"] in named and part["name"] not in named[part["folder"]]:
            found.append(one)
    return found


def _abandoned(known: list[Generation], listed: list[StoredFile], before: float) -> list[Generation]:
    """The generations that follow on the known ones and were begun, of which all parts are old: as empty ones."""
    newest: dict[str, float] = {}
    for one in listed:
        if part := _PART.search(one.name):
            newest[part["folder"]] = max(newest.get(part["folder"], 0.0), one.modified)
    found: list[Generation] = []
    while newest.get(f"generation-{len(known) + len(found):06d}", before) < before:
        found.append(Generation.empty([*known, *found]))
    return found


def _delete(store: Store, files: list[StoredFile], lease: Lease) -> None:
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="vacuum") as pool:
        for some in _in_thousands(files):
            lease.check()
            list(pool.map(lambda one: store.storage.remove(store.path(one.name)), some))


def _in_thousands(files: list[StoredFile]) -> Iterator[list[StoredFile]]:
    for start in range(0, len(files), 1000):
        yield files[start : start + 1000]
