"""The two stages a shard passes: look (fetch and decode) and judge (encode, score, write).

Knows what is done with one shard in one process. Does not know Ray: the pipeline calls these as actors, tests call them
as they are. Errors of the whole job travel as data, so that what other shards finished is still committed.
"""

import hashlib
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assay.jobs.datafile import read_shard, write_observations, write_verdicts
from assay.jobs.release_copy import fetch_release
from assay.jobs.work import Failure, Receipt, Task, Work, digest_of_keys
from assay.platform.batch import ImageBatch, Looked
from assay.platform.errors import AssayError, ConservationError
from assay.platform.faults import OK, Fault, FaultKind
from assay.platform.fetch import fetch, refuse_blanket_denial
from assay.platform.guard import Guard
from assay.platform.images import Budget, Preprocess
from assay.platform.members import pack_of
from assay.platform.moderator import Moderator
from assay.platform.packs import Content, PackReader
from assay.platform.rows import ImageRef
from assay.platform.storage import Storage, StorageSpec


@dataclass(frozen=True, slots=True)
class LookSpec:
    """What the look stage needs on its node."""

    storage: StorageSpec
    preprocess: Preprocess
    budget: Budget
    threads: int
    """Images fetched at once."""
    decoders: int = 2
    """Images decoded at once, each in a process of its own."""


class LookStage:
    """Fetches a shard in threads, which hand the bytes to guarded decoders, into one pixel buffer."""

    def __init__(self, spec: LookSpec) -> None:
        self.spec = spec
        self.storage = Storage(spec.storage)
        self.pool = ThreadPoolExecutor(spec.threads, thread_name_prefix="look")
        self.guard = Guard(spec.preprocess, spec.budget, spec.decoders)
        self.packs = PackReader(self.storage, spec.budget.max_bytes)
        self.denials = _Denials()

    def __call__(self, block: pa.Table) -> pa.Table:
        """One row of work in, one row out: the work, and the batch as buffers (rows as Arrow IPC, pixels uint8)."""
        work = _only(block, "work")
        started = time.monotonic()
        try:
            batch = self.look(Work.model_validate_json(work))
        except AssayError as error:
            return _looked(block, work, failure=Failure.of(error).model_dump_json())
        return _looked(block, work, batch=batch, seconds=time.monotonic() - started)

    def look(self, work: Work) -> ImageBatch:
        """Fetch and decode every image of `work.refs`."""
        pack = pack_of(work.refs[0].uri) if work.refs else ""
        looked = self._unpack(work.refs) if pack else list(self.pool.map(self._one, work.refs))
        outcomes = [one.seen.kind.value if isinstance(one.seen, Fault) else OK for one in looked]
        if work.task is Task.OBSERVE:  # a retry's images were chosen because they failed
            told = self.denials.of_packs(pack, outcomes) if pack else outcomes
            refuse_blanket_denial(told, where=work.refs[0].uri)
        return ImageBatch.of(work.shard, looked, self.spec.preprocess.size)

    def _one(self, ref: ImageRef) -> Looked:
        return self._decode((ref, fetch(self.storage, ref, self.spec.budget.max_bytes)))

    def _decode(self, fetched: Content) -> Looked:
        ref, data = fetched
        if isinstance(data, Fault):
            return Looked(ref, data)
        return Looked(ref, self.guard.decode(data), hashlib.sha256(data).digest())

    def _unpack(self, refs: Sequence[ImageRef]) -> list[Looked]:
        """Members of a pack: the next lot is read while one is decoded."""
        lots = self.packs.read(refs)
        looked = dict[str, Looked]()
        coming = self.pool.submit(next, lots, None)
        while (lot := coming.result()) is not None:
            coming = self.pool.submit(next, lots, None)
            looked |= {one.ref.uri: one for one in self.pool.map(self._decode, lot)}
        return [looked[ref.uri] for ref in refs]


class _Denials:
    """Packs that were denied one after the other. All images of a pack fail together, so they tell of one object."""

    def __init__(self) -> None:
        self._packs: dict[str, str] = {}
        self._turn = threading.Lock()

    def of_packs(self, pack: str, outcomes: list[str]) -> list[str]:
        """The outcome of each pack since one could last be read, this one's included."""
        [outcome] = set(outcomes) if len(set(outcomes)) == 1 else {OK}
        with self._turn:
            if outcome in {FaultKind.FORBIDDEN, FaultKind.UNREACHABLE}:
                self._packs[pack] = outcome
            else:
                self._packs.clear()
            return list(self._packs.values())


@dataclass(frozen=True, slots=True)
class JudgeSpec:
    """What the judge stage needs on its node."""

    storage: StorageSpec
    store: str
    release: str
    """Id of the release, of which the store keeps a copy."""
    policy: str
    size: int
    device: str
    threads: int
    """Threads the encoder may use on a CPU."""
    encodes: bool = True
    """Whether there is anything to encode: judging again what was observed never loads the encoder."""


