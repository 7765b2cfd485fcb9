"""Resume planning over a store ledger as a run over N images leaves it (R11): `python -m infra.bench.resume`.

Makes the log of a store without its data files: `generation.json`, and in both tables' logs a checkpoint with the
schema delta-rs itself writes. Knows how commits and compaction leave a log. Does not know images.

Every figure is of a process of its own: seconds from nothing read to the backlog known, and its peak memory.
"""

import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from assay.jobs.backlog import find_backlog
from assay.jobs.delta_log import DeltaLedger
from assay.jobs.generation import Generation, Part, generations, publish
from assay.jobs.ledger import DataFile
from assay.jobs.store import Store, now
from assay.platform.storage import Storage

Numbers: TypeAlias = npt.NDArray[np.int64]
Ranges: TypeAlias = Annotated[Numbers, "[n, 2]: first and last shard"]

SHARD, SEGMENT, PLACES = 256, 256, 1000
"""Images in a shard and shards in a segment, as by default; places where open shards lie scattered."""
ROWS_PER_PART = 1_000_000
PARTITION = {"release": "release-1", "policy": "strict"}
TARGET_S = 5.0
SIZES = (10**6, 10**7, 10**8, 10**9)


class Shape(StrEnum):
    """How the files of done shards lie."""

    COMPACTED = "compacted"
    """As `assay compact` leaves them, and a week later, when what it removed is forgotten."""
    JUST_COMPACTED = "just compacted"
    """The same, with a tombstone of every file that it removed."""
    NEVER = "never compacted"
    """One file per shard and table."""


class State(StrEnum):
    """Which shards are done."""

    SCATTERED = "99.9 % done, a thousand holes"
    """Each of a few shards. Segments with a hole are not compacted."""
    LOST = "99.9 % done, some files lost"
    """As `assay repair` leaves it: the open shards are those of whole segments."""
    HALF = "half done"
    """The first half."""


