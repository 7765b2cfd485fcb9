"""Verification: rows out == rows in, proved from the rows themselves, and a digest that says what they are.

Knows manifests, observations and verdicts as rows. Trusts no count, no file name and no run record; it writes nothing.
A file that is damaged is told by its name (`repair.py` knows what damage is), and what it held is missing.
"""

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
from pydantic import BaseModel, ConfigDict, Field

from assay.jobs.compact import Table, tables_of
from assay.jobs.forgotten import unerased
from assay.jobs.ledger import DataFile
from assay.jobs.manifest import Generation, generations, read_rows
from assay.jobs.repair import Damage, find_damage, missing_files, sizes_of
from assay.jobs.store import Store
from assay.platform.errors import SpecError, StorageError
from assay.platform.faults import OK
from assay.platform.spec import Spec
from assay.platform.storage import Storage, StorageSpec
from assay.platform.uris import relative_uri

STRIDE = 512
"""Shards compared at a time: what bounds memory."""
SCORED_STRIDE = 32
"""Shards of a generation whose scores are in memory at a time, comparing two stores."""
SCORE_TOLERANCE = 1e-4
_SUM_BYTES = 32
_BEYOND = 2**62
"""More shards than there will ever be."""

Key = tuple[str, str]


class VerifySpec(Spec):
    """What to verify."""

    store: str = Field(kw_only=False, description="the store")
    against: str | None = Field(None, description="another store whose decisions and scores must be the same")
    release: str | None = Field(
        None, description="id of the release whose verdicts are verified; unset: of the latest run"
    )
    policy: str | None = Field(None, description="policy whose verdicts are verified; unset: of the latest run")
    deep: bool = Field(False, description="also read what is not compared: every page of every file, by its checksum")
    storage: StorageSpec = Field(StorageSpec(), description="object storage")


class VerifyFacts(BaseModel):
    """What was found. A store is sound when nothing is missing, doubled, unplanned, contradicting or damaged."""

    model_config = ConfigDict(frozen=True)

    planned: int
    ok: int
    faulted: int
    missing: int
    duplicated: int
    unplanned: int
    """Rows of images that no manifest has."""
    contradicting: int
    """Verdicts whose outcome is not their observation's."""
    orphans: int
    """Data files no transaction names: left by killed workers, never read."""
    digest: str
    release: str
    policy: str
    differing: int | None = None
    """With `--against`: images whose decision or scores differ, or that only one store has."""
    damaged: tuple[str, ...] = ()
    """Committed files that are gone or not what was written, and why; `assay repair` unnames them."""

    @property
    def sound(self) -> bool:
        """Whether all is well."""
        wrong = self.missing + self.duplicated + self.unplanned + self.contradicting + (self.differing or 0)
        return not (wrong or self.damaged)


@dataclass(slots=True)
class _Tally:
    planned: int = 0
    ok: int = 0
    faulted: int = 0
    missing: int = 0
    duplicated: int = 0
    unplanned: int = 0
    contradicting: int = 0
    digest: int = 0


@dataclass(frozen=True, slots=True)
class _Stride:
    """The rows of some consecutive shards: what was planned, seen and decided."""

    root: str
    planned: Counter[Key]
    observed: list[tuple[str, str, str]]
    judged: list[dict[str, object]] = field(default_factory=list)


class _Rows:
    """The rows of one table that can be read. Files that cannot are found on the way, and kept apart."""

    def __init__(self, store: Store, table: Table, *, deep: bool = False) -> None:
        self.store, self.table = store, table
        files, sizes = table.ledger.files(), sizes_of(store, table)
        named = {file.path for file in files}
        self.orphans = len(sizes.keys() - named)
        self.damaged = missing_files(store, table, files, sizes)
        if deep:
            self.damaged += find_damage(store, table, self._left(range(_BEYOND)), deep=True)
        self._rows = self._open()

    def _open(self) -> pyarrow.dataset.Dataset:
        rows = self.table.ledger.dataset()
        if not self.damaged:
            return rows
        lost = {one.file.path for one in self.damaged}
        whole = [one for one in rows.get_fragments() if one.path not in lost]
        return pyarrow.dataset.FileSystemDataset(whole, rows.schema, rows.format, rows.filesystem)

    def read(self, columns: list[str], where: pc.Expression, shards: range) -> pa.Table:
        """Some columns of the rows that `where` selects, all of them of `shards`.

        Raises:
            StorageError: they cannot be read, and it is no file's fault.
        """
        while True:
            try:
                return self._table(columns, where)
            except (OSError, pa.ArrowException) as error:
                found = find_damage(self.store, self.table, self._left(shards), deep=True)
                self.damaged += found
                self._rows = self._open()
                if not found:
                    return self._patiently(columns, where, error)

    def _table(self, columns: list[str], where: pc.Expression) -> pa.Table:
        checked = pyarrow.dataset.ParquetFragmentScanOptions(page_checksum_verification=True)
        if not isinstance(self._rows, pyarrow.dataset.FileSystemDataset):
            return self._rows.to_table(columns=columns, filter=where)
        return self._rows.to_table(columns=columns, filter=where, fragment_scan_options=checked)

    def _patiently(self, columns: list[str], where: pc.Expression, error: Exception) -> pa.Table:
        def again() -> pa.Table:
            self._rows = self._open()
            return self._table(columns, where)

        try:
            return self.store.storage.outlast(self.table.ledger.uri, again)
        except (OSError, pa.ArrowException) as refusal:
            raise StorageError(
                "committed rows cannot be read",
                where=self.table.ledger.uri,
                why=str(refusal),
                fix="check access; then run the same command again",
            ) from error

    def _left(self, shards: range) -> list[DataFile]:
        lost = {one.file.path for one in self.damaged}
        touching = (
            one for one in self.table.ledger.files() if one.last_shard >= shards.start and one.first_shard < shards.stop
        )
        return [one for one in touching if one.path not in lost]