class JudgeStage:
    """Encodes, judges and writes one shard; answers with a receipt."""

    def __init__(self, spec: JudgeSpec) -> None:
        self.spec = spec
        self.storage = Storage(spec.storage)
        release = fetch_release(self.storage, spec.store, spec.release)
        # Ray sets one OpenMP thread per actor; torch or OpenVINO, not loaded yet, goes by this when it is.
        os.environ["OMP_NUM_THREADS"] = str(spec.threads)
        self.moderator = Moderator(release, spec.policy, spec.device)
        if spec.encodes:
            self.moderator.warm_up()  # now, while the first shard is fetched
        # One shard encodes while another is decided and its files are written; on a GPU both may encode.
        self.turn = threading.Semaphore(self.moderator.encoder.calls_at_once if spec.encodes else 1)
        self.notes = self.moderator.encoder.notes if spec.encodes else ()
        self.worker = {
            "node": socket.gethostname(),
            "pid": str(os.getpid()),
            "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        }

    def __call__(self, block: pa.Table) -> pa.Table:
        """One looked-at shard in, one receipt out."""
        work = Work.model_validate_json(_only(block, "work"))
        failure = _only(block, "failure")
        if failure:
            return Receipt(shard=work.shard, task=work.task, rows=0, failure=Failure.model_validate_json(failure)).row()
        try:
            return self.judge(work, block).row()
        except AssayError as error:
            return Receipt(shard=work.shard, task=work.task, rows=0, failure=Failure.of(error)).row()

    def judge(self, work: Work, block: pa.Table) -> Receipt:
        """Do what `work` asks.

        Raises:
            ConservationError: the rows that come out are not the rows the plan has.
        """
        clock = _Clock(look=float(block["seconds"][0].as_py()))
        seen = self._observations(work, block, clock)
        verdicts = self.moderator.decide(seen)
        clock.lap("judge")
        if not work.rows == seen.num_rows == verdicts.num_rows:
            raise ConservationError(
                "rows out differ from rows in",
                where=f"shard {work.shard}",
                why=f"planned {work.rows}, observed {seen.num_rows}, judged {verdicts.num_rows}",
                fix="run `assay verify`, and report this",
            )
        observed = (
            None if work.task is Task.JUDGE else write_observations(self.storage, self.spec.store, work.shard, seen)
        )
        judged = write_verdicts(self.storage, self.spec.store, work.shard, verdicts)
        clock.lap("write")
        fetched = set() if work.task is Task.JUDGE else {(ref.uri, ref.etag) for ref in work.refs}
        return Receipt(
            shard=work.shard,
            task=work.task,
            rows=seen.num_rows,
            keys=digest_of_keys(_keys(verdicts)),
            observed=observed,
            judged=judged,
            outcomes=_counts(seen["outcome"]),
            actions=_counts(verdicts["action"]),
            flagged=_labels(verdicts),
            fetched=len(fetched),
            fetched_bytes=sum(ref.size for ref in work.refs) if fetched else 0,
            seconds=clock.laps,
            worker=self.worker,
            notes=self.notes,
        )

    def _observations(self, work: Work, block: pa.Table, clock: "_Clock") -> pa.Table:
        if work.task is Task.JUDGE:
            return read_shard(self.storage, self.spec.store, work.observed, work.shard)
        rows = pa.ipc.open_stream(block["rows"][0].as_buffer()).read_all()
        pixels = np.frombuffer(block["pixels"][0].as_buffer(), np.uint8).reshape(-1, self.spec.size, self.spec.size, 3)
        with self.turn:
            clock.lap("wait")
            fresh = self.moderator.observe(ImageBatch(rows, pixels))
            clock.lap("encode")
        if work.task is Task.OBSERVE:
            return fresh
        return _replace(read_shard(self.storage, self.spec.store, work.observed, work.shard), fresh)


class _Clock:
    """Time by step."""

    def __init__(self, **laps: float) -> None:
        self.laps, self._last = dict(laps), time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name], self._last = round(now - self._last, 4), now


def _replace(old: pa.Table, fresh: pa.Table) -> pa.Table:
    """`old` with the rows of the images in `fresh` replaced, in the order of uris."""
    replaced = set(_keys(fresh))
    again = pa.array([key in replaced for key in _keys(old)], pa.bool_())
    kept = old.filter(pc.invert(again))
    return pa.concat_tables([kept, fresh.cast(old.schema)]).sort_by([("uri", "ascending"), ("etag", "ascending")])


def _keys(rows: pa.Table) -> list[tuple[str, str]]:
    return list(zip(rows["uri"].to_pylist(), rows["etag"].to_pylist(), strict=True))


def _counts(column: pa.ChunkedArray) -> Counter[str]:
    return Counter({str(pair["values"]): int(pair["counts"]) for pair in pc.value_counts(column).to_pylist()})


def _labels(verdicts: pa.Table) -> Counter[str]:
    findings = verdicts["findings"].combine_chunks()
    return _counts(pa.chunked_array([findings.flatten().field("label")])) if len(findings) else Counter()


def _only(block: pa.Table, name: str) -> str:
    assert block.num_rows == 1, "one row is one shard"
    return str(block[name][0].as_py())


def _looked(
    block: pa.Table, work: str, *, batch: ImageBatch | None = None, seconds: float = 0.0, failure: str = ""
) -> pa.Table:
    rows, pixels = pa.py_buffer(b""), pa.py_buffer(b"")
    if batch is not None:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.rows.schema) as out:
            out.write_table(batch.rows)
        rows, pixels = sink.getvalue(), pa.py_buffer(batch.pixels)
    columns = {
        "shard": block["shard"],
        "work": [work],
        "rows": _one_buffer(rows),
        "pixels": _one_buffer(pixels),
        "seconds": [seconds],
        "failure": [failure],
    }
    return pa.table(columns)


def _one_buffer(buffer: pa.Buffer) -> pa.Array:
    """A `large_binary` array of one value, without a copy."""
    offsets = pa.py_buffer(np.array([0, buffer.size], np.int64))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, buffer])