@dataclass(frozen=True, slots=True)
class Case:
    """One ledger."""

    images: int
    shape: Shape
    state: State

    @property
    def shards(self) -> int:
        """How many there are."""
        return -(-self.images // SHARD)

    def done(self) -> Ranges:
        """The done shards as ranges, ascending."""
        if self.state is State.HALF:
            return np.array([[0, self.shards // 2 - 1]], np.int64)
        left = max(1, self.shards // 1000)
        places, step = min(PLACES, left), 1
        wide = left // places
        if self.state is State.LOST:
            places, step, wide = max(1, left // SEGMENT), SEGMENT, SEGMENT
        starts = (np.arange(places) * 2 + 1) * self.shards // (2 * places) // step * step
        stops = starts + wide
        firsts, lasts = np.concatenate([[0], stops]), np.concatenate([starts - 1, [self.shards - 1]])
        return np.stack([firsts, lasts], axis=1)[firsts <= lasts]

    def files(self) -> Ranges:
        """The shards of each file: done ones, joined where their whole segment is done and was compacted."""
        done = self.done()
        single = np.concatenate([np.arange(first, last + 1) for first, last in done])
        if self.shape is Shape.NEVER:
            return np.stack([single, single], axis=1)
        full = np.bincount(single // SEGMENT) == SEGMENT
        left = single[~full[single // SEGMENT]]
        wide = np.flatnonzero(full) * SEGMENT
        firsts, lasts = np.concatenate([wide, left]), np.concatenate([wide + SEGMENT - 1, left])
        return np.stack([firsts, lasts], axis=1)

    def removed(self) -> Ranges:
        """The shards of each file that compaction removed lately."""
        if self.shape is not Shape.JUST_COMPACTED:
            return np.empty((0, 2), np.int64)
        wide = [np.arange(first, last + 1) for first, last in self.files() if last > first]
        single = np.concatenate(wide) if wide else np.empty(0, np.int64)
        return np.stack([single, single], axis=1)


def make_store(case: Case, where: Path) -> Store:
    """A store whose ledgers are those of `case`; its data files and the parts of its manifest are not there."""
    store = Store.attach(Storage(), str(where))
    store.establish()
    parts = [
        Part(name=f"part-{number:05d}-00000000.parquet", rows=rows, first_shard=first, last_shard=last)
        for number, (rows, first, last) in enumerate(_parts(case))
    ]
    facts = {"number": 0, "source": "s3://corpus", "root": "s3://corpus", "created": now(), "listed": case.images}
    facts |= {"images": case.images, "bytes": case.images * 115_000, "first_shard": 0, "shards": case.shards}
    publish(store, Generation.model_validate(facts | {"parts": parts}))
    files, removed = case.files(), case.removed()
    _write_log(store.observations, case, files, removed, {})
    _write_log(store.verdicts, case, files, removed, PARTITION)
    return store


def _parts(case: Case) -> Iterator[tuple[int, int, int]]:
    wide = -(-ROWS_PER_PART // SHARD)
    for first in range(0, case.shards, wide):
        last = min(first + wide, case.shards) - 1
        yield min(case.images, (last + 1) * SHARD) - first * SHARD, first, last


def _write_log(ledger: DeltaLedger, case: Case, files: Ranges, removed: Ranges, partition: dict[str, str]) -> None:
    """A log of one transaction of the product's and a checkpoint, into which all the others are written."""
    ledger.create()
    ledger.fence(1)
    ledger.commit([DataFile("data/00/none.parquet", 1, 1, 0, 0, "a", "a", partition)])
    ledger.log.checkpoint()
    [where] = (Path(ledger.uri.removeprefix("file://")) / "_delta_log").glob("*.checkpoint.parquet")
    like = pq.read_table(where)
    rng = np.random.default_rng(7)
    with pq.ParquetWriter(where, like.schema, compression="none") as writer:
        for some in _pieces(rng.permutation(files)):
            writer.write_table(_actions(like.schema, "add", _adds(case, some, partition, rng)))
        for some in _pieces(removed):
            writer.write_table(_actions(like.schema, "remove", _removes(some, partition, rng)))
        writer.write_table(like.filter(pc.is_null(like["add"])))
    hint = where.parent / "_last_checkpoint"
    told = json.loads(hint.read_text())
    num_rows = len(files) + len(removed) + len(like) - 1
    told |= {"size": num_rows, "numOfAddFiles": len(files), "sizeInBytes": where.stat().st_size}
    hint.write_text(json.dumps(told))


def _pieces(ranges: Ranges) -> Iterator[Ranges]:
    for start in range(0, len(ranges), 2**20):
        yield ranges[start : start + 2**20]


def _actions(schema: pa.Schema, kind: str, fields: dict[str, pa.Array | str | int | bool]) -> pa.Table:
    """Rows of a checkpoint with only `kind` set, of which `fields` are given and others null."""
    num = next(len(column) for column in fields.values() if isinstance(column, pa.Array))
    members = list(schema.field(kind).type)
    columns = [_column(member, fields.get(member.name), num) for member in members]
    action = pa.StructArray.from_arrays(columns, fields=members)
    return pa.table([action if one.name == kind else _nulls(one, num) for one in schema], schema=schema)


def _column(member: pa.Field, given: object, num: int) -> pa.Array:
    if isinstance(given, dict):
        entries = pa.scalar(list(given.items()), member.type)
        return pa.repeat(entries, num)
    if isinstance(given, pa.Array):
        return given.cast(member.type)
    return _nulls(member, num) if given is None else pa.repeat(pa.scalar(given, member.type), num)


def _nulls(member: pa.Field, num: int) -> pa.Array:
    """Nulls whose parts that must not be null have values, as Parquet's writer wants it."""
    if pa.types.is_struct(member.type):
        parts = [_nulls(one, num) if one.nullable else _blanks(one, num) for one in member.type]
        return pa.StructArray.from_arrays(parts, fields=list(member.type), mask=pa.repeat(True, num))
    return pa.nulls(num, member.type)


def _blanks(member: pa.Field, num: int) -> pa.Array:
    if pa.types.is_struct(member.type):
        return pa.StructArray.from_arrays([_blanks(one, num) for one in member.type], fields=list(member.type))
    if pa.types.is_nested(member.type):
        return pa.repeat(pa.scalar([], member.type), num)
    return pa.repeat(pa.scalar(0).cast(member.type), num)


def _adds(case: Case, files: Ranges, partition: dict[str, str], rng: np.random.Generator) -> dict[str, Any]:
    firsts, lasts = files[:, 0], files[:, 1]
    ends = np.minimum((lasts + 1) * SHARD, case.images)
    rows = ends - firsts * SHARD
    text = [
        *('{"numRecords": ', _text(rows), ', "minValues": {"shard": ', _text(firsts), ', "uri": "'),
        *(_uris(firsts * SHARD), '"}, "maxValues": {"shard": ', _text(lasts), ', "uri": "', _uris(ends - 1)),
        '"}, "nullCount": {"shard": 0, "uri": 0}}',
    ]
    stats = pc.binary_join_element_wise(*text, "")
    facts = {"path": _paths(firsts, rng), "size": pa.array(rows * 1300), "stats": stats}
    return facts | {"partitionValues": partition, "modificationTime": 1_795_376_384_764, "dataChange": True}


def _removes(files: Ranges, partition: dict[str, str], rng: np.random.Generator) -> dict[str, Any]:
    facts = {"path": _paths(files[:, 0], rng), "partitionValues": partition, "dataChange": False}
    return facts | {"deletionTimestamp": 1_795_376_384_764, "size": SHARD * 1300, "extendedFileMetadata": True}


def _text(numbers: Numbers, width: int = 0) -> pa.Array:
    return pc.utf8_lpad(pa.array(numbers).cast(pa.string()), width=width, padding="0")


def _uris(images: Numbers) -> pa.Array:
    return pc.binary_join_element_wise("s3://corpus/uploads/", _text(images, 12), ".jpg", "")


def _paths(firsts: Numbers, rng: np.random.Generator) -> pa.Array:
    letters = pa.py_buffer(rng.bytes(len(firsts) * 8).hex().encode())
    offsets = pa.py_buffer((np.arange(len(firsts) + 1) * 16).astype(np.int32))
    names = pa.Array.from_buffers(pa.string(), len(firsts), [None, offsets, letters])
    folders = pc.utf8_slice_codeunits(names, 0, 2)
    return pc.binary_join_element_wise("data/", folders, "/", _text(firsts, 12), "-", names, ".parquet", "")


def plan_once(where: Path) -> dict[str, float]:
    """Find the backlog of a store, as a run that resumes does."""
    began, before = time.monotonic(), _peak_mib()
    store = Store.open(Storage(), str(where))
    found = find_backlog(store, generations(store), PARTITION, retry_faults=False)
    seconds = time.monotonic() - began
    peak = _peak_mib()
    return {"seconds": round(seconds, 2), "peak_mib": round(peak), "before_mib": round(before), "open": found.shards}


def _peak_mib() -> float:
    """Of this process alone: `getrusage` would count what its parent had when it was forked."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def plan_aside(case: Case) -> dict[str, float]:
    """The same in a process of its own, over a store made for it."""
    with tempfile.TemporaryDirectory() as folder:
        make_store(case, Path(folder))
        command = [sys.executable, "-m", "infra.bench.resume", folder]
        told = subprocess.run(command, check=True, capture_output=True).stdout  # noqa: S603  # this very module
    return dict(json.loads(told))


def measure(rounds: int = 3, images: int = 10**9) -> dict[str, Any]:
    """R11: seconds to find what is left of `images`, compacted, in the worst of the states, and the growth of peak
    memory against a hundredth of them; about three minutes.
    """
    found: dict[str, dict[str, float]] = {}
    runs: dict[State, list[float]] = {}
    for state in State:
        small, large = (
            [plan_aside(Case(number, Shape.COMPACTED, state)) for _ in range(rounds)]
            for number in (images // 100, images)
        )
        runs[state] = [one["seconds"] for one in large]
        peaks = [statistics.median(one["peak_mib"] for one in some) for some in (small, large)]
        seconds = statistics.median(runs[state])
        found[state.value] = {"seconds": seconds, "peak_mib": peaks[1], "growth": round(peaks[1] / peaks[0], 2)}
    worst = max(runs, key=lambda state: statistics.median(runs[state]))
    return {
        "value": statistics.median(runs[worst]),
        "target": TARGET_S,
        "low": min(runs[worst]),
        "high": max(runs[worst]),
        "images": images,
        "states": found,
        "bound_by": "delta-rs reading the tables' logs, by the file",
    }


def main() -> int:
    """Plan over the store named; or, with `all`, over every case once; or measure R11."""
    if sys.argv[1:] == ["all"]:
        for shape, state, images in itertools.product(Shape, State, SIZES):
            case = Case(images, shape, state)
            print(f"{images:>13,} {shape:16} {state:32} {len(case.files()):>9,} {plan_aside(case)}", flush=True)
        return 0
    print(json.dumps(plan_once(Path(sys.argv[1])) if sys.argv[1:] else measure(), indent=None if sys.argv[1:] else 1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
