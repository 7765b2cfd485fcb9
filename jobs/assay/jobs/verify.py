"""Verification: rows out == rows in, proved from the rows themselves, and a digest that says what they are.

Knows manifests, observations and verdicts as rows. Trusts no count, no file name and no run record; it writes nothing.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.fs
from pydantic import BaseModel, ConfigDict, Field

from assay.jobs.delta_log import DeltaLedger
from assay.jobs.manifest import Generation, generations, read_rows
from assay.jobs.store import Store
from assay.platform.errors import AssayError, SpecError, StorageError
from assay.platform.faults import OK
from assay.platform.spec import Spec
from assay.platform.storage import Storage, StorageSpec
from assay.platform.uris import relative_uri

STRIDE = 512
"""Shards compared at a time: what bounds memory."""
SCORE_TOLERANCE = 1e-4
_SUM_BYTES = 32

Key = tuple[str, str]


class VerifySpec(Spec):
    """What to verify."""

    store: str = Field(kw_only=False, description="the store")
    against: str | None = Field(None, description="another store whose decisions and scores must be the same")
    release: str | None = Field(
        None, description="id of the release whose verdicts are verified; unset: of the latest run"
    )
    policy: str | None = Field(None, description="policy whose verdicts are verified; unset: of the latest run")
    storage: StorageSpec = Field(StorageSpec(), description="object storage")


class VerifyFacts(BaseModel):
    """What was found. A store is sound when nothing is missing, doubled, unplanned or contradicting."""

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

    @property
    def sound(self) -> bool:
        """Whether all is well."""
        return not (self.missing or self.duplicated or self.unplanned or self.contradicting or self.differing)


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
        StorageError: a committed file cannot be read.
    """
    store = Store.open(Storage(spec.storage), spec.store)
    release, policy = _judged_by(store, spec)
    tally = _Tally()
    for stride in _strides(store, release, policy, scores=False):
        _compare(stride, tally, (release, policy))
    differing = None
    if spec.against is not None:
        other = Store.open(Storage(spec.storage), spec.against)
        differing = _differing(store, other, release, policy)
    return VerifyFacts(
        planned=tally.planned,
        ok=tally.ok,
        faulted=tally.faulted,
        missing=tally.missing,
        duplicated=tally.duplicated,
        unplanned=tally.unplanned,
        contradicting=tally.contradicting,
        orphans=_orphans(store.observations, store) + _orphans(store.verdicts, store),
        digest=f"{tally.digest:064x}",
        release=release,
        policy=policy,
        differing=differing,
    )


def _judged_by(store: Store, spec: VerifySpec) -> tuple[str, str]:
    latest = store.run() or {}
    release, policy = spec.release or latest.get("release"), spec.policy or latest.get("policy")
    if not release or not policy:
        raise SpecError(
            "nothing was judged yet", where=store.shown, why="no run is recorded", fix="run `assay backfill` first"
        )
    return str(release), str(policy)


def _strides(store: Store, release: str, policy: str, *, scores: bool) -> Iterator[_Stride]:
    known = generations(store)
    observed, judged = store.observations.dataset(), store.verdicts.dataset()
    mine = (pc.field("release") == release) & (pc.field("policy") == policy)
    columns = ["uri", "etag", "outcome", "action", *(["scores"] if scores else [])]
    for generation in known:
        for first in range(generation.first_shard, generation.next_shard, STRIDE):
            shards = range(first, min(first + STRIDE, generation.next_shard))
            within = (pc.field("shard") >= shards.start) & (pc.field("shard") < shards.stop)
            yield _Stride(
                root=generation.root,
                planned=_planned(store, generation, shards),
                observed=_tuples(_read(observed, ["uri", "etag", "outcome"], within)),
                judged=_read(judged, columns, within & mine).to_pylist(),
            )
    # Rows of shards that no generation has can only be unplanned.
    end = known[-1].next_shard if known else 0
    beyond = (pc.field("shard") >= end) | (pc.field("shard") < 0)
    yield _Stride("", Counter(), _tuples(_read(observed, ["uri", "etag", "outcome"], beyond)))


def _read(rows: pyarrow.dataset.Dataset, columns: list[str], where: pc.Expression) -> pa.Table:
    try:
        return rows.to_table(columns=columns, filter=where)
    except (OSError, pa.ArrowInvalid) as error:
        raise StorageError(
            "committed rows cannot be read",
            where="observations or verdicts",
            why=str(error),
            fix="restore the file it names",
        ) from error


def _planned(store: Store, generation: Generation, shards: range) -> Counter[Key]:
    keys: Counter[Key] = Counter()
    for rows in read_rows(store, generation, shards):
        inside = rows.filter((pc.field("shard") >= shards.start) & (pc.field("shard") < shards.stop))
        keys.update(zip(inside["uri"].to_pylist(), inside["etag"].to_pylist(), strict=True))
    return keys


def _tuples(rows: pa.Table) -> list[tuple[str, str, str]]:
    columns = (rows[name].to_pylist() for name in ("uri", "etag", "outcome"))
    return list(zip(*columns, strict=True))


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
    tally.duplicated += sum(count - 1 for count in stride.planned.values())
    for key, row in zip(judged, stride.judged, strict=True):
        tally.contradicting += outcomes.get(key, row["outcome"]) != row["outcome"]
        tally.digest = (tally.digest + _row_digest(stride.root, key, row, judged_by)) % 2 ** (8 * _SUM_BYTES)


def _row_digest(root: str, key: Key, row: dict[str, object], judged_by: tuple[str, str]) -> int:
    """One row's share of the digest. Shares are added up, so neither order nor file layout matters."""
    said = [relative_uri(key[0], root), key[1], str(row["outcome"]), str(row["action"]), *judged_by]
    text = b"".join(len(part).to_bytes(8, "big") + part for part in (one.encode("utf-8") for one in said))
    return int.from_bytes(hashlib.sha256(text).digest(), "big")


def _differing(store: Store, other: Store, release: str, policy: str) -> int:
    """Images whose decisions differ between two stores, or whose scores do by more than the tolerance."""
    mine, theirs = _decisions(store, release, policy), _decisions(other, release, policy)
    apart = len(mine.keys() ^ theirs.keys())
    return apart + sum(not _same(mine[key], theirs[key]) for key in mine.keys() & theirs.keys())


def _decisions(store: Store, release: str, policy: str) -> dict[Key, dict[str, object]]:
    found: dict[Key, dict[str, object]] = {}
    for stride in _strides(store, release, policy, scores=True):
        for row in stride.judged:
            found[relative_uri(str(row["uri"]), stride.root), str(row["etag"])] = row
    return found


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


def _orphans(ledger: DeltaLedger, store: Store) -> int:
    """Data files below a table that its current version does not name."""
    fs, base = store.storage.arrow(ledger.uri)
    try:
        there = fs.get_file_info(pyarrow.fs.FileSelector(f"{base}/data", allow_not_found=True, recursive=True))
    except OSError as error:
        raise AssayError(
            "cannot list a table's files", where=ledger.uri, why=str(error), fix="grant list access"
        ) from error
    named = {file.path for file in ledger.files()}
    return sum(info.is_file and info.path[len(base) + 1 :] not in named for info in there)
