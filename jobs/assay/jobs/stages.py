"""The first of two stages that a shard passes: look, which fetches and decodes. The second is `judge_stage.py`.

Knows what is done with one shard in one process. Does not know Ray: the pipeline calls stages as actors, tests call
them as they are. Errors of the whole job travel as data, so that what other shards finished is still committed.
"""

import hashlib
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from assay.jobs.handover import hand_over, only
from assay.jobs.work import Failure, Task, Work
from assay.platform.batch import ImageBatch, Looked
from assay.platform.errors import AssayError
from assay.platform.faults import OK, Fault, FaultKind
from assay.platform.fetch import fetch, refuse_blanket_denial
from assay.platform.guard import Guard
from assay.platform.images import Budget, Preprocess
from assay.platform.members import pack_of
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
        work = only(block, "work")
        started = time.monotonic()
        try:
            batch = self.look(Work.model_validate_json(work))
        except AssayError as error:
            return hand_over(block, work, failure=Failure.of(error).model_dump_json())
        return hand_over(block, work, batch=batch, seconds=time.monotonic() - started)

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