@dataclass(frozen=True, slots=True)
class _Evidence:
    """A store, and what can be read of it under one release and policy."""

    store: Store
    known: list[Generation]
    observed: _Rows
    judged: _Rows
    judged_by: tuple[str, str]

    @classmethod
    def of(cls, store: Store, judged_by: tuple[str, str], *, deep: bool = False) -> "_Evidence":
        observations, verdicts = tables_of(store)
        rows = _Rows(store, observations, deep=deep), _Rows(store, verdicts, deep=deep)
        return cls(store, generations(store), *rows, judged_by)

    @property
    def damaged(self) -> list[Damage]:
        """Damage found until now."""
        return self.observed.damaged + self.judged.damaged

    def decisions(self, shards: range, *, scores: bool = False) -> list[dict[str, object]]:
        """The verdicts of some shards."""
        release, policy = self.judged_by
        mine = (pc.field("release") == release) & (pc.field("policy") == policy)
        columns = ["uri", "etag", "outcome", "action", *(["scores"] if scores else [])]
        rows: list[dict[str, object]] = self.judged.read(columns, _within(shards) & mine, shards).to_pylist()
        return rows

    def outcomes(self, shards: range) -> list[tuple[str, str, str]]:
        """(uri, etag, outcome) of the observations of some shards."""
        columns = ["uri", "etag", "outcome"]
        rows = self.observed.read(columns, _within(shards), shards)
        return list(zip(*(rows[name].to_pylist() for name in columns), strict=True))


def _within(shards: range) -> pc.Expression:
    return (pc.field("shard") >= shards.start) & (pc.field("shard") < shards.stop)


def verify(spec: VerifySpec) -> VerifyFacts:
    """Compare manifests, observations and verdicts row by row.

    Raises:
        SpecError: no store, or nothing judged yet and no release named.
        StorageError: the store cannot be read.
        CommitError: an erasure is under way, or was cut off.
    """
    store = Store.open(Storage(spec.storage), spec.store)
    with unerased(store):
        return _verified(store, spec)


def _verified(store: Store, spec: VerifySpec) -> VerifyFacts:
    judged_by = _judged_by(store, spec)
    mine, tally = _Evidence.of(store, judged_by, deep=spec.deep), _Tally()
    for stride in _strides(mine):
        _compare(stride, tally, judged_by)
    tally.duplicated += _planned_twice(mine)
    differing = None
    if spec.against is not None:
        other = _Evidence.of(Store.open(Storage(spec.storage), spec.against), judged_by)
        differing = _differing(mine, other)
    return VerifyFacts(
        planned=tally.planned,
        ok=tally.ok,
        faulted=tally.faulted,
        missing=tally.missing,
        duplicated=tally.duplicated,
        unplanned=tally.unplanned,
        contradicting=tally.contradicting,
        orphans=mine.observed.orphans + mine.judged.orphans,
        digest=f"{tally.digest:064x}",
        release=judged_by[0],
        policy=judged_by[1],
        differing=differing,
        damaged=tuple(sorted(map(str, mine.damaged))),
    )


def _judged_by(store: Store, spec: VerifySpec) -> tuple[str, str]:
    latest = store.run() or {}
    release, policy = spec.release or latest.get("release"), spec.policy or latest.get("policy")
    if not release or not policy:
        raise SpecError(
            "nothing was judged yet", where=store.shown, why="no run is recorded", fix="run `assay backfill` first"
        )
    return str(release), str(policy)


def _strides(evidence: _Evidence) -> Iterator[_Stride]:
    for generation in evidence.known:
        for shards in _cut(generation, STRIDE):
            yield _Stride(
                root=generation.root,
                planned=_planned(evidence.store, generation, shards),
                observed=evidence.outcomes(shards),
                judged=evidence.decisions(shards),
            )
    # Rows of shards that no generation has can only be unplanned.
    end = evidence.known[-1].next_shard if evidence.known else 0
    for beyond in (range(end, _BEYOND), range(-_BEYOND, 0)):
        yield _Stride("", Counter(), evidence.outcomes(beyond), evidence.decisions(beyond))


