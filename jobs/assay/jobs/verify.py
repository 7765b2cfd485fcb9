"""Verification: rows out == rows in, proved from the rows themselves, and a digest that says what they are.

Knows manifests, observations and verdicts as rows. Trusts no count, no file name and no run record; it writes nothing.
A file that is damaged is told by its name (`repair.py` knows what damage is), and what it held is missing. Does not
know how rows are read (`evidence.py`), nor how two stores differ (`difference.py`).
"""

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from assay.jobs.difference import count_differing
from assay.jobs.evidence import BEYOND, Evidence, Key, cut
from assay.jobs.forgotten import unerased
from assay.jobs.generation import Generation
from assay.jobs.manifest import read_rows
from assay.jobs.store import Store
from assay.platform.errors import SpecError
from assay.platform.faults import OK
from assay.platform.spec import Spec
from assay.platform.storage import Storage, StorageSpec
from assay.platform.uris import relative_uri

STRIDE = 512
"""Shards compared at a time: what bounds memory."""
_SUM_BYTES = 32


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
    mine, tally = Evidence.of(store, judged_by, deep=spec.deep), _Tally()
    for stride in _strides(mine):
        _compare(stride, tally, judged_by)
    tally.duplicated += _planned_twice(mine)
    differing = None
    if spec.against is not None:
        other = Evidence.of(Store.open(Storage(spec.storage), spec.against), judged_by)
        differing = count_differing(mine, other)
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


def _strides(evidence: Evidence) -> Iterator[_Stride]:
    for generation in evidence.known:
        for shards in cut(generation, STRIDE):
            yield _Stride(
                root=generation.root,
                planned=_planned(evidence.store, generation, shards),
                observed=evidence.outcomes(shards),
                judged=evidence.decisions(shards),
            )
    # Rows of shards that no generation has can only be unplanned.
    end = evidence.known[-1].next_shard if evidence.known else 0
    for beyond in (range(end, BEYOND), range(-BEYOND, 0)):
        yield _Stride("", Counter(), evidence.outcomes(beyond), evidence.decisions(beyond))


def _planned(store: Store, generation: Generation, shards: range) -> Counter[Key]:
    keys: Counter[Key] = Counter()
    for rows in read_rows(store, generation, shards):
        inside = rows.filter((pc.field("shard") >= shards.start) & (pc.field("shard") < shards.stop))
        keys.update(zip(inside["uri"].to_pylist(), inside["etag"].to_pylist(), strict=True))
    return keys


def _planned_twice(evidence: Evidence) -> int:
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