def _cut(generation: Generation, stride: int) -> Iterator[range]:
    for first in range(generation.first_shard, generation.next_shard, stride):
        yield range(first, min(first + stride, generation.next_shard))


def _planned(store: Store, generation: Generation, shards: range) -> Counter[Key]:
    keys: Counter[Key] = Counter()
    for rows in read_rows(store, generation, shards):
        inside = rows.filter((pc.field("shard") >= shards.start) & (pc.field("shard") < shards.stop))
        keys.update(zip(inside["uri"].to_pylist(), inside["etag"].to_pylist(), strict=True))
    return keys


def _planned_twice(evidence: _Evidence) -> int:
    """Images that stand twice in the manifests: their rows would be doubled, each shard for itself in order."""

    def keys(generation: Generation) -> Iterator[Key]:
        for rows in read_rows(evidence.store, generation):
            yield from zip(rows["uri"].to_pylist(), rows["etag"].to_pylist(), strict=True)

    ordered = heapq.merge(*map(keys, evidence.known))
    return sum(one == following for one, following in pairwise(ordered))


def _compare(stride: _Stride, tally: _Tally, judged_by: tuple[str, str]) -> None:
    outcomes = {(uri, etag): outcome for uri, etag, outcome in stride.observed}
    judged = [(str(row["uri"]), str(row["etag"])) for row in stride.judged]
    tally.planned += stride.planned.total()
    tally.ok += sum(outcome == OK for outcome in outcomes.values())
    tally.faulted += sum(outcome != OK for outcome in outcomes.values())
    for found in (Counter((uri, etag) for uri, etag, _ in stride.observed), Counter(judged)):
        tally.missing += len(stride.planned.keys() - found.keys())
        tally.unplanned += len(found.keys() - stride.planned.keys())
        tally.duplicated += sum(count - 1 for count in found.values())
    for key, row in zip(judged, stride.judged, strict=True):
        tally.contradicting += outcomes.get(key, row["outcome"]) != row["outcome"]
        tally.digest = (tally.digest + _row_digest(stride.root, key, row, judged_by)) % 2 ** (8 * _SUM_BYTES)


def _row_digest(root: str, key: Key, row: dict[str, object], judged_by: tuple[str, str]) -> int:
    """One row's share of the digest. Shares are added up, so neither order nor file layout matters."""
    said = [relative_uri(key[0], root), key[1], str(row["outcome"]), str(row["action"]), *judged_by]
    text = b"".join(len(part).to_bytes(8, "big") + part for part in (one.encode("utf-8") for one in said))
    return int.from_bytes(hashlib.sha256(text).digest(), "big")


def _differing(mine: _Evidence, other: _Evidence) -> int:
    """Images whose decisions differ between two stores, or whose scores do by more than the tolerance."""
    ours, theirs = _decided(mine), _decided(other)
    one, another, count = next(ours, None), next(theirs, None), 0
    while one is not None or another is not None:
        if one is None or another is None or one[0] != another[0]:
            count += 1
            if another is None or (one is not None and one[0] < another[0]):
                one = next(ours, None)
            else:
                another = next(theirs, None)
            continue
        count += not _same(one[1], another[1])
        one, another = next(ours, None), next(theirs, None)
    if other.damaged:
        raise StorageError(
            "the other store cannot be compared with",
            where=other.store.shown,
            why="; ".join(map(str, other.damaged)),
            fix=f"run `assay repair {other.store.shown}`",
        )
    return count


def _decided(evidence: _Evidence) -> Iterator[tuple[Key, dict[str, object]]]:
    """All decisions with scores, in the order of names: manifests are sorted, and so are their shards."""

    def of(generation: Generation) -> Iterator[tuple[Key, dict[str, object]]]:
        for shards in _cut(generation, SCORED_STRIDE):
            rows = evidence.decisions(shards, scores=True)
            keyed = [((relative_uri(str(row["uri"]), generation.root), str(row["etag"])), row) for row in rows]
            yield from sorted(keyed, key=lambda pair: pair[0])

    return heapq.merge(*map(of, evidence.known), key=lambda pair: pair[0])


def _same(one: dict[str, object], other: dict[str, object]) -> bool:
    if (one["outcome"], one["action"]) != (other["outcome"], other["action"]):
        return False
    scores, others = _scores(one), _scores(other)
    return scores.keys() == others.keys() and all(
        abs(score - others[label]) <= SCORE_TOLERANCE for label, score in scores.items()
    )


def _scores(row: dict[str, object]) -> dict[str, float]:
    pairs = row["scores"]
    return {str(label): float(score) for label, score in pairs} if isinstance(pairs, list) else {}
